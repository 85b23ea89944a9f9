"""Upgrade one container: ask the plan for the next step, do it, write both down, ask again.

Every step can be done again without harm, and tells from Podman's facts whether it is done (plan.py). If the process
dies between two steps, or in the middle of one, the next run starts with the same question.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import time
from collections.abc import Callable
from typing import Any, TypeVar

from overcloud_agent import errors, failpoints
from overcloud_agent.containers import engine, gates, plan, spec, steps

log = logging.getLogger(__name__)

_T = TypeVar("_T")

LOG_LINES = 50

# An upgrade has about ten steps; a plan that goes on longer runs in a circle with something outside.
_MOST_STEPS = 30

_FAIL_POINTS = {
    plan.Step.CREATE: "upgrade.created",
    plan.Step.STOP: "upgrade.stopped",
    plan.Step.SET_ASIDE: "upgrade.old-renamed",
    plan.Step.SWAP: "upgrade.swapped",
    plan.Step.START: "upgrade.started",
    plan.Step.GATE: "upgrade.gated",
    plan.Step.COMMIT: "upgrade.committed",
    plan.Step.REMOVE: "upgrade.removed",
}
_FAIL_POINTS_BACK = {
    plan.Step.MARK: "rollback.marked",
    plan.Step.STOP_FAILED: "rollback.stopped",
    plan.Step.PUT_BACK: "rollback.renamed",
    plan.Step.START: "rollback.started",
}

# The words under which the way back is in the journal: that it was taken, and how it ended.
_WAY_BACK, _WAY_BACK_ENDED = plan.Step.ROLL_BACK.value, "rolled back"

# Seconds for which the way back waits for a Podman that does not answer, and the pause between two tries.
PATIENCE = 300.0
_PAUSE = 2.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Target:
    """One container as it shall be: everything that is known before anything moves."""

    name: str
    container: spec.Container
    wanted: plan.Wanted
    digest: str
    body: dict[str, Any]
    """SpecGenerator of the successor."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one container; `downtime` in seconds, None when nothing was stopped."""

    name: str
    result: str
    old_digest: str = ""
    new_digest: str = ""
    fingerprint: str = ""
    downtime: float | None = None
    steps: tuple[str, ...] = ()
    error: str = ""
    notes: tuple[str, ...] = ()
    log: str = ""

    @property
    def failed(self) -> bool:
        return bool(self.error)


