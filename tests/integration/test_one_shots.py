"""What runs to its end: `detach: false`, `action: exec`, and the step dictionaries of TripleO, with real Podman."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import heatlike
import nodes
import upgrades
from podmanbox import box


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """What is /out in the containers."""
    path = tmp_path / "out"
    path.mkdir()
    return path


def test_a_one_shot_runs_when_it_is_new_and_when_it_changed(
    container_node: nodes.Node, heat: heatlike.HeatLike, podman: box.PodmanBox, out: Path
) -> None:
    script = "echo ran $WORD >> /out/story"
    config = {"init": upgrades.one_shot(podman, script, out, environment={"WORD": "a"})}
    body = upgrades.succeed(container_node, heat, "one", config)
    assert upgrades.results(body) == {"init": "ran"}
    assert body["changed"] is True
    before = upgrades.identity(podman, "init")
    body = upgrades.succeed(container_node, heat, "two", config)
    assert upgrades.results(body) == {"init": "unchanged"}
    assert body["changed"] is False
    assert upgrades.identity(podman, "init") == before
    config["init"]["environment"]["WORD"] = "b"
    body = upgrades.succeed(container_node, heat, "three", config)
    assert upgrades.results(body) == {"init": "ran"}
    assert upgrades.story(out) == ["ran a", "ran b"]
    assert upgrades.names(podman) == ["init"]


def test_how_a_one_shot_ends_is_judged(
    container_node: nodes.Node, heat: heatlike.HeatLike, podman: box.PodmanBox, out: Path
) -> None:
    say = "for i in $(seq 60); do echo line $i; done; exit 3"
    good = {"init": upgrades.one_shot(podman, say, out, exit_codes=[0, 3])}
    assert upgrades.results(upgrades.succeed(container_node, heat, "one", good)) == {"init": "ran"}
    before = upgrades.identity(podman, "init").split()[0]
    bad = {
        "init": upgrades.one_shot(podman, f": changed; {say}", out, start_order=1),
        "web": upgrades.service(podman, "1", start_order=2),
    }
    body = upgrades.apply(container_node, heat, "two", bad)
    assert body["deploy_status_code"] == 3
    assert "init ended with status 3 instead of 0" in body["deploy_stderr"]
    assert "the container of the last run is back" in body["deploy_stderr"]
    lines = body["deploy_stderr"].splitlines()
    assert [line for line in lines if line.startswith("line ")] == [f"line {number}" for number in range(11, 61)]
    assert body["deploy_stdout"].splitlines() == ["init: rolled back", "web: not touched"]
    assert upgrades.names(podman) == ["init"]
    assert upgrades.identity(podman, "init").split()[0] == before


def test_a_first_one_shot_that_fails_leaves_nothing_and_runs_again_next_time(
    container_node: nodes.Node, heat: heatlike.HeatLike, podman: box.PodmanBox, out: Path
) -> None:
    config = {"init": upgrades.one_shot(podman, "echo ran >> /out/story; test -e /out/ready", out)}
    body = upgrades.apply(container_node, heat, "one", config)
    assert body["deploy_status_code"] == 1
    assert "init ended with status 1 instead of 0" in body["deploy_stderr"]
    assert upgrades.names(podman) == []
    (out / "ready").touch()
    assert upgrades.results(upgrades.succeed(container_node, heat, "two", config)) == {"init": "ran"}
    assert upgrades.story(out) == ["ran", "ran"]


def test_a_one_shot_that_does_not_end_is_ended(
    container_node: nodes.Node, heat: heatlike.HeatLike, podman: box.PodmanBox, out: Path
) -> None:
    slow = upgrades.one_shot(podman, "sleep 60", out, upgrade={"gate": {"exits_within": 1}}, stop_grace_period=1)
    body = upgrades.apply(container_node, heat, "one", {"init": slow})
    assert "init did not end within 1 seconds" in body["deploy_stderr"]
    assert upgrades.names(podman) == []


def test_a_one_shot_can_be_removed_when_it_has_ended_well(
    container_node: nodes.Node, heat: heatlike.HeatLike, podman: box.PodmanBox, out: Path
) -> None:
    config = {
        "init": upgrades.one_shot(podman, "echo ran >> /out/story", out, remove=True, start_order=1),
        "web": upgrades.service(podman, "1", start_order=2),
    }
    body = upgrades.succeed(container_node, heat, "one", config)
    assert upgrades.results(body) == {"init": "ran", "web": "created"}
    assert upgrades.names(podman) == ["web"]
    assert upgrades.story(out) == ["ran"]
    config["init"] = upgrades.one_shot(podman, "echo no room; exit 9", out, remove=True, start_order=1)
    body = upgrades.apply(container_node, heat, "two", config)
    assert "init ended with status 9" in body["deploy_stderr"]
    assert "no room" in body["deploy_stderr"]
    assert upgrades.names(podman) == ["web"]


def test_an_exec_runs_in_the_container_that_it_names(
    container_node: nodes.Node, heat: heatlike.HeatLike, podman: box.PodmanBox, out: Path
) -> None:
    config = {
        "web": upgrades.storyteller(podman, "2", out, start_order=1),
        "ask": upgrades.execution(
            "web",
            "echo asked by $(id -u) for $WORD in $(cat /etc/service-version) >> /out/story; exit 5",
            start_order=2,
            user="0",
            environment={"WORD": "all"},
            exit_codes=[0, 5],
        ),
    }
    body = upgrades.succeed(container_node, heat, "one", config)
    assert upgrades.results(body) == {"web": "created", "ask": "ran"}
    assert upgrades.story(out) == ["started 2", "asked by 0 for all in 2"]
    body = upgrades.succeed(container_node, heat, "two", config)
    assert upgrades.results(body) == {"web": "unchanged", "ask": "ran"}, "once for each deployment"


def test_an_exec_that_fails_stops_the_line(
    container_node: nodes.Node, heat: heatlike.HeatLike, podman: box.PodmanBox
) -> None:
    config = {
        "web": upgrades.service(podman, "1", start_order=1),
        "ask": upgrades.execution("web", "echo no such database >&2; exit 6", start_order=2),
        "late": upgrades.service(podman, "1", start_order=3),
    }
    body = upgrades.apply(container_node, heat, "one", config)
    assert body["deploy_status_code"] == 1
    assert "ask ended with status 6 in web" in body["deploy_stderr"]
    assert "no such database" in body["deploy_stderr"]
    assert body["deploy_stdout"].splitlines() == ["web: created", "ask: failed", "late: not touched"]
    assert upgrades.names(podman) == ["web"]


def test_an_exec_in_what_is_not_there_says_so(
    container_node: nodes.Node, heat: heatlike.HeatLike, podman: box.PodmanBox
) -> None:
    body = upgrades.apply(container_node, heat, "one", {"ask": upgrades.execution("nobody", "true")})
    assert body["deploy_status_code"] == 1
    assert "nobody" in body["deploy_stderr"]


@pytest.mark.parametrize("text", [False, True], ids=["object", "text"])
def test_step_dictionaries_work_as_they_are(
    container_node: nodes.Node, heat: heatlike.HeatLike, podman: box.PodmanBox, out: Path, text: bool
) -> None:
    """As in TripleO's templates: `docker_config`, numbers as text, null for an empty step."""

    def writes(script: str, **keys: Any) -> dict[str, Any]:
        return {
            "image": f"{podman.registry}/service:1",
            "net": "host",
            "detach": False,
            "user": "root",
            "command": ["sh", "-c", script],
            "volumes": [f"{out}:/out"],
            **keys,
        }

    gate = {"gate": upgrades.QUICK}
    tell = "trap 'exit 0' TERM; echo {} >> /out/story; while :; do sleep 0.1; done"
    steps: dict[str, Any] = {
        "step_2": None,
        "step_3": {
            "b_sync": writes("echo sync >> /out/story", start_order=0, privileged="false"),
            "a_api": writes(tell.format("api"), start_order="2", detach=True, restart="always", upgrade=gate),
        },
        "step_1": {"z_mysql": writes(tell.format("mysql"), detach=True, upgrade=gate)},
        "step_4": {"a_ping": {"action": "exec", "command": ["z_mysql", "sh", "-c", "echo ping >> /out/story"]}},
    }
    config = {"docker_config": steps}
    body = upgrades.succeed(container_node, heat, "one", json.dumps(config) if text else config)
    assert upgrades.results(body) == {"z_mysql": "created", "b_sync": "ran", "a_api": "created", "a_ping": "ran"}
    assert upgrades.story(out) == ["mysql", "sync", "api", "ping"]
    found = {name: upgrades.labels(podman, name)["config_id"] for name in upgrades.names(podman)}
    assert found == {"z_mysql": "tripleo_step1", "b_sync": "tripleo_step3", "a_api": "tripleo_step3"}
