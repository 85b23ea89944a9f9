"""The process is killed (SIGKILL) at every named fail point; the next start has to make the world right."""

from __future__ import annotations

import signal
from typing import Any

import pytest

import heatlike
import nodes
from overcloud_agent import failpoints
from podmanbox import box

FORWARD = [name for name in failpoints.NAMES if not name.startswith("rollback.") and name != "hook.ended"]
BACK = [name for name in failpoints.NAMES if name.startswith("rollback.")]

GOOD = """echo '{"deploy_stdout": "fine", "deploy_status_code": 0}'"""


def upgrade(heat: heatlike.HeatLike, podman: box.PodmanBox, key: str, tag: str) -> dict[str, Any]:
    config = {
        "web": {"image": f"{podman.registry}/service:{tag}", "net": "host", "upgrade": {"gate": {"stable_for": 0.5}}}
    }
    return heat.deployment(key, "container-upgrade", config)


def containers(podman: box.PodmanBox) -> list[str]:
    """Name, image tag and state of every container."""
    rows = podman.podman("ps", "--all", "--format", "{{.Names}} {{.Image}} {{.State}}").splitlines()
    return sorted(" ".join([row.split()[0], row.split()[1].rpartition(":")[2], row.split()[2]]) for row in rows)


def die_and_start_again(node: nodes.Node, point: str) -> None:
    node.start(env={failpoints.VARIABLE: point})
    assert node.wait() == -signal.SIGKILL, f"{point} was never reached: {node.log.read_text()}"
    node.start()


def first_upgrade(node: nodes.Node, heat: heatlike.HeatLike, podman: box.PodmanBox) -> str:
    """Bring service:1 up; returns the container's id."""
    heat.serve(upgrade(heat, podman, "one", "1"))
    assert node.run("apply").returncode == 0
    return podman.podman("inspect", "web", "--format", "{{.Id}}").strip()


@pytest.mark.parametrize("point", FORWARD)
def test_an_upgrade_ends_well(
    container_node: nodes.Node, heat: heatlike.HeatLike, podman: box.PodmanBox, point: str
) -> None:
    first_upgrade(container_node, heat, podman)
    heat.serve(upgrade(heat, podman, "one", "1"), upgrade(heat, podman, "two", "2"))
    die_and_start_again(container_node, point)
    body = heat.signal("two")
    assert body["deploy_status_code"] == 0, body
    assert body["changed"] is True
    (report,) = body["containers"]
    assert report["result"] == "upgraded"
    assert report["old_digest"] != report["new_digest"]
    assert report["downtime"] > 0
    assert containers(podman) == ["web 2 Up"]
    container_node.await_state("two", "signalled")
    bodies = [sent for path, sent in heat.signals if path.endswith("/two")]
    assert len(bodies) == (2 if point == "signal.sent" else 1), "a repeat only where nobody can know that Heat has it"
    assert all(sent == body for sent in bodies)


@pytest.mark.parametrize("point", [*BACK, "upgrade.created", "upgrade.stopped", "upgrade.swapped", "upgrade.started"])
def test_a_failed_upgrade_ends_with_the_old_container(
    container_node: nodes.Node, heat: heatlike.HeatLike, podman: box.PodmanBox, point: str
) -> None:
    if point == "rollback.stopped":
        # Only what still runs has to be stopped on the way back.
        old = failing_gate(container_node, heat, podman, point)
    else:
        old = first_upgrade(container_node, heat, podman)
        heat.serve(upgrade(heat, podman, "one", "1"), upgrade(heat, podman, "two", "broken"))
        die_and_start_again(container_node, point)
    body = heat.signal("two")
    assert body["deploy_status_code"] == 3, body
    assert "the old container is back and running" in body["deploy_stderr"]
    why = "did not become healthy" if point == "rollback.stopped" else "web ended with status 7 within its gate"
    assert why in body["deploy_stderr"], "the reason survives, too"
    assert body["containers"][0]["result"] == "rolled back"
    assert containers(podman) == ["web 1 Up"]
    assert podman.podman("inspect", "web", "--format", "{{.Id}}").strip() == old
    container_node.await_state("two", "signalled")
    assert [path for path, _ in heat.signals].count("/v1/signal/two") == 1


