"""Container upgrades whose agent is killed: at every fail point, and at random moments."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

import heatlike
from crash import scene, trials
from podmanbox import box

SEED = 4


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory, podman: box.PodmanBox) -> Iterator[scene.Scene]:
    """One node for all: what a crash leaves behind, the next upgrade would stumble over."""
    podman.remove_containers()
    with heatlike.HeatLike() as heat:
        made = scene.made(tmp_path_factory.mktemp("node"), heat, podman)
        yield made
        made.node.close()
    podman.remove_containers()


@pytest.fixture
def served(stage: scene.Scene) -> scene.Scene:
    """The same, with a service that runs."""
    stage.node.close()
    if stage.containers() != [scene.SERVICE]:
        stage.settle()
    return stage


# Each upgrade dies at several points, one after the other; `make crash` has one upgrade for each point.


@pytest.mark.parametrize("points", trials.hands(trials.FORWARD, 5), ids=" ".join)
def test_an_upgrade_ends_well(served: scene.Scene, points: tuple[str, ...]) -> None:
    assert trials.at(served, *points).violations == []


@pytest.mark.parametrize("points", trials.hands(trials.GATE_FAILED, 3), ids=" ".join)
def test_an_upgrade_that_fails_its_gate_ends_with_the_old_container(
    served: scene.Scene, points: tuple[str, ...]
) -> None:
    assert trials.at(served, *points, kind=scene.GATE_FAILS).violations == []


@pytest.mark.parametrize(
    ("kind", "points"),
    [
        (scene.MIGRATION_FAILS, ("migration.started", *trials.MIGRATION_FAILED, "upgrade.ended")),
        (scene.MIGRATION_FAILS, ("rollback.start.done", "rollback.recorded", "signal.sent")),
        (scene.BROKEN, ("upgrade.stop.done", "upgrade.swap.done", "upgrade.start.done", "rollback.mark.done")),
    ],
)
def test_an_upgrade_that_fails_ends_with_the_old_container(
    served: scene.Scene, kind: str, points: tuple[str, ...]
) -> None:
    assert trials.at(served, *points, kind=kind).violations == []


@pytest.mark.parametrize("point", trials.LEFTOVERS)
def test_what_another_deployment_left_is_cleared_away(served: scene.Scene, point: str) -> None:
    assert trials.after_another(served, point).violations == []


def test_wherever_it_is_killed_at_random_one_of_the_two_serves(served: scene.Scene) -> None:
    dice = random.Random(SEED)  # noqa: S311  the same moments in every run
    for number in range(15):
        trial = trials.at_random(served, scene.KINDS[number % len(scene.KINDS)], dice, within=3.0)
        assert trial.violations == [], (number, trial)


@pytest.mark.parametrize("points", trials.hands(trials.JOBS, 4), ids=" ".join)
def test_a_one_shot_runs_once(stage: scene.Scene, points: tuple[str, ...]) -> None:
    stage.node.close()
    if stage.containers() != [scene.JOB]:
        stage.settle(scene.JOB)
    assert trials.at(stage, *points, container=scene.JOB).violations == []


def test_a_one_shot_that_is_removed_runs_once(stage: scene.Scene) -> None:
    stage.node.close()
    stage.settle(scene.JOB)
    points = ("upgrade.swap.done", "upgrade.start.done", "upgrade.gate.done", "upgrade.ended", "journal.finished")
    assert trials.at(stage, *points, container=scene.JOB, removed=True).violations == []


def test_the_executable_goes_on_where_it_died(served: scene.Scene) -> None:
    """The agent's journal has its steps until it has answered, though the agent has never heard of the deployment."""
    for kind, points in {
        scene.GOOD: ("upgrade.drain.done", "migration.started", "upgrade.set-aside.done", "upgrade.gate.done"),
        scene.GATE_FAILS: ("upgrade.stop.done", "rollback.mark.done", "rollback.put-back.begun", "rollback.recorded"),
    }.items():
        assert trials.by_hook(served, *points, kind=kind).violations == []
