"""The executable container-upgrade: real stdin, real Podman."""

from __future__ import annotations

import json
import os
import subprocess
from typing import Any

import pytest

import places
from podmanbox import box

HOOK = places.BIN / "container-upgrade"


def run(stdin: str, **env: str) -> dict[str, Any]:
    """What the hook answers; it always ends with 0, and stdout has nothing but the answer."""
    done = subprocess.run([HOOK], input=stdin, env={**os.environ, **env}, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return dict(json.loads(done.stdout))


def deployment(config: object, **more: Any) -> str:
    return json.dumps({"id": "h1", "name": "h1", "group": "container-upgrade", "config": config, "inputs": [], **more})


@pytest.mark.parametrize(
    ("stdin", "said"),
    [
        ("", "stdin is not JSON"),
        ("{", "stdin is not JSON"),
        ("[]", "Expected `object`, got `array`"),
        ("null", "Expected `object`, got `null`"),
        (deployment("{not json: ["), "neither JSON nor YAML"),
        (deployment({}), "the config is empty"),
        (deployment({"web": {"imgae": "x"}}), "$.config.web.imgae is not a known key (nearest: image)"),
        (deployment({"web": {"image": None}}), "$.config.web.image: the image is missing"),
        (deployment({"web": {"image": "x"}}, id="../../etc/x"), "is not an id"),
    ],
)
def test_bad_input_is_answered_with_what_is_wrong(stdin: str, said: str) -> None:
    answer = run(stdin)
    assert answer["deploy_status_code"] == 2
    assert said in answer["deploy_stderr"]


def test_no_podman_is_answered_with_where_it_was_looked_for() -> None:
    answer = run(deployment({"web": {"image": "x"}}), CONTAINER_HOST="unix:///nonexistent/podman.sock")
    assert answer["deploy_status_code"] == 1
    assert "Podman does not answer at unix:///nonexistent/podman.sock" in answer["deploy_stderr"]
    assert "podman.socket" in answer["deploy_stderr"]


@pytest.mark.parametrize("action", ["DELETE", "SUSPEND", "RESUME"])
def test_other_actions_leave_the_containers_as_they_are(action: str) -> None:
    inputs = [{"name": "deploy_action", "value": action}]
    answer = run(deployment({"web": {"image": "x"}}, inputs=inputs), CONTAINER_HOST="unix:///nonexistent")
    assert answer["deploy_status_code"] == 0
    assert answer["changed"] is False


def test_it_upgrades_as_the_agent_does(podman: box.PodmanBox) -> None:
    podman.remove_containers()
    config = {"web": {"image": f"{podman.registry}/service:1", "net": "host", "upgrade": {"gate": {"stable_for": 0.5}}}}
    first = run(deployment(config), CONTAINER_HOST=podman.socket_url)
    assert first["deploy_status_code"] == 0, first
    assert first["changed"] is True
    config["web"]["image"] = f"{podman.registry}/service:2"
    second = run(deployment(config, id="h2"), CONTAINER_HOST=podman.socket_url)
    (report,) = second["containers"]
    assert report["result"] == "upgraded"
    assert report["old_digest"] == first["containers"][0]["new_digest"]
    assert report["new_digest"] != report["old_digest"]
    assert 0 < report["downtime"] < 30
    assert podman.podman("ps", "--all", "--format", "{{.Names}}").split() == ["web"]
    third = run(deployment(config, id="h3"), CONTAINER_HOST=podman.socket_url)
    assert third["changed"] is False
    assert third["containers_identifier"] == second["containers_identifier"]
