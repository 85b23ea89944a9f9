"""A UNIX socket in front of Podman's, which writes down each request with its times."""

from __future__ import annotations

import contextlib
import dataclasses
import re
import socket
import threading
import time
from pathlib import Path
from types import TracebackType

_REQUEST = re.compile(rb"([A-Z]+) (\S+) HTTP/1\.[01]\r\n")


@dataclasses.dataclass
class Exchange:
    """One request and its answer. Times are time.monotonic; `ended` is the last byte of the answer."""

    began: float
    method: str
    path: str
    ended: float = 0.0
    status: int = 0


class Relay:
    """A socket at `path` that leads to the one at `upstream`, from enter to exit."""

    def __init__(self, path: Path, upstream: Path) -> None:
        self._upstream = upstream
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(64)
        self.url = f"unix://{path}"
        self.exchanges: list[Exchange] = []

    def __enter__(self) -> Relay:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        # Closing alone does not wake the thread that accepts.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                podman = socket.socket(socket.AF_UNIX)
                podman.connect(str(self._upstream))
                last: list[Exchange] = []
                for source, to, note in ((client, podman, self._asked), (podman, client, self._answered)):
                    threading.Thread(target=_pump, args=(source, to, note, last), daemon=True).start()

    def _asked(self, data: bytes, last: list[Exchange]) -> None:
        # Nobody here sends a request before the last one is answered, so what looks like a head is one.
        if match := _REQUEST.match(data):
            last[:] = [Exchange(time.monotonic(), match[1].decode(), match[2].decode())]
            self.exchanges += last

    def _answered(self, data: bytes, last: list[Exchange]) -> None:
        last[0].status = last[0].status or int(data[9:12])
        last[0].ended = time.monotonic()


def _pump(source: socket.socket, to: socket.socket, note: object, last: list[Exchange]) -> None:
    assert callable(note)
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            note(data, last)
            to.sendall(data)
    for end in (source, to):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
