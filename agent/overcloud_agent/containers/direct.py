"""Requests to Podman's API on a connection of one's own, which another thread can cut.

The connections of engine.py belong to a pool, and nobody can end what waits on one. A stream of events and the output
of a command wait for long, and have to end at once when they are no longer wanted.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
from typing import Any
from urllib import parse

from overcloud_agent import errors, redact

# Podman 4 and 5 both speak this version of it.
_API = "/v4.0.0/libpod"

_UNIX = ("unix", "http+unix")


def reaches(url: str) -> bool:
    """Whether there is such a connection to Podman at `url`; to one behind ssh, for example, there is none."""
    return parse.urlsplit(url).scheme in (*_UNIX, "tcp")


def is_local(url: str) -> bool:
    """Whether Podman at `url` runs on this very node."""
    return parse.urlsplit(url).scheme in _UNIX


class Connection(http.client.HTTPConnection):
    """One connection for one request."""

    def __init__(self, url: str, timeout: float) -> None:
        """`timeout` is in seconds, for connecting and for each single read; see `limit`."""
        parts = parse.urlsplit(url)
        # No name: Go's HTTP server only wants to see that there is one.
        super().__init__(parts.hostname or "podman", parts.port, timeout=timeout)
        self._url = url
        self._path = parse.unquote(parts.netloc) + parts.path if parts.scheme in _UNIX else ""
        self._held: socket.socket | None = None
        self._is_cut = False

    def connect(self) -> None:
        if self._path:
            self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.sock.settimeout(self.timeout)
            self.sock.connect(self._path)
        else:
            super().connect()
        # http.client lets go of its socket while an answer without a length is still being read.
        self._held = self.sock
        if self._is_cut:
            self.cut()

    def ask(self, method: str, path: str, what: str, body: dict[str, Any] | None = None) -> http.client.HTTPResponse:
        """Send a request; the answer, whose body has not been read.

        Raises EngineAway, or EngineError that says why Podman refuses to do `what`.
        """
        headers = {"Content-Type": "application/json"} if body is not None else {}
        try:
            self.request(method, _API + path, None if body is None else json.dumps(body), headers)
            answer = self.getresponse()
            if answer.status >= 400:
                kind = errors.EngineFailed if answer.status >= 500 else errors.EngineError
                raise kind(f"cannot {what}: {_explanation(answer)}")
        except (OSError, http.client.HTTPException):
            raise errors.EngineAway(
                f"cannot {what}: Podman does not answer at {self._url}", hint="is podman.socket running?"
            ) from None
        return answer

    def limit(self, seconds: float | None) -> None:
        """The time for each read from now on; None to wait as long as it takes."""
        if self._held:
            self._held.settimeout(seconds)

    def cut(self) -> None:
        """End what another thread does with this connection: it reads the end of the answer, or gets EngineAway."""
        self._is_cut = True
        if self._held:
            with contextlib.suppress(OSError):
                self._held.shutdown(socket.SHUT_RDWR)


def ask(url: str, method: str, path: str, what: str, *, timeout: float, body: dict[str, Any] | None = None) -> Any:
    """One request as a whole: the JSON of its answer. Raises EngineError."""
    with contextlib.closing(Connection(url, timeout)) as connection:
        answer = connection.ask(method, path, what, body)
        try:
            return json.loads(answer.read())
        except ValueError:
            raise errors.EngineError(f"cannot {what}: Podman's answer is not JSON") from None
        except (OSError, http.client.HTTPException):
            raise errors.EngineAway(f"cannot {what}: Podman's answer broke off") from None


def _explanation(answer: http.client.HTTPResponse) -> str:
    text = answer.read()
    try:
        document = json.loads(text)
        return redact.text(document.get("message") or document.get("cause"))
    except (ValueError, AttributeError):
        return f"Podman answered {answer.status}"
