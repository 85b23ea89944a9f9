"""A private Podman with an image registry, everything in one directory.

``podmanbox.box.PodmanBox`` is the way in; ``README.md`` tells what it is for.
"""
