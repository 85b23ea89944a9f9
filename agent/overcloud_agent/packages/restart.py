"""Restart what runs the code that has changed: batch after batch, each unit and container with a gate.

Within a batch everything is restarted at once, and then has to stay up. What fails stops the line: what comes after it
keeps running the old code. A restart is written down with what tells the old run from the new one, so that a process
that resumes does not restart what has been.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent import futures
from typing import TYPE_CHECKING

from overcloud_agent import errors, failpoints
from overcloud_agent.containers import steps
from overcloud_agent.packages import model, restart_containers, unit_states

if TYPE_CHECKING:
    from overcloud_agent import settings

log = logging.getLogger(__name__)

# The agent's own unit, which is restarted when everything else is done; see `itself`.
OWN_UNIT = "overcloud-agent.service"

# Units and containers of one batch that are restarted at the same time.
_TOGETHER = 16
# Seconds in which it is noticed that the agent is to stop: there is no event for that.
_STOP_NOTICED = 0.5
# Seconds that a restart has at least, when the deployment's time is almost over.
_LEAST = 10.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Site:
    """What restarts are done with."""

    config: settings.Settings
    record: steps.Steps
    place: str
    """What the steps belong to in the journal."""
    deadline: float
    """Of time.monotonic; past it no batch is begun."""
    alive: Callable[[], None]

    def left(self) -> float:
        """Seconds that one restart may take now."""
        return max(self.deadline - time.monotonic(), _LEAST)


@dataclasses.dataclass(kw_only=True)
class Outcome:
    """What became of each, by name, in the order of the workflow."""

    restarted: list[str] = dataclasses.field(default_factory=list)
    failed: dict[str, str] = dataclasses.field(default_factory=dict)
    """With the reason. Nobody knows what these run."""
    not_reached: list[str] = dataclasses.field(default_factory=list)
    """These run the old code."""
    left: list[str] = dataclasses.field(default_factory=list)
    """These did not run before, and were left so."""


def is_itself(name: str, state: unit_states.State) -> bool:
    """Whether that unit is the one that this process runs in."""
    return name == OWN_UNIT and bool(state.invocation) and os.environ.get("INVOCATION_ID") == state.invocation


def snapshot(batches: Sequence[Sequence[model.Affected]]) -> dict[str, str]:
    """Which of the units run now, each with its invocation; to be taken before anything changes."""
    names = [one.name for batch in batches for one in batch if one.kind == "unit"]
    return {name: state.invocation for name, state in unit_states.show(names).items() if state.runs}


def run(
    site: Site,
    batches: Sequence[Sequence[model.Affected]],
    running: Mapping[str, str],
    already: Collection[str] = (),
) -> Outcome:
    """Restart the batches one after the other; units that are not `running` (see snapshot) are left as they are.

    Units that have been restarted `already`, by others, only have to stay up.

    Raises Interrupted and whatever `alive` raises, between batches and while a gate is open, and JournalError.
    """
    outcome = Outcome()
    ordered = _own_last(batches)
    for place, batch in enumerate(ordered):
        site.alive()
        if outcome.failed or time.monotonic() > site.deadline:
            outcome.not_reached += [one.name for rest in ordered[place:] for one in rest]
            if not outcome.failed:
                outcome.failed["time"] = "the deployment ran out of time before everything was restarted"
            break
        _Batch(site, outcome, running, already).run(batch)
    return outcome


def _own_last(batches: Sequence[Sequence[model.Affected]]) -> list[list[model.Affected]]:
    """The batches with the agent's own unit, if it is there and not this very process, in a last one of its own."""
    own = [one for batch in batches for one in batch if one.name == OWN_UNIT]
    others = [[one for one in batch if one.name != OWN_UNIT] for batch in batches]
    return [batch for batch in [*others, own] if batch]


