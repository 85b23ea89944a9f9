"""What has to be done next for one container: a pure function of what Podman says is there.

The upgrade asks for the next step, does it, and asks again with fresh facts. After a crash the same question is
asked, so resuming is not a case of its own. The names tell how far an upgrade came:

    NAME        what serves, or is about to
    NAME.next   the successor, created and never started
    NAME.old    the predecessor: the last one that passed its gate, hence the way back
    NAME.gone   a predecessor after its successor has passed: renaming it to this is the commit
    NAME.failed a successor that did not pass; being there means that the way back is being gone
"""

from __future__ import annotations

import dataclasses
import enum


@dataclasses.dataclass(frozen=True, kw_only=True)
class Container:
    """What counts of a container that exists. Times are seconds since the epoch, 0 for never."""

    id: str
    image: str = ""
    digest: str = ""
    fingerprint: str = ""
    """Empty for a container that another tool made."""
    deployment: str = ""
    """The deployment that made it."""
    replaces: bool = False
    """True when it was made to replace another one."""
    running: bool = False
    exit_code: int = 0
    restarts: int = 0
    check_timeout: float | None = None
    """Seconds that one run of its healthcheck may take; None when it has no healthcheck."""
    started_at: float = 0.0
    finished_at: float = 0.0


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
    """What shall run, and for which deployment."""

    fingerprint: str
    deployment: str


class Step(enum.Enum):
    """One action of an upgrade or of the way back; the value is the word for people."""

    ROLL_BACK = "roll back"
    CLEAR = "clear"
    REMOVE = "remove"
    DISCARD = "discard"
    CREATE = "create"
    STOP = "stop"
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


def next_step(facts: Facts, wanted: Wanted, *, started: bool, gated: bool) -> Step:
    """The next step towards `wanted`.

    `started` says that this run has started the container (one that ended at once is for the gate to judge), `gated`
    that it has passed its gate.
    """
    if facts.failed:
        # The same deployment was on its way back when the process died. Another deployment's leftover is cleared.
        return Step.ROLL_BACK if facts.failed.deployment == wanted.deployment else Step.CLEAR
    if facts.gone:
        return Step.REMOVE
    if facts.old:
        return _under_way(facts, wanted, started=started, gated=gated)
    if not facts.current:
        # Nothing serves: the successor, once it is made, takes the name at once.
        return Step.SWAP if _is(facts.next, wanted) else Step.CREATE
    if not _is(facts.current, wanted):
        if not _is(facts.next, wanted):
            return Step.CREATE
        return Step.STOP if facts.current.running else Step.SET_ASIDE
    if facts.next:
        return Step.CLEAR
    # What this deployment made first is not trusted before its gate, even if the process died in between. What
    # replaced another one has passed: its predecessor is gone.
    passed = gated or facts.current.replaces or facts.current.deployment != wanted.deployment
    if facts.current.running and passed and (gated or not started):
        return Step.DONE
    return Step.GATE if facts.current.running or started else Step.START


def _under_way(facts: Facts, wanted: Wanted, *, started: bool, gated: bool) -> Step:
    """A predecessor stands aside: finish the upgrade, or turn one towards something else into this one."""
    if facts.current and _is(facts.current, wanted):
        if gated:
            return Step.COMMIT
        return Step.GATE if facts.current.running or started else Step.START
    if not _is(facts.next, wanted):
        return Step.CREATE
    # Another upgrade died before its gate. What it left is unproven; the predecessor, which is proven, stays aside.
    return Step.DISCARD if facts.current else Step.SWAP


def next_step_back(facts: Facts, wanted: Wanted, *, started: bool) -> Step:
    """The next step of the way back from `wanted` to what ran before; `started` as in next_step."""
    if facts.next:
        return Step.DROP
    if facts.current and _is(facts.current, wanted) and not facts.failed and _unproven(facts, wanted):
        return Step.MARK
    if facts.failed and facts.failed.running:
        return Step.STOP_FAILED
    if facts.old and not facts.current:
        return Step.PUT_BACK
    if facts.current and not facts.current.running and not started:
        return Step.START
    return Step.DONE


def may_stop_before(step: Step, facts: Facts) -> bool:
    """Whether the agent may stop before `step`, to go on at its next start: only where that costs no service."""
    serving = facts.current is not None and facts.current.running
    nothing_to_lose = facts.current is None and facts.old is None
    return step in (Step.CREATE, Step.STOP, Step.GATE) and (serving or nothing_to_lose)


def _unproven(facts: Facts, wanted: Wanted) -> bool:
    """Whether the current container has yet to pass its gate: never take away one that has."""
    first = facts.current is not None and not facts.current.replaces
    return facts.old is not None or (
        first and facts.current is not None and facts.current.deployment == wanted.deployment
    )


def _is(container: Container | None, wanted: Wanted) -> bool:
    return container is not None and container.fingerprint == wanted.fingerprint