def failing_gate(node: nodes.Node, heat: heatlike.HeatLike, podman: box.PodmanBox, point: str) -> str:
    old = first_upgrade(node, heat, podman)
    bad = upgrade(heat, podman, "two", "2")
    bad["config"]["web"]["healthcheck"] = {"test": "exit 1"}
    bad["config"]["web"]["upgrade"]["gate"]["healthy_within"] = 1
    heat.serve(upgrade(heat, podman, "one", "1"), bad)
    die_and_start_again(node, point)
    return old


@pytest.mark.parametrize(
    "point",
    ["metadata.kept", "journal.received", "journal.finished", "deployed.told", "signal.sent", "signal.settled"],
)
def test_a_hook_runs_once_and_its_result_arrives(node: nodes.Node, heat: heatlike.HeatLike, point: str) -> None:
    node.hook("script", f"echo run >> {node.directory}/runs; {GOOD}")
    heat.serve(heat.deployment("a"))
    die_and_start_again(node, point)
    assert heat.signal("a")["deploy_stdout"] == "fine"
    node.await_state("a", "signalled")
    assert (node.directory / "runs").read_text() == "run\n"


@pytest.mark.parametrize("point", ["journal.running", "deployed.written", "hook.ended"])
def test_a_hook_that_may_not_run_twice_is_answered_as_interrupted(
    node: nodes.Node, heat: heatlike.HeatLike, point: str
) -> None:
    node.hook("script", f"echo run >> {node.directory}/runs; {GOOD}")
    heat.serve(heat.deployment("a"), heat.deployment("b"))
    die_and_start_again(node, point)
    body = heat.signal("a")
    assert body["deploy_status_code"] == 1
    assert body["deploy_stderr"].startswith("interrupted: ")
    assert heat.signal("b")["deploy_status_code"] == 0, "the next runs"
    runs = (node.directory / "runs").read_text().count("run")
    assert runs == (2 if point == "hook.ended" else 1)


@pytest.mark.parametrize("point", ["journal.running", "deployed.written", "hook.ended"])
def test_a_hook_that_may_run_twice_resumes(node: nodes.Node, heat: heatlike.HeatLike, point: str) -> None:
    node.hook("puppet", GOOD)
    heat.serve(heat.deployment("a", "puppet"))
    die_and_start_again(node, point)
    assert heat.signal("a")["deploy_status_code"] == 0


def test_a_hook_that_outlives_the_agent_is_ended_before_it_is_answered(
    node: nodes.Node, heat: heatlike.HeatLike
) -> None:
    node.hook("script", f"echo $$ > {node.directory}/pid; mv {node.directory}/pid {node.directory}/begun; sleep 60")
    heat.serve(heat.deployment("a"))
    node.start()
    begun = node.directory / "begun"
    node.await_file(begun)
    assert node.stop(signal.SIGKILL) == -signal.SIGKILL
    hook = int(begun.read_text())
    assert nodes.is_running(hook), "it goes on without the agent"
    node.start()
    assert heat.signal("a")["deploy_stderr"].startswith("interrupted: ")
    assert not nodes.is_running(hook)


@pytest.mark.parametrize("point", ["upgrade.stopped", "upgrade.old-renamed", "upgrade.swapped", "upgrade.started"])
@pytest.mark.parametrize("missing", ["registry", "podman"])
def test_a_half_done_upgrade_that_cannot_go_on_goes_back(
    container_node: nodes.Node, heat: heatlike.HeatLike, podman: box.PodmanBox, point: str, missing: str
) -> None:
    """After the crash the registry is down, or Podman comes up later than the agent: the service must not stay down."""
    old = first_upgrade(container_node, heat, podman)
    heat.serve(upgrade(heat, podman, "one", "1"), upgrade(heat, podman, "two", "2"))
    container_node.start(env={failpoints.VARIABLE: point})
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
    container_node.start(env={failpoints.VARIABLE: "upgrade.stopped"})
    assert container_node.wait() == -signal.SIGKILL
    assert containers(podman) == ["web 1 Exited", "web.next 2 Created"]
    heat.serve()
    container_node.start()
    heat.signal("two")
    assert containers(podman) == ["web 2 Up"]
