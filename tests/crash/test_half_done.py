"""Container upgrades that are half done when the agent, Podman, the registry or Heat's wish for them goes away."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

import heatlike
import nodes
import places
from overcloud_agent import failpoints
from podmanbox import box


def upgrade(heat: heatlike.HeatLike, podman: box.PodmanBox, key: str, tag: str) -> dict[str, Any]:
    config = {
        "web": {"image": f"{podman.registry}/service:{tag}", "net": "host", "upgrade": {"gate": {"stable_for": 0.5}}}
    }
    return heat.deployment(key, "container-upgrade", config)


def containers(podman: box.PodmanBox) -> list[str]:
    """Name, image tag and state of every container."""
    rows = podman.podman("ps", "--all", "--format", "{{.Names}} {{.Image}} {{.State}}").splitlines()
    return sorted(" ".join([row.split()[0], row.split()[1].rpartition(":")[2], row.split()[2]]) for row in rows)


def first_upgrade(node: nodes.Node, heat: heatlike.HeatLike, podman: box.PodmanBox) -> str:
    """Bring service:1 up; returns the container's id."""
    heat.serve(upgrade(heat, podman, "one", "1"))
    assert node.run("apply").returncode == 0
    return podman.podman("inspect", "web", "--format", "{{.Id}}").strip()


@pytest.mark.parametrize("step", ["stop", "start"])
@pytest.mark.parametrize("missing", ["registry", "podman"])
def test_a_half_done_upgrade_that_cannot_go_on_goes_back(
    container_node: nodes.Node, heat: heatlike.HeatLike, podman: box.PodmanBox, step: str, missing: str
) -> None:
    """After the crash the registry is down, or Podman comes up later than the agent: the service must not stay down."""
    old = first_upgrade(container_node, heat, podman)
    heat.serve(upgrade(heat, podman, "one", "1"), upgrade(heat, podman, "two", "2"))
    container_node.start(env={failpoints.VARIABLE: f"upgrade.{step}.done"})
    assert container_node.wait() == -signal.SIGKILL
    podman.registry_stop() if missing == "registry" else podman.service_stop()
    try:
        container_node.start()
        if missing == "podman":
            container_node.await_log("trying again")
        else:
            heat.signal("two", within=60)
    finally:
        podman.registry_start()
        podman.service_start()
    body = heat.signal("two", within=60)
    assert body["deploy_status_code"] == 3, body
    assert "the old container is back and running" in body["deploy_stderr"]
    assert ("cannot pull" if missing == "registry" else "Podman does not answer") in body["deploy_stderr"]
    assert containers(podman) == ["web 1 Up"]
    assert podman.podman("inspect", "web", "--format", "{{.Id}}").strip() == old


def test_podman_that_goes_away_in_the_middle_costs_no_service(
    container_node: nodes.Node, heat: heatlike.HeatLike, podman: box.PodmanBox
) -> None:
    """The service is stopped when Podman goes away; the way back waits for it."""
    old = first_upgrade(container_node, heat, podman)
    bad = upgrade(heat, podman, "two", "2")
    bad["config"]["web"]["upgrade"]["gate"]["stable_for"] = 30
    heat.serve(upgrade(heat, podman, "one", "1"), bad)
    container_node.start()
    container_node.await_step("gate", "two")
    podman.service_stop()
    container_node.await_log("trying again")
    podman.service_start()
    body = heat.signal("two", within=60)
    assert "Podman does not answer" in body["deploy_stderr"]
    assert "the old container is back and running" in body["deploy_stderr"]
    assert containers(podman) == ["web 1 Up"]
    assert podman.podman("inspect", "web", "--format", "{{.Id}}").strip() == old


def test_a_half_done_upgrade_is_ended_even_if_heat_withdrew_it(
    container_node: nodes.Node, heat: heatlike.HeatLike, podman: box.PodmanBox
) -> None:
    first_upgrade(container_node, heat, podman)
    heat.serve(upgrade(heat, podman, "two", "2"))
    container_node.start(env={failpoints.VARIABLE: "upgrade.stop.done"})
    assert container_node.wait() == -signal.SIGKILL
    assert containers(podman) == ["web 1 Exited", "web.next 2 Initialized"]
    heat.serve()
    container_node.start()
    heat.signal("two")
    assert containers(podman) == ["web 2 Up"]


def hook_dies(node: nodes.Node, deployment: dict[str, Any], point: str) -> None:
    """A deployment of which the agent does not know, so that nobody resumes it."""
    env = {**os.environ, "OVERCLOUD_AGENT_CONFIG": str(node.config), failpoints.VARIABLE: point}
    given = json.dumps(deployment)
    died = subprocess.run([places.BIN / "container-upgrade"], input=given, env=env, text=True, timeout=60)
    assert died.returncode == -signal.SIGKILL


@pytest.mark.parametrize("step", ["create", "gate"])
def test_a_half_done_upgrade_is_taken_up_by_another_deployment_that_wants_the_same(
    container_node: nodes.Node, heat: heatlike.HeatLike, podman: box.PodmanBox, step: str
) -> None:
    first_upgrade(container_node, heat, podman)
    before = heat.signal("one")["containers"][0]["new_digest"]
    hook_dies(container_node, upgrade(heat, podman, "two", "2"), f"upgrade.{step}.done")
    heat.serve(upgrade(heat, podman, "three", "2"))
    container_node.start()
    (report,) = heat.signal("three")["containers"]
    assert report["result"] == "upgraded"
    assert report["old_digest"] == before
    assert "gate" in report["steps"], "what another process has not seen pass has to pass again"
    assert containers(podman) == ["web 2 Up"]


def test_a_migration_whose_deployment_is_forgotten_is_waited_for_before_anything_starts(
    container_node: nodes.Node, heat: heatlike.HeatLike, podman: box.PodmanBox, tmp_path: Path
) -> None:
    """Its process died; it goes on without it, and the next deployment asks for no migration."""
    first_upgrade(container_node, heat, podman)
    left = upgrade(heat, podman, "two", "2")
    left["inputs"].append({"name": "bootstrap", "value": "true"})
    left["config"]["web"]["volumes"] = [f"{tmp_path}:/out"]
    left["config"]["web"]["upgrade"]["migrate"] = [["/bin/sh", "-c", "sleep 4; echo moved >> /out/moved"]]
    hook_dies(container_node, left, "migration.started")
    heat.serve(upgrade(heat, podman, "three", "2"))
    container_node.start()
    assert heat.signal("three")["deploy_status_code"] == 0
    assert (tmp_path / "moved").read_text() == "moved\n", "it came to its end"
    assert containers(podman) == ["web 2 Up"]
