"""Keys of the format, seen in the containers that Podman really makes of them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import containerkeys
import heatlike
import nodes
from overcloud_agent import errors
from overcloud_agent.containers import engine, podman_spec, spec
from podmanbox import box

SECCOMP = {
    "defaultAction": "SCMP_ACT_ALLOW",
    "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}],
}


@pytest.fixture(scope="module")
def surroundings(podman: box.PodmanBox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """What the cases refer to; see containerkeys.Case."""
    directory = tmp_path_factory.mktemp("keys")
    (directory / "seccomp.json").write_text(json.dumps(SECCOMP))
    (directory / "owned").mkdir()
    image = f"{podman.registry}/service:1"
    podman.podman("pull", "--quiet", image)
    for number, network in enumerate(("one", "two"), start=1):
        podman.podman("network", "create", "--subnet", f"10.77.{number}.0/24", network)
    podman.podman("run", "--detach", "--name", "base", "--hostname", "base", "--volume", "kept:/kept", image)
    pid = podman.podman("inspect", "--format", "{{.State.Pid}}", "base").strip()
    namespaces = {kind: os.readlink(f"/proc/self/ns/{kind}") for kind in ("ipc", "net", "pid", "uts")}
    facts = podman_spec.host_facts(json.loads(podman.podman("info", "--format", "json")))
    yield {"facts": facts, "base": "base", "base_image": image, "dir": str(directory), "pid": pid, "ns": namespaces}
    podman.podman("rm", "--force", "--time", "0", "base")
    podman.podman("network", "rm", "one", "two")


@pytest.fixture
def api(podman: box.PodmanBox) -> Iterator[engine.Engine]:
    with engine.Engine(podman.socket_url) as client:
        yield client
        client.remove("probe")


@pytest.mark.parametrize("case", containerkeys.CASES, ids=lambda case: case.id)
def test_key(case: containerkeys.Case, surroundings: dict[str, Any], api: engine.Engine, podman: box.PodmanBox) -> None:
    config = {"image": surroundings["base_image"], **_filled(case.keys, surroundings)}
    container = spec.parse({"probe": config})["probe"]
    assert not podman_spec.unsupported(container, surroundings["facts"])
    image = api.image(surroundings["base_image"]).id
    api.create(podman_spec.generate(container, name="probe", image=image, labels={}, env_files=""))
    if case.command:
        api.start("probe")
        said = podman.podman("exec", "probe", "sh", "-c", _filled(case.command, surroundings))
        assert said.strip() == _filled(case.says, surroundings)
    if case.where:
        found = _found(json.loads(podman.podman("inspect", "probe"))[0], case.where)
        assert _matches(found, _filled(case.value, surroundings)), found


def test_what_is_said_to_be_unsupported_is_refused_by_podman(surroundings: dict[str, Any], api: engine.Engine) -> None:
    keys = {"security_opt": ["apparmor=mine"], "net": "pasta", "mem_limit": "64m", "memswap_limit": -1}
    config = {"image": surroundings["base_image"], **keys}
    container = spec.parse({"probe": config})["probe"]
    facts = surroundings["facts"]
    said = podman_spec.unsupported(container, facts)
    if (facts.version, facts.cgroup_version, facts.apparmor) != ((4, 3, 1), 1, False):
        pytest.skip("written for Podman 4.3.1, cgroups version 1 and no AppArmor")
    assert {line.split(":")[0] for line in said} == {
        f"$.config.probe.{key}" for key in ("security_opt", "net", "memswap_limit")
    }
    image = api.image(surroundings["base_image"]).id
    for key in ("security_opt", "net", "memswap_limit"):
        beside = {"mem_limit": "64m"} if key == "memswap_limit" else {}
        one = spec.parse({"probe": {"image": surroundings["base_image"], key: keys[key], **beside}})["probe"]
        assert len(podman_spec.unsupported(one, facts)) == 1
        with pytest.raises(errors.EngineError):
            api.create(podman_spec.generate(one, name="probe", image=image, labels={}, env_files=""))


@pytest.mark.parametrize("form", ["text", "list"])
def test_env_file(
    container_node: nodes.Node, heat: heatlike.HeatLike, podman: box.PodmanBox, tmp_path: Path, form: str
) -> None:
    (tmp_path / "env").write_text("# a comment\nFROM_FILE=1\nBOTH=file\n")
    (tmp_path / "more").write_text("MORE=a=b\n")
    files = str(tmp_path / "env") if form == "text" else [str(tmp_path / "env"), "", str(tmp_path / "more")]
    body = _applied(container_node, heat, podman, {"env_file": files, "environment": {"BOTH": "config"}})
    assert body["deploy_status_code"] == 0, body["deploy_stderr"]
    environment = json.loads(podman.podman("inspect", "web"))[0]["Config"]["Env"]
    assert {"FROM_FILE=1", "BOTH=config"} <= set(environment)
    assert ("MORE=a=b" in environment) == (form == "list")


def test_the_labels_are_those_that_other_tools_read(
    container_node: nodes.Node, heat: heatlike.HeatLike, podman: box.PodmanBox
) -> None:
    _applied(container_node, heat, podman, {})
    labels = json.loads(podman.podman("inspect", "web"))[0]["Config"]["Labels"]
    assert (labels["config_id"], labels["container_name"], labels["managed_by"]) == ("keys", "web", "overcloud-agent")
    assert labels["overcloud-agent.fingerprint"].startswith("sha256:")


def _applied(node: nodes.Node, heat: heatlike.HeatLike, podman: box.PodmanBox, keys: dict[str, Any]) -> dict[str, Any]:
    config = {"image": f"{podman.registry}/service:1", "upgrade": {"gate": {"stable_for": 0.2}}, **keys}
    heat.serve(heat.deployment("keys", "container-upgrade", {"web": config}))
    node.run("apply")
    return dict(heat.signal("keys"))


def _filled(value: Any, surroundings: dict[str, Any]) -> Any:
    if isinstance(value, str):
        return value.format(**surroundings)
    if isinstance(value, list):
        return [_filled(one, surroundings) for one in value]
    if isinstance(value, dict):
        return {key: _filled(one, surroundings) for key, one in value.items()}
    return value


def _found(document: Any, where: str) -> Any:
    """What is at `where`; mounts by their destination."""
    document = {**document, "Mounts": {mount["Destination"]: mount for mount in document["Mounts"]}}
    for part in where.split("."):
        document = document[int(part)] if isinstance(document, list) else (document or {}).get(part)
    return document


def _matches(found: Any, wanted: Any) -> bool:
    if isinstance(wanted, set):
        return all(one in found for one in wanted)
    if isinstance(wanted, dict):
        return isinstance(found, dict) and wanted.items() <= found.items()
    # An empty list or a zero is not in the document.
    return bool(found == wanted or (not found and not wanted) or wanted is None)
