"""The group package-update: one function, used by the resident agent and by the hook executable alike.

what it asks for   inputs.py
what is begun      goes on, by the plan that was written down
what is done       is answered, once for each update_identifier
the plan           planning.py; approved, allowed, and there is room for it, or refused
the update         update.py
the answer         report.py
"""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from overcloud_agent import errors, failpoints, hook_io, identify, journal, lock, log, model
from overcloud_agent.containers import steps
from overcloud_agent.packages import (
    approval,
    backend,
    classes,
    inputs,
    inventory,
    outcomes,
    plan,
    planning,
    plans,
    report,
    select,
    update,
)
from overcloud_agent.packages import model as packages

if TYPE_CHECKING:
    from overcloud_agent import settings


def update_packages(
    deployment: model.Deployment,
    config: settings.Settings,
    stopping: Callable[[], bool],
    *,
    deadline: float = math.inf,
    began: Callable[[model.Process], None] = lambda _: None,
) -> model.Result:
    """Plan an update of this node's packages, or carry one out, as the deployment asks.

    Outputs: see report.py. `stopping` is asked between steps and while something takes long; past `deadline` (of
    time.monotonic) nothing new is begun. Raises BadInput and PackageError while nothing has moved, and Interrupted.
    """
    asked = inputs.read(deployment)
    with lock.packages(config.state_dir), steps.Journalled(config.state_dir, deployment.id) as record:
        return _Work(asked, config, record, stopping, deadline, began).answer()


class _Work:
    """One deployment."""

    def __init__(
        self,
        asked: inputs.Inputs,
        config: settings.Settings,
        record: steps.Steps,
        stopping: Callable[[], bool],
        deadline: float,
        began: Callable[[model.Process], None],
    ) -> None:
        self._asked = asked
        self._config = config
        self._record = record
        self._stopping = stopping
        self._deadline = deadline
        self._began = began
        self._manager: backend.Backend = select.backend(config.packages_root)

    def answer(self) -> model.Result:
        begun = update.unfinished(self._record)
        if begun:
            return self._carry_out(*begun)
        if self._asked.applies and (done := self._done_before()) is not None:
            text = f"the update {self._asked.identifier} was done before, and is done once"
            return model.succeeded(text, outputs={**done, **self._current().outputs()})
        if self._asked.action in ("DELETE", "SUSPEND", "RESUME"):
            return model.succeeded(report.nothing_asked(self._asked), outputs=self._current().outputs())
        repaired = update.repair(self._manager, self._record, self._config, self._alive, deadline=self._deadline)
        found = planning.find(
            self._manager, self._asked.selection, self._config, restart=self._asked.restart, alive=self._alive
        )
        result = self._go_on(found)
        return _with_note(result, repaired)

    def _go_on(self, found: packages.Plan) -> model.Result:
        """Whatever the deployment wants done with the plan for this node."""
        identifier, document = plan.plan_identifier(found), plan.document(found)
        # A tree that cannot be read is told before anything moves, and not instead of what has been done.
        current = self._current()
        refused = self._refusal(found)
        plans.keep(self._config.state_dir, identifier, document)
        said = report.nothing_asked(self._asked)
        if refused or said:
            outputs, text = report.planned(found, current), report.text(found, current)
            if refused:
                return model.failed(refused, stdout=text, outputs=outputs)
            return model.succeeded(f"{text}{said}", outputs=outputs)
        return self._carry_out(found, document) if self._is_due(found) else self._nothing_due(found, current)

    def _is_due(self, found: packages.Plan) -> bool:
        """Whether anything has to be done: nobody is taken out of a cluster for nothing."""
        boot = found.workflow.reboot and self._asked.reboot == "when-required"
        return bool(found.pending.changes or found.workflow.batches or boot)

    def _nothing_due(self, found: packages.Plan, current: report.Identifiers) -> model.Result:
        outputs = report.planned(found, current)
        with contextlib.closing(journal.Journal.open(self._config.state_dir)) as book:
            book.note_updated(self._asked.identifier, outputs)
        return model.succeeded(f"{report.text(found, current)}there is nothing to do", outputs=outputs)

    def _refusal(self, found: packages.Plan) -> str:
        """Why the plan may not be carried out, in words; empty when it may, or when nobody asks for that."""
        if not self._asked.applies:
            return ""
        approved = self._asked.plan_identifier
        if approved:
            stored = plans.find(self._config.state_dir, approved)
            if refused := approval.refusal(approved, found, stored):
                return refused
        return classes.refuse(found, self._asked.allow) or planning.lack_of_room(self._manager, found, self._config)

    def _carry_out(self, found: packages.Plan, document: dict[str, Any]) -> model.Result:
        asked = outcomes.Asked(
            identifier=self._asked.identifier,
            restart=self._asked.restart,
            reboot=self._asked.reboot,
            deadline=self._deadline,
            began=self._began,
            remaining=functools.partial(planning.remaining, config=self._config),
            # Whoever is answered by what was recorded gets the identifiers of that moment.
            outputs=lambda outcome: report.carried_out(found, outcome, None),
        )
        outcome = update.carry_out(
            found,
            document,
            manager=self._manager,
            record=self._record,
            config=self._config,
            asked=asked,
            alive=self._alive,
        )
        failpoints.reach("package.ended")
        current = None
        try:
            current = self._current()
        except errors.PackageError as error:
            said = f"what is on the node now cannot be identified: {error}"
            outcome.ok, outcome.reason = False, "; ".join(one for one in (outcome.reason, said) if one)
        return report.result(found, outcome, current)

    def _done_before(self) -> dict[str, Any] | None:
        with contextlib.closing(journal.Journal.open(self._config.state_dir)) as book:
            return book.updated(self._asked.identifier)

    def _current(self) -> report.Identifiers:
        return current(self._manager, self._asked, self._config)

    def _alive(self) -> None:
        if self._stopping():
            raise errors.Interrupted("asked to stop between two steps of an update; it resumes at the next start")


