"""A server that speaks what nodes hear of Heat's CFN API, and misbehaves where a test wants it to.

Real Heat cannot be made to serve two deployments with one id, or metadata that is no JSON. This is a real server on
a real socket; only its answers are made up.
"""

from __future__ import annotations

import email.utils
import hashlib
import http.server
import json
import ssl
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.sax import saxutils

_NO_HEADERS: Mapping[str, str] = {}


class _Server(http.server.ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """Nodes are killed in these tests, and their connections with them."""


class HeatLike:
    """Serves `metadata` (an object, or the raw text of it) and keeps every signal it gets."""

    def __init__(self, port: int = 0, tls: tuple[Path, Path] | None = None) -> None:
        """`tls`: files with a certificate and its key."""
        self.metadata: object = {"deployments": []}
        self.polls = 0
        self.polled: list[tuple[float, str, str, int]] = []
        """When (on the monotonic clock) a poll was answered, its method, its path and the answer's status."""
        self.connections = 0
        self.validator = ""
        """The headers (ETag, Last-Modified) by which a poll of /temp-url/ may ask whether there is anything new."""
        self.mute = False
        """True takes polls and never answers, until it is False again."""
        self.raw: bytes | None = None
        """What every poll is answered with instead of the metadata."""
        self.signals: list[tuple[str, Any]] = []
        self.refuse_with: list[int] = []
        """Statuses with which the next signals are answered, before they are taken."""
        self.refuse: dict[str, int] = {}
        """The status with which every signal for a deployment is answered, as long as it is in here."""
        self.retry_after = ""
        """The header that goes with a refusal."""
        self.silent = False
        """True takes signals' requests and never answers, until it is False again."""
        self.drip = False
        """True answers a signal with a header that never ends: a byte every tenth of a second."""
        self.tried: list[tuple[float, str]] = []
        """When (on the monotonic clock) a signal came, and its path; those that were refused, too."""
        self.down = False
        """True makes every answer a 503."""
        self._changed = threading.Condition()
        self._versions: dict[bytes, int] = {}
        self._server = _Server(("127.0.0.1", port), self._handler())
        self._scheme = "https" if tls else "http"
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*tls)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    def __enter__(self) -> HeatLike:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.silent = self.drip = self.mute = False
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self._server.server_address[1]}"

    def deployment(self, key: str, group: str = "script", config: object = "", **more: Any) -> dict[str, Any]:
        """An entry as Heat makes it, its signal coming back here under its id."""
        inputs = [
            {"name": "deploy_action", "type": "String", "value": "CREATE"},
            {"name": "deploy_signal_transport", "type": "String", "value": "CFN_SIGNAL"},
            {"name": "deploy_signal_id", "type": "String", "value": f"{self.url}/v1/signal/{key}?Signature=s3cr3t"},
            {"name": "deploy_signal_verb", "type": "String", "value": "POST"},
        ]
        entry = {
            "id": key,
            "name": key,
            "group": group,
            "creation_time": "2026-01-01T00:00:00Z",
            "config": config,
            "inputs": [*more.pop("inputs", []), *inputs],
            "outputs": [],
            "options": {},
        }
        return {**entry, **more}

    @property
    def temp_url(self) -> str:
        """Where the metadata is as an object in Swift is: JSON alone, as its collector `request` asks for it."""
        return f"{self.url}/temp-url/object?temp_url_sig=s3cr3t"

    def await_polls(self, more: int, within: float = 30.0) -> list[tuple[float, str, str, int]]:
        """Wait for so many more answered polls; returns them."""
        begin = len(self.polled)
        with self._changed:
            there = self._changed.wait_for(lambda: len(self.polled) >= begin + more, within)
        assert there, f"{len(self.polled) - begin} polls within {within} s"
        return self.polled[begin:]

    def serve(self, *deployments: object) -> None:
        self.metadata = {"deployments": list(deployments)}

    def signal(self, key: str, within: float = 30.0) -> Any:
        """The body of the first signal for `key`; AssertionError when none comes in time."""
        deadline = time.monotonic() + within
        with self._changed:
            while True:
                for path, body in self.signals:
                    if path == f"/v1/signal/{key}":
                        return body
                if not self._changed.wait(max(deadline - time.monotonic(), 0)):
                    raise AssertionError(f"no signal for {key} within {within} s; there are {str(self.signals)[:2000]}")

    def _marks(self, body: bytes) -> dict[str, str]:
        """What the validators say of the metadata.

        Last-Modified knows a change by when this first saw it; beside an ETag, as Swift sends it, all changes fall into
        one second.
        """
        seconds = self._versions.setdefault(body, 1_767_225_600 + len(self._versions))
        if self.validator == "ETag, Last-Modified":
            seconds = 1_767_225_600
        all_of_them = {
            "ETag": f'"{hashlib.sha256(body).hexdigest()}"',
            "Last-Modified": email.utils.formatdate(seconds, usegmt=True),
        }
        return {name: mark for name, mark in all_of_them.items() if name in self.validator}

    def _take(self, path: str, body: bytes) -> int:
        with self._changed:
            self.tried.append((time.monotonic(), path))
            if self.refuse_with:
                return self.refuse_with.pop(0)
            if path.rpartition("/")[2] in self.refuse:
                return self.refuse[path.rpartition("/")[2]]
            self.signals.append((path, json.loads(body)))
            self._changed.notify_all()
            return 200

    def _handler(self) -> type[http.server.BaseHTTPRequestHandler]:
        heat = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            # Header and body are written apart; the second would wait for an acknowledgement of the first.
            disable_nagle_algorithm = True

            def setup(self) -> None:
                heat.connections += 1
                super().setup()

            def do_HEAD(self) -> None:
                self._poll(b"")

            def do_GET(self) -> None:
                heat.polls += 1
                while heat.mute:
                    time.sleep(0.1)
                text = heat.metadata if isinstance(heat.metadata, str) else json.dumps(heat.metadata)
                if self.path.startswith("/temp-url/"):
                    self._poll(text.encode() if heat.raw is None else heat.raw)
                    return
                body = (
                    "<DescribeStackResourceResponse><DescribeStackResourceResult><StackResourceDetail><Metadata>"
                    f"{saxutils.escape(text)}"
                    "</Metadata></StackResourceDetail></DescribeStackResourceResult></DescribeStackResourceResponse>"
                )
                self._poll(body.encode() if heat.raw is None else heat.raw)

            def _poll(self, body: bytes) -> None:
                marks = heat._marks(body)
                # Either is enough for Swift.
                known = {self.headers.get("If-None-Match"), self.headers.get("If-Modified-Since")}
                status = 503 if heat.down else 304 if known & set(marks.values()) else 200
                with heat._changed:
                    heat.polled.append((time.monotonic(), self.command, self.path, status))
                    heat._changed.notify_all()
                self._answer(status, b"" if status == 304 else body, marks)

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                assert self.headers["Content-Type"] == "application/json"
                if heat.silent or heat.drip:
                    self._withhold()
                    return
                self._answer(503 if heat.down else heat._take(self.path.partition("?")[0], body), b"{}")

            def _withhold(self) -> None:
                self.close_connection = True
                while heat.silent or heat.drip:
                    if heat.drip:
                        try:
                            self.connection.sendall(b"H")
                        except OSError:
                            return
                    time.sleep(0.1)

            def _answer(self, status: int, body: bytes, headers: Mapping[str, str] = _NO_HEADERS) -> None:
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                if status != 200 and heat.retry_after:
                    self.send_header("Retry-After", heat.retry_after)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the library's name for it
                del format, args

        return Handler
