"""What may go wrong with a request, and plans that choose it. A plan is any callable from Request to Fault."""

from __future__ import annotations

import dataclasses
import enum
import random
import threading
from collections.abc import Callable, Sequence

SIGNALS = "/v1/signal/"


class Fault(enum.Enum):
    """What happens to one request. Those from RESET_IN_ANSWER on let Heat have it first."""

    NONE = "none"
    REFUSED = "the connection is reset, and new ones are refused for a while"
    RESET = "reset before the answer, not forwarded"
    SILENCE = "accepted, then silence; not forwarded"
    UNAVAILABLE = "a 5xx, not forwarded"
    BUSY = "429 with Retry-After in seconds, not forwarded"
    BUSY_UNTIL = "429 with Retry-After as a date, not forwarded"
    RESET_IN_ANSWER = "forwarded, and reset in the middle of the answer"
    SILENCE_AFTER = "forwarded, then silence"
    UNAVAILABLE_AFTER = "forwarded, and a 5xx instead of the answer"
    GARBAGE = "forwarded, and bytes that are no HTTP instead of the answer"
    SLOW = "forwarded, the answer in small pieces with pauses"
    CUT_SHORT = "forwarded, the answer's body cut in half with a Content-Length that fits the half"


HARMFUL = tuple(fault for fault in Fault if fault is not Fault.NONE)

# For a soak: all of them, and silence, which costs the client a whole timeout, less often than the others.
HURRIED = HARMFUL + 4 * tuple(fault for fault in HARMFUL if not fault.name.startswith("SILENCE"))

FORWARDED = frozenset(
    {
        Fault.NONE,
        Fault.RESET_IN_ANSWER,
        Fault.SILENCE_AFTER,
        Fault.UNAVAILABLE_AFTER,
        Fault.GARBAGE,
        Fault.SLOW,
        Fault.CUT_SHORT,
    }
)

# The client can tell how Heat answered: the status line came through, and as many bytes as were promised.
TOLD = frozenset({Fault.NONE, Fault.SLOW, Fault.CUT_SHORT})


@dataclasses.dataclass(frozen=True)
class Request:
    """What a plan knows: `nth` counts the requests for this path from 0."""

    method: str
    path: str
    nth: int

    @property
    def is_signal(self) -> bool:
        return self.path.startswith(SIGNALS)


Plan = Callable[[Request], Fault]


def nothing(request: Request) -> Fault:
    """Every request passes."""
    del request
    return Fault.NONE


def on_signals(fault: Fault) -> Plan:
    """Every signal is broken, metadata passes."""
    return lambda request: fault if request.is_signal else Fault.NONE


def on_metadata(fault: Fault) -> Plan:
    """Every poll is broken, signals pass."""
    return lambda request: Fault.NONE if request.is_signal else fault


def first_signals(*faults: Fault) -> Plan:
    """The attempts for each signal are broken one after the other; those that follow pass."""
    return lambda request: faults[request.nth] if request.is_signal and request.nth < len(faults) else Fault.NONE


def mixed(seed: int, share: float, faults: Sequence[Fault] = HARMFUL) -> Plan:
    """`share` (0 to 1) of the requests are broken.

    The faults are dealt like cards: each once, in random order, before any comes again; a run of some length has all.
    """
    dice = random.Random(seed)  # noqa: S311  chance, no secret
    one = threading.Lock()
    left: list[Fault] = []

    def choose(request: Request) -> Fault:
        del request
        with one:
            if dice.random() >= share:
                return Fault.NONE
            if not left:
                left.extend(faults)
                dice.shuffle(left)
            return left.pop()

    return choose
