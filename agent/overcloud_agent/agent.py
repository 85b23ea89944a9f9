"""The flow: collect -> intake -> run -> signal. Read `run`, `apply` and `apply_list` first; the rest is their steps."""

from __future__ import annotations

import contextlib
import logging
import os
import select
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from overcloud_agent import (
    database,
    errors,
    execution,
    gather,
    journal,
    leaving,
    lock,
    model,
    notify,
    settings,
)
from overcloud_agent.signals import access, outbox

log = logging.getLogger(__name__)

# The main thread's promise to the watchdog beyond what it knows it will wait for: one intake, one deployment's
# bookkeeping.
_SLACK = 120.0

# Seconds. How long the main thread waits at most before it gives a sign of life.
_IDLE = 60.0

# Seconds between two rounds of taking credentials out of files, when many results are delivered one after the other.
_SCRUB_EVERY = 1.0

# The name under which a list counts that somebody else collected.
GIVEN = "heat-config"


def run(config: settings.Settings, config_file: Path | None) -> None:
    """Resident: poll, run and signal until SIGTERM. SIGHUP reads the configuration again."""
    with lock.exclusive(config.state_dir), _working(config) as agent:
        agent.outbox.start()
        agent.execution.recover()
        agent.sources.start()
        notify.send("READY=1")
        while not agent.stopping:
            agent.reload_if_asked(config_file)
            agent.take_in()
            if not agent.execution.run_next():
                agent.wait()
        notify.send("STOPPING=1", "STATUS=stopping")


def apply(config: settings.Settings, *, deliver_within: float) -> bool:
    """One pass: poll once, run everything that waits, deliver the results. True when all went well.

    What cannot be delivered within `deliver_within` seconds stays pending for the next pass. Raises Interrupted.
    """
    with lock.exclusive(config.state_dir), _working(config) as agent:
        agent.outbox.start()
        agent.execution.recover()
        agent.poll_once()
        while not agent.stopping and agent.execution.run_next():
            pass
        delivered = agent.deliver_all(time.monotonic() + deliver_within)
        agent.stop_if_asked()
        return delivered and agent.gatherer.heard and not agent.troubled


def apply_list(config: settings.Settings, documents: Sequence[object], *, deliver_within: float) -> bool:
    """Run those of a list that somebody else collected, and that have not run yet, and deliver the results.

    Nothing is concluded from what is not in the list. True when every result was delivered or refused for good.
    Waits for as long as another process works with the same state directory. Raises Interrupted.
    """
    with lock.exclusive(config.state_dir, wait=True), _working(config, collecting=False) as agent:
        agent.execution.recover()
        keys = agent.take_list(documents)
        # Not before: what waits for Heat from an earlier call may be withdrawn because of the list.
        agent.outbox.start()
        for key in keys:
            if not agent.stopping:
                agent.execution.run_next(key)
        delivered = agent.deliver_all(time.monotonic() + deliver_within)
        agent.stop_if_asked()
        return delivered


@contextlib.contextmanager
def _working(config: settings.Settings, *, collecting: bool = True) -> Iterator[_Agent]:
    agent = _Agent(config, collecting=collecting)
    handlers = {number: signal.signal(number, agent.on_signal) for number in _SIGNALS}
    agent.watchdog.start()
    agent.leaving.start()
    try:
        yield agent
    finally:
        agent.sources.stop()
        agent.outbox.stop(config.signal_timeout)
        agent.watchdog.stop()
        agent.leaving.stop()
        agent.journal.close()
        for number, handler in handlers.items():
            signal.signal(number, handler)


_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)


