from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from overcloud_agent import errors, scripts
from overcloud_agent.containers import hook, podman_spec, spec
from overcloud_agent.packages import hook as package_hook

HOOKS = Path(__file__).resolve().parents[2] / "hooks"

# CONTRACT: what paunch and tripleo_container_manage accept, with a value for each.
EVERY_KEY: dict[str, Any] = {
    "action": "run",
    "annotation": {"a": "b"},
    "cap_add": ["NET_ADMIN"],
    "cap_drop": ["MKNOD"],
    "check_interval": 10,
    "command": ["/bin/serve", "--fast"],
    "config_volume": "nova",
    "cpu_shares": 512,
    "cpuset_cpus": "0,1",
    "depends_on": ["other.service"],
    "detach": True,
    "device": ["/dev/fuse:/dev/fuse:rw"],
    "entrypoint": "/entry point",
    "env_file": [],
    "environment": {"A": 1, "B": True, "C": None},
    "etc_hosts": {"own": "10.0.0.2"},
    "exit_codes": [0, 2],
    "extra_hosts": ["db:10.0.0.1"],
    "group_add": ["wheel", 10],
    "healthcheck": {"test": "/check", "interval": "1m30s", "timeout": 5, "retries": 2},
    "hostname": "node",
    "image": "registry/nova:1",
    "interactive": True,
    "ipc": "host",
    "log_tag": "nova",
    "mem_limit": "512m",
    "mem_swappiness": 10,
    "memswap_limit": "1g",
    "net": "none",
    "pid": "host",
    "pids_limit": 100,
    "pre_stop_exec": "/bin/leave --now",
    "privileged": True,
    "remove": False,
    "restart": "on-failure:3",
    "security_opt": ["label=disable", "seccomp=unconfined", "no-new-privileges"],
    "start_order": 3,
    "stop_grace_period": 42,
    "stop_signal": "SIGTERM",
    "sysctl": ["net.ipv4.ip_forward=1"],
    "systemd_exec_flags": {"RemainAfterExit": "yes"},
    "tty": True,
    "ulimit": ["nofile=1024:2048", "nproc=50"],
    "upgrade": {
        "drain": [["/bin/drain"], {"hook": ["/usr/bin/drain", "node"]}],
        "drain_within": 10,
        "migrate": [["nova-manage", "db", "sync"]],
        "migrate_within": 100,
        "gate": {
            "healthy_within": 30,
            "stable_for": 1,
            "exec": ["/bin/true"],
            "http": "http://127.0.0.1:8774/",
            "tcp": "127.0.0.1:5672",
            "within": 20,
            "exits_within": 30,
        },
        "rollback": "never",
        "keep": 1,
    },
    "user": 42,
    "uts": "private",
    "volumes": ["/a:/b:ro,z", "data:/data"],
    "volumes_from": ["other"],
}


EVERY_KEY_IN_PODMANS_FORM: dict[str, Any] = {
    "name": "nova.next",
    "image": "id",
    "labels": {"l": "1"},
    "command": ["/bin/serve", "--fast"],
    "entrypoint": ["/entry", "point"],
    "env": {"A": "1", "Z": "z", "B": "true", "C": ""},
    "annotations": {"a": "b", "io.podman.annotations.label": "disable", "io.podman.annotations.seccomp": "unconfined"},
    "sysctl": {"net.ipv4.ip_forward": "1"},
    "user": "42",
    "groups": ["wheel", "10"],
    "hostname": "node",
    "hostadd": ["db:10.0.0.1", "own:10.0.0.2"],
    "privileged": True,
    "cap_add": ["NET_ADMIN"],
    "cap_drop": ["MKNOD"],
    "devices": [{"path": "/dev/fuse:/dev/fuse:rw"}],
    "volumes_from": ["other"],
    "terminal": True,
    "stdin": True,
    "stop_timeout": 42,
    "stop_signal": 15,
    "r_limits": [
        {"type": "nofile", "soft": 1024, "hard": 2048},
        {"type": "nproc", "soft": 50, "hard": 50},
    ],
    "log_configuration": {"options": {"tag": "nova"}},
    "healthconfig": {
        "Test": ["CMD-SHELL", "/check"],
        "Interval": 10_000_000_000,
        "Timeout": 5_000_000_000,
        "StartPeriod": 0,
        "Retries": 2,
    },
    "resource_limits": {
        "memory": {"limit": 536870912, "swap": 1073741824, "swappiness": 10},
        "cpu": {"shares": 512, "cpus": "0,1"},
        "pids": {"limit": 100},
    },
    "restart_policy": "on-failure",
    "restart_tries": 3,
    "netns": {"nsmode": "none"},
    "mounts": [{"type": "bind", "source": "/a", "destination": "/b", "options": ["ro", "z"]}],
    "volumes": [{"Name": "data", "Dest": "/data", "Options": []}],
    "pidns": {"nsmode": "host"},
    "ipcns": {"nsmode": "host"},
    "utsns": {"nsmode": "private"},
    "seccomp_profile_path": "unconfined",
    "no_new_privileges": True,
    "selinux_opts": ["disable"],
}


def generated(**keys: Any) -> dict[str, Any]:
    container = spec.parse({"c": {"image": "i", **keys}})["c"]
    return podman_spec.generate(container, name="c.next", image="id", labels={}, env_files="")


def test_every_key_of_the_format_is_known() -> None:
    (container,) = spec.parse({"nova": EVERY_KEY}).values()
    assert msgspec.to_builtins(container)["healthcheck"]["retries"] == 2
    assert set(spec.KEYS) == set(EVERY_KEY)


