"""Carry out an update that is planned: hooks, packages, restarts, a boot, and what is told of it.

    repair       what an interrupted transaction left
    plan         is written down: from here on this plan is meant, also by a process that resumes
    pre-update   the node's own hooks
    download     all packages, so that the transaction needs no network
    transaction  in a process that outlives the agent (transaction.py)
    verify       installed is what was planned
    restart      what runs code that changed, batch after batch (restart.py)
    reboot       where that is needed and wanted, instead of restarts (reboot.py)
    failed       why it cannot go on, if that is so
    post-update  the node's own hooks, whatever happened since pre-update was begun
    restart-self the agent, where it is among what has to be restarted
    record       the identifier, when all of the above is done

Each is in the journal before and after. After a crash the same path is taken again, and each step knows from the
journal and from the node whether it is done.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import math
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from overcloud_agent import errors, files, journal, records
from overcloud_agent.containers import steps
from overcloud_agent.packages import (
    apply,
    backend,
    local_hooks,
    model,
    outcomes,
    plans,
    reboot,
    restart,
    restart_containers,
    transaction,
    unit_states,
)

if TYPE_CHECKING:
    from overcloud_agent import settings

log = logging.getLogger(__name__)

PLACE = apply.PLACE

# Seconds in which the agent has to be asked to stop after it has asked systemd to restart it.
_OWN_PATIENCE = 120.0


def unfinished(record: steps.Steps) -> tuple[model.Plan, dict[str, Any]] | None:
    """Plan and document of the update that this deployment has begun; None when it has not. Raises PackageError."""
    kept = record.begun(PLACE, "plan")
    if kept is None:
        return None
    read = json.loads(kept)
    return plans.from_json(read["plan"]), read["document"]


def repair(
    manager: backend.Backend,
    record: steps.Steps,
    config: settings.Settings,
    alive: Callable[[], None],
    *,
    deadline: float = math.inf,
) -> str:
    """End a transaction that was cut off, to be called before a plan is made; see apply.repair."""
    return apply.repair(apply.Site(manager=manager, record=record, config=config, deadline=deadline, alive=alive))


def carry_out(
    plan: model.Plan,
    document: dict[str, Any],
    *,
    manager: backend.Backend,
    record: steps.Steps,
    config: settings.Settings,
    asked: outcomes.Asked,
    alive: Callable[[], None],
) -> outcomes.Outcome:
    """Carry out `plan`, or the one that this deployment has begun; `document` is what its hooks get to read.

    `alive` is called often, and raises Interrupted when the agent is asked to stop: what was begun goes on or waits,
    and the same call resumes it. Raises Interrupted and JournalError; whatever else goes wrong is in the outcome.
    """
    begun = unfinished(record)
    plan, document = begun or (plan, document)
    return _Update(plan, document, manager, record, config, asked, alive).run()


class _Update:
    """One update, from its plan to its outcome."""

    def __init__(
        self,
        plan: model.Plan,
        document: dict[str, Any],
        manager: backend.Backend,
        record: steps.Steps,
        config: settings.Settings,
        asked: outcomes.Asked,
        alive: Callable[[], None],
    ) -> None:
        self._plan = plan
        self._document = document
        self._record = record
        self._config = config
        self._asked = asked
        self._alive = alive
        self._packages = apply.Site(manager=manager, record=record, config=config, deadline=asked.deadline, alive=alive)
        self._restarts = restart.Site(config=config, record=record, place=PLACE, deadline=asked.deadline, alive=alive)
        kept = record.begun(PLACE, "outcome")
        self._outcome = records.made_from(outcomes.Outcome, json.loads(kept)) if kept else outcomes.Outcome()

    def run(self) -> outcomes.Outcome:
        """Take every step that is not done."""
        reason = self._record.begun(PLACE, "failed")
        if reason is None:
            reason = self._forward()
        failures = self._post_update(reason)
        if not reason and not failures:
            failures = self._restart_itself()
        self._outcome.reason = "; ".join([*([reason] if reason else []), *failures])
        self._outcome.ok = not self._outcome.reason
        if self._outcome.ok:
            self._note_identifier()
        return self._outcome

    def _forward(self) -> str:
        """All that changes the node; why it cannot go on, empty when it came to the end."""
        try:
            if not self._is_done("transaction"):
                self._note(apply.repair(self._packages))
            self._write_plan()
            self._pre_update()
            if self._plan.pending.changes:
                self._change_packages()
            self._restart_or_reboot()
        except (errors.Interrupted, errors.JournalError):
            raise
        except errors.AgentError as error:
            return self._fail(str(error))
        # What was begun has to be ended, by the hooks after the update, even if it is our own mistake.
        except Exception as error:
            log.exception("a mistake in overcloud-agent")
            return self._fail(f"a mistake in overcloud-agent: {type(error).__name__}; the node's log has the details")
        return ""

    def _fail(self, reason: str) -> str:
        log.error("the update cannot go on: %s", reason)
        if self._packages_begun() and not self._is_done("verify"):
            self._outcome.packages = "unknown"
        reached = {*self._outcome.restarted, *self._outcome.failed, *self._outcome.left, *self._outcome.still_old}
        if self._packages_begun():
            self._outcome.still_old += [name for name in _names(self._workflow()) if name not in reached]
        self._save()
        # From here on nothing is tried again: a process that resumes goes on with the hooks.
        with apply.step(self._record, "failed", reason):
            pass
        return reason

    def _packages_begun(self) -> bool:
        return self._record.begun(PLACE, "transaction") is not None

    def _write_plan(self) -> None:
        files.write(self._plan_path, json.dumps(self._document).encode())
        if not self._is_done("plan"):
            kept = json.dumps({"plan": plans.to_json(self._plan), "document": self._document})
            with apply.step(self._record, "plan", kept):
                pass

    def _pre_update(self) -> None:
        if self._is_done("pre-update"):
            return
        self._check_time()
        with apply.step(self._record, "pre-update"):
            failures = local_hooks.run_all(self._hooks(), "pre-update", self._variables("pre-update"))
            if failures:
                raise errors.PackageError("; ".join(failures), hint="nothing was changed")

    def _change_packages(self) -> None:
        if not self._is_done("download") and not self._packages_begun():
            self._check_time()
            with apply.step(self._record, "download"):
                wait = self._config.package_lock_wait
                self._packages.manager.download(self._plan.pending, wait=wait, alive=self._alive)
        if not self._is_done("transaction-ended"):
            self._running()
            self._alive()
            for note in apply.apply(self._packages, self._plan.pending):
                self._note(note)
            self._outcome.log = transaction.last_log(self._config.state_dir)
            self._save()
            self._mark("transaction-ended")
        if not self._is_done("verify"):
            with apply.step(self._record, "verify"):
                lacking = apply.missing(self._packages.manager, self._plan.pending)
                if lacking:
                    raise errors.PackageError(lacking)
        self._outcome.packages = "changed"

    def _running(self) -> dict[str, str]:
        """Which of the planned units ran before anything changed, each with its invocation."""
        kept = self._record.begun(PLACE, "running")
        if kept is None:
            kept = json.dumps(restart.snapshot(self._plan.workflow.batches))
            self._mark("running", kept)
        return dict(json.loads(kept))

    def _workflow(self) -> model.Workflow:
        """What has to be restarted, by what was found when the packages had changed; as planned until then."""
        kept = self._record.begun(PLACE, "workflow")
        return msgspec.json.decode(kept, type=model.Workflow) if kept else self._plan.workflow

    def _restart_or_reboot(self) -> None:
        running = self._running()
        if self._record.begun(PLACE, "workflow") is None:
            found = self._asked.remaining(self._plan.workflow)
            self._mark("restarted-already", json.dumps(_restarted_already(found, running)))
            self._mark("workflow", msgspec.json.encode(found.workflow).decode())
        workflow = self._workflow()
        planned = set(_names(self._plan.workflow))
        running |= {
            name: invocation for name, invocation in restart.snapshot(workflow.batches).items() if name not in planned
        }
        self._outcome.reboot_required = list(workflow.reboot)
        if workflow.reboot and self._asked.reboot == "when-required":
            # It restarts everything; to do that twice would only cost more of the services.
            self._reboot(workflow, running)
        elif self._asked.restart == "auto":
            self._restart(workflow, running)
        else:
            self._outcome.still_old = _names(workflow)
        self._save()

    def _restart(self, workflow: model.Workflow, running: dict[str, str]) -> None:
        if self._is_done("restart"):
            return
        batches = [[one for one in batch if one.name != self._itself()] for batch in workflow.batches]
        with apply.step(self._record, "restart", restart.document(batches)):
            already = json.loads(self._record.begun(PLACE, "restarted-already") or "[]")
            became = restart.run(self._restarts, batches, running, already)
            self._outcome.restarted = became.restarted
            self._outcome.failed = became.failed
            self._outcome.still_old = became.not_reached
            self._outcome.left = became.left
            self._save()
            if became.failed:
                raise errors.PackageError("; ".join(f"{name}: {why}" for name, why in became.failed.items()))

    def _reboot(self, workflow: model.Workflow, running: dict[str, str]) -> None:
        self._outcome.boot_id = reboot.until_booted(
            self._config.reboot_command, record=self._record, place=PLACE, alive=self._alive
        )
        self._outcome.reboot_required = []
        units = [name for name in _names(workflow, "unit") if name in running and name != self._itself()]
        failed = restart.not_up(units, self._restarts)
        failed |= {
            name: "it does not run"
            for name in _names(workflow, "container")
            if not restart_containers.runs(self._config, name)
        }
        self._outcome.failed = failed
        self._outcome.left = [name for name in _names(workflow, "unit") if name not in running]
        self._outcome.restarted = [name for name in _names(workflow) if name not in {*failed, *self._outcome.left}]
        if failed:
            said = "; ".join(f"{name}: {why}" for name, why in failed.items())
            raise errors.PackageError(f"after the node has booted: {said}")

    def _itself(self) -> str:
        """The unit of this process, if it is in the workflow; else empty."""
        if restart.OWN_UNIT not in _names(self._workflow(), "unit"):
            return ""
        state = unit_states.show([restart.OWN_UNIT])[restart.OWN_UNIT]
        return restart.OWN_UNIT if restart.is_itself(restart.OWN_UNIT, state) else ""

    def _post_update(self, reason: str) -> list[str]:
        """Run the hooks after the update if those before it were begun; what failed."""
        if self._record.begun(PLACE, "pre-update") is None:
            return []
        if self._is_done("post-update"):
            return list(json.loads(self._record.begun(PLACE, "post-update-failures") or "[]"))
        variables = self._variables("post-update")
        variables["OVERCLOUD_AGENT_RESULT"] = "failed" if reason else "done"
        variables["OVERCLOUD_AGENT_REASON"] = reason
        with apply.step(self._record, "post-update"):
            failures = local_hooks.run_all(self._hooks(), "post-update", variables)
            self._mark("post-update-failures", json.dumps(failures))
        return failures

    def _restart_itself(self) -> list[str]:
        """Have the agent restarted, where its code has changed. It is another process that answers then."""
        if self._asked.restart != "auto" or self._outcome.boot_id or not self._itself():
            return []
        begun = self._record.begun(PLACE, "restart-self")
        now = os.environ.get("INVOCATION_ID", "")
        if begun is None:
            # Dying from here on makes systemd start another one, which is what is wanted.
            with apply.step(self._record, "restart-self", now):
                refused = unit_states.restart_later(restart.OWN_UNIT)
            if not refused:
                reboot.await_end(self._alive, _OWN_PATIENCE)
                refused = "systemd did not ask it to stop"
            self._outcome.failed[restart.OWN_UNIT] = refused
            return [f"{restart.OWN_UNIT} still runs the old code: {refused}"]
        if begun != now:
            self._outcome.restarted.append(restart.OWN_UNIT)
        return []

    def _note_identifier(self) -> None:
        """Record that the work of this identifier is done, which is true only now."""
        if not self._asked.identifier or self._is_done("record"):
            return
        with (
            apply.step(self._record, "record"),
            contextlib.closing(journal.Journal.open(self._config.state_dir)) as book,
        ):
            book.note_updated(self._asked.identifier, self._asked.outputs(self._outcome))

    @property
    def _plan_path(self) -> Path:
        return transaction.directory(self._config.state_dir) / "update-plan.json"

    def _hooks(self) -> local_hooks.Site:
        return local_hooks.Site(
            directory=self._config.update_hooks_dir,
            record=self._record,
            place=PLACE,
            deadline=self._asked.deadline,
            alive=self._alive,
            began=self._asked.began,
        )

    def _variables(self, phase: local_hooks.Phase) -> dict[str, str]:
        return {
            "OVERCLOUD_AGENT_PHASE": phase,
            "OVERCLOUD_AGENT_PLAN": str(self._plan_path),
            "OVERCLOUD_AGENT_IDENTIFIER": self._asked.identifier,
            "OVERCLOUD_AGENT_CHANGE": self._plan.change,
        }

    def _check_time(self) -> None:
        self._alive()
        if time.monotonic() > self._asked.deadline:
            raise errors.PackageError(
                "the deployment ran out of time before anything was changed", hint="see its option `timeout`"
            )

    def _is_done(self, name: str) -> bool:
        return self._record.done(PLACE, name) is not None

    def _mark(self, name: str, detail: str = "") -> None:
        self._record.end(self._record.begin(PLACE, name, detail))

    def _note(self, note: str) -> None:
        if note:
            self._outcome.notes.append(note)
            self._save()

    def _save(self) -> None:
        self._mark("outcome", json.dumps(dataclasses.asdict(self._outcome)))


def _restarted_already(found: model.Remaining, running: Mapping[str, str]) -> list[str]:
    """Units that their packages' scripts have restarted, and that run nothing old: once is enough for who uses them."""
    now = restart.snapshot(found.workflow.batches)
    return [name for name in now if name not in found.old and running.get(name, now[name]) != now[name]]


def _names(workflow: model.Workflow, kind: str = "") -> list[str]:
    return [one.name for batch in workflow.batches for one in batch if not kind or one.kind == kind]
