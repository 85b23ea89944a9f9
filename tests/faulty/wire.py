"""A relay for any HTTP server: what passes through it streams as it comes, and is broken or held where a test says so.

`relay.py` knows Heat, and has an answer whole before it goes on. Podman streams pulls and events, and a registry sends
layers, so here every request gets a connection of its own to the server behind, and the answer passes as the bytes
that it is. Faults are those of plan.py: UNAVAILABLE, BUSY, RESET, SILENCE, and after the request was forwarded
UNAVAILABLE_AFTER, RESET_IN_ANSWER (at half of the answer), SILENCE_AFTER and SLOW.
"""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
import re
import select
import socket
import threading
import time
from collections.abc import Callable
from typing import BinaryIO

from faulty import ledger, plan

Fault = plan.Fault

_PIECE = 65_536
# Seconds between two pieces of a slow answer.
_PAUSE = 0.1
# Longer than anything that a test waits for, so that a thread ends even if a test forgets it.
_PATIENCE = 120.0


@dataclasses.dataclass
class _Rule:
    """Breaks the requests that match, but for the first `skip`, `times` times (None: always)."""

    method: str
    path: re.Pattern[str]
    fault: plan.Fault
    skip: int
    times: int | None

    def counts(self, request: plan.Request) -> bool:
        """Whether this request is to be broken; asked once for each request."""
        if request.method != self.method or not self.path.search(request.path):
            return False
        if self.skip:
            self.skip -= 1
            return False
        if self.times is not None:
            self.times -= 1
        return self.times is None or self.times >= 0


class Hold:
    """The next request that matches both regular expressions.

    It is held before it is forwarded or, with `after`, before its answer goes out.
    """

    def __init__(self, method: str, path: str, *, after: bool = False) -> None:
        self.after = after
        self._method = re.compile(method)
        self._path = re.compile(path)
        self.forwarded = threading.Event()
        self._there = threading.Event()
        self._go = threading.Event()

    def reached(self, within: float = 30.0) -> None:
        """Wait until the request is there, or with `after` its answer."""
        assert self._there.wait(within), f"no {self._method.pattern} {self._path.pattern} within {within:g} s"

    def under_way(self, within: float = 30.0) -> None:
        """Wait until the server behind has the request, answered or not."""
        assert self.forwarded.wait(within), f"no {self._method.pattern} {self._path.pattern} within {within:g} s"

    def release(self) -> None:
        self._go.set()

    def meets(self, exchange: ledger.Exchange) -> bool:
        return bool(self._method.fullmatch(exchange.method) and self._path.search(exchange.path))

    def keep(self) -> None:
        self._there.set()
        self._go.wait(_PATIENCE)