def test_keys_take_podmans_form() -> None:
    body = podman_spec.generate(
        spec.parse({"nova": EVERY_KEY})["nova"],
        name="nova.next",
        image="id",
        labels={"l": "1"},
        env_files="A=0\n#x\nZ=z",
    )
    assert body == EVERY_KEY_IN_PODMANS_FORM


@pytest.mark.parametrize(
    ("net", "form"),
    [
        ("none", {"netns": {"nsmode": "none"}}),
        ("bridge", {"netns": {"nsmode": "bridge"}}),
        ("container:db", {"netns": {"nsmode": "container", "value": "db"}}),
        ("ns:/run/netns/x", {"netns": {"nsmode": "path", "value": "/run/netns/x"}}),
        ("internal", {"netns": {"nsmode": "bridge"}, "Networks": {"internal": {}}}),
        (["a", "b"], {"netns": {"nsmode": "bridge"}, "Networks": {"a": {}, "b": {}}}),
    ],
)
def test_networks(net: object, form: dict[str, Any]) -> None:
    assert generated(net=net) == {"name": "c.next", "image": "id", **form}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("restart", "sometimes"),
        ("ulimit", ["nofile=-2"]),
        ("mem_limit", "much"),
        ("healthcheck", {"test": "x", "interval": "soon"}),
        ("volumes", ["a:b:c:d"]),
        ("volumes", ["/a:b"]),
        ("pid", "container:"),
        ("security_opt", ["magic=1"]),
        ("stop_signal", "SIGNOTHING"),
    ],
)
def test_a_value_that_means_nothing_is_bad_input_with_a_hint(key: str, value: object) -> None:
    with pytest.raises(errors.BadInput) as caught:
        generated(**{key: value})
    assert caught.value.hint


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("{not json: [", r"neither JSON nor YAML at line 1"),
        ("just words", r"a str"),
        ({}, "empty"),
        (None, "empty"),
        ([], "empty"),
        ({"a b": {"image": "i"}}, "cannot be a container's name"),
        ({"web.old": {"image": "i"}}, "cannot be a container's name"),
        ({"web": 3}, r"\$\.config\.web: Expected `object`, got `int`"),
        ({"web": {}}, r"\$\.config\.web\.image: the image is missing"),
        ({"web": {"image": 7}}, r"\$\.config\.web\.image: Expected `str`, got `int`"),
        ({"web": {"image": " "}}, "is not an image"),
        ({"web": {"imgae": "i"}}, r"\$\.config\.web\.imgae is not a known key \(nearest: image\)"),
        ({"web": {"image": "i", "volume": [], "nett": 1}}, r"\.volume .*nearest: volumes.*\.nett .*nearest: net"),
        ({"web": {"image": "i", "upgrade": {"gates": {}}}}, r"upgrade\.gates is not a known key \(nearest: gate\)"),
        ({"web": {"image": "i", "healthcheck": {"tets": "x"}}}, r"healthcheck\.tets .*nearest: test"),
        ({"web": {"action": "exec"}}, r"\$\.config\.web\.command: an exec needs a command"),
        ({"web": {"action": "exec", "command": "db"}}, "an exec needs a command"),
        ({"web": {"image": "i", "upgrade": {"migrate": [[]]}}}, r"\$\.config\.web\.upgrade\.migrate\[0\]: Expected"),
        ({"web": {"image": "i", "upgrade": {"drain": [{"hok": ["a"]}]}}}, r"drain\[0\]\.hok .*nearest: hook"),
        ({"web": {"image": "i", "step": 1}}, r"\$\.config\.web\.step is not a known key"),
    ],
)
def test_a_wrong_config_is_named(config: object, message: str) -> None:
    with pytest.raises(errors.BadInput, match=message):
        spec.parse(config)


def test_podman_does_not_remove_a_one_shot() -> None:
    """Its exit code and its last words would go with it."""
    assert generated(remove=True)["remove"] is True
    assert "remove" not in generated(remove=True, detach=False)


def test_yaml_json_and_objects_are_the_same() -> None:
    config = {"b": {"image": "i", "start_order": 1}, "a": {"image": "j", "start_order": 2}}
    text = "b: {image: i, start_order: 1}\na: {image: j, start_order: 2}\n"
    assert spec.parse(config) == spec.parse(json.dumps(config)) == spec.parse(text)
    assert list(spec.parse(config)) == ["b", "a"]


def fingerprint(digest: str = "sha256:1", env_files: str = "", **keys: Any) -> str:
    container = spec.parse({"c": {"image": "i", **keys}})["c"]
    return spec.fingerprint(container, digest=digest, env_files=env_files)


def test_what_runs_is_the_identity() -> None:
    same = fingerprint(command="a")
    assert same == fingerprint(command="a", image="other/name:tag")
    assert same == fingerprint(command="a", start_order=5, upgrade={"gate": {"stable_for": 9}}, stop_grace_period=3)
    assert same == fingerprint(command="a", privileged=False), "a default that is written out changes nothing"
    different = [
        fingerprint(command="b"),
        fingerprint(command="a", digest="sha256:2"),
        fingerprint(command="a", env_files="X=1"),
        fingerprint(command="a", environment={"A": "1"}),
    ]
    assert len({same, *different}) == 5


@pytest.mark.parametrize(
    ("name", "module"), [("container-upgrade", hook), ("script", scripts), ("package-update", package_hook)]
)
def test_the_description_beside_the_hook_is_the_code_s(name: str, module: Any) -> None:
    described = json.dumps(module.describe(), indent=2) + "\n"
    assert (HOOKS / f"{name}.json").read_text() == described, "`make describe` writes it"
