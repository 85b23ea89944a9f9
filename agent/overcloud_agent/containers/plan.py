"""What has to be done next for one container: a pure function of what Podman says is there.

The upgrade asks for the next step, does it, and asks again with fresh facts. After a crash the same question is
asked, so resuming is not a case of its own. The names tell how far an upgrade came:

    NAME        what serves, or is about to
    NAME.next   the successor, created and never started
    NAME.old    the predecessor: the last one that passed its gate, hence the way back
    NAME.gone   a predecessor after its successor has passed: renaming it to this is the commit
    NAME.failed a successor that did not pass; being there means that the way back is being gone

What cannot be read from Podman (a drain or a migration is done) is in Progress, from the journal.
"""

from __future__ import annotations

import dataclasses
import enum

# In the place of the fingerprint of a container that is to be replaced although its config is the same (joined.py).
CUT_OFF = "cut off"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Container:
    """What counts of a container that exists. Times are seconds since the epoch, 0 for never."""

    id: str
    image: str = ""
    digest: str = ""
    fingerprint: str = ""
    """Empty for a container that another tool made and of which nobody knows what it is."""
    deployment: str = ""
    """The deployment that made it."""
    name: str = ""
    """What its label container_name says, which other tools keep apart from its name."""
    config_id: str = ""
    managed_by: str = ""
    owner: str = ""
    """The resource of Heat that its labels name, as docker-cmd's do."""
    replaces: bool = False
    """True when it was made to replace another one."""
    predecessor: str = ""
    """The id of that one."""
    one_shot: bool = False
    """True when it is to run to its end, and not to serve."""
    running: bool = False
    stopping: bool = False
    """True when its stop was cut short, with Podman's service: it is there, and nobody can rely on it."""
    prepared: bool = False
    """True when everything of it is set up but its process (Podman's state `initialized`)."""
    exit_code: int = 0
    restarts: int = 0
    check_timeout: float | None = None
    """Seconds that one run of its healthcheck may take; None when it has no healthcheck, or was not asked for."""
    check_interval: float = 30.0
    """Seconds between two runs of its healthcheck, where a timer runs it."""
    started_at: float = 0.0
    finished_at: float = 0.0

    @property
    def ended(self) -> bool:
        """It ran to an end of its own; one that the end of the node took along did not."""
        return not self.running and 0 < self.started_at <= self.finished_at


@dataclasses.dataclass(frozen=True, kw_only=True)
class Facts:
    """The containers of one name that exist now."""

    current: Container | None = None
    next: Container | None = None
    old: Container | None = None
    gone: Container | None = None
    failed: Container | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Wanted:
    """What shall run, for which deployment, and which of the steps that not every container needs it takes."""

    fingerprint: str
    deployment: str
    one_shot: bool = False
    exit_codes: tuple[int, ...] = (0,)
    """Of a one-shot: those that mean success."""
    removed: bool = False
    """A one-shot that is removed when it has succeeded."""
    prepares: bool = False
    """Everything but its process may be set up while its predecessor serves."""
    drains: bool = False
    migrates: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Progress:
    """What Podman does not tell: `started` by this process, the others by this deployment, in any process."""

    started: bool = False
    drained: bool = False
    migrated: bool = False
    gated: bool = False


class Step(enum.Enum):
    """One action of an upgrade or of the way back; the value is the word for people."""

    ROLL_BACK = "roll back"
    CLEAR = "clear"
    RETIRE = "retire"
    DISCARD = "discard"
    CREATE = "create"
    PREPARE = "prepare"
    DRAIN = "drain"
    STOP = "stop"
    MIGRATE = "migrate"
    SET_ASIDE = "set aside"
    SWAP = "swap"
    START = "start"
    GATE = "gate"
    COMMIT = "commit"
    DROP = "drop successor"
    MARK = "mark failed"
    STOP_FAILED = "stop failed"
    PUT_BACK = "put back"
    DONE = "done"


def next_step(facts: Facts, wanted: Wanted, progress: Progress) -> Step:
    """The next step towards `wanted`."""
    if facts.failed:
        # The same deployment was on its way back when the process died. Another deployment's leftover is cleared.
        return Step.ROLL_BACK if facts.failed.deployment == wanted.deployment else Step.CLEAR
    if facts.gone:
        return Step.RETIRE
    if facts.current and _is(facts.current, wanted):
        if facts.next:
            return Step.CLEAR
        return _prove(facts, facts.current, wanted, progress)
    if not facts.current and wanted.removed and progress.gated:
        return Step.DONE
    if facts.next is None or not _is(facts.next, wanted):
        return Step.CREATE
    return _replace(facts, facts.next, wanted, progress)


def _replace(facts: Facts, successor: Container, wanted: Wanted, progress: Progress) -> Step:
    """The successor is there: take what serves away, and give it the name."""
    if facts.current and facts.old:
        # Another upgrade died before its gate. What it left is unproven; the predecessor, which is proven, stays aside.
        return Step.DISCARD
    if facts.current and facts.current.stopping:
        return Step.STOP
    if facts.current and facts.current.running:
        if wanted.prepares and not successor.prepared:
            return Step.PREPARE
        return Step.DRAIN if wanted.drains and not progress.drained else Step.STOP
    if wanted.migrates and not progress.migrated:
        return Step.MIGRATE
    return Step.SET_ASIDE if facts.current else Step.SWAP


