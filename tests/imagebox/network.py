"""A network of two: this machine and one node, joined by a pair of virtual interfaces."""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path

from podmanbox import commands, errors


class Network:
    """From ``up`` to ``down``; ``name`` tells networks on this machine apart. Needs root. Raises CommandError."""

    def __init__(self, name: str) -> None:
        digest = hashlib.sha256(name.encode()).digest()
        # A slice of four addresses of what is reserved for documentation (RFC 5737), which nobody else uses. Test
        # sessions that run side by side have names that end in numbers, and so slices that follow each other.
        common = name.rstrip("0123456789")
        first = 4 * ((hashlib.sha256(common.encode()).digest()[0] + int(name[len(common) :] or 0)) % 64)
        self.machine = f"192.0.2.{first + 1}"
        """This machine's address there."""
        self.node = f"192.0.2.{first + 2}"
        self._id = digest.hex()[:8]
        self.namespace = Path("/run/netns") / f"image-{self._id}"

    def up(self) -> None:
        """Make it anew."""
        self.down()
        here, inside = f"img{self._id}", self.namespace.name
        _ip("netns", "add", inside)
        _ip("link", "add", here, "type", "veth", "peer", "name", "host0", "netns", inside)
        _ip("address", "add", f"{self.machine}/30", "dev", here)
        _ip("link", "set", here, "up")
        _ip("-n", inside, "address", "add", f"{self.node}/30", "dev", "host0")
        _ip("-n", inside, "link", "set", "host0", "up")
        _ip("-n", inside, "link", "set", "lo", "up")
        _ip("-n", inside, "route", "add", "default", "via", self.machine)

    def down(self) -> None:
        """Remove it, if it is there; the interfaces go with the namespace."""
        if self.namespace.exists():
            with contextlib.suppress(errors.CommandError):
                _ip("link", "delete", f"img{self._id}")
            _ip("netns", "delete", self.namespace.name)


def _ip(*arguments: str) -> None:
    commands.run([str(commands.need("ip")), *arguments], os.environ, 30)
