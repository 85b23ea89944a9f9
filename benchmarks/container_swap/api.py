"""Podman's API without a library in between: what a request takes is what Podman takes."""

from __future__ import annotations

import http.client
import json
import socket
from pathlib import Path
from typing import Any

_WITHIN = 60.0


class ApiError(Exception):
    """Podman refused, with what it said."""


class Api:
    """Requests to one Podman service, each on a connection of its own."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def create(self, body: dict[str, Any]) -> None:
        """Create a container from a SpecGenerator."""
        self.call("POST", "/containers/create", body)

    def act(self, name: str, action: str, query: str = "") -> None:
        """POST /containers/NAME/ACTION: start, stop, init, rename ..."""
        self.call("POST", f"/containers/{name}/{action}?{query}")

    def remove(self, name: str) -> None:
        """Remove a container, running or not; none of that name is fine."""
        self.call("DELETE", f"/containers/{name}?force=true&timeout=0&ignore=true")

    def call(self, method: str, path: str, body: object = None) -> Any:
        """One request; returns the decoded answer. Raises ApiError, and OSError after a minute without an answer."""
        connection = _Connection(self._path)
        try:
            text = None if body is None else json.dumps(body)
            headers = {"Content-Type": "application/json"} if text else {}
            connection.request(method, f"/v4.0.0/libpod{path}", text, headers)
            answer = connection.getresponse()
            document = answer.read()
        finally:
            connection.close()
        if answer.status >= 400:
            raise ApiError(f"{method} {path}: {answer.status} {document.decode(errors='replace')[:500]}")
        return json.loads(document) if document.strip() else None


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("podman", timeout=_WITHIN)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(_WITHIN)
        self.sock.connect(str(self._path))
