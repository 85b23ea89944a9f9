"""What measures overcloud-agent against the reference stack, side by side; docs/benchmarks.md tells how."""
