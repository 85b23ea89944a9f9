"""Container swaps: downtime, the time for many containers, and for nothing to do; ours, other ways, and the floor."""
