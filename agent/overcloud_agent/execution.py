"""Run what waits in the journal, one deployment or a batch of container upgrades at a time, and write down the ends."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from concurrent import futures
from typing import Any, Protocol

from overcloud_agent import built_in, errors, fit, gather, journal, metadata, model, notify, runner, settings
from overcloud_agent import run as processes
from overcloud_agent.containers import batch

log = logging.getLogger(__name__)

# Seconds between attempts to write down a result where there is no room for it.
_BLOCKED = 5.0

# Container upgrades that are worked on at the same time; how many containers of them are is the option `workers`.
_MOST_TOGETHER = 64


class Owner(Protocol):
    """Whom the work is done for."""

    stopping: bool
    cut_short: bool
    """What ran was ended because the machine goes down: how it ended says nothing."""

    def may_be_silent(self, seconds: float) -> None:
        """The work may give no sign of life for that long."""

    def pause(self, seconds: float) -> None:
        """Wait, or until something asks for attention."""

    def ended(self, key: str, result: model.Result, *, told: bool) -> None:
        """The journal has the result of a deployment; `told`: Heat has it, too."""


class Execution:
    """Takes deployments from the journal and gives it their results."""

    def __init__(
        self, config: settings.Settings, book: journal.Journal, gatherer: gather.Gatherer, owner: Owner
    ) -> None:
        self._config = config
        self._journal = book
        self._gatherer = gatherer
        self._owner = owner
        self._processes: dict[str, model.Process] = {}

    def recover(self) -> None:
        """Settle what ran when the last process died: repeatable work is run again, the rest is answered."""
        for key, document, process in self._journal.running():
            # Two of the same hook side by side, or one that works on after it was called interrupted, is worse.
            if process and processes.end_leftover(process):
                log.warning("ended the hook of %s, which had outlived the agent that started it", key)
            if runner.is_repeatable(document):
                log.info("resuming %s", key)
                self._journal.resume(key)
            else:
                log.warning("%s was interrupted; telling Heat", key)
                self._finish(key, document, model.failed(runner.INTERRUPTED))

    def end_hooks(self) -> None:
        """End the processes of what runs, from any thread. Their results are not taken: see Owner.cut_short."""
        for key, process in list(self._processes.items()):
            log.warning("ending %s: the machine goes down", key)
            processes.end_leftover(process)

    def run_next(self, among: str | None = None) -> bool:
        """Run the first deployment that waits (the one called `among`, if that is given); False when none does.

        Container upgrades that follow it are run with it.
        """
        chosen = self._begin_batch(among)
        if not chosen:
            return False
        together = batch.Batch(len(chosen), self._config.workers)
        if len(chosen) == 1:
            (key, document) = chosen[0]
            return self._settle(key, document, lambda: self._run(key, document, together, 0))
        with futures.ThreadPoolExecutor(len(chosen)) as pool:
            runs = {
                pool.submit(self._run, key, document, together, place): (key, document)
                for place, (key, document) in enumerate(chosen)
            }
            settled = [self._settle(*runs[done], done.result) for done in futures.as_completed(runs)]
        return all(settled)

    def _begin_batch(self, among: str | None) -> list[tuple[str, Any]]:
        """The deployments to run now, which have begun for the journal."""
        chosen: list[tuple[str, Any]] = []
        taken: set[str] = set()
        while len(chosen) < _MOST_TOGETHER:
            waiting = self._journal.next_received(among) if among else self._next_collected()
            if not waiting:
                break
            containers = frozenset[str]() if among else built_in.containers_of(waiting[1], self._config)
            if chosen and (not containers or containers & taken):
                break
            self._begin(*waiting)
            chosen.append(waiting)
            taken |= containers
            if not containers:
                break
        return chosen

    def _begin(self, key: str, document: Any) -> None:
        name, group = model.describe(document)
        log.info("running %s %s (%s)", key, name, group)
        notify.status(f"running {name or key} ({group})")
        self._journal.start(key)

    def _run(self, key: str, document: Any, together: batch.Batch, place: int) -> model.Result:
        """Run one deployment; of a batch, in a thread of its own. Raises Interrupted and JournalError."""
        with together.taking_part(place) as part:
            return runner.run_deployment(
                document,
                config=self._config,
                built_in=built_in.table(self._config, self._gatherer.configuration, self._stopping_between_steps, part),
                watch=runner.Watch(
                    expect=self._owner.may_be_silent,
                    file=lambda shown: self._gatherer.kept.begin(key, shown),
                    began=lambda process: self._began(key, process),
                ),
            )

    def _began(self, key: str, process: model.Process) -> None:
        if self._owner.cut_short:
            raise errors.Interrupted("the machine goes down")
        self._processes[key] = process
        self._journal.began(key, process)

    def _settle(self, key: str, document: Any, result: Callable[[], model.Result]) -> bool:
        """Write down what became of a deployment; False when it was interrupted."""
        try:
            outcome = result()
            if self._owner.cut_short:
                raise errors.Interrupted("the machine goes down")
            self._finish(key, document, outcome)
        except errors.Interrupted:
            # It stays `running` in the journal, and the next start resumes it, or answers it as interrupted.
            log.info("stopped before %s was done; the next start sees to it", key)
            return False
        finally:
            self._processes.pop(key, None)
        return True

    def _next_collected(self) -> tuple[str, Any] | None:
        """The first that waits, of sources that were asked since the start: it may be gone from the others' lists.

        What asks whether the templates are rendered waits until that was tried.
        """
        without = () if self._gatherer.configuration.applied else ("", *metadata.TEMPLATE_GROUPS)
        return self._journal.next_received(heard=self._gatherer.sources.heard, without=without)

    def _stopping_between_steps(self) -> bool:
        # An upgrade asks before each of its steps and while a gate is open, so it is a sign of life as well.
        self._owner.may_be_silent(self._config.hook_timeout)
        return self._owner.stopping

    def _finish(self, key: str, document: Any, result: model.Result) -> None:
        target = model.target_of(document)
        result = fit.fitted(result, limit=fit.max_body(target), reasons=model.error_outputs(document))
        # Dying between an operator's own notifier and the journal has Heat told again, which it ignores.
        told = self._told_by_command(key, document, result)
        self._write_down(lambda: self._journal.finish(key, result, [target] if target and not told else []))
        self._gatherer.kept.end(key, result.body)
        self._owner.ended(key, result, told=told)

    def _write_down(self, write: Callable[[], None]) -> None:
        """Do `write`, and wait for room where there is none: what a hook did is done, and only we know its result."""
        said = ""
        while True:
            try:
                return write()
            except errors.JournalBlocked as error:
                if self._owner.stopping:
                    raise
                if str(error) != said:
                    said = str(error)
                    log.error("%s; a result waits for that", error)
                    notify.status("waiting, because the journal cannot be written")
                self._owner.may_be_silent(_BLOCKED)
                self._owner.pause(_BLOCKED)

    def _told_by_command(self, key: str, document: object, result: model.Result) -> bool:
        """Whether the operator's own notifier (HEAT_CONFIG_NOTIFY), if there is one, has told Heat the result."""
        command = self._config.notify_command
        if not command or not model.is_id(key):
            return False
        if not self._gatherer.kept.has(key):
            # It was answered before it came to a hook. A notifier reads there where the result goes, or fails.
            with contextlib.suppress(errors.AgentError):
                self._gatherer.kept.begin(key, document)
        return runner.notify(command, self._gatherer.kept.path(key), result, self._config)
