"""What passed through the relay: one Exchange for each request, and what follows from them for signals."""

from __future__ import annotations

import collections
import dataclasses
import threading
import time
from collections.abc import Callable

from faulty import plan


@dataclasses.dataclass
class Exchange:
    """One request. It is in the ledger from when it came; what became of it is filled in. Times are monotonic."""

    method: str
    path: str
    """Without its query, which is a credential."""
    size: int
    fault: plan.Fault
    began: float
    ended: float | None = None
    status: int | None = None
    """What Heat answered; None when it did not get the request, or died over it."""
    told: bool = False
    """Whether Heat's answer went out to the client whole, or whole enough to be understood."""
    hinted: bool = False
    """Whether some of Heat's answer went out: its status line may have, so the client may know, and need not."""

    @property
    def accepted(self) -> bool:
        return self.status is not None and 200 <= self.status < 300


class Ledger:
    """All exchanges, in the order in which they came."""

    def __init__(self) -> None:
        self._exchanges: list[Exchange] = []
        self._counts: collections.Counter[tuple[str, str]] = collections.Counter()
        self._changed = threading.Condition()
        self.accepted: set[str] = set()
        """The signals that Heat accepted, by path."""

    def begin(self, method: str, path: str, size: int, choose: plan.Plan) -> Exchange:
        """Enter a request, with the fault that the plan has for it."""
        with self._changed:
            nth = self._counts[method, path]
            self._counts[method, path] += 1
            fault = choose(plan.Request(method, path, nth))
            exchange = Exchange(method, path, size, fault, time.monotonic())
            self._exchanges.append(exchange)
            self._changed.notify_all()
            return exchange

    def answered(self, exchange: Exchange, status: int) -> None:
        """Heat answered; the client does not know yet."""
        with self._changed:
            exchange.status = status
            if exchange.accepted and exchange.path.startswith(plan.SIGNALS):
                self.accepted.add(exchange.path)
            self._changed.notify_all()

    def end(self, exchange: Exchange, *, told: bool) -> None:
        with self._changed:
            exchange.told = told
            exchange.ended = time.monotonic()
            self._changed.notify_all()

    def exchanges(self) -> list[Exchange]:
        with self._changed:
            return list(self._exchanges)

    def signals(self) -> dict[str, list[Exchange]]:
        """The attempts for each signal, by path."""
        found: dict[str, list[Exchange]] = {}
        for exchange in self.exchanges():
            if exchange.path.startswith(plan.SIGNALS):
                found.setdefault(exchange.path, []).append(exchange)
        return found

    def faults(self) -> collections.Counter[plan.Fault]:
        """How often each fault was chosen."""
        return collections.Counter(exchange.fault for exchange in self.exchanges())

    def await_accepted(self, count: int, within: float) -> None:
        """Return when Heat has accepted `count` signals, whether or not their senders know."""
        self.wait(lambda _: len(self.accepted) >= count, within)

    def wait(self, there: Callable[[list[Exchange]], bool], within: float = 30.0) -> None:
        """Return when `there` is true of all exchanges; AssertionError when it never is."""
        deadline = time.monotonic() + within
        with self._changed:
            while not there(self._exchanges):
                if not self._changed.wait(max(deadline - time.monotonic(), 0)):
                    raise AssertionError(f"it never came in {within} s; the last were {self._exchanges[-5:]}")
