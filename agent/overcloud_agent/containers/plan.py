"""What has to be done next for one container: a pure function of what Podman says is there.

The upgrade asks for the next step, does it, and asks again with fresh facts. After a crash the same question is
asked, so resuming is not a case of its own. The names tell how far an upgrade came:

    NAME        what serves, or is about to
    NAME.next   the successor, created and never started
    NAME.old    the predecessor: the last one that passed its gate, hence the way back
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
    DISCARD = "discard"
    CREATE = "create"
    STOP = "stop"
    SET_ASIDE = "set aside"
    SWAP = "swap"
    PUT_BACK = "put back"
    START = "start"
    GATE = "gate"
    COMMIT = "commit"
    MARK = "mark failed"
    STOP_FAILED = "stop failed"
    DONE = "done"


def next_step(facts: Facts, wanted: Wanted, *, started: bool, gated: bool) -> Step:
    """The next step towards `wanted`.

    `started` says that this run has started the container (one that ended at once is for the gate to judge), `gated`
    that it has passed its gate.
    """
    if facts.failed:
        # The same deployment was on its way back when the process died. Another deployment's leftover is cleared.
        return Step.ROLL_BACK if facts.failed.deployment == wanted.deployment else Step.CLEAR
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
    # What this deployment made is not trusted before its gate, even if the process died in between.
    untouched = facts.current.deployment != wanted.deployment and not started
    if facts.current.running and (gated or untouched):
        return Step.DONE
    return Step.GATE if facts.current.running or started else Step.START


def _under_way(facts: Facts, wanted: Wanted, *, started: bool, gated: bool) -> Step:
    """A predecessor stands aside: finish the upgrade, or undo one towards something else."""
    if not facts.current:
        return Step.SWAP if _is(facts.next, wanted) else Step.PUT_BACK
    if not _is(facts.current, wanted):
        # Another upgrade died before its gate. What it left is unproven, the predecessor is proven.
        return Step.DISCARD
    if gated:
        return Step.COMMIT
    return Step.GATE if facts.current.running or started else Step.START


def next_step_back(facts: Facts, wanted: Wanted, *, started: bool) -> Step:
    """The next step of the way back from `wanted` to what ran before; `started` as in next_step."""
    if facts.next:
        return Step.CLEAR
    # Without a predecessor, only what this deployment made is taken away again.
    ours = facts.current and (facts.old or facts.current.deployment == wanted.deployment)
    if ours and _is(facts.current, wanted) and not facts.failed:
        return Step.MARK
    if facts.failed and facts.failed.running:
        return Step.STOP_FAILED
    if facts.old and not facts.current:
        return Step.PUT_BACK
    if facts.current and not facts.current.running and not started:
        return Step.START
    return Step.DONE


def _is(container: Container | None, wanted: Wanted) -> bool:
    return container is not None and container.fingerprint == wanted.fingerprint
