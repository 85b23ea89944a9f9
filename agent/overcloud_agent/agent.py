"""The flow: collect -> intake -> run -> signal. Read `run` and `apply` first; the rest is their steps."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import select
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from overcloud_agent import collect, errors, journal, model, notify, runner, settings
from overcloud_agent import run as processes
from overcloud_agent.signals import outbox

log = logging.getLogger(__name__)

# The main thread's promise to the watchdog beyond what it knows it will wait for: one poll of every source, one
# deployment's bookkeeping.
_SLACK = 120.0


def run(config: settings.Settings, config_file: Path | None) -> None:
    """Resident: poll, run and signal until SIGTERM. SIGHUP reads the configuration again."""
    with exclusive(config.state_dir), _resident(config) as agent:
        agent.recover()
        notify.send("READY=1")
        while not agent.stopping:
            agent.reload_if_asked(config_file)
            agent.collect_when_due()
            if not agent.run_next():
                agent.wait()
        notify.send("STOPPING=1", "STATUS=stopping")


def apply(config: settings.Settings, *, deliver_within: float) -> bool:
    """One pass: poll once, run everything that waits, deliver the results. True when all went well.

    What cannot be delivered within `deliver_within` seconds stays pending for the next pass. Raises Interrupted.
    """
    with exclusive(config.state_dir), _resident(config) as agent:
        agent.recover()
        agent.poll()
        if not agent.heard:
            log.error("no metadata source answered; `overcloud-agent status` tells why")
        while not agent.stopping and agent.run_next():
            pass
        delivered = agent.deliver_all(time.monotonic() + deliver_within)
        if agent.stopping:
            raise errors.Interrupted("asked to stop", hint="what is left is done at the next start")
        return delivered and agent.heard and not agent.troubled


@contextlib.contextmanager
def exclusive(state_dir: Path) -> Iterator[None]:
    """Hold the lock that makes this process the only one that works with `state_dir`. Raises Busy."""
    try:
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(state_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise errors.JournalError(
            f"cannot use the state directory {state_dir}: {error.strerror}", hint="set state_dir in the configuration"
        ) from None
    if not _lock(descriptor):
        os.close(descriptor)
        raise errors.Busy(f"another agent works with {state_dir}", hint="`overcloud-agent status` tells what it does")
    try:
        os.truncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        yield
    finally:
        # The kernel drops the lock when the process dies, whatever the way; the file stays.
        os.close(descriptor)


def _lock(descriptor: int) -> bool:
    """Take the lock; `status` holds it for a moment to see whether it is free, so this tries more than once."""
    for attempt in range(5):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except OSError:
            time.sleep(0.02 * attempt)
    return False


@contextlib.contextmanager
def _resident(config: settings.Settings) -> Iterator[_Agent]:
    agent = _Agent(config)
    handlers = {number: signal.signal(number, agent.on_signal) for number in _SIGNALS}
    agent.outbox.start()
    agent.watchdog.start()
    try:
        yield agent
    finally:
        agent.outbox.stop(config.signal_timeout)
        agent.watchdog.stop()
        agent.journal.close()
        for number, handler in handlers.items():
            signal.signal(number, handler)


_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class _Agent:
    """What lives as long as the process: the journal, the sources, the outbox, and what signals asked for."""

    def __init__(self, config: settings.Settings) -> None:
        polling = settings.load_collectors(config)
        self.stopping = False
        self.reload_requested = False
        self.troubled = False
        self.journal = journal.Journal.open(config.state_dir)
        self.watchdog = notify.Watchdog()
        self.outbox = outbox.Outbox(
            config.state_dir,
            timeout=config.signal_timeout,
            retry_max=config.signal_retry_max,
            settled=self._nudge,
        )
        # An eventfd, because both the outbox's thread and signal handlers write to it, and neither may block.
        self._nudged = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._next_poll = 0.0
        self._configure(config, polling)

    def _configure(self, config: settings.Settings, polling: settings.Polling) -> None:
        self.config = config
        self._polling = polling
        self.outbox.ca_certificate = polling.ca_certificate
        self._sources = collect.Sources(polling.collectors)
        self._complaints: dict[str, str] = {}
        self._pace = collect.Pace(polling)

    # What signals ask for

    def on_signal(self, number: int, _frame: object) -> None:
        if number == signal.SIGHUP:
            self.reload_requested = True
        else:
            self.stopping = True
        self._nudge()

    def _nudge(self) -> None:
        os.eventfd_write(self._nudged, 1)

    def reload_if_asked(self, config_file: Path | None) -> None:
        """After SIGHUP, read the configuration again; a broken one is refused, and the one in force stays."""
        if not self.reload_requested:
            return
        self.reload_requested = False
        notify.send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
        try:
            config = settings.load(config_file)
            self._configure(config, settings.load_collectors(config))
            self._next_poll = 0.0
            log.info("configuration read again")
        except errors.SettingsError as error:
            log.error("the configuration in force stays: %s", error)
        notify.send("READY=1")

    # The steps of the flow

    def recover(self) -> None:
        """Settle what ran when the last process died: repeatable work is run again, the rest is answered."""
        for key, document, process in self.journal.running():
            _, group = model.describe(document)
            # Two of the same hook side by side, or one that works on after it was called interrupted, is worse.
            if process and processes.end_leftover(process):
                log.warning("ended the hook of %s, which had outlived the agent that started it", key)
            if group in runner.REPEATABLE:
                log.info("resuming %s (%s)", key, group)
                self.journal.resume(key)
            else:
                log.warning("%s (%s) was interrupted; telling Heat", key, group)
                self._finish(key, document, model.failed(runner.INTERRUPTED))

    def collect_when_due(self) -> None:
        """Poll, unless the pace says that it is too early."""
        if time.monotonic() >= self._next_poll:
            changed = self.poll()
            if changed:
                self._pace.hurry()
            self._next_poll = time.monotonic() + self._pace.pause()

    def poll(self) -> bool:
        """Ask every source and take in what is new; True when something changed."""
        self.watchdog.expect(_SLACK)
        changed = False
        for answer in self._sources.poll():
            self.journal.record_source(answer.source, error=answer.error)
            self._complain_once(answer)
            if answer.deployments is not None and answer.changed:
                changed = True
                self._intake(answer.source, answer.deployments)
        return changed

    @property
    def heard(self) -> bool:
        """Whether any source answered at the last poll."""
        return "" in self._complaints.values()

    def _complain_once(self, answer: collect.Poll) -> None:
        """Log what is wrong with a source when it changes, not at every poll; `status` has it all the time."""
        if answer.error != self._complaints.get(answer.source, ""):
            if answer.error:
                log.warning("source %s: %s", answer.source, answer.error)
            else:
                log.info("source %s answers again", answer.source)
        self._complaints[answer.source] = answer.error

    def _intake(self, source: str, deployments: tuple[object, ...]) -> None:
        documents: dict[str, object] = {}
        clashes: dict[str, list[object]] = {}
        for document in deployments:
            key = model.identify(document)
            if key in documents and documents[key] != document:
                clashes.setdefault(key, [documents[key]]).append(document)
            documents.setdefault(key, document)
        new, gone = self.journal.receive(source, documents)
        for key in gone:
            log.info("%s left the metadata of %s before it ran", key, source)
        for key in new:
            log.info("received %s %s from %s", key, " ".join(model.describe(documents[key])), source)
        for key, sharers in clashes.items():
            # Also one that a process received which died before it could reject it.
            if self.journal.waits(key):
                self._reject_clash(key, sharers)

    def _reject_clash(self, key: str, documents: list[object]) -> None:
        """Answer each of several deployments that share one id: nobody can tell which of them is meant."""
        names = ", ".join(repr(model.describe(document)[0]) for document in documents)
        error = errors.BadInput(
            f"{len(documents)} deployments have the id {key!r}: {names}", path="$.id", hint="ids must be unique"
        )
        targets = [target for target in map(model.target_of, documents) if target]
        self.journal.reject(key, model.failed_by(error), targets)
        self._tell(key, model.failed_by(error))

    def run_next(self) -> bool:
        """Run the first deployment that waits; False when none does."""
        waiting = self.journal.next_received()
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
                built_in={"container-upgrade": self._upgrade_containers},
                expect=self._may_be_silent,
                began=lambda process: self.journal.began(key, process),
            )
        except errors.Interrupted:
            # It stays `running` in the journal, and resumes at the next start.
            log.info("stopped before %s was done; it resumes at the next start", key)
            return False
        self._finish(key, document, result)
        return True

    def _may_be_silent(self, seconds: float) -> None:
        self.watchdog.expect(seconds + _SLACK)

    def _upgrade_containers(self, deployment: model.Deployment, deadline: float) -> model.Result:
        # Podman's client is only loaded where a container is to be upgraded.
        from overcloud_agent.containers import hook, steps

        record = steps.Journalled(self.journal, deployment.id)
        stopping = self._stopping_between_steps
        return hook.upgrade_containers(deployment, self.config, record, stopping, deadline=deadline)

    def _stopping_between_steps(self) -> bool:
        # An upgrade asks before each of its steps and while a gate is open, so it is a sign of life as well.
        self._may_be_silent(self.config.hook_timeout)
        return self.stopping

    def _finish(self, key: str, document: Any, result: model.Result) -> None:
        target = model.target_of(document)
        result = model.fitted(result)
        self.journal.finish(key, result, [target] if target else [])
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
        self._poll_soon(self._polling.min_interval)

    def wait(self) -> None:
        """Wait for the next poll, a delivered signal, or a request to stop or reload."""
        if self.outbox.failure:
            raise self.outbox.failure
        pause = max(0.0, self._next_poll - time.monotonic())
        notify.status(f"idle; next poll in {pause:.0f} s")
        self.watchdog.expect(pause + _SLACK)
        ready, _, _ = select.select([self._nudged], [], [], pause)
        if ready:
            os.eventfd_read(self._nudged)
            self._poll_soon(self._polling.min_interval / 4)

    def _poll_soon(self, pause: float) -> None:
        self._pace.hurry()
        self._next_poll = min(self._next_poll, time.monotonic() + pause)

    def deliver_all(self, deadline: float) -> bool:
        """Wait until no signal is pending; False when the deadline comes first."""
        while self.journal.next_signal_at() is not None and not self.stopping:
            if self.outbox.failure:
                raise self.outbox.failure
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                return False
            ready, _, _ = select.select([self._nudged], [], [], min(remaining, 1.0))
            if ready:
                os.eventfd_read(self._nudged)
        return not self.stopping
