"""What is found out before anything is touched, with real Podman."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import heatlike
import images
import nodes
import places
import upgrades
from podmanbox import box

NEVER_MADE = "which the agent did not make and whose name it needs"


@pytest.fixture
def running(container_node: nodes.Node, heat: heatlike.HeatLike, podman: box.PodmanBox) -> str:
    """The identity of `web`, a service:1 that runs."""
    upgrades.succeed(container_node, heat, "first", {"web": upgrades.service(podman, "1")})
    return upgrades.identity(podman, "web")


def refused(
    node: nodes.Node, heat: heatlike.HeatLike, podman: box.PodmanBox, running: str, key: str = "two", **keys: Any
) -> dict[str, Any]:
    """Ask for another `web` with these keys; returns what Heat is told when nothing was touched."""
    others = upgrades.names(podman)
    body = upgrades.apply(node, heat, key, {"web": {**upgrades.service(podman, "2"), **keys}})
    assert body["deploy_status_code"] in (1, 2)
    assert upgrades.identity(podman, "web") == running
    assert upgrades.names(podman) == others
    return body


def test_a_name_that_somebody_else_uses(
    container_node: nodes.Node, heat: heatlike.HeatLike, podman: box.PodmanBox, running: str
) -> None:
    for name in ("web.next", "web.failed", "web.old", "web.gone", "web.migrate"):
        podman.podman("create", "--name", name, f"{podman.registry}/service:1")
        body = refused(container_node, heat, podman, running, key=name)
        assert body["deploy_status_code"] == 2
        assert f"$.config.web: there is a container {name}, {NEVER_MADE}" in body["deploy_stderr"]
        podman.podman("rm", name)


def test_the_name_of_a_pod(container_node: nodes.Node, heat: heatlike.HeatLike, podman: box.PodmanBox) -> None:
    podman.podman("pod", "create", "--infra=false", "--name", "web")
    try:
        body = upgrades.apply(container_node, heat, "one", {"web": upgrades.service(podman, "1")})
    finally:
        podman.podman("pod", "rm", "--force", "web")
    assert body["deploy_status_code"] == 2
    assert "$.config.web: web is the name of a pod" in body["deploy_stderr"]


def test_what_a_volume_is_of_is_not_there(
    container_node: nodes.Node, heat: heatlike.HeatLike, podman: box.PodmanBox, running: str, tmp_path: Path
) -> None:
    volumes = [f"{tmp_path}:/there:ro", f"{tmp_path}/not:/here:ro"]
    body = refused(container_node, heat, podman, running, volumes=volumes)
    assert f"$.config.web.volumes[1]: {tmp_path}/not is not on this node" in body["deploy_stderr"]


def test_an_env_file_is_not_there(
    container_node: nodes.Node, heat: heatlike.HeatLike, podman: box.PodmanBox, running: str
) -> None:
    body = refused(container_node, heat, podman, running, env_file="/nonexistent/env")
    assert body["deploy_status_code"] == 2
    assert "$.config.web: cannot read an env_file" in body["deploy_stderr"]
    assert "/nonexistent/env" in body["deploy_stderr"]


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"net": "pasta"}, "$.config.web.net: "),
        ({"security_opt": ["apparmor=of-our-own"]}, "$.config.web.security_opt: AppArmor is not enabled here"),
    ],
)
def test_a_key_that_this_host_cannot_do(
    container_node: nodes.Node,
    heat: heatlike.HeatLike,
    podman: box.PodmanBox,
    running: str,
    keys: dict[str, Any],
    said: str,
) -> None:
    if "security_opt" in keys and Path("/sys/kernel/security/apparmor").exists():
        pytest.skip("this host has AppArmor")
    body = refused(container_node, heat, podman, running, **keys)
    assert body["deploy_status_code"] == 2
    assert said in body["deploy_stderr"]


def test_an_image_for_another_machine(
    container_node: nodes.Node, heat: heatlike.HeatLike, podman: box.PodmanBox, running: str, tmp_path: Path
) -> None:
    other = f"{podman.registry}/service:other-machine"
    with (tmp_path / "empty.tar").open("wb") as tar:
        subprocess.run(["tar", "--create", "--files-from=/dev/null"], stdout=tar, check=True)
    podman.podman("import", "--quiet", "--arch=s390x", str(tmp_path / "empty.tar"), other)
    podman.podman("push", "--quiet", other)
    body = refused(container_node, heat, podman, running, image=other)
    assert f"$.config.web.image: {other} is for s390x, this node is" in body["deploy_stderr"]


def test_the_host_s_policy_rejects_the_image(
    container_node: nodes.Node,
    heat: heatlike.HeatLike,
    podman: box.PodmanBox,
    running: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Podman reads the policy of who runs it before that in /etc."""
    accept, reject = [{"type": "insecureAcceptAnything"}], [{"type": "reject"}]
    policy = {"default": accept, "transports": {"docker": {f"{podman.registry}/service": reject}}}
    directory = tmp_path / ".config/containers"
    directory.mkdir(parents=True)
    (directory / "policy.json").write_text(json.dumps(policy))
    podman.service_stop()
    try:
        with monkeypatch.context() as home:
            home.setenv("HOME", str(tmp_path))
            podman.service_start()
        body = refused(container_node, heat, podman, running)
    finally:
        podman.service_stop()
        podman.service_start()
    assert "rejected by policy" in body["deploy_stderr"]


@pytest.fixture
def small_podman() -> Iterator[box.PodmanBox]:
    """A Podman of its own on a small disk."""
    disk = places.SCRATCH / "small-disk"
    disk.mkdir(mode=0o700, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=160m", "small", str(disk)], check=True)
    made = box.PodmanBox(disk / "podman")
    try:
        made.up()
        images.build_service(made, "service:1", "1")
        yield made
    finally:
        made.down()
        subprocess.run(["umount", "--lazy", str(disk)], check=True)
        disk.rmdir()


def test_no_room_for_a_container(small_podman: box.PodmanBox, heat: heatlike.HeatLike, tmp_path: Path) -> None:
    node = nodes.Node(tmp_path, metadata=nodes.cfn_section(heat.url), podman_url=small_podman.socket_url)
    config = {"web": upgrades.service(small_podman, "1")}
    upgrades.succeed(node, heat, "one", config)
    before = upgrades.identity(small_podman, "web")
    disk = os.statvfs(small_podman.directory)
    filler = small_podman.directory / "filler"
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, disk.f_bavail * disk.f_frsize - (40 << 20))
    config["web"]["hostname"] = "other"
    config["web"]["uts"] = "private"
    body = upgrades.apply(node, heat, "two", config)
    assert body["deploy_status_code"] == 1
    assert "MiB are free in" in body["deploy_stderr"]
    assert "podman image prune" in body["deploy_stderr"]
    assert upgrades.identity(small_podman, "web") == before
    filler.unlink()
    assert upgrades.results(upgrades.succeed(node, heat, "three", config)) == {"web": "upgraded"}
