"""The relay: a real server on a real socket that passes requests on to Heat, and breaks them as its plan says.

Heat signs the URLs that nodes signal to over its own address, and a node signs its polls over the address that it was
given (heat/api/aws/ec2token.py checks both against the Host header). So that both stay valid, the relay puts its own
address into the metadata that passes, in the signal URLs and where Heat says where to poll, and gives signals, and
nothing else, Heat's Host header back.
"""

from __future__ import annotations

import contextlib
import email.utils
import http.client
import http.server
import itertools
import socket
import ssl
import struct
import threading
import time
from collections.abc import Iterator
from typing import Any

from faulty import certificates, ledger, plan

Fault = plan.Fault

_UNAVAILABLE = (500, 502, 503, 504)
_BUSY_SECONDS = 1
_PIECES = 20
_PIECE_PAUSE = 0.01
_ADDRESS = "127.0.0.1"
# Closing a socket with this sends a reset instead of an orderly end.
_LINGER = struct.pack("ii", 1, 0)


class Relay:
    """Listens on loopback and relays to `host`:`port`. `plan` may be changed while it runs.

    `silence` is how many seconds a silent connection stays open, `outage` how long REFUSED keeps the port closed.
    With `authority` it speaks TLS.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        choose: plan.Plan = plan.nothing,
        authority: certificates.Authority | None = None,
        silence: float = 60.0,
        outage: float = 0.5,
    ) -> None:
        self.upstream = f"{host}:{port}"
        self.plan = choose
        self.ledger = ledger.Ledger()
        self.silence = silence
        self.outage = outage
        self.handshakes_failed = 0
        self.unavailable = itertools.cycle(_UNAVAILABLE)
        self._address = (host, port)
        self._tls = authority.context() if authority else None
        self._closing = threading.Event()
        self._live: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._open = threading.Event()
        self._listener = _bound()
        self._port: int = self._listener.getsockname()[1]
        self._handler = _handler(self)

    @property
    def url(self) -> str:
        """The relay's root, without a slash at its end."""
        return f"{'https' if self._tls else 'http'}://{_ADDRESS}:{self._port}"

    def __enter__(self) -> Relay:
        threading.Thread(target=self._accept, name="relay", daemon=True).start()
        self.accept()
        return self

    def __exit__(self, *exc: object) -> None:
        self._closing.set()
        self._open.set()
        self._listener.close()
        self.drop()

    # What a test may do while it runs

    def refuse(self) -> None:
        """Refuse connections from now on; those that are open are reset."""
        with self._lock:
            if self._open.is_set():
                self._open.clear()
                # A shut down listener refuses connections, and keeps its port from others.
                self._listener.shutdown(socket.SHUT_RDWR)
        self.drop()

    def accept(self) -> None:
        """Accept connections again, on the same port."""
        with self._lock:
            if not self._closing.is_set() and not self._open.is_set():
                self._listener.listen(128)
                self._open.set()

    def drop(self) -> None:
        """Reset the connections that are open."""
        with self._lock:
            for connection in self._live:
                _arm(connection)
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    # Its life

    def _accept(self) -> None:
        while not self._closing.is_set():
            self._open.wait()
            try:
                connection, _ = self._listener.accept()
            except OSError:
                # Shut down by refuse(), or closed.
                continue
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, raw: socket.socket) -> None:
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        raw.settimeout(120)
        try:
            connection = self._tls.wrap_socket(raw, server_side=True) if self._tls else raw
        except (ssl.SSLError, OSError):
            self.handshakes_failed += 1
            raw.close()
            return
        with self._living(connection), contextlib.suppress(OSError, ssl.SSLError):
            self._handler(connection, (_ADDRESS, 0), self)  # type: ignore[arg-type]  # it only keeps the server

    @contextlib.contextmanager
    def _living(self, connection: socket.socket) -> Iterator[None]:
        with self._lock:
            self._live.add(connection)
        try:
            yield
        finally:
            with self._lock:
                self._live.discard(connection)
            connection.close()

    # The steps of one request

    def forward(self, method: str, target: str, headers: Any, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        """Heat's answer: status, headers and body. Raises OSError or HTTPException when there is none."""
        sent = {name: value for name, value in headers.items() if name.lower() not in _HOP}
        sent["Host"] = self.upstream if target.startswith(plan.SIGNALS) else headers["Host"]
        connection = http.client.HTTPConnection(*self._address, timeout=60)
        try:
            connection.request(method, target, body or None, {**sent, "Connection": "close"})
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        ours, theirs = f"{self.url}/v1/".encode(), f"http://{self.upstream}/v1/".encode()
        kept = [(name, value) for name, value in answer.getheaders() if name.lower() not in _HOP]
        return answer.status, kept, content.replace(theirs, ours)

    def fall_silent(self, connection: socket.socket) -> None:
        """Say nothing until the client goes, or `silence` is over, or the relay ends."""
        connection.settimeout(self.silence)
        with contextlib.suppress(OSError):
            connection.recv(1)

    def refuse_for_a_while(self) -> None:
        """Refuse connections for `outage` seconds."""
        self.refuse()
        timer = threading.Timer(self.outage, self.accept)
        timer.daemon = True
        timer.start()


_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length", "host"})


def _bound() -> socket.socket:
    """A socket on a free port that it keeps when shut down, unlike one that was bound to port 0."""
    with socket.socket() as chosen:
        chosen.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        chosen.bind((_ADDRESS, 0))
        made = socket.socket()
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(chosen.getsockname())
        return made


def _arm(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER)


def _handler(relay: Relay) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            path = self.path.partition("?")[0]
            exchange = relay.ledger.begin(self.command, path, len(body), relay.plan)
            told = False
            try:
                told = self._handle(exchange, body)
            except OSError:
                self.close_connection = True
            finally:
                relay.ledger.end(exchange, told=told)

        do_POST = do_PUT = do_HEAD = do_GET  # noqa: N815  the library's names for them

        def _handle(self, exchange: ledger.Exchange, body: bytes) -> bool:
            """Do with the request what its fault says; True when the client was told Heat's answer."""
            if exchange.fault not in plan.FORWARDED:
                self._break_off(exchange.fault)
                return False
            try:
                status, headers, content = relay.forward(self.command, self.path, self.headers, body)
            except (OSError, http.client.HTTPException):
                # As a load balancer does whose backend is gone.
                self._say(502, [], b"no backend\n")
                return False
            relay.ledger.answered(exchange, status)
            exchange.hinted = exchange.fault in plan.TOLD or exchange.fault is Fault.RESET_IN_ANSWER
            if exchange.fault not in plan.TOLD:
                self._spoil(exchange.fault, status, headers, content)
                return False
            if exchange.fault is Fault.CUT_SHORT:
                content = content[: len(content) // 2]
            self._say(status, headers, content, slowly=exchange.fault is Fault.SLOW)
            return True

        def _break_off(self, fault: plan.Fault) -> None:
            """What happens to a request that Heat never sees."""
            if fault is Fault.UNAVAILABLE:
                self._say(next(relay.unavailable), [], b"unavailable\n")
            elif fault is Fault.BUSY:
                self._say(429, [("Retry-After", str(_BUSY_SECONDS))], b"busy\n")
            elif fault is Fault.BUSY_UNTIL:
                date = email.utils.formatdate(time.time() + _BUSY_SECONDS, usegmt=True)
                self._say(429, [("Retry-After", date)], b"busy\n")
            else:
                if fault is Fault.SILENCE:
                    relay.fall_silent(self.connection)
                elif fault is Fault.REFUSED:
                    relay.refuse_for_a_while()
                self._reset()

        def _spoil(self, fault: plan.Fault, status: int, headers: list[tuple[str, str]], content: bytes) -> None:
            """What happens to an answer that the client does not get."""
            if fault is Fault.UNAVAILABLE_AFTER:
                self._say(503, [], b"unavailable\n")
                return
            if fault is Fault.SILENCE_AFTER:
                relay.fall_silent(self.connection)
            elif fault is Fault.GARBAGE:
                self.connection.sendall(b"\x00\xff this is no HTTP\r\n\r\n")
                self.close_connection = True
                return
            else:
                whole = self._composed(status, headers, content)
                # A short answer is cut in its head: half of the body of one that has none would be all of it.
                self.connection.sendall(whole[: -(len(content) // 2)] if len(content) > 1 else whole[:20])
            self._reset()

        def _say(self, status: int, headers: list[tuple[str, str]], content: bytes, *, slowly: bool = False) -> None:
            whole = self._composed(status, headers, content)
            size = -(-len(whole) // _PIECES) if slowly else len(whole)
            for begin in range(0, len(whole), size):
                self.connection.sendall(whole[begin : begin + size])
                if slowly:
                    time.sleep(_PIECE_PAUSE)

        def _composed(self, status: int, headers: list[tuple[str, str]], content: bytes) -> bytes:
            lines = [f"HTTP/1.1 {status} {http.client.responses.get(status, '')}"]
            lines += [f"{name}: {value}" for name, value in [*headers, ("Content-Length", str(len(content)))]]
            return "\r\n".join([*lines, "", ""]).encode("latin-1") + content

        def _reset(self) -> None:
            _arm(self.connection)
            self.close_connection = True

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the library's name for it
            del format, args

    return Handler
