"""Containers: what they shall be (spec), what would happen (plan), Podman (engine), and the upgrade itself."""
