"""Keys of the format, seen in the container that Podman really made of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import heatlike
import nodes
from podmanbox import box


@pytest.fixture
def made(container_node: nodes.Node, heat: heatlike.HeatLike, podman: box.PodmanBox, tmp_path: Path) -> dict[str, Any]:
    """What `podman inspect` says of a container with most of the keys."""
    (tmp_path / "env").write_text("# a comment\nFROM_FILE=1\nBOTH=file\n")
    (tmp_path / "shared").mkdir()
    config = {
        "other": {"image": f"{podman.registry}/service:1", "start_order": 0, "volumes": ["kept:/kept"]},
        "web": {
            "image": f"{podman.registry}/service:1",
            "start_order": 1,
            "annotation": {"io.example.a": "1"},
            "cap_add": ["NET_ADMIN"],
            "cap_drop": ["MKNOD"],
            "command": ["/bin/sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.2; done"],
            "cpu_shares": 512,
            "cpuset_cpus": "0",
            "device": ["/dev/null:/dev/nothing:r"],
            "entrypoint": ["/bin/busybox"],
            "env_file": str(tmp_path / "env"),
            "environment": {"BOTH": "config", "FLAG": True},
            "extra_hosts": ["db:10.9.8.7"],
            "group_add": [10],
            "healthcheck": {"test": "true", "interval": "1m30s", "timeout": 5, "retries": 2},
            "hostname": "a-name",
            "mem_limit": "64m",
            "memswap_limit": "128m",
            "pids_limit": 77,
            "restart": "on-failure:3",
            "security_opt": ["no-new-privileges", "seccomp=unconfined"],
            "stop_grace_period": 7,
            "stop_signal": "SIGTERM",
            "sysctl": {"net.ipv4.ip_forward": "1"},
            "tty": True,
            "interactive": True,
            "ulimit": ["nofile=100:200"],
            "user": "root",
            "volumes": [f"{tmp_path}/shared:/shared:ro", "data:/data"],
            "volumes_from": ["other"],
            "upgrade": {"gate": {"stable_for": 0.5}},
        },
    }
    config["web"]["command"] = ["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.2; done"]
    heat.serve(heat.deployment("keys", "container-upgrade", config))
    container_node.run("apply")
    body = heat.signal("keys")
    assert body["deploy_status_code"] == 0, body["deploy_stderr"]
    return dict(json.loads(podman.podman("inspect", "web"))[0])


def test_the_container_is_what_the_config_says(made: dict[str, Any], tmp_path: Path) -> None:
    config, host = made["Config"], made["HostConfig"]
    environment = dict(entry.split("=", 1) for entry in config["Env"])
    assert {key: environment[key] for key in ("FROM_FILE", "BOTH", "FLAG")} == {
        "FROM_FILE": "1",
        "BOTH": "config",
        "FLAG": "true",
    }
    assert config["Hostname"] == "a-name"
    assert config["Entrypoint"] in ("/bin/busybox", ["/bin/busybox"])
    assert config["Cmd"][0] == "sh"
    assert (config["Tty"], config["OpenStdin"], config["User"]) == (True, True, "root")
    assert config["StopSignal"] in (15, "SIGTERM")
    assert config["StopTimeout"] == 7
    assert config["Annotations"]["io.example.a"] == "1"
    assert config["Healthcheck"] == {
        "Test": ["CMD-SHELL", "true"],
        "Interval": 90_000_000_000,
        "Timeout": 5_000_000_000,
        "Retries": 2,
    }
    assert "CAP_NET_ADMIN" in made["EffectiveCaps"]
    assert "CAP_MKNOD" not in made["EffectiveCaps"]
    assert (host["CpuShares"], host["CpusetCpus"]) == (512, "0")
    assert (host["Memory"], host["MemorySwap"], host["PidsLimit"]) == (64 << 20, 128 << 20, 77)
    assert host["RestartPolicy"] == {"Name": "on-failure", "MaximumRetryCount": 3}
    assert "db:10.9.8.7" in host["ExtraHosts"]
    assert "10" in host["GroupAdd"]
    assert {"Name": "RLIMIT_NOFILE", "Soft": 100, "Hard": 200} in host["Ulimits"]
    assert "no-new-privileges" in host["SecurityOpt"]
    mounts = {mount["Destination"]: mount for mount in made["Mounts"]}
    assert mounts["/shared"]["Source"] == str(tmp_path / "shared")
    assert mounts["/shared"]["RW"] is False
    assert mounts["/data"]["Name"] == "data"
    assert mounts["/kept"]["Name"] == "kept"


def test_seccomp_is_off_where_the_config_says_so(made: dict[str, Any], podman: box.PodmanBox) -> None:
    """Podman 4.3 does not show it; the kernel does."""
    assert made["Name"] == "web"
    assert "Seccomp:\t0" in podman.podman("exec", "web", "cat", "/proc/1/status").splitlines()


def test_the_labels_are_those_that_other_tools_read(made: dict[str, Any]) -> None:
    labels = made["Config"]["Labels"]
    assert (labels["config_id"], labels["container_name"], labels["managed_by"]) == ("keys", "web", "overcloud-agent")
    assert labels["overcloud-agent.fingerprint"].startswith("sha256:")


@pytest.mark.parametrize(
    ("net", "mode"), [("host", "host"), ("none", "none"), ("container:base", "container:"), (None, "bridge")]
)
def test_networks(
    container_node: nodes.Node, heat: heatlike.HeatLike, podman: box.PodmanBox, net: str | None, mode: str
) -> None:
    podman.podman("run", "--detach", "--name", "base", f"{podman.registry}/service:1")
    config: dict[str, Any] = {"image": f"{podman.registry}/service:1", "upgrade": {"gate": {"stable_for": 0.2}}}
    if net:
        config["net"] = net
    heat.serve(heat.deployment("net", "container-upgrade", {"web": config}))
    container_node.run("apply")
    body = heat.signal("net")
    assert body["deploy_status_code"] == 0, body["deploy_stderr"]
    found = json.loads(podman.podman("inspect", "web"))[0]["HostConfig"]["NetworkMode"]
    assert found.startswith(mode)


def test_host_namespaces(container_node: nodes.Node, heat: heatlike.HeatLike, podman: box.PodmanBox) -> None:
    config = {
        "web": {
            "image": f"{podman.registry}/service:1",
            **dict.fromkeys(("net", "pid", "ipc", "uts"), "host"),
            "privileged": True,
            "upgrade": {"gate": {"stable_for": 0.2}},
        }
    }
    heat.serve(heat.deployment("ns", "container-upgrade", config))
    container_node.run("apply")
    body = heat.signal("ns")
    assert body["deploy_status_code"] == 0, body["deploy_stderr"]
    host = json.loads(podman.podman("inspect", "web"))[0]["HostConfig"]
    assert (host["NetworkMode"], host["PidMode"], host["UTSMode"], host["Privileged"]) == ("host", "host", "host", True)