def current(manager: backend.Backend, asked: inputs.Inputs, config: settings.Settings) -> report.Identifiers:
    """The identifiers of what is on the node now. Raises PackageError."""
    chosen = asked.content_trees
    trees = config.content_trees if chosen is None else [Path(path) for path in chosen]
    content, _ = identify.content_identifiers(config, trees)
    return report.Identifiers(
        packages=inventory.identifier(manager, config.state_dir),
        content=content,
        containers=identify.containers_identifier(config)[0],
    )


def _with_note(result: model.Result, note: str) -> model.Result:
    """The result with a line before what it prints."""
    if not note:
        return result
    stdout = result.body.get("deploy_stdout") or ""
    return model.Result(body={**result.body, "deploy_stdout": f"{note}\n{stdout}"}, ok=result.ok, reason=result.reason)


def describe() -> dict[str, Any]:
    """What hooks/package-update.json says: summary, description, and JSON Schemas of inputs and outputs."""
    text, flag = {"type": "string"}, {"type": ["array", "string"], "items": {"type": "string"}}
    return {
        "summary": "Find out what a package update would change, have it approved, and carry out exactly that.",
        "description": [
            "mode: plan answers what would change, what would restart in which order, and a plan_identifier.",
            "mode: apply with that plan_identifier carries out exactly that plan, and refuses any other; without one",
            "it applies what it finds, once for each update_identifier. The identifiers among the outputs change when,",
            "and only when, what they are of has changed: give them to a Puppet deployment as an input.",
        ],
        "inputs": {
            "type": "object",
            "properties": {
                "mode": {"enum": ["apply", "plan"]},
                "update_identifier": {**text, "description": "the work is done once for each"},
                "plan_identifier": {**text, "description": "the plan that is approved"},
                "allow": {"enum": ["update", "upgrade"], "description": "update: refuse new majors of services"},
                "packages": {**flag, "description": "only these; names may have wildcards"},
                "exclude": flag,
                "restart": {"enum": ["auto", "report", "none"]},
                "reboot": {"enum": ["never", "report", "when-required"]},
                "content_trees": {**flag, "description": "directories to identify instead of the configured ones"},
                "command": {"enum": ["update", "upgrade", "dist-upgrade", "full-upgrade"]},
                "command_arguments": {**text, "description": "names of packages, --exclude=NAME, -x NAME"},
            },
        },
        "outputs": {"type": "object", "properties": report.schema()},
    }


def main() -> int:
    """The executable; see hook_io. It tells its story on stderr."""
    log.setup()
    return hook_io.answer(update_here)


def update_here(deployment: model.Deployment) -> model.Result:
    """Carry out a deployment as a hook does: with this node's configuration, without an agent."""
    from overcloud_agent import settings

    config = settings.load()
    result = update_packages(deployment, config, lambda: False)
    # Whoever asks again after this answer means it anew. Dying before, it is gone on with.
    steps.close(config.state_dir, deployment.id)
    return result
