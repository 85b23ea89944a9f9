"""The steps that only some containers ask for: drain, pre_stop_exec and migrate, with real Podman."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import heatlike
import nodes
import upgrades
from podmanbox import box

MOVED = "THE DATABASE MAY HAVE MOVED"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """What is /out in the containers."""
    path = tmp_path / "out"
    path.mkdir()
    return path


@pytest.fixture
def old(container_node: nodes.Node, heat: heatlike.HeatLike, podman: box.PodmanBox, out: Path) -> str:
    """The identity of `web`, a service:1 that runs."""
    upgrades.succeed(container_node, heat, "first", {"web": upgrades.storyteller(podman, "1", out)})
    return upgrades.identity(podman, "web")


def shell(script: str) -> list[str]:
    return ["sh", "-c", script]


def test_what_drains_runs_in_the_old_container_while_it_serves(
    container_node: nodes.Node, heat: heatlike.HeatLike, podman: box.PodmanBox, out: Path, old: str
) -> None:
    tell = "echo {} $(cat /etc/service-version) >> /out/story"
    upgrade = {"drain": [shell(tell.format("drained")), shell(tell.format("drained again"))]}
    config = upgrades.storyteller(podman, "2", out, upgrade=upgrade, pre_stop_exec=f"sh -c '{tell.format('pre-stop')}'")
    body = upgrades.succeed(container_node, heat, "two", {"web": config})
    assert upgrades.story(out) == [
        "started 1",
        "drained 1",
        "drained again 1",
        "pre-stop 1",
        "stopped 1",
        "started 2",
    ]
    assert body["containers"][0]["steps"][:4] == ["create", "prepare", "drain", "stop"]


def test_a_drain_that_says_later_is_asked_again(
    container_node: nodes.Node, heat: heatlike.HeatLike, podman: box.PodmanBox, out: Path, old: str
) -> None:
    drain = "echo asked >> /out/story; test -e /out/seen && exit 0; touch /out/seen; exit 75"
    config = upgrades.storyteller(podman, "2", out, upgrade={"drain": [shell(drain)]})
    upgrades.succeed(container_node, heat, "two", {"web": config})
    assert upgrades.story(out) == ["started 1", "asked", "asked", "stopped 1", "started 2"]


@pytest.mark.parametrize(
    ("drain", "reason", "asked"),
    [
        ("exit 75", "web was not drained in time: sh still says later", 2),
        ("echo three jobs left; exit 1", "web was not drained: sh ended with 1: three jobs left", 1),
        ("sleep 20", "did not end within", 1),
    ],
)
def test_without_a_drain_nothing_moves(
    container_node: nodes.Node,
    heat: heatlike.HeatLike,
    podman: box.PodmanBox,
    out: Path,
    old: str,
    drain: str,
    reason: str,
    asked: int,
) -> None:
    upgrade = {"drain": [shell(f"echo asked >> /out/story; {drain}")], "drain_within": 1}
    body = upgrades.apply(container_node, heat, "two", {"web": upgrades.storyteller(podman, "2", out, upgrade=upgrade)})
    assert body["deploy_status_code"] == 3
    assert reason in body["deploy_stderr"]
    assert "the old container was not touched" in body["deploy_stderr"]
    assert upgrades.identity(podman, "web") == old
    assert upgrades.names(podman) == ["web"]
    assert upgrades.story(out) == ["started 1", *["asked"] * asked]


def test_a_local_hook_drains_from_the_node(
    container_node: nodes.Node, heat: heatlike.HeatLike, podman: box.PodmanBox, out: Path, old: str
) -> None:
    hook = container_node.hook("drain-me", f'cat > {out}/stdin; echo "hook $1" >> {out}/story')
    upgrade = {"drain": [{"hook": [str(hook), "now"]}]}
    config = upgrades.storyteller(podman, "2", out, upgrade=upgrade)
    upgrades.succeed(container_node, heat, "two", {"web": config})
    assert json.loads((out / "stdin").read_text()) == {"container": "web"}
    assert upgrades.story(out) == ["started 1", "hook now", "stopped 1", "started 2"]


def test_a_local_hook_that_is_not_there_costs_nothing(
    container_node: nodes.Node, heat: heatlike.HeatLike, podman: box.PodmanBox, out: Path, old: str
) -> None:
    upgrade = {"drain": [{"hook": ["/nonexistent/drain-me"]}]}
    body = upgrades.apply(container_node, heat, "two", {"web": upgrades.storyteller(podman, "2", out, upgrade=upgrade)})
    assert "/nonexistent/drain-me" in body["deploy_stderr"]
    assert upgrades.identity(podman, "web") == old


def test_a_container_that_ends_by_being_drained_is_drained(
    container_node: nodes.Node, heat: heatlike.HeatLike, podman: box.PodmanBox, out: Path, old: str
) -> None:
    config = upgrades.storyteller(podman, "2", out, upgrade={"drain": [shell("kill 1; sleep 20")]})
    upgrades.succeed(container_node, heat, "two", {"web": config})
    assert upgrades.story(out) == ["started 1", "stopped 1", "started 2"]


def migrating(podman: box.PodmanBox, tag: str, out: Path, *scripts: str, **keys: Any) -> dict[str, Any]:
    upgrade = {"migrate": [shell(script) for script in scripts], **keys.pop("upgrade", {})}
    return {"web": upgrades.storyteller(podman, tag, out, upgrade=upgrade, environment={"DB": "nova"}, **keys)}


MIGRATE = "echo migrated $DB $(cat /etc/service-version) >> /out/story"


def test_a_migration_runs_from_the_new_image_between_stop_and_start(
    container_node: nodes.Node, heat: heatlike.HeatLike, podman: box.PodmanBox, out: Path, old: str
) -> None:
    config = migrating(podman, "2", out, MIGRATE, "echo online >> /out/story")
    body = upgrades.succeed(container_node, heat, "two", config, bootstrap=True)
    assert upgrades.story(out) == ["started 1", "stopped 1", "migrated nova 2", "online", "started 2"]
    steps = body["containers"][0]["steps"]
    assert steps.index("stop") < steps.index("migrate") < steps.index("start")
    assert upgrades.names(podman) == ["web"]


@pytest.mark.parametrize("inputs", [{}, {"bootstrap": "False"}])
def test_only_the_bootstrap_node_migrates(
    container_node: nodes.Node,
    heat: heatlike.HeatLike,
    podman: box.PodmanBox,
    out: Path,
    old: str,
    inputs: dict[str, object],
) -> None:
    upgrades.succeed(container_node, heat, "two", migrating(podman, "2", out, MIGRATE), **inputs)
    assert upgrades.story(out) == ["started 1", "stopped 1", "started 2"]


def test_a_migration_runs_once_for_each_identifier(
    container_node: nodes.Node, heat: heatlike.HeatLike, podman: box.PodmanBox, out: Path
) -> None:
    """And also before the first container of that name. Without the input it is of the image and the commands."""
    told = []
    deployments: list[tuple[str, dict[str, Any]]] = [
        ("1", {"migrate_identifier": "2025.1"}),
        ("2", {"migrate_identifier": "2025.1"}),
        ("1", {}),
        ("1", {}),
    ]
    for number, (tag, inputs) in enumerate(deployments):
        config = migrating(podman, tag, out, MIGRATE, user="root" if number == 3 else None)
        body = upgrades.succeed(container_node, heat, f"d{number}", config, bootstrap="true", **inputs)
        assert body["changed"] is True
        told.append(upgrades.story(out).count("migrated nova 1"))
    assert told == [1, 1, 2, 2]
    assert "migrated nova 2" not in upgrades.story(out)


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (
            "echo table nova.cells is locked; exit 4",
            "the migration 'sh' ended with 4; its last words: table nova.cells",
        ),
        ("sleep 20", "the migration 'sh' did not end within 1 s"),
    ],
)
def test_a_failed_migration_puts_the_old_container_back_and_says_what_may_have_happened(
    container_node: nodes.Node,
    heat: heatlike.HeatLike,
    podman: box.PodmanBox,
    out: Path,
    old: str,
    script: str,
    reason: str,
) -> None:
    config = migrating(podman, "2", out, script, upgrade={"migrate_within": 1}, stop_grace_period=1)
    body = upgrades.apply(container_node, heat, "two", config, bootstrap=True)
    assert body["deploy_status_code"] == 3, body["deploy_stderr"]
    assert reason in body["deploy_stderr"]
    assert MOVED in body["deploy_stderr"]
    assert "the old container is back and running" in body["deploy_stderr"]
    assert upgrades.identity(podman, "web").split()[0] == old.split()[0]
    assert upgrades.names(podman) == ["web"]
    assert upgrades.story(out) == ["started 1", "stopped 1", "started 1"]
    good = upgrades.succeed(container_node, heat, "three", migrating(podman, "2", out, MIGRATE), bootstrap=True)
    assert upgrades.results(good) == {"web": "upgraded"}
    assert upgrades.story(out)[-3:] == ["stopped 1", "migrated nova 2", "started 2"]


def test_a_gate_that_fails_after_a_migration_says_so_too(
    container_node: nodes.Node, heat: heatlike.HeatLike, podman: box.PodmanBox, out: Path, old: str
) -> None:
    config = migrating(podman, "2", out, MIGRATE, healthcheck={"test": "exit 1"})
    body = upgrades.apply(container_node, heat, "two", config, bootstrap=True, migrate_identifier="2025.1")
    assert "did not become healthy" in body["deploy_stderr"]
    assert MOVED in body["deploy_stderr"]
    assert upgrades.story(out)[-3:] == ["started 2", "stopped 2", "started 1"]
    body = upgrades.apply(
        container_node, heat, "three", migrating(podman, "2", out, MIGRATE), bootstrap=True, migrate_identifier="2025.1"
    )
    assert upgrades.results(body) == {"web": "upgraded"}
    assert upgrades.story(out).count("migrated nova 2") == 1, "what was migrated is not migrated again"
