"""A relay in front of Podman's API socket; see wire.py. Every request that passes is in its ledger."""

from __future__ import annotations

import json
import re
import socket
from pathlib import Path

from faulty import wire

SAID = "database is locked"
_REFUSAL = json.dumps({"cause": SAID, "message": f"internal error: {SAID}", "response": 500})

_VERSION = re.compile(r"^/v[0-9.]+(/libpod)?")


class PodmanRelay(wire.Wire):
    """Listens on the socket `path` and passes requests on to Podman's socket `behind`."""

    def __init__(self, path: Path, behind: Path) -> None:
        path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(path))
        super().__init__(listener, lambda: _connected(behind), _REFUSAL)
        self.url = f"unix://{path}"
        self.start()

    def requests(self, since: int = 0) -> list[tuple[str, str]]:
        """Method and path (without version and query) of each request, in their order."""
        exchanges = self.ledger.exchanges()[since:]
        return [(exchange.method, _VERSION.sub("", exchange.path)) for exchange in exchanges]


def _connected(path: Path) -> socket.socket:
    made = socket.socket(socket.AF_UNIX)
    try:
        made.connect(str(path))
    except OSError:
        made.close()
        raise
    return made
