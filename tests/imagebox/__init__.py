"""An image built from the elements by diskimage-builder, and nodes that boot it.

``build.build`` makes the image, ``node.ImageNode`` boots it, on a ``network.Network`` of its own.
"""
