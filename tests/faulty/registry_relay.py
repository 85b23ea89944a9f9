"""A relay in front of an image registry; see wire.py."""

from __future__ import annotations

import json
import socket

from faulty import wire

LAYER = r"/blobs/sha256:"
"""Requests for layers, and for an image's configuration, which is a blob like them."""
MANIFEST = r"/manifests/"
_REFUSAL = json.dumps({"errors": [{"code": "UNAVAILABLE", "message": "the registry is busy"}]})


class RegistryRelay(wire.Wire):
    """Passes requests on to the registry `behind` (HOST:PORT); `address` is its own."""

    def __init__(self, behind: str) -> None:
        host, _, port = behind.rpartition(":")
        listener = socket.create_server((host, 0))
        super().__init__(listener, lambda: socket.create_connection((host, int(port))), _REFUSAL)
        self.address = f"{host}:{listener.getsockname()[1]}"
        self.start()
