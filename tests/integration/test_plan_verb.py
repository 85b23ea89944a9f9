"""`overcloud-agent plan` and the input `mode: plan`: what would happen, told before anything moves."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

import heatlike
import nodes
from podmanbox import box

QUICK = {"gate": {"stable_for": 0.3}}


def container(podman: box.PodmanBox, tag: str, **keys: Any) -> dict[str, Any]:
    return {"image": f"{podman.registry}/service:{tag}", "net": "host", "upgrade": QUICK, **keys}


def upgrade(node: nodes.Node, heat: heatlike.HeatLike, key: str, config: dict[str, Any]) -> dict[str, Any]:
    heat.serve(heat.deployment(key, "container-upgrade", config))
    node.run("apply")
    return dict(heat.signal(key))


class Planned:
    """Runs `plan` on a config."""

    def __init__(self, node: nodes.Node, directory: Path) -> None:
        self._node = node
        self._file = directory / "config.json"

    def run(self, config: object, *options: str) -> subprocess.CompletedProcess[str]:
        self._file.write_text(json.dumps(config))
        return self._node.run("plan", *options, str(self._file))

    def document(self, config: object) -> dict[str, Any]:
        done = self.run(config, "--json")
        assert done.returncode == 0, done.stderr
        return dict(json.loads(done.stdout))

    def entry(self, config: object, name: str = "web") -> dict[str, Any]:
        return next(dict(one) for one in self.document(config)["containers"] if one["name"] == name)


@pytest.fixture
def planned(container_node: nodes.Node, podman: box.PodmanBox, tmp_path: Path) -> Planned:
    # A node has its registries configured in /etc, for Podman and skopeo alike.
    container_node.env["CONTAINERS_REGISTRIES_CONF"] = podman.env["CONTAINERS_REGISTRIES_CONF"]
    return Planned(container_node, tmp_path)


def everything(podman: box.PodmanBox) -> str:
    names = podman.podman("ps", "--all", "--quiet").split()
    facts = podman.podman("inspect", *names, "--format", "{{.Id}} {{.Name}} {{.State.StartedAt}}") if names else ""
    return facts + podman.podman("images", "--all", "--quiet", "--digests")


def test_a_plan_for_an_empty_node(planned: Planned, podman: box.PodmanBox) -> None:
    podman.podman("image", "prune", "--all", "--force")
    before = everything(podman)
    entry = planned.entry({"web": container(podman, "1")})
    assert entry["action"] == "create"
    assert entry["new_digest"].startswith("sha256:")
    assert entry["bytes_to_pull"] > 100_000
    assert entry["steps"] == ["create", "swap", "start", "gate"]
    assert everything(podman) == before, "nothing moved, and nothing was pulled"


def test_what_would_change_and_what_not(
    planned: Planned, container_node: nodes.Node, heat: heatlike.HeatLike, podman: box.PodmanBox
) -> None:
    config = {
        "web": container(podman, "1", environment={"DB_PASSWORD": "before-it", "MODE": "a"}),
        "db": container(podman, "1"),
    }
    upgrade(container_node, heat, "one", config)
    before = everything(podman)
    assert planned.run(config, "--exit-code").returncode == 0
    assert planned.entry(config, "db")["action"] == "keep"
    config["web"] = container(podman, "2", environment={"DB_PASSWORD": "after-it", "MODE": "b"})
    done = planned.run(config, "--exit-code")
    assert done.returncode == 10
    for secret in ("before-it", "after-it"):
        assert secret not in done.stdout + done.stderr
    entry = planned.entry(config)
    assert entry["action"] == "replace"
    assert {one["key"] for one in entry["differences"]} == {"image", "environment.DB_PASSWORD", "environment.MODE"}
    assert entry["old_digest"] != entry["new_digest"]
    steps = ["create", "prepare", "stop", "set aside", "swap", "start", "gate", "commit", "retire"]
    assert entry["steps"] == steps
    assert everything(podman) == before
    body = upgrade(container_node, heat, "two", config)
    told = next(one for one in body["containers"] if one["name"] == "web")
    assert told["new_digest"] == entry["new_digest"], "what was planned was done"
    assert told["steps"] == steps


def test_the_downtime_to_expect_comes_from_this_node_s_history(
    planned: Planned, container_node: nodes.Node, heat: heatlike.HeatLike, podman: box.PodmanBox
) -> None:
    for number, tag in enumerate("121"):
        upgrade(container_node, heat, f"d{number}", {"web": container(podman, tag)})
    entry = planned.entry({"web": container(podman, "2")})
    assert entry["expected_downtime_from"] == "this container"
    assert entry["expected_downtime_count"] == 2
    assert 0 < entry["expected_downtime"] < 30


def test_a_deployment_that_asks_for_a_plan_gets_it(
    container_node: nodes.Node, heat: heatlike.HeatLike, podman: box.PodmanBox
) -> None:
    upgrade(container_node, heat, "one", {"web": container(podman, "1")})
    before = everything(podman)
    asked = heat.deployment("two", "container-upgrade", {"web": container(podman, "2")})
    asked["inputs"].append({"name": "mode", "type": "String", "value": "plan"})
    heat.serve(asked)
    container_node.run("apply")
    body = heat.signal("two")
    assert body["deploy_status_code"] == 0, body
    assert body["changed"] is False
    (entry,) = body["plan"]["containers"]
    assert entry["action"] == "replace"
    assert "replace" in body["deploy_stdout"]
    assert everything(podman) == before


def test_a_config_that_is_wrong_has_no_plan(planned: Planned, podman: box.PodmanBox) -> None:
    done = planned.run({"web": container(podman, "1", enviroment={})})
    assert done.returncode == 2
    assert "$.config.web.enviroment is not a known key (nearest: environment)" in done.stderr


def test_another_tool_s_container_that_is_the_same_is_adopted(planned: Planned, podman: box.PodmanBox) -> None:
    config = {"image": f"{podman.registry}/service:1", "net": "host", "environment": {"A": "1"}}
    podman.podman(
        "run", "--detach", "--name", "web", "--net", "host", "--env", "A=1",
        "--label", "config_id=tripleo_step3", "--label", "container_name=web", "--label", "managed_by=paunch",
        "--label", f"config_data={json.dumps(config)}", f"{podman.registry}/service:1",
    )  # fmt: skip
    assert planned.entry({"web": {**config, "upgrade": QUICK}})["action"] == "adopt"
    changed = planned.entry({"web": {**config, "environment": {"A": "2"}}})
    assert changed["action"] == "replace"
    assert [one["key"] for one in changed["differences"]] == ["environment.A"]