class Wire:
    """Listens on `listener` and passes requests on over what `connect` returns. `said` is the body of its refusals."""

    def __init__(self, listener: socket.socket, connect: Callable[[], socket.socket], said: str) -> None:
        self.said = said
        self.status = 500
        """With which status it says that it is UNAVAILABLE: any 5xx."""
        self.ledger = ledger.Ledger()
        self._listener = listener
        self._connect = connect
        self.change: Callable[[bytes], bytes] = bytes
        """What is made of each piece of an answer."""
        self._rules: list[_Rule] = []
        self._holds: list[Hold] = []
        self._lock = threading.Lock()

    def start(self) -> None:
        self._listener.listen(128)
        threading.Thread(target=self._accept, name="wire", daemon=True).start()

    def close(self) -> None:
        self.mend()
        self._listener.close()

    # What a test may do while it runs

    def breaks(self, method: str, path: str, fault: plan.Fault, *, skip: int = 0, times: int | None = 1) -> None:
        """Break requests whose path has the regular expression `path` in it, without the first `skip`."""
        with self._lock:
            self._rules.append(_Rule(method, re.compile(path), fault, skip, times))

    def hold(self, method: str, path: str, *, after: bool = False) -> Hold:
        """Hold the next request of this kind until it is released."""
        held = Hold(method, path, after=after)
        with self._lock:
            self._holds.append(held)
        return held

    def mend(self) -> None:
        """Break and hold nothing any more."""
        with self._lock:
            self._rules.clear()
            self.change = bytes
            for held in self._holds:
                held.release()
            self._holds.clear()

    # One connection, one request

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        client.settimeout(_PATIENCE)
        with client, contextlib.suppress(OSError, http.client.HTTPException):
            # Who tries TLS first (Podman does, with a registry) is to see at once that there is none.
            if client.recv(1, socket.MSG_PEEK).isalpha():
                with client.makefile("rb") as stream:
                    self._relay(client, stream)

    def _relay(self, client: socket.socket, stream: BinaryIO) -> None:
        line = stream.readline(_PIECE).decode("latin-1")
        method, target, _ = line.split()
        headers = http.client.parse_headers(stream)
        body = stream.read(int(headers.get("Content-Length") or 0))
        exchange = self.ledger.begin(method, target.partition("?")[0], len(body), self._choose)
        held = self._held(exchange)
        if held and not held.after:
            held.keep()
        if exchange.fault not in plan.FORWARDED:
            self._break_off(client, exchange.fault)
            return
        del headers["Connection"]
        headers["Connection"] = "close"
        head = line + "".join(f"{name}: {value}\r\n" for name, value in headers.items()) + "\r\n"
        with self._connect() as server:
            server.settimeout(_PATIENCE)
            server.sendall(head.encode("latin-1") + body)
            if held and held.after:
                held.forwarded.set()
                _await_answer(server)
                held.keep()
            self._answer(client, server, exchange)

    def _choose(self, request: plan.Request) -> plan.Fault:
        with self._lock:
            return next((rule.fault for rule in self._rules if rule.counts(request)), Fault.NONE)

    def _held(self, exchange: ledger.Exchange) -> Hold | None:
        with self._lock:
            held = next((hold for hold in self._holds if hold.meets(exchange)), None)
            if held:
                self._holds.remove(held)
            return held

    def _break_off(self, client: socket.socket, fault: plan.Fault) -> None:
        """What happens to a request that the server never sees; a reset is simply the end of the connection."""
        if fault is Fault.SILENCE:
            client.recv(1)
        elif fault is not Fault.RESET:
            self._refuse(client, fault)

    def _refuse(self, client: socket.socket, fault: plan.Fault) -> None:
        status, text = 429 if fault is Fault.BUSY else self.status, self.said
        head = f"HTTP/1.1 {status} {http.client.responses[status]}\r\nContent-Type: application/json\r\n"
        client.sendall(f"{head}Content-Length: {len(text)}\r\nConnection: close\r\n\r\n{text}".encode())

    def _answer(self, client: socket.socket, server: socket.socket, exchange: ledger.Exchange) -> None:
        if exchange.fault is Fault.RESET_IN_ANSWER:
            _pass_half(client, server)
        elif exchange.fault in (Fault.UNAVAILABLE_AFTER, Fault.SILENCE_AFTER):
            # What has been answered has been done; the answer itself may never end.
            _await_answer(server)
            if exchange.fault is Fault.SILENCE_AFTER:
                client.recv(1)
            else:
                self._refuse(client, exchange.fault)
        else:
            self._pass_all(client, server, slowly=exchange.fault is Fault.SLOW)
            self.ledger.end(exchange, told=True)

    def _pass_all(self, client: socket.socket, server: socket.socket, *, slowly: bool) -> None:
        """Pass the answer on as it comes, until it ends or the client goes."""
        while True:
            ready, _, _ = select.select([server, client], [], [], _PATIENCE)
            if client in ready or not ready:
                return
            piece = server.recv(_PIECE)
            if not piece:
                return
            client.sendall(self.change(piece))
            if slowly:
                time.sleep(_PAUSE)


def _await_answer(server: socket.socket) -> None:
    """Wait until the server has begun to answer, or is gone."""
    with contextlib.suppress(OSError):
        server.recv(1, socket.MSG_PEEK)


def _pass_half(client: socket.socket, server: socket.socket) -> None:
    """Pass on half of the answer: of its body, where that has a length; of what is there, where it has none."""
    head = b""
    while b"\r\n\r\n" not in head:
        piece = server.recv(_PIECE)
        if not piece:
            return
        head += piece
    head, _, begun = head.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)\ncontent-length: *(\d+)", head)
    if not begun and not length:
        # There is no body: the answer itself is cut.
        client.sendall(head[: len(head) // 2])
        return
    left = int(length[1]) // 2 if length else len(begun) // 2 or 1
    client.sendall(head + b"\r\n\r\n")
    while left > 0:
        client.sendall(begun[:left])
        left -= len(begun)
        begun = server.recv(_PIECE) if left > 0 else b""
        if not begun:
            return
