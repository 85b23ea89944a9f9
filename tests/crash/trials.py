"""One crash each: a deployment whose agent is killed somewhere, started again, and judged."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterable
from typing import Any

from crash import judge, scene
from overcloud_agent import failpoints

# Only a hook that is an executable has an end that the agent can miss, and only a journal of before is migrated.
_NOT_OF_CONTAINERS = ("hook.ended", "journal.migrated")

# These need what another deployment left behind.
LEFTOVERS = {
    "upgrade.clear.begun": "rollback.stop-failed.done",
    "upgrade.clear.done": "rollback.mark.done",
    "upgrade.discard.begun": "upgrade.start.done",
    "upgrade.discard.done": "upgrade.swap.done",
}
"""The fail point, and the one at which the other deployment died to leave it."""


_OF_OTHERS = ("rollback.", "package.")


def _forward() -> list[str]:
    """In the order in which an upgrade reaches them."""
    left_out = (*_NOT_OF_CONTAINERS, *LEFTOVERS)
    names = [name for name in failpoints.NAMES if not name.startswith(_OF_OTHERS) and name not in left_out]
    within = [name for name in names if name.startswith("migration.")]
    found = [name for name in names if name not in within]
    begun = found.index("upgrade.migrate.begun") + 1
    return [*found[:begun], *within, *found[begun:]]


FORWARD = _forward()
MIGRATION_FAILED = [name for name in failpoints.NAMES if name.startswith("rollback.drop.")]
GATE_FAILED = [name for name in failpoints.NAMES if name.startswith("rollback.") and name not in MIGRATION_FAILED]
# A one-shot that has ended need not be stopped, and is neither prepared, drained nor migrated.
_NOT_OF_JOBS = ("prepare", "drain", "stop", "migrate")
JOBS = [name for name in FORWARD if name.startswith("upgrade.") and name.split(".")[1] not in _NOT_OF_JOBS]


def hands(points: Iterable[str], count: int) -> list[tuple[str, ...]]:
    """The points dealt out to so many upgrades, neighbours to different ones, each in the order of reaching them."""
    dealt = list(points)
    return [tuple(dealt[first::count]) for first in range(count)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trial:
    """What came of one crash; `result` as in the output `containers`."""

    point: str
    kind: str
    kills: int
    signals: int
    result: str
    violations: list[str]

    @property
    def new(self) -> bool:
        return self.result in ("upgraded", "ran")


def at(
    stage: scene.Scene, *points: str, kind: str = scene.GOOD, container: str = scene.SERVICE, removed: bool = False
) -> Trial:
    """Kill the agent at a fail point of a deployment of that kind, its successor at the next point, and so on."""
    asked = stage.ask(kind, container=container, removed=removed)
    stage.clear_traces()
    stage.heat.serve(asked.document)
    for point in points:
        stage.die_at(point)
    bodies = stage.end(asked)
    shown = points[0] if container == scene.SERVICE else f"{points[0]} (one-shot)"
    return _judged(stage, asked, shown, bodies, kills=len(points), repeats=points.count("signal.sent"))


def after_another(stage: scene.Scene, point: str) -> Trial:
    """The same where another deployment died before, which nobody resumes: a hook that 55-heat-config had started."""
    left = LEFTOVERS[point]
    failed = stage.ask(scene.GATE_FAILS if left.startswith("rollback.") else scene.GOOD)
    stage.hook(failed, die_at=left)
    # What that one left has not passed its gate: it is not drained, and it is nothing to go back to.
    asked = dataclasses.replace(stage.ask(), serves=False)
    stage.clear_traces()
    stage.heat.serve(asked.document)
    stage.die_at(point)
    bodies = stage.end(asked)
    return _judged(stage, asked, point, bodies, kills=1)


def by_hook(stage: scene.Scene, *points: str, kind: str = scene.GOOD) -> Trial:
    """The same with the hook executable alone, which is started again with the same deployment."""
    asked = stage.ask(kind)
    stage.clear_traces()
    for point in points:
        stage.hook(asked, die_at=point)
    return _judged(stage, asked, points[0], [stage.hook(asked)], kills=len(points))


def at_random(stage: scene.Scene, kind: str, dice: random.Random, within: float) -> Trial:
    """Kill the agent at a random moment of the next `within` seconds, and sometimes its successor, too."""
    asked = stage.ask(kind)
    stage.clear_traces()
    stage.heat.serve(asked.document)
    kills = dice.choice((1, 1, 2, 3))
    for _ in range(kills):
        stage.die_within(dice.uniform(0, within))
    bodies = stage.end(asked)
    # Whether one of the moments was that between Heat's answer and the journal nobody knows.
    return _judged(stage, asked, "random moment", bodies, kills=kills, repeats=kills)


def _judged(
    stage: scene.Scene, asked: scene.Asked, point: str, bodies: list[Any], *, kills: int, repeats: int = 0
) -> Trial:
    return Trial(
        point=point,
        kind=asked.kind,
        kills=kills,
        signals=len(bodies),
        result=bodies[0]["containers"][0]["result"] if bodies and bodies[0].get("containers") else "none",
        violations=judge.violations(stage, asked, bodies, kills=kills, repeats=repeats),
    )
