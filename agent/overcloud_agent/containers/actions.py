"""What each step of an upgrade, and of the way back, does to Podman. All can be done again without harm."""

from __future__ import annotations

import logging
from collections.abc import Callable

from overcloud_agent import errors
from overcloud_agent.containers import described, drain, engine, gates, migrate, plan, steps, target, units

log = logging.getLogger(__name__)


# How the note begins of a predecessor that could not be removed.
STILL_THERE = "the old container is still there"


class Actions:
    """The steps of one container. Each raises EngineError when Podman fails it, GateError when a container does."""

    def __init__(
        self,
        podman: engine.Engine,
        starter: units.Starter,
        wanted: target.Target,
        record: steps.Steps,
        stopping: Callable[[], bool],
    ) -> None:
        self.notes: list[str] = []
        self._podman = podman
        self._starter = starter
        self._target = wanted
        self._names = wanted.names
        self._record = record
        self._stopping = stopping
        self._retired = False

    def do(self, step: plan.Step, *, back: bool) -> None:
        """Do one step, of an upgrade or of the way back."""
        action = Actions._start_again if back and step is plan.Step.START else _ACTIONS[step]
        action(self)

    def facts(self) -> plan.Facts:
        """The containers of the name that exist now."""
        facts = self._target.facts(self._podman.containers(*self._names.values()))
        # What could not be removed after the commit is left for the next upgrade.
        return plan.Facts(**{**vars(facts), "gone": None}) if self._retired else facts

    def _create(self) -> None:
        if self._target.revived:
            self._podman.rename(self._target.revived, self._names["next"])
            return
        # A successor that an earlier deployment made, or a half-made one, is not what is wanted now.
        self._podman.remove(self._names["next"])
        facts = self.facts()
        predecessor = facts.old or facts.current
        labels = {**self._target.body["labels"], described.LABEL_REPLACES: predecessor.id if predecessor else ""}
        self._podman.create({**self._target.body, "labels": labels})

    def _prepare(self) -> None:
        self._podman.prepare(self._names["next"])

    def _clear(self) -> None:
        self._podman.remove(self._names["failed"])
        self._podman.remove(self._names["next"])

    def _retire(self) -> None:
        """After the commit: the predecessor is removed, or kept for `overcloud-agent rollback`."""
        try:
            # There is room for it before it is kept: dying in between leaves none too many.
            self._trim(max(self._target.keep - 1, 0))
            if self._target.keep:
                self._keep()
            else:
                self._podman.remove(self._names["gone"])
        except errors.EngineError as error:
            # The commit is over; one that cannot be removed now costs disk space, and the next upgrade tries again.
            log.warning("%s: %s", self._target.name, error)
            self.notes.append(f"{STILL_THERE} as {self._names['gone']}: {error}")
            self._retired = True

    def _keep(self) -> None:
        gone = self.facts().gone
        if gone:
            self._podman.rename(self._names["gone"], self._target.kept + gone.id[:12])

    def _trim(self, most: int) -> None:
        """Remove the kept ones that are more than `most`, those first that ended first."""
        kept = [(one.finished_at, name) for name, one in self._podman.kept(self._target.kept).items()]
        for _, name in sorted(kept, reverse=True)[most:]:
            self._podman.remove(name)

    def _discard(self) -> None:
        self._stop()
        self._podman.remove(self._names["current"])

    def _drain(self) -> None:
        drain.drain(self._podman, self._target.name, self._target.container, stopping=self._stopping)

    def _stop(self) -> None:
        self._starter.stop(self._names["current"], self._target.container.stop_grace_period)

    def _migrate(self) -> None:
        migrate.migrate(self._podman, self._target, self._record, alive=self._stopping)

    def _set_aside(self) -> None:
        self._podman.rename(self._names["current"], self._names["old"])

    def _swap(self) -> None:
        self._podman.rename(self._names["next"], self._names["current"])

    def _start(self) -> None:
        if not self._target.revived:
            self._starter.install(self._target.name, self._target.container)
        self._starter.start(self._target.name)

    def _start_again(self) -> None:
        self._starter.restore(self._target.name)
        self._starter.start(self._target.name)

    def _gate(self) -> None:
        container = self._target.container
        if self._target.wanted.one_shot:
            gates.await_exit(
                self._podman,
                self._target.name,
                container.upgrade.gate.exits_within,
                container.exit_codes,
                stopping=self._stopping,
            )
        else:
            gates.check(self._podman, self._target.name, container.upgrade.gate, stopping=self._stopping)

    def _commit(self) -> None:
        # A name is changed at once or not at all; a removal can be half done, or done and not answered.
        self._podman.rename(self._names["old"], self._names["gone"])
        # Dying before this leaves a file that the next upgrade of the name takes for the way back's, and replaces.
        self._starter.settle(self._target.name)

    def _drop(self) -> None:
        self._podman.remove(self._names["next"])

    def _mark(self) -> None:
        # A unit knows its container by the name, which it is about to lose.
        if self._starter.manages(self._target.name):
            self._starter.stop(self._target.name, self._target.container.stop_grace_period)
        # The first thing of the way back is to give the failed one another name: it is what a resumed run sees.
        self._podman.rename(self._names["current"], self._names["failed"])

    def _stop_failed(self) -> None:
        self._starter.stop(self._names["failed"], self._target.container.stop_grace_period)

    def _put_back(self) -> None:
        self._podman.rename(self._names["old"], self._names["current"])


_ACTIONS: dict[plan.Step, Callable[[Actions], None]] = {
    plan.Step.CLEAR: Actions._clear,
    plan.Step.RETIRE: Actions._retire,
    plan.Step.DISCARD: Actions._discard,
    plan.Step.CREATE: Actions._create,
    plan.Step.PREPARE: Actions._prepare,
    plan.Step.DRAIN: Actions._drain,
    plan.Step.STOP: Actions._stop,
    plan.Step.MIGRATE: Actions._migrate,
    plan.Step.SET_ASIDE: Actions._set_aside,
    plan.Step.SWAP: Actions._swap,
    plan.Step.START: Actions._start,
    plan.Step.GATE: Actions._gate,
    plan.Step.COMMIT: Actions._commit,
    plan.Step.DROP: Actions._drop,
    plan.Step.MARK: Actions._mark,
    plan.Step.STOP_FAILED: Actions._stop_failed,
    plan.Step.PUT_BACK: Actions._put_back,
}
