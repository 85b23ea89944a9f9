"""The outbox: have every pending signal sent until Heat accepts or refuses it for good.

It runs beside the hooks: one thread that knows who is waited for, and a lane (lane.py) for each endpoint that has
something due. What is due, and when, is in the journal, so a restart or a reboot loses nothing.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from overcloud_agent import errors, journal
from overcloud_agent.signals import access, lane

log = logging.getLogger(__name__)

# Endpoints that are asked at the same time; the others take turns.
MOST_LANES = 32

# Seconds until an endpoint is asked again whose answers could not be written down, because there was no room for them.
_BLOCKED = 5.0

# When a signal is due is written down by the wall clock, as it has to outlive the process. Seconds by which that has to
# be set back to matter, and within which it is noticed while something is pending.
_SET_BACK = 2.0
_LOOK = 10.0

# Endpoints of which it is remembered that they did not answer.
_MOST_REMEMBERED = 1000

_Note = Literal["wake", "hurry", "stop"] | tuple[lane.Lane, errors.AgentError | None]


class Outbox:
    """Delivers signals from `state_dir`'s journal; `settled` is called after each that is done with.

    `failure` is set when it cannot go on; `settled` is called then, too. `access` may be replaced at any time.
    """

    def __init__(
        self, state_dir: Path, *, timeout: float, retry_max: float, settled: Callable[[], None] = lambda: None
    ) -> None:
        self.failure: errors.AgentError | None = None
        self.access = access.Access()
        self._around = lane.Surroundings(
            state_dir=state_dir,
            timeout=timeout,
            retry_max=retry_max,
            access=lambda: self.access,
            settled=settled,
            ended=lambda ended, failure: self._notes.put((ended, failure)),
        )
        # A SimpleQueue, because it is what a signal handler may put into.
        self._notes: queue.SimpleQueue[_Note] = queue.SimpleQueue()
        self._lanes: dict[str, lane.Lane] = {}
        self._health: dict[str, lane.Health] = {}
        self._served: dict[str, float] = {}
        self._stopping = False
        self._lead = _lead()
        self._asked_last: set[str] = set()
        """Endpoints that were asked after `stop`: once is enough then."""
        self._thread = threading.Thread(target=self._run, name="outbox", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        """There may be something new to send."""
        self._notes.put("wake")

    def hurry(self) -> None:
        """Try everything that is pending now, whatever it waits for. May be called by a signal handler."""
        self._notes.put("hurry")

    def stop(self, grace: float) -> None:
        """Stop, within `grace` seconds; what never was tried gets an attempt first, the rest stays in the journal."""
        self._notes.put("stop")
        # It may not have been started.
        if self._thread.is_alive():
            self._thread.join(grace)

    def _run(self) -> None:
        try:
            book = journal.Journal.open(self._around.state_dir)
            # A process that died may have left what it had dropped in the write-ahead log.
            book.mail.forget()
            # After a start the endpoint may be back: waiting on would only cost the stack time.
            _hasten(book)
            while True:
                self._mind_the_clock(book)
                pause = self._dispatch(book)
                if self._stopping and not self._lanes:
                    break
                self._heed(book, pause)
            book.close()
        # Nothing is sent without this thread. The main thread sees that it ended and ends the agent, so that systemd
        # starts it anew, instead of running deployments that are never answered.
        except errors.AgentError as error:
            self._fail(error)
        except Exception as error:
            log.exception("a mistake in overcloud-agent")
            self._fail(errors.AgentError(f"the outbox ended: {type(error).__name__}"))

    def _fail(self, error: errors.AgentError) -> None:
        self.failure = error
        self._around.settled()

    def _heed(self, book: journal.Journal, pause: float | None) -> None:
        """Wait for a note, `pause` seconds at most, and do what it says."""
        try:
            note = self._notes.get(timeout=pause)
        except queue.Empty:
            return
        if isinstance(note, tuple):
            self._part_with(*note)
            return
        if note == "hurry":
            _hasten(book)
            self._health.clear()
        elif note == "stop":
            self._stopping = True
        for working in self._lanes.values():
            working.tell(note)

    def _part_with(self, ended: lane.Lane, failure: errors.AgentError | None) -> None:
        if isinstance(failure, errors.JournalBlocked):
            # The main thread may be with a hook for hours, and when there is room again nobody tells.
            log.error("%s; what is for %s waits for that", failure, ended.endpoint)
            ended.health.until = time.monotonic() + _BLOCKED
        elif failure:
            raise failure
        del self._lanes[ended.endpoint]
        # One that ended by itself at that moment has not asked for the last time.
        if ended.heard_stop or (failure and self._stopping):
            self._asked_last.add(ended.endpoint)
        self._served.pop(ended.endpoint, None)
        self._served[ended.endpoint] = time.monotonic()
        self._health[ended.endpoint] = ended.health
        for remembered in (self._served, self._health):
            if len(remembered) > _MOST_REMEMBERED:
                del remembered[next(iter(remembered))]

    def _mind_the_clock(self, book: journal.Journal) -> None:
        """Have nothing wait because the clock was set back, as it is on nodes that learn the time after they booted."""
        before, self._lead = self._lead, _lead()
        if self._lead < before - _SET_BACK:
            log.info("the clock was set back by %.0f s; what waits for Heat is tried now", before - self._lead)
            _hasten(book)
            for working in self._lanes.values():
                working.tell("wake")

    def _dispatch(self, book: journal.Journal) -> float | None:
        """Start lanes for what is due; returns the seconds until more is, None when only a note can tell."""
        waits: list[float] = []
        due: list[str] = []
        for endpoint, at in book.mail.endpoints():
            if endpoint in self._lanes:
                continue
            if self._stopping:
                if endpoint not in self._asked_last and book.mail.untried(endpoint):
                    due.append(endpoint)
                continue
            pause = max(at - time.time(), self._health.get(endpoint, lane.Health()).pause())
            if pause > 0:
                waits.append(pause)
            else:
                due.append(endpoint)
        # Who was served last waits longest.
        due.sort(key=lambda endpoint: self._served.get(endpoint, 0.0))
        room = MOST_LANES - len(self._lanes)
        for endpoint in due[:room]:
            self._start(endpoint)
        if len(due) > room:
            for working in self._lanes.values():
                if not working.told_to_yield:
                    working.tell("yield")
        return min([*waits, _LOOK]) if waits or self._lanes else None

    def _start(self, endpoint: str) -> None:
        working = lane.Lane(endpoint, self._health.pop(endpoint, lane.Health()), self._around)
        self._lanes[endpoint] = working
        if self._stopping:
            working.tell("stop")
        working.start()


def _hasten(book: journal.Journal) -> None:
    # It only saves time, and a full disk makes it wait.
    with contextlib.suppress(errors.JournalBlocked):
        book.mail.hasten()


def _lead() -> float:
    """By how much the wall clock is ahead of the one that nobody sets."""
    return time.time() - time.monotonic()
