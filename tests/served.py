"""Directories served by HTTP, to this machine alone."""

from __future__ import annotations

import contextlib
import functools
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def at(directory: Path, port: int = 0) -> Iterator[str]:
    """Serve a directory on 127.0.0.1; yields the address. Nobody answers before and after."""
    server = _Server(("127.0.0.1", port), functools.partial(_Quiet, directory=str(directory)))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def free_port() -> int:
    """A port that is ours while nobody else takes it."""
    with _Server(("127.0.0.1", 0), _Quiet) as server:
        return int(server.server_address[1])


class _Server(http.server.ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """Who is killed, or has no room, leaves in the middle of an answer."""


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the library's
        pass
