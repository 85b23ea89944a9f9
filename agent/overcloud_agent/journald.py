"""Write to systemd's journal over its own socket, where stderr is not connected to it.

The protocol is described in systemd's "Native Journal Protocol": one datagram is one entry.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket

SOCKET = "/run/systemd/journal/socket"


def entry(fields: Mapping[str, str]) -> bytes:
    """The datagram for one entry. Names of fields are upper case letters, digits and `_`."""
    lines = []
    for name, text in fields.items():
        value = text.encode(errors="replace")
        if b"\n" in value:
            lines.append(name.encode() + b"\n" + len(value).to_bytes(8, "little") + value)
        else:
            lines.append(name.encode() + b"=" + value)
    return b"\n".join([*lines, b""])


class Journal:
    """A connection to the journal at `path`, made for the first entry; where there is none, entries go nowhere."""

    def __init__(self, path: str = SOCKET) -> None:
        self._path = path
        self._socket: socket.socket | None = None

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *exc: object) -> None:
        if self._socket:
            self._socket.close()

    def send(self, fields: Mapping[str, str]) -> None:
        """Write one entry. One that the journal has no room for at this moment is lost: a log holds nobody up."""
        if self._path and not self._socket:
            self._connect()
        if self._socket:
            with contextlib.suppress(OSError):
                self._socket.send(entry(fields))

    def _connect(self) -> None:
        # Most scripts say nothing, and one that does runs while this is loaded.
        import socket

        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            sock.connect(self._path)
        except (OSError, ValueError):
            sock.close()
            self._path = ""
        else:
            self._socket = sock
