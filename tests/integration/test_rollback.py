"""`overcloud-agent rollback`: back to the container that was kept, by hand."""

from __future__ import annotations

import fcntl
import json
import os
from typing import Any

import heatlike
import nodes
from podmanbox import box

KEEP = {"gate": {"stable_for": 0.3, "healthy_within": 1}, "keep": 1}


def upgrade(node: nodes.Node, heat: heatlike.HeatLike, podman: box.PodmanBox, tag: str, **keys: Any) -> dict[str, Any]:
    web = {"image": f"{podman.registry}/service:{tag}", "net": "host", "upgrade": KEEP, **keys}
    heat.serve(heat.deployment(f"to-{tag}", "container-upgrade", {"web": web}))
    node.run("apply")
    body = dict(heat.signal(f"to-{tag}"))
    assert body["deploy_status_code"] == 0, body
    return body


def identity(podman: box.PodmanBox) -> str:
    return podman.podman("inspect", "web", "--format", "{{.Id}}").strip()


def names(podman: box.PodmanBox) -> dict[str, str]:
    rows = podman.podman("ps", "--all", "--format", "{{.Names}} {{.State}}").splitlines()
    return {row.split()[0]: row.split()[1] for row in rows}


def test_there_and_back(container_node: nodes.Node, heat: heatlike.HeatLike, podman: box.PodmanBox) -> None:
    upgrade(container_node, heat, podman, "1")
    first = identity(podman)
    upgrade(container_node, heat, podman, "2")
    second = identity(podman)
    assert names(podman) == {"web": "Up", f"web.kept-{first[:12]}": "Exited"}
    done = container_node.run("rollback", "web")
    assert done.returncode == 0, done.stderr
    assert identity(podman) == first, "the very same container"
    assert names(podman) == {"web": "Up", f"web.kept-{second[:12]}": "Exited"}
    told = json.loads(container_node.run("rollback", "--json", "web").stdout)
    assert told["downtime"] > 0
    assert identity(podman) == second


def test_a_previous_container_that_does_not_pass_leaves_what_serves(
    container_node: nodes.Node, heat: heatlike.HeatLike, podman: box.PodmanBox
) -> None:
    flag = container_node.directory / "well"
    flag.touch()
    health = {"test": f"test -e {flag}"}
    volumes = [f"{container_node.directory}:{container_node.directory}"]
    upgrade(container_node, heat, podman, "1", healthcheck=health, volumes=volumes)
    upgrade(container_node, heat, podman, "2")
    serving = identity(podman)
    flag.unlink()
    done = container_node.run("rollback", "web")
    assert done.returncode == 1
    assert "did not become healthy" in done.stderr
    assert "the old container is back and running" in done.stderr
    assert identity(podman) == serving
    assert names(podman)["web"] == "Up"


def test_nothing_is_kept(container_node: nodes.Node, heat: heatlike.HeatLike, podman: box.PodmanBox) -> None:
    upgrade(container_node, heat, podman, "1")
    before = identity(podman)
    done = container_node.run("rollback", "web")
    assert done.returncode == 2
    assert "there is no previous container of web" in done.stderr
    assert "keep_previous" in done.stderr
    assert identity(podman) == before


def test_not_while_containers_are_upgraded(
    container_node: nodes.Node, heat: heatlike.HeatLike, podman: box.PodmanBox
) -> None:
    upgrade(container_node, heat, podman, "1")
    upgrade(container_node, heat, podman, "2")
    descriptor = os.open(container_node.state / "containers.lock", os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        done = container_node.run("rollback", "web")
    finally:
        os.close(descriptor)
    assert done.returncode == 75
    assert "containers are being upgraded" in done.stderr


def test_a_rollback_that_was_killed_is_gone_on_with(
    container_node: nodes.Node, heat: heatlike.HeatLike, podman: box.PodmanBox
) -> None:
    upgrade(container_node, heat, podman, "1")
    first = identity(podman)
    upgrade(container_node, heat, podman, "2")
    for point in ("upgrade.create.done", "upgrade.stop.done", "upgrade.swap.begun", "upgrade.commit.begun"):
        killed = container_node.run("rollback", "web", env={"OVERCLOUD_AGENT_FAIL_POINT": point})
        assert killed.returncode == -9, point
    assert container_node.run("rollback", "web").returncode == 0
    assert identity(podman) == first
    assert sorted(state for name, state in names(podman).items()) == ["Exited", "Up"]