def _prove(facts: Facts, current: Container, wanted: Wanted, progress: Progress) -> Step:
    """What is wanted has the name: have it run, and pass its gate."""
    if facts.old:
        if progress.gated:
            return Step.COMMIT
        return Step.GATE if _for_the_gate(current, progress) else Step.START
    # What this deployment made first is not trusted before its gate, even if the process died in between. What
    # replaced another one has passed: its predecessor is gone.
    passed = progress.gated or current.replaces or current.deployment != wanted.deployment
    if current.one_shot:
        return _prove_one_shot(current, wanted, progress, passed=passed)
    if current.running and passed and (progress.gated or not progress.started):
        return Step.DONE
    return Step.GATE if current.running or progress.started else Step.START


def _prove_one_shot(current: Container, wanted: Wanted, progress: Progress, *, passed: bool) -> Step:
    if progress.gated:
        return Step.DONE
    if current.running or progress.started:
        return Step.GATE
    if not current.ended:
        return Step.START
    if not passed:
        return Step.GATE
    return Step.DONE if current.exit_code in wanted.exit_codes else Step.START


def _for_the_gate(current: Container, progress: Progress) -> bool:
    return current.running or progress.started or (current.one_shot and current.ended)


def next_step_back(facts: Facts, wanted: Wanted, *, started: bool) -> Step:
    """The next step of the way back from `wanted` to what ran before; `started`: by the way back itself."""
    if facts.next:
        return Step.DROP
    if facts.current and _is(facts.current, wanted) and not facts.failed and _unproven(facts, wanted):
        return Step.MARK
    if facts.failed and (facts.failed.running or facts.failed.stopping):
        return Step.STOP_FAILED
    if facts.old and not facts.current:
        return Step.PUT_BACK
    if facts.current and not facts.current.running and not facts.current.one_shot and not started:
        return Step.START
    return Step.DONE


# What these make of the facts is known without asking: while nothing serves, each question costs downtime.
FORESEEN = (Step.STOP, Step.SET_ASIDE, Step.SWAP)


def foresee(step: Step, facts: Facts, wanted: Wanted) -> Facts:
    """The facts after a step of an upgrade, if nothing goes wrong."""
    current = facts.current
    match step:
        case Step.CLEAR:
            return dataclasses.replace(facts, next=None, failed=None)
        case Step.RETIRE:
            return dataclasses.replace(facts, gone=None)
        case Step.DISCARD:
            return dataclasses.replace(facts, current=None)
        case Step.CREATE:
            made = Container(
                id="",
                fingerprint=wanted.fingerprint,
                deployment=wanted.deployment,
                one_shot=wanted.one_shot,
                replaces=bool(current or facts.old),
            )
            return dataclasses.replace(facts, next=made)
        case Step.PREPARE if facts.next:
            return dataclasses.replace(facts, next=dataclasses.replace(facts.next, prepared=True))
        case Step.STOP if current:
            return dataclasses.replace(facts, current=dataclasses.replace(current, running=False, stopping=False))
        case Step.SET_ASIDE:
            return dataclasses.replace(facts, old=current, current=None)
        case Step.SWAP:
            return dataclasses.replace(facts, current=facts.next, next=None)
        case Step.START if current:
            return dataclasses.replace(
                facts, current=dataclasses.replace(current, running=not wanted.one_shot, stopping=False)
            )
        case Step.COMMIT:
            return dataclasses.replace(facts, gone=facts.old, old=None)
    return facts


def advance(step: Step, progress: Progress) -> Progress:
    """What is known after a step was done that Podman does not tell."""
    known = {Step.START: "started", Step.DRAIN: "drained", Step.MIGRATE: "migrated", Step.GATE: "gated"}
    return dataclasses.replace(progress, **{known[step]: True}) if step in known else progress


def ahead(facts: Facts, wanted: Wanted) -> list[Step]:
    """All the steps of an upgrade from here, if nothing goes wrong."""
    progress, found = Progress(), list[Step]()
    while (step := next_step(facts, wanted, progress)) not in (Step.DONE, Step.ROLL_BACK) and len(found) < len(Step):
        found.append(step)
        facts, progress = foresee(step, facts, wanted), advance(step, progress)
    return found


def may_stop_before(step: Step, facts: Facts) -> bool:
    """Whether the agent may stop before `step`, to go on at its next start: only where that costs no service."""
    serving = facts.current is not None and facts.current.running
    nothing_to_lose = facts.current is None and facts.old is None
    return step in (Step.CREATE, Step.DRAIN, Step.STOP, Step.GATE) and (serving or nothing_to_lose)


def _unproven(facts: Facts, wanted: Wanted) -> bool:
    """Whether the current container has yet to pass its gate: never take away one that has."""
    first = facts.current is not None and not facts.current.replaces
    return facts.old is not None or (
        first and facts.current is not None and facts.current.deployment == wanted.deployment
    )


def _is(container: Container | None, wanted: Wanted) -> bool:
    return container is not None and container.fingerprint == wanted.fingerprint
