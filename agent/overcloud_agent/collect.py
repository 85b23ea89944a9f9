"""Where deployments come from: one thread for each metadata source, so that none waits for another.

A source that fails keeps its last good content, and nothing is ever concluded from its silence. Each answer is
checked before it is used: an answer that is not metadata is an error of that source and of no other.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import random
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from overcloud_agent import errors, identifiers, model, nesting, settings

if TYPE_CHECKING:
    from overcloud_agent import collectors

log = logging.getLogger(__name__)

# What a collector returns: (key, metadata) pairs, its own name first where it has one.
Content = list[tuple[str, dict[str, object]]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answer:
    """How one source answered."""

    source: str
    content: Content | None = None
    """None when it failed, or when it has nothing new: the last good content stays in force."""
    error: str = ""
    configured: bool = True
    """False when its section lacks what it needs."""
    receipt: object = None
    """What to give to Sources.taken once the content is safe."""


class Sources:
    """The configured collectors at work. `arrived` is called, from their threads, whenever there is an answer."""

    def __init__(self, polling: settings.Polling, arrived: Callable[[], None]) -> None:
        self._arrived = arrived
        self._lock = threading.Lock()
        self._answers: dict[str, Answer] = {}
        self._heard: set[str] = set()
        self._sources = [_Source(name, polling, self._deliver) for name in polling.collectors]
        self.failure: errors.AgentError | None = None
        self.resident = False
        """Whether they are polled again and again."""

    def start(self) -> None:
        """Poll again and again, each source at its own pace."""
        self.resident = True
        for source in self._sources:
            source.start()

    def poll_once(self) -> None:
        """Ask every source once, all at the same time, and return when each has answered or failed."""
        for source in self._sources:
            source.start(once=True)
        for source in self._sources:
            source.join(None)

    def stop(self) -> None:
        """Poll no more; an answer that is still on its way is dropped."""
        for source in self._sources:
            source.stop()

    def hurry(self, within: float) -> None:
        """Something changed, or is about to: poll within so many seconds, and then for a while more often."""
        for source in self._sources:
            source.hurry(within)

    def answers(self) -> list[Answer]:
        """What came since the last call, at most one answer of each source, in configured order."""
        with self._lock:
            taken, self._answers = self._answers, {}
            self._heard |= taken.keys()
        return [taken[source.name] for source in self._sources if source.name in taken]

    def taken(self, answer: Answer) -> None:
        """The content of `answer` is safe: the source may forget it."""
        for source in self._sources:
            if source.name == answer.source and answer.receipt is not None:
                source.acknowledge(answer.receipt)

    def forget(self, name: str) -> None:
        """What the source answered could not be kept: it is news once more."""
        for source in self._sources:
            if source.name == name:
                source.forget()

    @property
    def heard(self) -> set[str] | None:
        """The sources whose first answer, or failure, has been fetched by `answers`; None when all have."""
        return None if len(self._heard) == len(self._sources) else self._heard

    def _deliver(self, answer: Answer | errors.AgentError) -> None:
        with self._lock:
            if isinstance(answer, errors.AgentError):
                self.failure = answer
            else:
                earlier = self._answers.get(answer.source)
                if earlier and earlier.content is not None and answer.content is None:
                    # What nobody has taken yet must not get lost behind "nothing new".
                    receipt = answer.receipt if answer.receipt is not None else earlier.receipt
                    answer = dataclasses.replace(answer, content=earlier.content, receipt=receipt)
                self._answers[answer.source] = answer
        self._arrived()


class _Source:
    """One collector and its thread."""

    def __init__(
        self, name: str, polling: settings.Polling, deliver: Callable[[Answer | errors.AgentError], None]
    ) -> None:
        self.name = name
        self._polling = polling
        self._deliver = deliver
        self._pace = Pace(polling)
        self._last = ""
        self._collector: collectors.Collector | None = None
        self._wake = threading.Condition()
        self._stopping = self._once = False
        self._due = 0.0
        self._polled = 0.0
        self._receipts: list[object] = []
        self._forgetful = False
        self._thread = threading.Thread(target=self._run, name=f"source {name}", daemon=True)

    def start(self, *, once: bool = False) -> None:
        self._once = self._stopping = once
        if not once:
            self._due = time.monotonic() + random.uniform(0, self._polling.splay)  # noqa: S311  no secret depends on it
        self._thread.start()

    def join(self, grace: float | None) -> None:
        self._thread.join(grace)

    def stop(self) -> None:
        with self._wake:
            self._stopping = True
            self._wake.notify()
        self._interrupt()

    def _interrupt(self) -> None:
        collector = self._collector
        if collector:
            collector.wake()

    def hurry(self, within: float) -> None:
        with self._wake:
            self._pace.hurry()
            # Whatever hurries, and however often: a source is not asked without a pause.
            soon = max(time.monotonic() + within, self._polled + self._polling.min_interval / 2)
            self._due = min(self._due, soon)
            self._wake.notify()

    def forget(self) -> None:
        with self._wake:
            self._forgetful = True

    def acknowledge(self, receipt: object) -> None:
        with self._wake:
            self._receipts.append(receipt)
            self._due = min(self._due, time.monotonic())
            self._wake.notify()
        self._interrupt()
        if not self._thread.is_alive() and self._collector:
            # It polled once, so nobody else will.
            with contextlib.suppress(errors.AgentError):
                self._acknowledge_taken(self._collector)

    def _run(self) -> None:
        try:
            once = self._once
            while once or self._wait():
                self._polled = time.monotonic()
                answer = self._poll()
                if self._stopping and not once:
                    return
                with self._wake:
                    if answer.content is not None:
                        self._pace.hurry()
                    # A collector that waits for news itself is asked again at once, unless it failed.
                    waits = self._collector is not None and self._collector.waits and not answer.error
                    self._due = time.monotonic() + (0 if waits else self._pace.pause())
                self._deliver(answer)
                if once:
                    return
        # Nothing more is heard from a source without its thread. The main thread sees it and ends the agent, so that
        # systemd starts it anew.
        except Exception as error:
            log.exception("a mistake in overcloud-agent")
            self._deliver(errors.AgentError(f"the source {self.name} ended: {type(error).__name__}"))
        finally:
            self._finish()

    def _finish(self) -> None:
        # What was taken while this was stopping is still to be acknowledged; if that fails, it only comes again.
        if self._collector:
            with contextlib.suppress(errors.AgentError):
                self._acknowledge_taken(self._collector)
            if not self._once:
                self._collector.close()

    def _wait(self) -> bool:
        """Wait until the next poll is due; False when there is to be none."""
        with self._wake:
            while not self._stopping:
                pause = self._due - time.monotonic()
                if pause <= 0:
                    return True
                self._wake.wait(pause)
            return False

    def _poll(self) -> Answer:
        # They bring requests, and who is given a list has nobody to ask.
        from overcloud_agent import collectors

        try:
            if self._collector is None or self._forgetful:
                self._forgetful, self._last = False, ""
                if self._collector:
                    self._collector.close()
                self._collector = collectors.make(self.name, self._polling)
            self._acknowledge_taken(self._collector)
            content, receipt = self._collector.collect()
        except collectors.Unchanged:
            return Answer(source=self.name)
        except collectors.NotConfigured as error:
            return Answer(source=self.name, error=str(error), configured=False)
        except errors.AgentError as error:
            # It may quote what a source said, or the name of a file, and neither has to be Unicode.
            return Answer(source=self.name, error=model.plain(str(error)))
        checked = _checked(content)
        if isinstance(checked, str):
            return Answer(source=self.name, error=checked)
        # From here on the same answer is no news; one that could not be understood would be told of again.
        self._collector.understood()
        identifier = identifiers.of(checked)
        if identifier == self._last:
            return Answer(source=self.name, receipt=receipt)
        self._last = identifier
        return Answer(source=self.name, content=checked, receipt=receipt)

    def _acknowledge_taken(self, collector: collectors.Collector) -> None:
        with self._wake:
            receipts, self._receipts = self._receipts, []
        for receipt in receipts:
            collector.acknowledge(receipt)


def _checked(content: object) -> Content | str:
    """The content of a collector's answer, or why it is none."""
    if not isinstance(content, list) or not all(isinstance(pair, tuple) and len(pair) == 2 for pair in content):
        return "its answer is not metadata"
    for key, metadata in content:
        if not isinstance(metadata, dict):
            return f"metadata {model.plain(str(key))} is {type(metadata).__name__}, expected an object"
        if not nesting.is_shallow(metadata):
            return f"metadata {model.plain(str(key))} is nested more than {nesting.DEEPEST} levels deep"
        listed = metadata.get("deployments")
        if listed is not None and not isinstance(listed, list):
            return f"$.deployments is {type(listed).__name__}, expected a list"
    return content


class Pace:
    """How long to wait for the next poll: short after a change, then doubling up to the configured interval.

    Every pause is jittered, so nodes that were started together do not ask together.
    """

    def __init__(self, polling: settings.Polling, *, uniform: Callable[[float, float], float] = random.uniform) -> None:
        self._min = min(polling.min_interval, polling.max_interval)
        self._max = polling.max_interval
        self._uniform = uniform
        self._next = self._min

    def hurry(self) -> None:
        """Something changed, or is about to: start again with the shortest pause."""
        self._next = self._min

    def pause(self) -> float:
        """Seconds until the next poll, 10 % more or less."""
        pause = self._next
        self._next = min(self._next * 2, self._max)
        return pause * self._uniform(0.9, 1.1)
