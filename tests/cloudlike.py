"""A small Keystone, and what its catalogue leads to, for what real ones cannot be made to do.

A real server on a real socket; only its answers are made up.
"""

from __future__ import annotations

import datetime
import http.server
import json
import threading
from typing import Any


class CloudLike:
    """Lets one user in, and serves the paths in `serves`: status by path."""

    def __init__(self) -> None:
        self.serves: dict[str, int] = {}
        self.requests: list[tuple[str, str]] = []
        """Method and path of each."""
        self.bodies: list[Any] = []
        self.headers: list[dict[str, str]] = []
        """Of what came with a token."""
        self.password = "right"
        self.refuse_login = 0
        """A status for logins, instead of an answer."""
        self.token = "t0ken"
        """What a login gets, and the only token with which `metadata` is served."""
        self.metadata: dict[str, object] = {}
        """What a GET is answered with, by path."""
        self.catalogue = ["orchestration", "messaging"]
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    def __enter__(self) -> CloudLike:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def _login(self, body: Any) -> tuple[int, dict[str, Any]]:
        if self.refuse_login:
            return self.refuse_login, {}
        if body["auth"]["identity"]["password"]["user"]["password"] != self.password:
            return 401, {}
        expires = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=1)
        catalogue = [
            {
                "type": kind,
                "name": kind,
                "id": kind,
                "endpoints": [
                    {"interface": "public", "region": "one", "region_id": "one", "url": self.url, "id": kind},
                    {"interface": "public", "region": "two", "region_id": "two", "url": f"{self.url}/two", "id": "2"},
                ],
            }
            for kind in self.catalogue
        ]
        token = {
            "expires_at": expires.isoformat().replace("+00:00", "Z"),
            "issued_at": "2026-01-01T00:00:00Z",
            "methods": ["password"],
            "user": {"id": "u", "name": "u", "domain": {"id": "d", "name": "d"}},
            "project": {"id": "p", "name": "p", "domain": {"id": "d", "name": "d"}},
            "catalog": catalogue,
        }
        return 201, {"token": token}

    def _handler(self) -> type[http.server.BaseHTTPRequestHandler]:
        cloud = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                cloud.requests.append(("POST", self.path))
                if self.path == "/v3/auth/tokens":
                    self._answer(*cloud._login(body))
                    return
                cloud.bodies.append(body)
                cloud.headers.append(dict(self.headers.items()))
                self._answer(cloud.serves.get(self.path, 404), {})

            def do_GET(self) -> None:
                cloud.requests.append(("GET", self.path))
                if self.headers.get("X-Auth-Token") != cloud.token:
                    self._answer(401, {})
                elif self.path in cloud.metadata:
                    self._answer(200, {"metadata": cloud.metadata[self.path]})
                else:
                    self._answer(404, {})

            def _answer(self, status: int, body: dict[str, Any]) -> None:
                content = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                if self.path == "/v3/auth/tokens":
                    self.send_header("X-Subject-Token", cloud.token)
                if status == 503:
                    self.send_header("Retry-After", "7")
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the library's name for it
                del format, args

        return Handler
