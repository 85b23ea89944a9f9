"""`make crash N=200`: kill the agent at every fail point, and N times at random moments; print what came of it."""

from __future__ import annotations

import argparse
import collections
import itertools
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import heatlike
import images
import places
from crash import scene, trials
from podmanbox import box

_COLUMNS = "{:<33} {:>5} {:>6} {:>9} {:>9} {:>8} {:>11}"


def main() -> int:
    """Exit code 0 when nothing was violated."""
    parser = argparse.ArgumentParser(prog="crash", description=__doc__)
    parser.add_argument("--random", type=int, default=200, metavar="N", help="upgrades killed at random moments")
    parser.add_argument("--seed", type=int, default=4, help="of the random moments")
    parser.add_argument("--only", default="", metavar="TEXT", help="only fail points whose names have TEXT")
    asked = parser.parse_args()
    podman = box.PodmanBox(places.SCRATCH / "podman")
    podman.up()
    try:
        images.build_service(podman, "service:1", "1")
        images.build_service(podman, "service:2", "2")
        images.build_broken(podman, "service:broken")
        with tempfile.TemporaryDirectory(dir=places.SCRATCH) as directory, heatlike.HeatLike() as heat:
            stage = scene.made(Path(directory) / "node", heat, podman)
            return _report(_all(stage, asked.random, asked.seed, asked.only))
    finally:
        podman.down()


def _all(stage: scene.Scene, count: int, seed: int, only: str) -> Iterator[trials.Trial]:
    stage.podman.remove_containers()
    stage.settle()
    for point in (name for name in trials.FORWARD if only in name):
        yield trials.at(stage, point)
    for point in (name for name in trials.LEFTOVERS if only in name):
        yield trials.after_another(stage, point)
    for point in (name for name in trials.MIGRATION_FAILED if only in name):
        yield trials.at(stage, point, kind=scene.MIGRATION_FAILS)
    for point in (name for name in trials.GATE_FAILED if only in name):
        yield trials.at(stage, point, kind=scene.GATE_FAILS)
    stage.settle(scene.JOB)
    for point in (name for name in trials.JOBS if only in name):
        yield trials.at(stage, point, container=scene.JOB)
    stage.settle()
    yield from _at_random(stage, count, seed)


def _at_random(stage: scene.Scene, count: int, seed: int) -> Iterator[trials.Trial]:
    dice = random.Random(seed)  # noqa: S311  the same moments in every run
    typical = _typical(stage) if count else 0.0
    for kind in itertools.islice(itertools.cycle(scene.KINDS), count):
        yield trials.at_random(stage, kind, dice, within=typical)


def _typical(stage: scene.Scene) -> float:
    """Seconds that an upgrade takes from the agent's start to the signal."""
    begun = time.monotonic()
    asked = stage.ask()
    stage.heat.serve(asked.document)
    stage.end(asked)
    return time.monotonic() - begun


def _report(found: Iterator[trials.Trial]) -> int:
    """Print each row as it is complete."""
    violated = 0
    print(_COLUMNS.format("fail point", "cases", "kills", "old kept", "new runs", "results", "violations"))
    for point, group in itertools.groupby(found, key=lambda trial: trial.point):
        rows = list(group)
        violated += _show(point, rows)
        kinds = collections.Counter(trial.kind for trial in rows)
        for kind in kinds if len(kinds) > 1 else ():
            _show(f"  {kind}", [trial for trial in rows if trial.kind == kind])
    print(f"violations: {violated}")
    return 1 if violated else 0


def _show(name: str, rows: list[trials.Trial]) -> int:
    violated = sum(bool(trial.violations) for trial in rows)
    old = sum(trial.result == "rolled back" for trial in rows)
    new = sum(trial.new for trial in rows)
    kills, signals = (sum(getattr(trial, key) for trial in rows) for key in ("kills", "signals"))
    print(_COLUMNS.format(name, len(rows), kills, old, new, signals, violated), flush=True)
    for trial in rows:
        for words in trial.violations:
            print(f"  {trial.kind}: {words}", file=sys.stderr, flush=True)
    return violated


if __name__ == "__main__":
    sys.exit(main())
