"""Upgrades through the agent, with real Podman: order, gates, ways back."""

from __future__ import annotations

import json
from typing import Any

import heatlike
import nodes
from podmanbox import box

QUICK = {"gate": {"stable_for": 0.5, "healthy_within": 2}}


def container(podman: box.PodmanBox, tag: str, **keys: Any) -> dict[str, Any]:
    return {"image": f"{podman.registry}/service:{tag}", "net": "host", "upgrade": QUICK, **keys}


def upgrade(node: nodes.Node, heat: heatlike.HeatLike, key: str, config: dict[str, Any]) -> dict[str, Any]:
    heat.serve(heat.deployment(key, "container-upgrade", config))
    node.run("apply")
    return dict(heat.signal(key))


def identity(podman: box.PodmanBox, name: str) -> str:
    return podman.podman("inspect", name, "--format", "{{.Id}} {{.State.StartedAt}}")


def names(podman: box.PodmanBox) -> list[str]:
    return sorted(podman.podman("ps", "--all", "--format", "{{.Names}}").split())


def test_only_what_changed_is_replaced(
    container_node: nodes.Node, heat: heatlike.HeatLike, podman: box.PodmanBox
) -> None:
    config = {"a": container(podman, "1"), "b": container(podman, "1")}
    upgrade(container_node, heat, "one", config)
    before = identity(podman, "a")
    body = upgrade(container_node, heat, "two", {**config, "b": container(podman, "2")})
    assert [report["result"] for report in body["containers"]] == ["unchanged", "upgraded"]
    assert identity(podman, "a") == before
    assert names(podman) == ["a", "b"]


def test_a_moved_tag_is_noticed(container_node: nodes.Node, heat: heatlike.HeatLike, podman: box.PodmanBox) -> None:
    for version in ("1", "2"):
        podman.podman("pull", "--quiet", f"{podman.registry}/service:{version}")
        podman.podman("push", "--quiet", f"{podman.registry}/service:{version}", f"{podman.registry}/moving:latest")
        config = {"web": {**container(podman, "1"), "image": f"{podman.registry}/moving:latest"}}
        body = upgrade(container_node, heat, f"v{version}", config)
        assert body["changed"] is True
    again = upgrade(container_node, heat, "again", config)
    assert again["changed"] is False


def test_an_image_s_own_healthcheck_counts(
    container_node: nodes.Node, heat: heatlike.HeatLike, podman: box.PodmanBox
) -> None:
    upgrade(container_node, heat, "one", {"web": container(podman, "1")})
    before = identity(podman, "web").split()[0]
    body = upgrade(container_node, heat, "two", {"web": container(podman, "checked")})
    assert body["deploy_status_code"] == 3
    assert "web did not become healthy in time; its last check said: no database" in body["deploy_stderr"]
    assert "serving checked" in body["deploy_stderr"], "the failed container's log"
    assert identity(podman, "web").split()[0] == before
    assert names(podman) == ["web"]


def test_the_first_failure_stops_the_line(
    container_node: nodes.Node, heat: heatlike.HeatLike, podman: box.PodmanBox
) -> None:
    config = {
        "a": container(podman, "1", start_order=1),
        "b": container(podman, "broken", start_order=2),
        "c": container(podman, "1", start_order=3),
    }
    body = upgrade(container_node, heat, "one", config)
    assert body["deploy_status_code"] == 1
    assert body["deploy_stdout"].splitlines() == ["a: created", "b: failed", "c: not touched"]
    assert names(podman) == ["a"], "what failed without a predecessor is taken away"


def test_a_missing_image_is_found_before_anything_moves(
    container_node: nodes.Node, heat: heatlike.HeatLike, podman: box.PodmanBox
) -> None:
    upgrade(container_node, heat, "one", {"a": container(podman, "1")})
    before = identity(podman, "a")
    config = {"a": container(podman, "2"), "b": container(podman, "nothing", start_order=1)}
    body = upgrade(container_node, heat, "two", config)
    assert "cannot pull" in body["deploy_stderr"]
    assert identity(podman, "a") == before


def test_rollback_never_leaves_what_failed_and_the_next_upgrade_mends_it(
    container_node: nodes.Node, heat: heatlike.HeatLike, podman: box.PodmanBox
) -> None:
    upgrade(container_node, heat, "one", {"web": container(podman, "1")})
    never = {**QUICK, "rollback": "never"}
    body = upgrade(container_node, heat, "two", {"web": container(podman, "broken", upgrade=never)})
    assert body["deploy_status_code"] == 1
    assert "left as it is" in body["deploy_stderr"]
    assert names(podman) == ["web", "web.old"]
    body = upgrade(container_node, heat, "three", {"web": container(podman, "2")})
    assert body["deploy_status_code"] == 0
    assert names(podman) == ["web"]
    assert json.loads(podman.podman("inspect", "web"))[0]["State"]["Running"] is True


def test_a_container_that_another_tool_made_is_the_way_back(
    container_node: nodes.Node, heat: heatlike.HeatLike, podman: box.PodmanBox
) -> None:
    podman.podman("run", "--detach", "--name", "web", "--net", "host", f"{podman.registry}/service:1")
    before = identity(podman, "web").split()[0]
    body = upgrade(container_node, heat, "one", {"web": container(podman, "broken")})
    assert body["containers"][0]["result"] == "rolled back"
    assert body["containers"][0]["old_digest"].startswith("sha256:")
    assert identity(podman, "web").split()[0] == before