class _Agent:
    """What lives as long as the process: the journal, the sources, the outbox, and what signals asked for."""

    def __init__(self, config: settings.Settings, *, collecting: bool = True) -> None:
        polling = settings.load_collectors(config, collecting=collecting)
        self.stopping = False
        self.reload_requested = False
        self.troubled = False
        self.cut_short = False
        self.leaving = leaving.Leaving(lambda: self.config.shutdown_grace, self._cut_short)
        damaged = database.set_aside(config.state_dir)
        if damaged:
            log.error(
                "the journal was damaged and is %s now; a new one is made from what Heat and the files say", damaged
            )
        self.journal = journal.Journal.open(config.state_dir)
        self.watchdog = notify.Watchdog()
        # An eventfd, because threads and signal handlers write to it, and none of them may block.
        self._nudged = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._settled = self._unscrubbed = False
        self._scrub_again = 0.0
        self.outbox = outbox.Outbox(
            config.state_dir,
            timeout=config.signal_timeout,
            retry_max=config.signal_retry_max,
            settled=self._on_settled,
        )
        self._configure(config, polling)

    def _configure(self, config: settings.Settings, polling: settings.Polling) -> None:
        self.config = config
        self._polling = polling
        self.outbox.access = access.of(config, polling)
        self.gatherer = gather.Gatherer(config, polling, self.journal, arrived=self._nudge, told=self._tell)
        self.sources = self.gatherer.sources
        self._kept = self.gatherer.kept
        self.execution = execution.Execution(config, self.journal, self.gatherer, self)

    # What signals and threads ask for

    def on_signal(self, number: int, _frame: object) -> None:
        if number == signal.SIGUSR1:
            # Of `overcloud-agent signals flush`. The outbox works beside the hooks; the flow has nothing to do with it.
            self.outbox.hurry()
            return
        if number == signal.SIGHUP:
            self.reload_requested = True
        else:
            self.stopping = True
            self.leaving.asked()
        self._nudge()

    def _cut_short(self) -> None:
        """End what runs: the machine goes down. In the journal it stays `running`, as after a power cut."""
        self.cut_short = True
        self.execution.end_hooks()

    def _on_settled(self) -> None:
        self._settled = True
        self._nudge()

    def _nudge(self) -> None:
        os.eventfd_write(self._nudged, 1)

    def stop_if_asked(self) -> None:
        """Raises Interrupted when a signal asked for it."""
        if self.stopping:
            raise errors.Interrupted("asked to stop", hint="what is left is done at the next start")

    def reload_if_asked(self, config_file: Path | None) -> None:
        """After SIGHUP, read the configuration again; a broken one is refused, and the one in force stays."""
        if not self.reload_requested:
            return
        self.reload_requested = False
        notify.send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
        self._read_again(lambda: settings.load(config_file))
        notify.send("READY=1")

    def _read_again(self, load: Callable[[], settings.Settings]) -> None:
        try:
            config = load()
            polling = settings.load_collectors(config)
        except errors.SettingsError as error:
            log.error("the configuration in force stays: %s", error)
            return
        self.sources.stop()
        resident = self.sources.resident
        self._configure(config, polling)
        if resident:
            self.sources.start()
        log.info("configuration read again; metadata comes from %s", ", ".join(polling.collectors))

    # The steps of the flow

    def poll_once(self) -> None:
        """Ask every source once, and take in what they answer; once more when Heat says to ask elsewhere."""
        for _ in range(2):
            asked = self.sources
            asked.poll_once()
            self.take_in()
            if self.sources is asked:
                break
        if not self.gatherer.heard:
            log.error("no metadata source answered; `overcloud-agent status` tells why")

    def take_in(self) -> None:
        """Make what the sources answered the node's own."""
        # As long as deployments follow each other, nothing waits: results that nobody sends must not pile up.
        self._raise_failures()
        self.watchdog.expect(_SLACK)
        news, elsewhere = self.gatherer.take_in()
        if news:
            # What another agent has run may have to be told, too.
            self.outbox.wake()
        if elsewhere:
            self._read_again(lambda: self.config)

    def take_list(self, documents: Sequence[object]) -> list[str]:
        """Take in a list that somebody else collected; returns its ids in order.

        To such callers a deployment has run when its file is there, and is to run again when they have removed it.
        """
        keys = [model.identify(document) for document in documents]
        known = set(keys) - set(self.journal.unknown(keys))
        again = [key for key in known if not self._kept.has(key) and not self.journal.waits(key)]
        self.journal.forget(again)
        taken = self.gatherer.intake.take({GIVEN: documents}, partial=True)
        self.outbox.wake()
        return list(taken)

    def may_be_silent(self, seconds: float) -> None:
        self.watchdog.expect(seconds + _SLACK)

    def pause(self, seconds: float) -> None:
        self._await_nudge(seconds)

    def ended(self, key: str, result: model.Result, *, told: bool) -> None:
        """See execution.Owner."""
        self._unscrubbed = self._unscrubbed or told
        self._tell(key, result)

    def _tell(self, key: str, result: model.Result) -> None:
        """Log how a deployment ended, and have the outbox and the next poll hurry."""
        if result.ok:
            log.info("%s succeeded", key)
        else:
            self.troubled = True
            log.error("%s failed: %s", key, model.plain(result.reason))
        self.outbox.wake()
        # Heat may put the next deployment of a chain into the metadata as soon as it has this result.
        self.sources.hurry(self._polling.min_interval)

    def wait(self) -> None:
        """Wait for an answer, a delivered signal, or a request to stop or reload."""
        self._raise_failures()
        self._after_delivery()
        notify.status("idle")
        self.watchdog.expect(_IDLE + _SLACK)
        self._await_nudge(_SCRUB_EVERY if self._unscrubbed else _IDLE)

    def _after_delivery(self) -> None:
        """What Heat has the result of needs its credentials no more, and may be followed by something."""
        if self._settled:
            self._settled = False
            self._unscrubbed = True
            self.sources.hurry(self._polling.min_interval / 4)
        if self._unscrubbed and time.monotonic() > self._scrub_again:
            self._unscrubbed, self._scrub_again = False, time.monotonic() + _SCRUB_EVERY
            with contextlib.suppress(OSError):
                self.gatherer.intake.scrub()

    def _await_nudge(self, seconds: float) -> None:
        ready, _, _ = select.select([self._nudged], [], [], seconds)
        if ready:
            os.eventfd_read(self._nudged)

    def _raise_failures(self) -> None:
        failure = self.outbox.failure or self.sources.failure
        if failure:
            raise failure

    def deliver_all(self, deadline: float) -> bool:
        """Wait until no signal is pending; False when the deadline comes first."""
        while self.journal.next_signal_at() is not None and not self.stopping:
            self._raise_failures()
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                break
            self._await_nudge(min(remaining, 1.0))
        self._after_delivery()
        return self.journal.next_signal_at() is None
