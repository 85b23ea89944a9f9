"""Containers as other tools make them, on a real Podman, taken over by our executables."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import places
from podmanbox import box


@pytest.fixture
def empty(podman: box.PodmanBox) -> Iterator[box.PodmanBox]:
    podman.remove_containers()
    yield podman
    podman.remove_containers()


def deploy(podman: box.PodmanBox, group: str, config: object, key: str = "new") -> dict[str, Any]:
    values = {"deploy_action": "UPDATE", "deploy_stack_id": "cloud/1c2d", "deploy_resource_name": "web"}
    inputs = [{"name": name, "value": value} for name, value in values.items()]
    done = subprocess.run(
        [sys.executable, places.ROOT / "hooks" / group],
        input=json.dumps({"id": key, "name": key, "group": group, "config": config, "inputs": inputs}),
        env={**os.environ, "CONTAINER_HOST": podman.socket_url},
        capture_output=True,
        text=True,
        timeout=120,
    )
    answer: dict[str, Any] = json.loads(done.stdout)
    assert answer["deploy_status_code"] == 0, answer
    return answer


def container(podman: box.PodmanBox, name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(podman.podman("container", "inspect", name))[0]
    assert document["State"]["Running"]
    return document


def marked(**labels: str) -> list[str]:
    return [word for key, value in labels.items() for word in ("--label", f"{key}={value}")]


def paunch(podman: box.PodmanBox, config: dict[str, Any], tool: str) -> None:
    marks = marked(config_id="tripleo_step4", container_name="web", managed_by=tool, config_data=json.dumps(config))
    given = [f"--env={key}={value}" for key, value in config["environment"].items()]
    options = [f"--env-file={config['env_file']}", *given, "--net=host", "--cpuset-cpus=0"]
    podman.podman("run", "--name", "web", *marks, "--detach=true", *options, config["image"])


def ansible(podman: box.PodmanBox, config: dict[str, Any], tool: str) -> None:
    marks = marked(config_id="tripleo_step4", container_name="web", managed_by=tool, config_data=str(config))
    given = [word for key, value in config["environment"].items() for word in ("--env", f"{key}={value}")]
    options = ["--env-file", config["env_file"], *given, "--network", "host", "--privileged=False"]
    podman.podman("container", "run", "--name", "web", "--detach=True", *marks, *options, config["image"])


def docker_cmd(podman: box.PodmanBox, config: dict[str, Any], tool: str) -> None:
    labels = {"deploy_stack_id": "cloud/1c2d", "deploy_resource_name": "web", "config_id": "old"}
    given = [f"--env={key}={value}" for key, value in config["environment"].items()]
    marks = marked(**labels, container_name="web", managed_by=tool)
    options = ["--detach=true", f"--env-file={config['env_file']}", *given, "--net=host"]
    podman.podman("run", "--name", "web", *marks, *options, config["image"])


TOOLS = [
    (paunch, "paunch", "container-upgrade"),
    (paunch, "tripleo-Controller", "container-upgrade"),
    (ansible, "tripleo_ansible", "container-upgrade"),
    (docker_cmd, "docker-cmd", "container-upgrade"),
    (docker_cmd, "docker-cmd", "docker-cmd"),
]


@pytest.mark.parametrize(("make", "tool", "group"), TOOLS, ids=lambda value: value if isinstance(value, str) else "")
def test_a_container_is_taken_over_without_a_restart_until_something_differs(
    empty: box.PodmanBox, tmp_path: Path, make: Any, tool: str, group: str
) -> None:
    env_file = tmp_path / "web.env"
    env_file.write_text("DB_HOST=10.0.0.5\n")
    config = {
        "image": f"{empty.registry}/service:1",
        "net": "host",
        "env_file": str(env_file),
        "environment": {"TRIPLEO_CONFIG_HASH": "2f2f9f0d"},
    }
    make(empty, config, tool)
    before = container(empty, "web")

    answer = deploy(empty, group, {"web": config}, "d-1")
    after = container(empty, "web")
    assert (after["Id"], after["State"]["StartedAt"]) == (before["Id"], before["State"]["StartedAt"])
    assert answer["changed"] is False

    env_file.write_text("DB_HOST=10.0.0.6\n")
    answer = deploy(empty, group, {"web": config}, "d-2")
    replaced = container(empty, "web")
    assert replaced["Id"] != before["Id"]
    assert answer["changed"] is True
    assert "DB_HOST=10.0.0.6" in replaced["Config"]["Env"]
    assert empty.podman("ps", "--all", "--format", "{{.Names}}").split() == ["web"]