class _Batch:
    """What is restarted at once."""

    def __init__(self, site: Site, outcome: Outcome, running: Mapping[str, str], already: Collection[str]) -> None:
        self._site = site
        self._outcome = outcome
        self._running = running
        self._already = already
        self._tokens: dict[str, int] = {}

    def run(self, batch: Sequence[model.Affected]) -> None:
        todo = [one for one in batch if self._site.record.done(self._site.place, _step(one)) is None]
        done = [one.name for one in batch if one not in todo]
        wanted = self._wanted(todo)
        with futures.ThreadPoolExecutor(min(len(wanted), _TOGETHER) or 1) as pool:
            said = list(pool.map(self._restart, wanted))
        # Dying here leaves each begun; whether it has been restarted, its invocation tells.
        failpoints.reach("package.restart.asked")
        failed = {one.name: why for one, why in zip(wanted, said, strict=True) if why}
        failed |= self._gate([one.name for one in wanted if one.kind == "unit" and one.name not in failed])
        for one in wanted:
            self._site.record.end(self._tokens[one.name], ok=one.name not in failed)
        self._outcome.failed |= failed
        self._outcome.restarted += done + [one.name for one in wanted if one.name not in failed]

    def _wanted(self, todo: Sequence[model.Affected]) -> list[model.Affected]:
        """What of the batch is to be restarted: units that ran when it began."""
        left = [one for one in todo if one.kind == "unit" and one.name not in self._running]
        self._outcome.left += [one.name for one in left]
        return [one for one in todo if one not in left]

    def _restart(self, one: model.Affected) -> str:
        """Restart one, unless an earlier process has; why it failed, empty when it did not."""
        begun = self._site.record.begun(self._site.place, _step(one))
        try:
            if one.kind == "container":
                return self._restart_container(one, begun)
            now = unit_states.show([one.name])[one.name]
            detail = now.invocation if begun is None else begun
            self._tokens[one.name] = self._site.record.begin(self._site.place, _step(one), detail)
            if now.runs and (now.invocation != detail or one.name in self._already):
                return ""
            verb = "reload" if one.action == "reload" else "restart"
            return unit_states.do(verb, one.name, timeout=self._site.left())
        except errors.Interrupted:
            raise
        except (errors.PackageError, errors.EngineError, errors.GateError) as error:
            self._tokens.setdefault(one.name, 0)
            return str(error)

    def _restart_container(self, one: model.Affected, begun: str | None) -> str:
        """Restart a container; its gate is its own."""
        with restart_containers.Container(self._site.config, one.name) as container:
            detail = container.run if begun is None else begun
            self._tokens[one.name] = self._site.record.begin(self._site.place, _step(one), detail)
            if not container.running or container.run == detail:
                container.restart()
            container.gate(self._site.alive)
        return ""

    def _gate(self, names: Sequence[str]) -> dict[str, str]:
        """Which of the units do not stay up, and why."""
        if not names:
            return {}
        first = unit_states.show(names)
        # Whatever happens to a unit meanwhile shows in its invocation, or in its count of restarts.
        _wait(self._site.config.restart_stable_for, self._site.alive)
        last = unit_states.show(names)
        return {name: why for name in names if (why := _judged(name, first[name], last[name]))}


def _judged(name: str, first: unit_states.State, last: unit_states.State) -> str:
    if last.done:
        return ""
    if (first.invocation, first.restarts) != (last.invocation, last.restarts) or last.sub == "auto-restart":
        return f"it does not stay up: systemd has started it {last.restarts} times again; {unit_states.why(name)}"
    return "" if last.active == "active" else f"it does not run: {unit_states.why(name)}"


def not_up(names: Sequence[str], site: Site) -> dict[str, str]:
    """Which of these units do not run after a boot, and why; what is still starting is waited for."""
    unit_states.await_boot(min(site.left(), 600.0))
    site.alive()
    states = unit_states.show(names)
    return {name: f"it does not run: {unit_states.why(name)}" for name in names if not _is_up(states[name])}


def _is_up(state: unit_states.State) -> bool:
    return state.active == "active" or state.done


def _step(one: model.Affected) -> str:
    return f"restart {one.name}"


def _wait(seconds: float, alive: Callable[[], None]) -> None:
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        alive()
        time.sleep(min(left, _STOP_NOTICED))


def document(batches: Sequence[Sequence[model.Affected]]) -> str:
    """The names of the batches, for the journal's reader."""
    return json.dumps([[one.name for one in batch] for batch in batches])
