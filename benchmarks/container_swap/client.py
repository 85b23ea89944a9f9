"""A client of the service, in a process of its own: it asks every millisecond who answers.

`python client.py ADDRESS[,ADDRESS...] PORT OLD NEW SECONDS` asks all addresses. It prints `ready` once OLD answered,
and when NEW has, a JSON object: `last_old`, `first_new` (time.monotonic, which all processes of a machine share),
`asked`, `answered` (requests) and `longest_gap` (seconds between two answers of OLD: what the figure is good for). It
ends with 1 and a sentence on stderr when that takes longer than SECONDS.

Requests do not wait for each other: one that is lost on its way to an address that is gone costs nothing.
"""

from __future__ import annotations

import dataclasses
import errno
import json
import selectors
import socket
import sys
import time
from collections.abc import Sequence

PAUSE = 0.001
# Seconds after which a request is given up, and the most that are under way.
_PATIENCE = 0.5
_MOST = 400


@dataclasses.dataclass
class _Request:
    began: float
    received: bytes = b""
    sent: bool = False


class Client:
    """Asks all addresses again and again."""

    def __init__(self, addresses: Sequence[str], port: int) -> None:
        self._to = [(address, port) for address in addresses]
        self._selector = selectors.DefaultSelector()
        self._open: dict[socket.socket, _Request] = {}
        self.asked = 0

    def ask(self) -> None:
        """Begin a request to each address."""
        for address in self._to:
            self.asked += 1
            new = socket.socket()
            new.setblocking(False)
            if new.connect_ex(address) not in (0, errno.EINPROGRESS):
                new.close()
                continue
            self._open[new] = _Request(time.monotonic())
            self._selector.register(new, selectors.EVENT_WRITE, new)

    def answers(self, until: float) -> list[tuple[float, str]]:
        """The answers (time, version) that come by `until`."""
        found = []
        while (left := until - time.monotonic()) > 0:
            for key, _ in self._selector.select(left):
                version = self._go_on(key.data)
                if version:
                    found.append((time.monotonic(), version))
        self._give_up(time.monotonic() - _PATIENCE)
        return found

    def close(self) -> None:
        """Leave nothing open."""
        self._give_up(float("inf"))
        self._selector.close()

    def _go_on(self, one: socket.socket) -> str:
        request = self._open[one]
        try:
            if not request.sent:
                one.send(b"GET /version HTTP/1.0\r\n\r\n")
                request.sent = True
                self._selector.modify(one, selectors.EVENT_READ, one)
                return ""
            received = one.recv(4096)
        except OSError:
            self._end(one)
            return ""
        request.received += received
        if received:
            return ""
        self._end(one)
        head, _, body = request.received.partition(b"\r\n\r\n")
        return body.decode() if b" 200 " in head.split(b"\r\n")[0] else ""

    def _end(self, one: socket.socket) -> None:
        del self._open[one]
        self._selector.unregister(one)
        one.close()

    def _give_up(self, before: float) -> None:
        # The oldest come first.
        surplus = len(self._open) - _MOST
        for number, (one, request) in enumerate(list(self._open.items())):
            if number < surplus or request.began < before:
                self._end(one)


def main(argv: Sequence[str]) -> int:
    """See above."""
    addresses, port, old, new, seconds = argv
    client = Client(addresses.split(","), int(port))
    deadline = time.monotonic() + float(seconds)
    answered, last, gap = 0, 0.0, 0.0
    due = time.monotonic()
    while due < deadline:
        client.ask()
        # A client that was held up does not make up for it: it would ask many times at once.
        due = max(due + PAUSE, time.monotonic())
        for when, version in client.answers(due):
            answered += 1
            if version == new and last:
                print(json.dumps(_report(last, when, client.asked, answered, gap)), flush=True)
                client.close()
                return 0
            if version == old:
                if not last:
                    print("ready", flush=True)
                gap = max(gap, when - last) if last else 0.0
                last = when
    client.close()
    seen = f"{old} answered last {time.monotonic() - last:.3f} s ago" if last else f"{old} never answered"
    print(f"{new} did not answer at {addresses}, port {port}, within {seconds} s; {seen}", file=sys.stderr)
    return 1


def _report(last_old: float, first_new: float, asked: int, answered: int, gap: float) -> dict[str, float]:
    return {
        "last_old": last_old,
        "first_new": first_new,
        "asked": asked,
        "answered": answered,
        "longest_gap": gap,
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