class Upgrader:
    """The upgrade of one container of one deployment."""

    def __init__(
        self, podman: engine.Engine, target: Target, record: steps.Steps, stopping: Callable[[], bool]
    ) -> None:
        self._podman = podman
        self._target = target
        self._record = record
        self._stopping = stopping
        self._names = {kind: target.name + suffix for kind, suffix in _SUFFIXES.items()}
        self._done: list[str] = []
        self._notes: list[str] = []
        self._started = False
        self._gated = False
        self._stopped_at = 0.0
        self._old_digest = ""

    def run(self) -> Outcome:
        """Bring the container to what is wanted, or back to what was. Raises Interrupted where that costs nothing.

        Whatever else goes wrong once something may have moved, even a mistake in this very code, leads to the way
        back: a service that was running must not stay stopped because of it.
        """
        try:
            ended = self._record.done(self._target.name, _WAY_BACK_ENDED)
            if ended is not None:
                # The process died after the way back and before its result was in the journal.
                self._podman.remove(self._names["failed"])
                return self._outcome(*json.loads(ended))
            self._recall()
            if self._forward():
                return self._outcome(self._judge())
            reason = "the agent died while it put the old container back"
        except errors.Interrupted:
            raise
        except errors.AgentError as error:
            reason = str(error)
        except Exception as error:
            log.exception("a mistake in overcloud-agent")
            reason = f"a mistake in overcloud-agent: {type(error).__name__}"
        log.error("%s: %s", self._target.name, reason)
        return self._after_gate(reason) if self._gated else self._back(reason)

    def restore(self, reason: str) -> Outcome | None:
        """Go back from an upgrade that this deployment began and cannot go on with; None when there is none.

        What the successor would be need not be known: the containers that this deployment made say it.
        """
        deployment = self._target.wanted.deployment
        facts = self._patiently(reason, self._facts)
        made = next(
            (one for one in (facts.failed, facts.next, facts.current) if one and one.deployment == deployment), None
        )
        if not made or (made is facts.current and not facts.old):
            return None
        wanted = dataclasses.replace(self._target.wanted, fingerprint=made.fingerprint)
        self._target = dataclasses.replace(self._target, wanted=wanted, digest=made.digest)
        self._note_predecessor(facts)
        return self._back(reason)

    def _recall(self) -> None:
        """Take up what an earlier process of this deployment knew and Podman does not."""
        self._gated = self._record.done(self._target.name, plan.Step.GATE.value) is not None
        committing = self._record.begun(self._target.name, plan.Step.COMMIT.value)
        if committing:
            self._old_digest, self._stopped_at = json.loads(committing)

    def _judge(self) -> str:
        """What this deployment did to the container, by this process or by one that died."""
        current = self._facts().current
        if current and current.deployment == self._target.wanted.deployment:
            return "upgraded" if current.replaces else "created"
        return "started" if self._done else "unchanged"

    def _forward(self) -> bool:
        """Do what the plan asks for; False when it asks for the way back."""
        for _ in range(_MOST_STEPS):
            facts = self._facts()
            self._note_predecessor(facts)
            step = plan.next_step(facts, self._target.wanted, started=self._started, gated=self._gated)
            if step is plan.Step.ROLL_BACK:
                return False
            if step is plan.Step.DONE:
                return True
            if self._stopping() and plan.may_stop_before(step, facts):
                raise errors.Interrupted("asked to stop")
            self._do(step, _FAIL_POINTS)
        raise errors.EngineError(f"gave up on {self._target.name} after {_MOST_STEPS} steps: something undoes them")

    def _after_gate(self, reason: str) -> Outcome:
        """Something went wrong after the new container had passed its gate: it stays, for there is none better."""
        try:
            current = self._facts().current
            if current and current.running:
                self._notes.append(f"it runs and has passed its gate, but: {reason}")
                return self._outcome(self._judge())
        except errors.EngineError as error:
            reason = f"{reason}; {error}"
        return self._outcome("failed", error=f"{reason}; the new container had passed its gate and was left in place")

    def _back(self, reason: str) -> Outcome:
        """Put back what ran before, running, and say why. Waits for a Podman that is away: the service may be down."""
        self._record = steps.Forgiving(self._record)
        if self._target.container.upgrade.rollback == "never":
            lines = self._podman.logs(self._target.name, LOG_LINES)
            return self._outcome("failed", error=f"{reason}; left as it is (rollback: never)", logs=lines)
        # The reason is written down first: a process that resumes the way back would not know it.
        reason = self._record.begun(self._target.name, _WAY_BACK) or reason
        self._record.end(self._record.begin(self._target.name, _WAY_BACK, reason))
        try:
            return self._patiently(reason, lambda: self._way_back(reason))
        except errors.EngineError as error:
            stranded = f"{reason}; and the way back failed, too, so look at the node: {error}"
            return self._outcome("failed", error=stranded)

    def _patiently(self, reason: str, action: Callable[[], _T]) -> _T:
        """Do `action`, again and again while Podman is away. Raises EngineError when it stays away or refuses."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                return action()
            except errors.EngineAway as error:
                if self._stopping():
                    raise errors.Interrupted("asked to stop while Podman was away") from None
                if time.monotonic() > deadline:
                    raise
                log.error("%s: %s; trying again, because: %s", self._target.name, error, reason)
                # There is no event to wait for: what would tell of Podman is what is away.
                time.sleep(_PAUSE)

    def _way_back(self, reason: str) -> Outcome:
        logs = self._failed_logs()
        self._started = False
        for _ in range(_MOST_STEPS):
            step = plan.next_step_back(self._facts(), self._target.wanted, started=self._started)
            if step is plan.Step.DONE:
                break
            self._do(step, _FAIL_POINTS_BACK)
        result, reason = self._judge_way_back(reason)
        # From here on the result is known, whatever happens: resuming reports it and tries nothing again.
        self._record.end(self._record.begin(self._target.name, _WAY_BACK_ENDED, json.dumps([result, reason])))
        failpoints.reach("rollback.recorded")
        self._podman.remove(self._names["failed"])
        return self._outcome(result, reason, logs=logs)

    def _judge_way_back(self, reason: str) -> tuple[str, str]:
        """Gate what runs after the way back: result and reason."""
        current = self._facts().current
        if not current:
            return "failed", f"{reason}; there was no container before, so none runs now"
        try:
            gates.check(self._podman, self._target.name, self._target.container.upgrade.gate, stopping=lambda: False)
        except errors.GateError as error:
            return "failed", f"{reason}; the old container was put back, but: {error}"
        return "rolled back", f"{reason}; the old container is back and running"

    def _do(self, step: plan.Step, fail_points: dict[plan.Step, str]) -> None:
        # The commit ends the predecessor, and with it what only it tells.
        detail = json.dumps([self._old_digest, self._stopped_at]) if step is plan.Step.COMMIT else ""
        token = self._record.begin(self._target.name, step.value, detail)
        # Dying here leaves the step begun and not ended; whether it happened is read from Podman.
        try:
            _ACTIONS[step](self)
        except errors.AgentError:
            self._record.end(token, ok=False)
            raise
        if step in fail_points:
            failpoints.reach(fail_points[step])
        self._record.end(token)
        self._done.append(step.value)

    def _facts(self) -> plan.Facts:
        return plan.Facts(**{kind: self._podman.inspect(name) for kind, name in self._names.items()})

    def _note_predecessor(self, facts: plan.Facts) -> None:
        """Remember the predecessor's digest and when it stopped, which are gone with it after the commit."""
        current_is_new = facts.current and facts.current.fingerprint == self._target.wanted.fingerprint
        predecessor = facts.old or facts.gone or (None if current_is_new else facts.current)
        if predecessor:
            self._old_digest = predecessor.digest or self._podman.image(predecessor.image).digest
            if not predecessor.running:
                self._stopped_at = predecessor.finished_at

    def _failed_logs(self) -> str:
        facts = self._facts()
        if facts.failed:
            return self._podman.logs(self._names["failed"], LOG_LINES)
        if facts.current and facts.current.fingerprint == self._target.wanted.fingerprint:
            return self._podman.logs(self._target.name, LOG_LINES)
        return ""

    def _outcome(self, result: str, error: str = "", *, logs: str = "") -> Outcome:
        return Outcome(
            name=self._target.name,
            result=result,
            old_digest=self._old_digest,
            new_digest=self._target.digest,
            fingerprint=self._target.wanted.fingerprint,
            downtime=None if result == "failed" else self._downtime(),
            steps=tuple(self._done),
            error=error,
            notes=tuple(self._notes),
            log=logs,
        )

    def _downtime(self) -> float | None:
        """Seconds between the end of what ran before and the start of what runs now."""
        try:
            current = self._podman.inspect(self._target.name)
        except errors.EngineError:
            return None
        if not current or not self._stopped_at or current.started_at <= self._stopped_at:
            return None
        return round(current.started_at - self._stopped_at, 3)

    # The actions

    def _create(self) -> None:
        # A successor that an earlier deployment made, or a half-made one, is not what is wanted now.
        self._podman.remove(self._names["next"])
        facts = self._facts()
        predecessor = facts.current or facts.old
        labels = {**self._target.body["labels"], engine.LABEL_REPLACES: predecessor.id if predecessor else ""}
        self._podman.create({**self._target.body, "labels": labels})

    def _clear(self) -> None:
        self._podman.remove(self._names["failed"])
        self._podman.remove(self._names["next"])

    def _remove(self) -> None:
        # The commit is over; one that cannot be removed now costs disk space, and the next upgrade tries again.
        try:
            self._podman.remove(self._names["gone"])
        except errors.EngineError as error:
            log.warning("%s: %s", self._target.name, error)
            self._notes.append(f"the old container is still there as {self._names['gone']}: {error}")
            del self._names["gone"]

    def _discard(self) -> None:
        self._podman.stop(self._names["current"], self._target.container.stop_grace_period)
        self._podman.remove(self._names["current"])

    def _stop(self) -> None:
        self._podman.stop(self._names["current"], self._target.container.stop_grace_period)

    def _set_aside(self) -> None:
        self._podman.rename(self._names["current"], self._names["old"])

    def _swap(self) -> None:
        self._podman.rename(self._names["next"], self._names["current"])

    def _start(self) -> None:
        self._podman.start(self._names["current"])
        self._started = True

    def _gate(self) -> None:
        gates.check(self._podman, self._target.name, self._target.container.upgrade.gate, stopping=self._stopping)
        self._gated = True

    def _commit(self) -> None:
        # A name is changed at once or not at all; a removal can be half done, or done and not answered.
        self._podman.rename(self._names["old"], self._names["gone"])

    def _drop(self) -> None:
        self._podman.remove(self._names["next"])

    def _mark(self) -> None:
        # The first thing of the way back is to give the failed one another name: it is what a resumed run sees.
        self._podman.rename(self._names["current"], self._names["failed"])

    def _stop_failed(self) -> None:
        self._podman.stop(self._names["failed"], self._target.container.stop_grace_period)

    def _put_back(self) -> None:
        self._podman.rename(self._names["old"], self._names["current"])


_SUFFIXES = {"current": "", "next": spec.NEXT, "old": spec.OLD, "gone": spec.GONE, "failed": spec.FAILED}

_ACTIONS: dict[plan.Step, Callable[[Upgrader], None]] = {
    plan.Step.CLEAR: Upgrader._clear,
    plan.Step.REMOVE: Upgrader._remove,
    plan.Step.DISCARD: Upgrader._discard,
    plan.Step.CREATE: Upgrader._create,
    plan.Step.STOP: Upgrader._stop,
    plan.Step.SET_ASIDE: Upgrader._set_aside,
    plan.Step.SWAP: Upgrader._swap,
    plan.Step.START: Upgrader._start,
    plan.Step.GATE: Upgrader._gate,
    plan.Step.COMMIT: Upgrader._commit,
    plan.Step.DROP: Upgrader._drop,
    plan.Step.MARK: Upgrader._mark,
    plan.Step.STOP_FAILED: Upgrader._stop_failed,
    plan.Step.PUT_BACK: Upgrader._put_back,
}
