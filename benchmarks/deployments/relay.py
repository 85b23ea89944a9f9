"""A relay between a node and Heat that writes down every request, and can hold the node's view of Heat still.

The node has a loopback of its own. The relay listens there, on the very ports that Heat and Keystone have on the
machine, so addresses and signatures stay as they are, and the node's programs need not know.
"""

from __future__ import annotations

import ctypes
import dataclasses
import http.client
import http.server
import os
import socket
import threading
import time
from collections.abc import Callable, Sequence
from concurrent import futures
from typing import Any

from reference import node as nodes

_CLONE_NEWNET = 0x40000000
# Headers that speak of one connection, not of the message.
_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length"})


@dataclasses.dataclass(frozen=True)
class Exchange:
    """One request and its answer; times are of time.monotonic, `began` when the request was read."""

    began: float
    ended: float
    method: str
    path: str
    status: int
    body: bytes

    @property
    def is_signal(self) -> bool:
        """A signal that Heat has accepted."""
        return self.method == "POST" and "/signal" in self.path and self.status == 200


@dataclasses.dataclass(frozen=True)
class _Answer:
    status: int
    headers: list[tuple[str, str]]
    body: bytes


class Relay:
    """Relays the TCP `ports` of 127.0.0.1 in `node` to the same ports of the machine, as HTTP."""

    def __init__(self, node: nodes.ReferenceNode, ports: Sequence[int]) -> None:
        self._changed = threading.Condition()
        self._exchanges: list[Exchange] = []
        self._last: dict[str, _Answer] = {}
        self._held = False
        self._servers = [self._serve(listener, port) for port, listener in _listen(node, ports)]

    def __enter__(self) -> Relay:
        return self

    def __exit__(self, *exc: object) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()

    def exchanges(self, since: float = 0.0) -> list[Exchange]:
        """What was answered after `since`, in the order of the answers."""
        with self._changed:
            return [exchange for exchange in self._exchanges if exchange.ended >= since]

    def hold(self) -> None:
        """From now on, answer each GET as it was answered last: for the node, nothing changes in Heat."""
        self._held = True

    def release(self) -> float:
        """Let the node see Heat as it is; returns the time from which on it does."""
        self._held = False
        return time.monotonic()

    def wait(self, there: Callable[[list[Exchange]], bool], since: float, within: float = 600.0) -> list[Exchange]:
        """Wait until what was answered after `since` satisfies `there`, and return it."""
        deadline = time.monotonic() + within
        with self._changed:
            while not there(found := [exchange for exchange in self._exchanges if exchange.ended >= since]):
                if not self._changed.wait(deadline - time.monotonic()):
                    raise TimeoutError(f"the node asked for {len(found)} things in {within:.0f} s, not what is due")
            return found

    def wait_for_polls(self, count: int, within: float = 60.0) -> None:
        """Wait until the node has asked for its metadata `count` more times."""
        self.wait(lambda found: sum(is_poll(exchange) for exchange in found) >= count, time.monotonic(), within)

    def _serve(self, listener: socket.socket, port: int) -> _Server:
        server = _Server(("127.0.0.1", port), _handler(self, port), bind_and_activate=False)
        server.socket.close()
        server.socket = listener
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return server

    def _remembered(self, method: str, path: str) -> _Answer | None:
        return self._last.get(path.partition("?")[0]) if self._held and method == "GET" else None

    def _record(self, exchange: Exchange, answer: _Answer) -> None:
        with self._changed:
            self._exchanges.append(exchange)
            if exchange.method == "GET" and exchange.status == 200:
                self._last[exchange.path.partition("?")[0]] = answer
            self._changed.notify_all()


def is_poll(exchange: Exchange) -> bool:
    """Whether the request asked for metadata, in the CFN API or in Heat's own."""
    return exchange.method == "GET" and ("DescribeStackResource" in exchange.path or "/metadata" in exchange.path)


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Daemons are ended in the middle of a request, and their connections with them."""


def _handler(relay: Relay, port: int) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def setup(self) -> None:
            super().setup()
            self.upstream = http.client.HTTPConnection("127.0.0.1", port, timeout=120)

        def finish(self) -> None:
            self.upstream.close()
            super().finish()

        def relay(self) -> None:
            began = time.monotonic()
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            answer = relay._remembered(self.command, self.path) or self._ask(body)
            self._answer(answer)
            exchange = Exchange(began, time.monotonic(), self.command, self.path, answer.status, answer.body)
            relay._record(exchange, answer)

        do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = relay

        def _ask(self, body: bytes) -> _Answer:
            headers = {key: value for key, value in self.headers.items() if key.lower() not in _HOP}
            if body or self.command in ("POST", "PUT"):
                headers["Content-Length"] = str(len(body))
            try:
                response = self._request(body, headers)
            # A server may end a connection that has been idle; it has not seen the request then.
            except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
                self.upstream.close()
                response = self._request(body, headers)
            kept = [(key, value) for key, value in response.getheaders() if key.lower() not in _HOP]
            return _Answer(response.status, kept, response.read())

        def _request(self, body: bytes, headers: dict[str, str]) -> http.client.HTTPResponse:
            self.upstream.request(self.command, self.path, body, headers)
            return self.upstream.getresponse()

        def _answer(self, answer: _Answer) -> None:
            self.send_response_only(answer.status)
            for key, value in answer.headers:
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(answer.body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the library's name for it
            del format, args

    return Handler


def _listen(node: nodes.ReferenceNode, ports: Sequence[int]) -> list[tuple[int, socket.socket]]:
    """Listening sockets in the node's network: a socket stays in the network in which it was made."""

    def make() -> list[tuple[int, socket.socket]]:
        descriptor = os.open(node.network, os.O_RDONLY)
        try:
            # For this thread only, which ends with this function.
            if ctypes.CDLL(None, use_errno=True).setns(descriptor, _CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), "cannot enter the node's network")
        finally:
            os.close(descriptor)
        return [(port, socket.create_server(("127.0.0.1", port), backlog=128)) for port in ports]

    with futures.ThreadPoolExecutor(max_workers=1) as thread:
        return thread.submit(make).result()
