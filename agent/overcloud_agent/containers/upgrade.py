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
from typing import TypeVar

from overcloud_agent import errors, failpoints
from overcloud_agent.containers import actions, engine, gates, joined, migrate, plan, steps, target, units

log = logging.getLogger(__name__)

_T = TypeVar("_T")

LOG_LINES = 50

# An upgrade has about ten steps; a plan that goes on longer runs in a circle with something outside.
_MOST_STEPS = 30

# The words under which the way back is in the journal: that it was taken, and how it ended.
_WAY_BACK, _WAY_BACK_ENDED = plan.Step.ROLL_BACK.value, "rolled back"

# Seconds for which the way back waits for a Podman that does not answer, and the pause between two tries.
PATIENCE = 300.0
_PAUSE = 2.0
# How often something is tried that Podman answers with a failure.
_TRIES = 4

_CUT_OFF = (
    "its predecessor cannot come back, because the container whose namespaces it shares was replaced; left as it is"
)

# What a migration has changed nobody takes back.
_MIGRATED = "; the migration had begun, so THE DATABASE MAY HAVE MOVED: check it before you go on"


class Upgrader:
    """The upgrade of one container of one deployment."""

    def __init__(
        self,
        podman: engine.Engine,
        starter: units.Starter,
        wanted: target.Target,
        record: steps.Steps,
        stopping: Callable[[], bool],
    ) -> None:
        self._podman = podman
        self._starter = starter
        self._target = wanted
        self._record = record
        self._stopping = stopping
        self._names = wanted.names
        self._actions = actions.Actions(podman, starter, wanted, record, stopping)
        self._progress = plan.Progress()
        self._open = 0
        self._done: list[str] = []
        self._notes = self._actions.notes
        self._stopped_at = self._clock = self._longest = 0.0
        self._old_digest = ""

    def run(self) -> target.Outcome:
        """Bring the container to what is wanted, or back to what was. Raises Interrupted where that costs nothing.

        Whatever else goes wrong once something may have moved, even a mistake in this very code, leads to the way
        back: a service that was running must not stay stopped because of it.
        """
        try:
            ended = self._record.done(self._target.name, _WAY_BACK_ENDED)
            if ended is not None:
                # The process died after the way back and before its result was in the journal.
                return self._went_back(*json.loads(ended))
            self._recall()
            decided = self._record.begun(self._target.name, _WAY_BACK)
            if decided is not None:
                # To try again what an earlier process has given up could do a failed migration twice.
                return self._back(decided)
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
        return self._after_gate(reason) if self._progress.gated else self._back(reason)

    def restore(self, reason: str) -> target.Outcome | None:
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
        self._actions = actions.Actions(self._podman, self._starter, self._target, self._record, self._stopping)
        self._note_predecessor(facts)
        return self._back(reason)

    def _recall(self) -> None:
        """Take up what an earlier process of this deployment knew and Podman does not."""

        def done(step: plan.Step) -> bool:
            return self._record.done(self._target.name, step.value) == self._target.wanted.fingerprint

        self._progress = plan.Progress(
            gated=done(plan.Step.GATE),
            drained=done(plan.Step.DRAIN),
            # Whatever deployment did it, and even if it went back afterwards: the database has moved.
            migrated=self._record.migrated(self._target.name, self._target.migration),
        )
        for step in (plan.Step.COMMIT, plan.Step.PUT_BACK):
            ending = self._record.begun(self._target.name, step.value)
            if ending:
                self._old_digest, self._stopped_at = json.loads(ending)

    def _judge(self) -> str:
        """What this deployment did to the container, by this process or by one that died."""
        if self._target.wanted.one_shot:
            return "ran" if self._progress.gated else "unchanged"
        current = self._facts().current
        # It may have taken up what another deployment that died had made.
        committed = self._record.begun(self._target.name, plan.Step.COMMIT.value) is not None
        if current and (committed or current.deployment == self._target.wanted.deployment):
            return "upgraded" if current.replaces else "created"
        if self._done:
            return "started"
        return "unchanged" if current and current.deployment else "adopted"

    def _forward(self) -> bool:
        """Do what the plan asks for; False when it asks for the way back."""
        migrate.await_other(self._podman, self._target, stopping=self._stopping)
        facts = self._facts()
        for _ in range(_MOST_STEPS):
            self._note_predecessor(facts)
            step = plan.next_step(facts, self._target.wanted, self._progress)
            if step in (plan.Step.ROLL_BACK, plan.Step.DONE):
                self._finish(facts)
                return step is plan.Step.DONE
            if self._stopping() and plan.may_stop_before(step, facts):
                self._close()
                raise errors.Interrupted("asked to stop")
            self._do(step, "upgrade")
            facts = plan.foresee(step, facts, self._target.wanted) if step in plan.FORESEEN else self._facts()
        raise errors.EngineError(f"gave up on {self._target.name} after {_MOST_STEPS} steps: something undoes them")

    def _finish(self, facts: plan.Facts) -> None:
        self._close()
        if self._target.wanted.removed and facts.current and self._progress.gated:
            self._podman.remove(self._names["current"])

    def _after_gate(self, reason: str) -> target.Outcome:
        """Something went wrong after the new container had passed its gate: it stays, for there is none better."""
        try:
            current = self._facts().current
            if current and (current.running or current.one_shot):
                self._notes.append(f"it runs and has passed its gate, but: {reason}")
                return self._outcome(self._judge())
        except errors.EngineError as error:
            reason = f"{reason}; {error}"
        return self._outcome("failed", error=f"{reason}; the new container had passed its gate and was left in place")

    def _back(self, reason: str) -> target.Outcome:
        """Put back what ran before, running, and say why. Waits for a Podman that is away: the service may be down."""
        self._record = steps.Forgiving(self._record)
        if self._target.container.upgrade.rollback == "never":
            lines = self._podman.logs(self._target.name, LOG_LINES)
            return self._outcome("failed", error=f"{reason}; left as it is (rollback: never)", logs=lines)
        if self._record.begun(self._target.name, plan.Step.MIGRATE.value) is not None:
            reason += _MIGRATED
        # The reason is written down first: a process that resumes the way back would not know it.
        reason = self._record.begun(self._target.name, _WAY_BACK) or reason
        self._record.end(self._record.begin(self._target.name, _WAY_BACK, reason))
        try:
            if self._patiently(reason, self._is_cut_off):
                reason += f"; {_CUT_OFF}"
                return self._outcome("failed", error=reason, logs=self._podman.logs(self._target.name, LOG_LINES))
            return self._patiently(reason, lambda: self._way_back(reason))
        except errors.EngineError as error:
            stranded = f"{reason}; and the way back failed, too, so look at the node: {error}"
            return self._outcome("failed", error=stranded)

    def _is_cut_off(self) -> bool:
        """Whether the predecessor was stopped and shares namespaces of one that was replaced before it."""
        if self._record.begun(self._target.name, plan.Step.STOP.value) is None:
            return False
        facts = self._facts()
        name = self._names["old" if facts.old else "current"]
        return not (facts.current and facts.current.running and not facts.old) and joined.is_cut_off(self._podman, name)

    def _rejoin(self) -> None:
        """Start again what runs cut off from the container that was put back: its namespaces are new ones."""
        if self._record.begun(self._target.name, plan.Step.STOP.value) is None:
            return
        current = self._facts().current
        owners = {current.id} if current else set[str]()
        for name in joined.sharers(self._podman, owners, among=joined.running(self._podman)):
            log.info("%s is started again: it shares namespaces of %s", name, self._target.name)
            self._starter.stop(name, None)
            self._starter.start(name)
            self._notes.append(f"{name}, which shares its namespaces, was started again")

    def _patiently(self, reason: str, action: Callable[[], _T]) -> _T:
        """Do `action`, again and again while Podman is away, and a few times more when it fails.

        Raises EngineError when it stays away or fails every time.
        """
        deadline, tries = time.monotonic() + PATIENCE, _TRIES
        while True:
            try:
                return action()
            except errors.EngineError as error:
                if self._stopping():
                    raise errors.Interrupted("asked to stop while Podman was away") from None
                tries -= not isinstance(error, errors.EngineAway)
                if time.monotonic() > deadline or not tries:
                    raise
                log.error("%s: %s; trying again, because: %s", self._target.name, error, reason)
                # There is no event to wait for: what would tell of Podman is what is away.
                time.sleep(_PAUSE)

    def _way_back(self, reason: str) -> target.Outcome:
        self._note_predecessor(self._facts())
        self._podman.remove(migrate.name_of(self._target))
        self._progress = plan.Progress()
        for _ in range(_MOST_STEPS):
            step = plan.next_step_back(self._facts(), self._target.wanted, started=self._progress.started)
            if step is plan.Step.DONE:
                break
            self._do(step, "rollback")
        self._close()
        self._rejoin()
        # Not before: what serves comes first.
        logs = self._failed_logs()
        result, reason = self._judge_way_back(reason)
        # From here on the result is known, whatever happens: resuming reports it and tries nothing again.
        self._record.end(self._record.begin(self._target.name, _WAY_BACK_ENDED, json.dumps([result, reason])))
        failpoints.reach("rollback.recorded")
        self._podman.remove(self._names["failed"])
        return self._outcome(result, reason, logs=logs)

    def _went_back(self, result: str, reason: str) -> target.Outcome:
        """The outcome of a way back that an earlier process went to its end."""
        self._recall()
        self._note_predecessor(self._facts())
        logs = self._failed_logs()
        self._podman.remove(self._names["failed"])
        return self._outcome(result, reason, logs=logs)

    def _judge_way_back(self, reason: str) -> tuple[str, str]:
        """Gate what runs after the way back: result and reason."""
        current = self._facts().current
        if not current:
            return "failed", f"{reason}; there was no container before, so none runs now"
        if current.one_shot:
            return "rolled back", f"{reason}; the container of the last run is back"
        if current.running and self._record.begun(self._target.name, plan.Step.STOP.value) is None:
            return "rolled back", f"{reason}; the old container was not touched"
        try:
            gates.check(self._podman, self._target.name, self._target.container.upgrade.gate, stopping=lambda: False)
        except errors.GateError as error:
            return "failed", f"{reason}; the old container was put back, but: {error}"
        return "rolled back", f"{reason}; the old container is back and running"

    def _do(self, step: plan.Step, way: str) -> None:
        """Write down that the step is about to be done, do it, and leave it to the next one to write that it is done.

        One write for both ends of neighbours: while nothing serves, each write costs downtime.
        """
        point = f"{way}.{step.name.lower().replace('_', '-')}"
        # What is true of one container need not be so of the next that the same deployment makes.
        detail = self._target.wanted.fingerprint
        if step in (plan.Step.COMMIT, plan.Step.PUT_BACK):
            # These end the predecessor as such, and with it what only it tells.
            self._note_stop()
            detail = json.dumps([self._old_digest, self._stopped_at])
        self._open = self._record.begin(self._target.name, step.value, detail, ends=self._open)
        # Dying here leaves the step begun and not ended; whether it happened is read from Podman.
        failpoints.reach(f"{point}.begun")
        if step is plan.Step.STOP:
            self._clock = time.monotonic()
        try:
            self._actions.do(step, back=way == "rollback")
        except BaseException:
            self._close(ok=False)
            raise
        failpoints.reach(f"{point}.done")
        self._done.append(step.value)
        self._advance(step)

    def _advance(self, step: plan.Step) -> None:
        """What is known from here on. What Podman will not tell the next process is written down at once."""
        self._progress = plan.advance(step, self._progress)
        if step is plan.Step.START and self._clock:
            self._longest = time.monotonic() - self._clock
        if step in (plan.Step.DRAIN, plan.Step.MIGRATE, plan.Step.GATE):
            self._close()

    def _close(self, *, ok: bool = True) -> None:
        """Write down that the last step is done, or that it failed."""
        if self._open:
            self._record.end(self._open, ok=ok)
            self._open = 0

    def _facts(self) -> plan.Facts:
        return self._actions.facts()

    def _note_predecessor(self, facts: plan.Facts) -> None:
        """Remember the predecessor's digest, which is gone with it after the commit."""
        current_is_new = facts.current and facts.current.fingerprint == self._target.wanted.fingerprint
        predecessor = facts.old or facts.gone or (None if current_is_new else facts.current)
        if predecessor and not self._old_digest:
            self._old_digest = predecessor.digest or self._podman.image(predecessor.image).digest

    def _note_stop(self) -> None:
        """Remember when the predecessor stopped."""
        old = self._podman.inspect(self._names["old"])
        if old and old.finished_at:
            self._stopped_at = old.finished_at

    def _failed_logs(self) -> str:
        facts = self._facts()
        if facts.failed:
            return self._podman.logs(self._names["failed"], LOG_LINES)
        if facts.current and facts.current.fingerprint == self._target.wanted.fingerprint:
            return self._podman.logs(self._target.name, LOG_LINES)
        return ""

    def _outcome(self, result: str, error: str = "", *, logs: str = "") -> target.Outcome:
        return target.Outcome(
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
        """Seconds between the end of what ran before and the start of what runs now, by Podman's clock."""
        try:
            current = self._podman.inspect(self._target.name)
        except errors.EngineError:
            return None
        if not current or not self._stopped_at:
            return None
        seconds = current.started_at - self._stopped_at
        # Where the clock was set in between, this is no duration. It cannot be longer than what this process measured.
        if seconds <= 0 or (self._longest and seconds > self._longest):
            return None
        return round(seconds, 3)
