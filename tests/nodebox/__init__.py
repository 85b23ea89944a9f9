"""A node for tests: systemd as PID 1, with a real Podman of its own, in systemd-nspawn.

``nodebox.box.NodeBox`` is the way in; ``README.md`` tells what it is for.
"""
