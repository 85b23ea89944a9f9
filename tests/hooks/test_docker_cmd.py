"""The executable docker-cmd: real stdin, real Podman, and in the place of a container that heat-agents' hook made."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

import places
from podmanbox import box

HOOK = places.ROOT / "hooks" / "docker-cmd"


def run(config: object, key: str = "d-1", action: str = "CREATE", **env: str) -> dict[str, Any]:
    """What the hook answers; it always ends with 0, and stdout has nothing but the answer."""
    values = {"deploy_action": action, "deploy_stack_id": "cloud/1c2d", "deploy_resource_name": "web"}
    inputs = [{"name": name, "value": value} for name, value in values.items()]
    deployment = {"id": key, "name": key, "group": "docker-cmd", "config": config, "inputs": inputs}
    done = subprocess.run(
        [sys.executable, HOOK],
        input=json.dumps(deployment),
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return dict(json.loads(done.stdout))


def host(podman: box.PodmanBox) -> dict[str, str]:
    return {"CONTAINER_HOST": podman.socket_url}


def running(podman: box.PodmanBox, name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(podman.podman("container", "inspect", name))[0]
    assert document["State"]["Running"]
    return document


@pytest.fixture
def empty(podman: box.PodmanBox) -> Any:
    podman.remove_containers()
    yield podman
    podman.remove_containers()


def test_a_config_is_run_and_what_did_not_change_is_not_touched(empty: box.PodmanBox) -> None:
    text = f"web:\n  image: {empty.registry}/service:1\n  net: host\n  environment: [A=1, '']\n  typo: 1\n"
    answer = run(text, **host(empty))
    assert answer["deploy_status_code"] == 0, answer
    assert answer["changed"] is True
    assert answer["deploy_stdout"].splitlines()[-1] == "web: the key typo has no effect in the group docker-cmd"
    first = running(empty, "web")
    assert "A=1" in first["Config"]["Env"]

    again = run(text, key="d-2", action="UPDATE", **host(empty))
    assert again["changed"] is False
    assert running(empty, "web")["Id"] == first["Id"]


def test_a_container_is_replaced_in_its_place_or_stays(empty: box.PodmanBox) -> None:
    def config(tag: str) -> dict[str, Any]:
        entry = {"image": f"{empty.registry}/service:{tag}", "net": "host"}
        return {"web": entry}

    run(config("1"), **host(empty))
    run(config("2"), key="d-2", action="UPDATE", **host(empty))
    second = running(empty, "web")
    assert second["ImageName"].endswith("service:2")

    answer = run(config("broken"), key="d-3", action="UPDATE", **host(empty))
    assert answer["deploy_status_code"] == 3
    assert "the old container is back and running" in answer["deploy_stderr"]
    assert running(empty, "web")["Id"] == second["Id"]


def test_a_failure_has_a_status_of_its_own(empty: box.PodmanBox) -> None:
    answer = run({"web": {"image": f"{empty.registry}/service:none"}}, **host(empty))
    assert answer["deploy_status_code"] != 0
    assert "manifest unknown" in answer["deploy_stderr"]


def test_nothing_to_do_needs_no_podman() -> None:
    answer = run("", action="CREATE", CONTAINER_HOST="unix:///nonexistent/podman.sock")
    assert answer["deploy_status_code"] == 0


def test_a_container_of_heat_agents_is_replaced_in_its_place(empty: box.PodmanBox) -> None:
    """It carries the labels of that hook, and no fingerprint of ours."""
    labels = {"managed_by": "docker-cmd", "container_name": "web", "config_id": "d-1"}
    marks = [word for key, value in labels.items() for word in ("--label", f"{key}={value}")]
    empty.podman("run", "--detach=true", "--name", "web", *marks, "--net=host", f"{empty.registry}/service:1")
    answer = run({"web": {"image": f"{empty.registry}/service:2", "net": "host"}}, key="d-2", **host(empty))
    assert answer["deploy_status_code"] == 0, answer
    assert running(empty, "web")["ImageName"].endswith("service:2")
    assert empty.podman("ps", "--all", "--format", "{{.Names}}").split() == ["web"]
