"""The judgement over a soak: what ran, what Heat accepted, and what may have happened twice.

"Runs once" with SIGKILLs in between. A hook that is killed with its agent has done an unknown part of its work, so the
agent answers for it (`script`) or does it again (the groups whose work can be repeated, which the counting hook is one
of). A deployment may therefore begin again, but only when a kill came while it ran: after it began and before its
result was in the journal. A signal may be sent again after Heat accepted it, but only when the agent could not know:
the answer was lost on the way, whole or in part, or came when the agent waited for it no longer, or the agent was
killed before it had written the answer down. Each repeat is held against one of these here; one that has none is a
failure, and so is anything that is missing.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Collection, Mapping, Sequence

from faulty import ledger

# Seconds between the end of a hook, or of an answer, and the journal's knowing it, at most, on a busy machine.
_UNKNOWN = 2.0


@dataclasses.dataclass
class Verdict:
    """Lines that each name one thing that is wrong, and what was counted."""

    wrong: list[str]
    repeated_runs: int = 0
    repeated_signals: int = 0


def judge_runs(
    runs: Mapping[str, Sequence[float]],
    ends: Mapping[str, Sequence[float]],
    wanted: Collection[str],
    kills: Sequence[float],
) -> Verdict:
    """`runs` and `ends` are the beginnings and ends by id, `kills` the times of SIGKILLs by the same clock."""
    verdict = Verdict([f"{key} never ran" for key in wanted if key not in runs])
    verdict.wrong += [f"{key} ran, and nobody asked for it" for key in runs if key not in wanted]
    for key, begun in runs.items():
        for before, again in itertools.pairwise(begun):
            verdict.repeated_runs += 1
            # A hook that was killed itself, or that never came to its end, was running until it began again.
            end = next((end for end in ends.get(key, ()) if before <= end <= again), again)
            if not any(before <= kill <= min(end + _UNKNOWN, again) for kill in kills):
                verdict.wrong.append(f"{key} ran again at {again} without a kill between {before} and {end}")
    # The runner runs one deployment at a time, so a kill interrupts one.
    if verdict.repeated_runs > len(kills):
        verdict.wrong.append(f"{verdict.repeated_runs} runs were repeated after {len(kills)} kills")
    return verdict


def judge_signals(signals: Mapping[str, Sequence[ledger.Exchange]], kills: Sequence[float], patience: float) -> Verdict:
    """`signals` are the attempts by path, `kills` the times of SIGKILLs by time.monotonic.

    `patience` is how many seconds the agent waits for an answer. It begins to wait before the relay has its request, on
    a busy machine long before: an answer that took half of that may have been too late.
    """
    verdict = Verdict([])
    for path, attempts in signals.items():
        last = attempts[-1]
        if not (last.accepted and last.hinted):
            verdict.wrong.append(f"{path} ended with {last}")
        for before, again in itertools.pairwise(attempts):
            verdict.repeated_signals += before.accepted
            killed = any(before.began <= kill <= again.began and kill - _ended(before) < _UNKNOWN for kill in kills)
            late = _ended(before) - before.began >= patience / 2
            if before.accepted and before.told and not killed and not late:
                verdict.wrong.append(f"{path} was sent again although the agent knew: {before}, then {again}")
    return verdict


def _ended(exchange: ledger.Exchange) -> float:
    return exchange.began if exchange.ended is None else exchange.ended
