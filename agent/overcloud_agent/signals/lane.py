"""A lane: the thread that sends what is pending for one endpoint, one signal after the other.

It has a journal connection and connections to the endpoint of its own, so however slow the endpoint is, it holds up
nobody else. One signal at a time is in memory.
"""

from __future__ import annotations

import dataclasses
import logging
import queue
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from overcloud_agent import errors, failpoints, journal, mail
from overcloud_agent.signals import access, verdict

if TYPE_CHECKING:
    from overcloud_agent.signals import sender

log = logging.getLogger(__name__)

RETRY_BASE = 1.0

# Seconds before the second attempt at an endpoint that has answered the one before.
_AT_ONCE = 0.05

# Seconds for which a lane with nothing to do keeps its connections open.
_IDLE = 30.0

# Seconds that a lane may work before it makes room for an endpoint that waits for its turn: long enough for the
# handshakes to be worth their while.
_SLICE = 1.0

# Attempts before credentials that are refused are believed to be wrong: ten minutes, more or less. A database fails
# over, a service is upgraded, and whoever cannot check a signature says the same as who finds it wrong.
_DOUBTS = 10

Message = Literal["wake", "hurry", "yield", "stop"]


def backoff(attempts: int, longest: float, *, uniform: Callable[[float, float], float] = random.uniform) -> float:
    """Seconds to wait after `attempts` failures: full-jitter exponential, so nodes do not come back together."""
    return max(0.2, uniform(0, min(longest, RETRY_BASE * 2 ** min(attempts, 30))))


@dataclasses.dataclass
class Health:
    """How an endpoint has done lately; goes from a lane to the next one of the same endpoint."""

    failures: int = 0
    """Attempts in a row that got no answer."""
    was_silent: bool = False
    """Whether it has left anything unanswered since its last success."""
    until: float = 0.0
    """The moment (of the monotonic clock) before which nothing is sent."""

    def pause(self) -> float:
        return max(0.0, self.until - time.monotonic())


@dataclasses.dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What all lanes of an outbox have in common."""

    state_dir: Path
    timeout: float
    retry_max: float
    access: Callable[[], access.Access]
    settled: Callable[[], None]
    """Called after each signal that is done with."""
    ended: Callable[[Lane, errors.AgentError | None], None]
    """Called as the last thing a lane does, with what it could not go on for."""


class Lane:
    """Sends until nothing is left for `endpoint`, or until it is told to make room or to stop."""

    def __init__(self, endpoint: str, health: Health, around: Surroundings) -> None:
        self.endpoint = endpoint
        self.health = health
        self.told_to_yield = False
        self.heard_stop = False
        self._around = around
        # A SimpleQueue, because signal handlers may put into it.
        self._inbox: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._yielding = False
        self._thread = threading.Thread(target=self._run, name=f"lane {endpoint}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def tell(self, message: Message) -> None:
        """`wake`: there may be something new. `hurry`: try now. `yield`: somebody waits for the place. `stop`."""
        self.told_to_yield = self.told_to_yield or message == "yield"
        self._inbox.put(message)

    def _run(self) -> None:
        # It brings requests, and there is not always something to send.
        from overcloud_agent.signals import sender

        failure: errors.AgentError | None = None
        try:
            book = journal.Journal.open(self._around.state_dir)
            connections = sender.Sender(self._around.timeout)
            try:
                self._work(book, connections)
                book.mail.forget()
            finally:
                connections.close()
                book.close()
        except errors.AgentError as error:
            failure = error
        # The outbox ends over this, and with it the agent; systemd starts it anew.
        except Exception as error:
            log.exception("a mistake in overcloud-agent")
            failure = errors.AgentError(f"a lane of the outbox ended: {type(error).__name__}")
        self._around.ended(self, failure)

    def _work(self, book: journal.Journal, connections: sender.Sender) -> None:
        begun = idle_since = time.monotonic()
        while True:
            self._listen(0)
            if self._yielding and not self.heard_stop and time.monotonic() - begun > _SLICE:
                return
            signal = self._next(book)
            if signal:
                answered = self._deliver(book, connections, signal)
                idle_since = time.monotonic()
                if self.heard_stop and not answered:
                    # All the others would run into the same wall.
                    return
            elif self.heard_stop or self._yielding:
                return
            else:
                book.mail.forget()
                left = idle_since + _IDLE - time.monotonic()
                if left <= 0:
                    return
                self._listen(min(left, self._until_due(book)))

    def _next(self, book: journal.Journal) -> mail.Pending | None:
        """What is to be sent now."""
        if self.heard_stop:
            signal = book.mail.next(self.endpoint)
            # The last chance of what never had one; the rest has waited already, and goes on waiting.
            return signal if signal and signal.attempts == 0 else None
        return None if self.health.pause() else book.mail.next(self.endpoint)

    def _until_due(self, book: journal.Journal) -> float:
        due = book.mail.due_at(self.endpoint)
        return _IDLE if due is None else max(due - time.time(), self.health.pause(), 0.0)

    def _listen(self, timeout: float) -> None:
        """Wait for a message, and take in all that are there."""
        try:
            message = self._inbox.get(timeout=timeout) if timeout > 0 else self._inbox.get_nowait()
            while True:
                if message == "hurry":
                    self.health.until = 0.0
                self._yielding = self._yielding or message == "yield"
                self.heard_stop = self.heard_stop or message == "stop"
                message = self._inbox.get_nowait()
        except queue.Empty:
            pass

    def _deliver(self, book: journal.Journal, connections: sender.Sender, signal: mail.Pending) -> bool:
        """Try once; False when the endpoint has to be left alone for a while."""
        outcome = connections.attempt(signal.target, signal.body, self._around.access())
        # Dying here means that Heat has the result and the journal does not know: it is sent once more at the next
        # start, and Heat ignores a signal for a deployment that is not in progress.
        failpoints.reach("signal.sent")
        if outcome.doubtful and outcome.outcome != "delivered" and signal.attempts + 1 < _DOUBTS:
            outcome = dataclasses.replace(outcome, outcome="retry")
        if outcome.outcome == "retry":
            self._postpone(book, signal, outcome)
            return not outcome.lane
        level = logging.INFO if outcome.outcome == "delivered" else logging.ERROR
        log.log(level, "signal for %s: %s", signal.deployment, outcome.error or "delivered to Heat")
        book.mail.settle(signal.seq, outcome.outcome, outcome.error)
        if outcome.outcome == "delivered":
            if self.health.was_silent:
                # It is back: what has waited for that goes now, and not when each one's own pause is over.
                book.mail.hasten(self.endpoint)
            self.health = Health()
        self._around.settled()
        return True

    def _postpone(self, book: journal.Journal, signal: mail.Pending, outcome: verdict.Verdict) -> None:
        silent = outcome.lane and outcome.retry_after is None
        failures = self.health.failures if silent else signal.attempts
        # One answer that got lost is no outage: everything behind it would wait for nothing.
        pause = _AT_ONCE if silent and not failures else backoff(failures, self._around.retry_max)
        delay = max(pause, outcome.retry_after or 0.0)
        who = f"everything for {self.endpoint or signal.deployment}" if outcome.lane else signal.deployment
        log.warning("signal for %s: %s; %s waits %.1f s", signal.deployment, outcome.error, who, delay)
        book.mail.postpone(signal.seq, outcome.error, delay, lane=outcome.lane)
        self.health.failures = self.health.failures + 1 if silent else 0
        self.health.was_silent = self.health.was_silent or outcome.lane
        if outcome.lane:
            self.health.until = time.monotonic() + delay
