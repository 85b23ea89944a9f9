"""An undercloud in a box: a real Keystone and a real Heat on loopback, for tests and for trying.

Command line: ``python3 -m undercloud --help``; Python: ``from undercloud import box``.
See README.md beside this file.
"""
