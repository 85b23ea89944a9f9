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
from typing import Any

from overcloud_agent import (
    built_in,
    database,
    errors,
    fit,
    gather,
    journal,
    lock,
    metadata,
    model,
    notify,
    runner,
    settings,
)
from overcloud_agent import run as processes
from overcloud_agent.signals import access, outbox

log = logging.getLogger(__name__)

# The main thread's promise to the watchdog beyond what it knows it will wait for: one intake, one deployment's
# bookkeeping.
_SLACK = 120.0

# Seconds. How long the main thread waits at most before it gives a sign of life.
_IDLE = 60.0

# Seconds between attempts to write down a result where there is no room for it.
_BLOCKED = 5.0

# Seconds between two rounds of taking credentials out of files, when many results are delivered one after the other.
_SCRUB_EVERY = 1.0

# The name under which a list counts that somebody else collected.
GIVEN = "heat-config"


def run(config: settings.Settings, config_file: Path | None) -> None:
    """Resident: poll, run and signal until SIGTERM. SIGHUP reads the configuration again."""
    with lock.exclusive(config.state_dir), _working(config) as agent:
        agent.outbox.start()
        agent.recover()
        agent.sources.start()
        notify.send("READY=1")
        while not agent.stopping:
            agent.reload_if_asked(config_file)
            agent.take_in()
            if not agent.run_next():
                agent.wait()
        notify.send("STOPPING=1", "STATUS=stopping")


def apply(config: settings.Settings, *, deliver_within: float) -> bool:
    """One pass: poll once, run everything that waits, deliver the results. True when all went well.

    What cannot be delivered within `deliver_within` seconds stays pending for the next pass. Raises Interrupted.
    """
    with lock.exclusive(config.state_dir), _working(config) as agent:
        agent.outbox.start()
        agent.recover()
        agent.poll_once()
        while not agent.stopping and agent.run_next():
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
        agent.recover()
        keys = agent.take_list(documents)
        # Not before: what waits for Heat from an earlier call may be withdrawn because of the list.
        agent.outbox.start()
        for key in keys:
            if not agent.stopping:
                agent.run_next(key)
        delivered = agent.deliver_all(time.monotonic() + deliver_within)
        agent.stop_if_asked()
        return delivered


@contextlib.contextmanager
def _working(config: settings.Settings, *, collecting: bool = True) -> Iterator[_Agent]:
    agent = _Agent(config, collecting=collecting)
    handlers = {number: signal.signal(number, agent.on_signal) for number in _SIGNALS}
    agent.watchdog.start()
    try:
        yield agent
    finally:
        agent.sources.stop()
        agent.outbox.stop(config.signal_timeout)
        agent.watchdog.stop()
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
        self._nudge()

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

    def recover(self) -> None:
        """Settle what ran when the last process died: repeatable work is run again, the rest is answered."""
        for key, document, process in self.journal.running():
            # Two of the same hook side by side, or one that works on after it was called interrupted, is worse.
            if process and processes.end_leftover(process):
                log.warning("ended the hook of %s, which had outlived the agent that started it", key)
            if runner.is_repeatable(document):
                log.info("resuming %s", key)
                self.journal.resume(key)
            else:
                log.warning("%s was interrupted; telling Heat", key)
                self._finish(key, document, model.failed(runner.INTERRUPTED))

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

    def run_next(self, among: str | None = None) -> bool:
        """Run the first deployment that waits (the one called `among`, if that is given); False when none does."""
        waiting = self.journal.next_received(among) if among else self._next_collected()
        if not waiting:
            return False
        key, document = waiting
        name, group = model.describe(document)
        log.info("running %s %s (%s)", key, name, group)
        notify.status(f"running {name or key} ({group})")
        self.journal.start(key)
        try:
            result = runner.run_deployment(
                document,
                config=self.config,
                built_in=built_in.table(
                    self.config, self.journal, self.gatherer.configuration, self._stopping_between_steps
                ),
                watch=runner.Watch(
                    expect=self._may_be_silent,
                    file=lambda shown: self._kept.begin(key, shown),
                    began=lambda process: self.journal.began(key, process),
                ),
            )
        except errors.Interrupted:
            # It stays `running` in the journal, and resumes at the next start.
            log.info("stopped before %s was done; it resumes at the next start", key)
            return False
        self._finish(key, document, result)
        return True

    def _next_collected(self) -> tuple[str, Any] | None:
        """The first that waits, of sources that were asked since the start: it may be gone from the others' lists.

        What asks whether the templates are rendered waits until that was tried.
        """
        without = () if self.gatherer.configuration.applied else ("", *metadata.TEMPLATE_GROUPS)
        return self.journal.next_received(heard=self.sources.heard, without=without)

    def _may_be_silent(self, seconds: float) -> None:
        self.watchdog.expect(seconds + _SLACK)

    def _stopping_between_steps(self) -> bool:
        # An upgrade asks before each of its steps and while a gate is open, so it is a sign of life as well.
        self._may_be_silent(self.config.hook_timeout)
        return self.stopping

    def _finish(self, key: str, document: Any, result: model.Result) -> None:
        target = model.target_of(document)
        result = fit.fitted(result, limit=fit.max_body(target))
        # Dying between an operator's own notifier and the journal has Heat told again, which it ignores.
        told = self._told_by_command(key, document, result)
        self._write_down(lambda: self.journal.finish(key, result, [target] if target and not told else []))
        self._unscrubbed = self._unscrubbed or told
        self._kept.end(key, result.body)
        self._tell(key, result)

    def _write_down(self, write: Callable[[], None]) -> None:
        """Do `write`, and wait for room where there is none: what a hook did is done, and only we know its result."""
        said = ""
        while True:
            try:
                return write()
            except errors.JournalBlocked as error:
                if self.stopping:
                    raise
                if str(error) != said:
                    said = str(error)
                    log.error("%s; a result waits for that", error)
                    notify.status("waiting, because the journal cannot be written")
                self._may_be_silent(_BLOCKED)
                self._await_nudge(_BLOCKED)

    def _told_by_command(self, key: str, document: object, result: model.Result) -> bool:
        """Whether the operator's own notifier (HEAT_CONFIG_NOTIFY), if there is one, has told Heat the result."""
        command = self.config.notify_command
        if not command or not model.is_id(key):
            return False
        if not self._kept.has(key):
            # It was answered before it came to a hook. A notifier reads there where the result goes, or fails.
            with contextlib.suppress(errors.AgentError):
                self._kept.begin(key, document)
        return runner.notify(command, self._kept.path(key), result, self.config)

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
