"""The outbox: send every pending signal until Heat accepts or refuses it for good.

It runs in a thread beside the hooks, with a journal connection of its own. What is due, and when, is in the journal,
so a restart or a reboot loses nothing.
"""

from __future__ import annotations

import logging
import random
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from overcloud_agent import errors, failpoints, journal, model
from overcloud_agent.signals import presigned, verdict

log = logging.getLogger(__name__)

RETRY_BASE = 1.0

_PRESIGNED = frozenset({"CFN_SIGNAL", "TEMP_URL_SIGNAL"})


def backoff(attempts: int, longest: float, *, uniform: Callable[[float, float], float] = random.uniform) -> float:
    """Seconds to wait after `attempts` failures: full-jitter exponential, so nodes do not come back together."""
    return max(0.2, uniform(0, min(longest, RETRY_BASE * 2 ** min(attempts, 30))))


class Outbox:
    """Delivers signals from `state_dir`'s journal; `settled` is called after each that is done with."""

    def __init__(
        self, state_dir: Path, *, timeout: float, retry_max: float, settled: Callable[[], None] = lambda: None
    ) -> None:
        self._state_dir = state_dir
        self._timeout = timeout
        self._retry_max = retry_max
        self._settled = settled
        self._work = threading.Condition()
        self._new = True
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="outbox", daemon=True)
        self.failure: errors.AgentError | None = None
        self.ca_certificate: str | None = None

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        """There may be something new to send."""
        with self._work:
            self._new = True
            self._work.notify()

    def stop(self, grace: float) -> None:
        """Stop, within `grace` seconds; what never was tried gets an attempt first, the rest stays in the journal."""
        with self._work:
            self._stopping = True
            self._work.notify()
        self._thread.join(grace)

    def _run(self) -> None:
        try:
            book = journal.Journal.open(self._state_dir)
            # After a start the endpoint may be back: waiting on would only cost the stack time.
            book.hasten_signals()
            with presigned.Session() as session:
                while self._wait(book):
                    self._deliver(book, session)
                self._deliver_untried(book, session)
            book.close()
        # Nothing is sent without this thread. The main thread sees that it ended and ends the agent, so that systemd
        # starts it anew, instead of running deployments that are never answered.
        except errors.AgentError as error:
            self.failure = error
            self._settled()
        except Exception as error:
            log.exception("a mistake in overcloud-agent")
            self.failure = errors.AgentError(f"the outbox ended: {type(error).__name__}")
            self._settled()

    def _wait(self, book: journal.Journal) -> bool:
        """Wait until something is due; False when the outbox is to stop."""
        with self._work:
            while not self._stopping:
                due = book.next_signal_at()
                pause = None if due is None else min(due - time.time(), self._retry_max)
                if self._new or (pause is not None and pause <= 0):
                    self._new = False
                    return True
                self._work.wait(pause)
            return False

    def _deliver(self, book: journal.Journal, session: presigned.Session) -> None:
        for row in book.due_signals():
            if self._stopping:
                return
            self._deliver_one(book, session, row)

    def _deliver_untried(self, book: journal.Journal, session: presigned.Session) -> None:
        for row in book.due_signals():
            if row["attempts"] == 0:
                self._deliver_one(book, session, row)

    def _deliver_one(self, book: journal.Journal, session: presigned.Session, row: sqlite3.Row) -> None:
        outcome = self._attempt(row, session)
        # Dying here means that Heat has the result and the journal does not know: it is sent once more at the next
        # start, and Heat ignores a signal for a deployment that is not in progress.
        failpoints.reach("signal.sent")
        record(book, row, outcome, self._retry_max)
        if outcome.outcome != "retry":
            self._settled()

    def _attempt(self, row: sqlite3.Row, session: presigned.Session) -> verdict.Verdict:
        """Try once to deliver one row of the journal's signals."""
        target = msgspec.json.decode(row["target"], type=model.Target)
        if target.transport not in _PRESIGNED:
            lacking = f"this version cannot signal by {target.transport}"
            return verdict.refused(f"{lacking}; use CFN_SIGNAL or TEMP_URL_SIGNAL")
        try:
            return presigned.send(
                session, target, row["body"], timeout=self._timeout, ca_certificate=self.ca_certificate
            )
        # One signal that trips over a mistake of ours must not keep the others from being sent.
        except Exception as error:
            log.exception("a mistake in overcloud-agent")
            return verdict.retry(f"a mistake in overcloud-agent: {type(error).__name__}")


def record(book: journal.Journal, row: sqlite3.Row, outcome: verdict.Verdict, longest: float) -> None:
    """Write down how an attempt went."""
    if outcome.outcome == "retry":
        delay = backoff(row["attempts"], longest)
        log.warning("signal for %s: %s; next attempt in %.1f s", row["deployment"], outcome.error, delay)
        book.postpone_signal(row["seq"], outcome.error, delay)
    else:
        level = logging.INFO if outcome.outcome == "delivered" else logging.ERROR
        log.log(level, "signal for %s: %s", row["deployment"], outcome.error or "delivered to Heat")
        book.settle_signal(row["seq"], outcome.outcome, outcome.error)
