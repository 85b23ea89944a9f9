"""The format as paunch and TripleO write it: loose values, steps, order, what a host cannot do."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from click import testing

from overcloud_agent import cli, errors
from overcloud_agent.containers import order, podman_spec, spec

DB = {"image": "db"}


def parsed(**keys: Any) -> spec.Container:
    return spec.parse({"c": {"image": "i", **keys}})["c"]


# What is written in other ways than its type says.


@pytest.mark.parametrize(
    ("key", "written", "meant"),
    [
        ("start_order", "2", 2),
        ("start_order", " 2 ", 2),
        ("privileged", "true", True),
        ("privileged", "False", False),
        ("tty", "yes", True),
        ("pids_limit", "100", 100),
        ("pids_limit", None, None),
        ("restart", None, None),
        ("restart", False, "false"),
        ("user", 0, 0),
        ("hostname", 7, "7"),
        ("exit_codes", ["0", 2], (0, 2)),
        ("stop_grace_period", "1m30s", 90),
        ("stop_grace_period", 0.5, 1),
        ("cpuset_cpus", 0, "0"),
        ("command", ["a", 1, ""], ["a", "1", ""]),
        ("volumes", [["/a:/a"], None, "", [["/b:/b", []]]], ["/a:/a", "/b:/b"]),
        ("environment", ["A=1", None, ""], ["A=1"]),
        ("environment", {1: True}, {"1": True}),
        ("env_file", ["", "/a"], ["/a"]),
        ("group_add", [10, "wheel", None], [10, "wheel"]),
        ("net", "host", "host"),
        ("detach", "false", False),
        ("etc_hosts", "no", False),
    ],
)
def test_values_are_taken_as_paunch_and_heat_write_them(key: str, written: object, meant: object) -> None:
    assert getattr(parsed(**{key: written}), key) == meant


def test_a_healthcheck_and_a_gate_are_loose_too() -> None:
    container = parsed(
        healthcheck={"test": "x", "retries": "5", "interval": None},
        upgrade={"gate": {"stable_for": "3"}, "keep": "2", "drain": [{"hook": ["a", 1]}]},
    )
    assert container.healthcheck
    assert (container.healthcheck.retries, container.healthcheck.interval) == (5, 30)
    assert (container.upgrade.gate.stable_for, container.upgrade.keep) == (3, 2)
    assert container.upgrade.drain == [spec.Local(hook=["a", "1"])]


# What means nothing: found before anything is touched, with the path down to the entry.

WRONG = [
    ({"annotation": ["a"]}, ".annotation[0]"),
    ({"annotation": {"a": {}}}, ".annotation.a"),
    ({"cap_add": ["NET_ADMIN", "NET_ADMINN"]}, ".cap_add[1]"),
    ({"cap_drop": ["magic"]}, ".cap_drop[0]"),
    ({"check_interval": "soon", "healthcheck": {"test": "x"}}, ".check_interval"),
    ({"command": "say 'it"}, ".command"),
    ({"command": [None]}, ".command[0]"),
    ({"cpu_shares": -1}, ".cpu_shares"),
    ({"cpuset_cpus": "some"}, ".cpuset_cpus"),
    ({"device": ["/dev/sda:/dev/sda:rx"]}, ".device[0]"),
    ({"device": ["sda"]}, ".device[0]"),
    ({"entrypoint": "a '"}, ".entrypoint"),
    ({"environment": ["A=1", "=2"]}, ".environment[1]"),
    ({"environment": {"A": [1]}}, ".environment.A"),
    ({"etc_hosts": "maybe"}, ".etc_hosts"),
    ({"etc_hosts": {"db": "there"}}, ".etc_hosts.db"),
    ({"etc_hosts": False, "extra_hosts": ["a:10.0.0.1"]}, ".extra_hosts"),
    ({"exit_codes": [0, 256]}, ".exit_codes[1]"),
    ({"extra_hosts": ["a:10.0.0.1", "db:there"]}, ".extra_hosts[1]"),
    ({"extra_hosts": {"db": "there"}}, ".extra_hosts.db"),
    ({"extra_hosts": ["a:10.0.0.1"], "net": "container:b"}, ".extra_hosts"),
    ({"group_add": [{}]}, ".group_add[0]"),
    ({"healthcheck": {"test": ""}}, ".healthcheck.test"),
    ({"healthcheck": {"test": "x", "timeout": 0}}, ".healthcheck.timeout"),
    ({"healthcheck": {"test": "x", "retries": 0}}, ".healthcheck.retries"),
    ({"healthcheck": {"test": "x", "start_period": "long"}}, ".healthcheck.start_period"),
    ({"hostname": "a b"}, ".hostname"),
    ({"hostname": "a", "uts": "host"}, ".hostname"),
    ({"image": "-x"}, ".image"),
    ({"ipc": "bridge"}, ".ipc"),
    ({"mem_limit": "much"}, ".mem_limit"),
    ({"mem_swappiness": 101}, ".mem_swappiness"),
    ({"memswap_limit": "1g"}, ".memswap_limit"),
    ({"memswap_limit": "1m", "mem_limit": "2m"}, ".memswap_limit"),
    ({"net": "container:"}, ".net"),
    ({"net": ["a", "b:ip=there"]}, ".net[1]"),
    ({"net": ["host", "b"]}, ".net"),
    ({"pid": "shareable"}, ".pid"),
    ({"pids_limit": "many"}, ".pids_limit"),
    ({"pre_stop_exec": "a '"}, ".pre_stop_exec"),
    ({"privileged": "perhaps"}, ".privileged"),
    ({"remove": True, "restart": "always"}, ".remove"),
    ({"restart": "always:3"}, ".restart"),
    ({"security_opt": "magic=1"}, ".security_opt"),
    ({"security_opt": ["label=disable", "label=x"]}, ".security_opt[1]"),
    ({"stop_grace_period": "later"}, ".stop_grace_period"),
    ({"stop_grace_period": -1}, ".stop_grace_period"),
    ({"stop_signal": "SIGNOTHING"}, ".stop_signal"),
    ({"stop_signal": "TERM+1"}, ".stop_signal"),
    ({"sysctl": ["kernel.panic=1"]}, ".sysctl[0]"),
    ({"sysctl": {"net.ipv4.ip_forward": 1}, "net": "host"}, ".sysctl"),
    ({"ulimit": ["nofile=1", "nofiles=1"]}, ".ulimit[1]"),
    ({"ulimit": "nofile=2:1"}, ".ulimit"),
    ({"ulimit": ["", "nofiles=1"]}, ".ulimit"),
    ({"upgrade": {"gate": {"http": "ftp://x"}}}, ".upgrade.gate.http"),
    ({"upgrade": {"gate": {"tcp": "5672"}}}, ".upgrade.gate.tcp"),
    ({"upgrade": {"keep": -1}}, ".upgrade.keep"),
    ({"upgrade": {"drain": [["a"], [1, {}]]}}, ".upgrade.drain[1][1]"),
    ({"uts": "shareable"}, ".uts"),
    ({"volumes": ["/a:/b", "/a:/c:rx"]}, ".volumes[1]"),
    ({"volumes": ["/a:/b:ro,rw"]}, ".volumes[0]"),
    ({"volumes": ["./a:/b"]}, ".volumes[0]"),
    ({"volumes": ["/a:/b", "/c:/b/"]}, ".volumes[1]"),
    ({"volumes_from": ["a:x"]}, ".volumes_from[0]"),
]


@pytest.mark.parametrize(("keys", "where"), WRONG, ids=[f"{where}-{index}" for index, (_, where) in enumerate(WRONG)])
def test_a_wrong_value_is_bad_input_with_its_path(keys: dict[str, Any], where: str) -> None:
    with pytest.raises(errors.BadInput) as caught:
        parsed(**keys)
    assert caught.value.path == f"$.config.c{where}"


def test_each_container_s_first_mistake_is_reported() -> None:
    config = {
        "a": {"imgae": "i"},
        "b": {"image": "i", "ulimit": ["x"], "pid": "x"},
        "c": DB,
        "d": {"image": "i", "net": ":"},
    }
    found, mistakes = spec.check(config)
    assert list(found) == ["c"]
    assert [re.findall(r"\$\.config[\w.\[\]]*", str(one))[0] for one in mistakes] == [
        "$.config.a.imgae",
        "$.config.b.ulimit[0]",
        "$.config.d.net",
    ]
    with pytest.raises(errors.BadInput, match=r"\.a\.imgae.*; .*\.b\.ulimit\[0\].*; .*\.d\.net"):
        spec.parse(config)


def test_validate_says_each_container_s_first_mistake(tmp_path: Path) -> None:
    wrong = tmp_path / "steps.yaml"
    wrong.write_text(
        "step_1:\n  db: {image: i, ulimit: [nofile=2:1], user: []}\n"
        "step_2:\n  api: {imgae: i}\n  ok: {image: i}\n  web: {image: i, volumes: [a:b]}\n"
    )
    result = testing.CliRunner().invoke(cli.main, ["validate", str(wrong)])
    assert result.exit_code == 2
    for path in ("step_1.db.user", "step_2.api.imgae", "step_2.web.volumes[0]"):
        assert f"$.config.{path}" in result.output
    assert "step_2.ok" not in result.output


def test_the_same_volume_twice_is_one() -> None:
    body = podman_spec.generate(parsed(volumes=["/a:/b:z", "/a:/b/:z"]), name="c", image="i", labels={}, env_files="")
    assert [mount["destination"] for mount in body["mounts"]] == ["/b"]


# Steps and order.


def test_tripleo_s_steps_are_flattened_in_their_order() -> None:
    steps = {
        "step_3": {
            "api": {"image": "i", "start_order": "0"},
            "sync": {"image": "i", "start_order": 1, "detach": False},
        },
        "step_1": {"db": {"image": "i", "start_order": 9}},
        "step_2": None,
        "step_4": "",
    }
    for config in (steps, {"docker_config": steps}, {"container_config": steps}):
        assert list(spec.parse(config)) == ["db", "api", "sync"]
        assert spec.steps(config) == {"db": 1, "api": 3, "sync": 3}
        assert spec.waves(spec.parse(config)) == [["db"], ["api"], ["sync"]]
    assert spec.parse(steps)["api"].path == "$.config.step_3.api"
    assert spec.steps({"db": DB}) == {}
    assert spec.parse({"step_1": {}, "step_2": ""}) == {}


def test_the_step_is_no_part_of_what_runs() -> None:
    one, other = (spec.parse(config)["a"] for config in ({"a": DB}, {"step_4": {"a": DB}}))
    assert spec.fingerprint(one, digest="d", env_files="") == spec.fingerprint(other, digest="d", env_files="")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"step_1": {"a": DB}, "step_2": {"a": DB}}, r"\$\.config\.step_2\.a: a is in step_1, too"),
        ({"step_1": {"a": DB}, "stepp_2": {"b": DB}}, r"\$\.config: 'stepp_2' is no step"),
        ({"docker_config": {"a": DB}}, r"\$\.config\.docker_config: 'a' is no step"),
        ({"docker_config": []}, r"\$\.config\.docker_config: expected steps"),
        ({"step_1": [DB]}, r"\$\.config\.step_1: expected a map"),
        ({"step_1": {"a": {"image": "i", "nett": 1}}}, r"\$\.config\.step_1\.a\.nett .*nearest: net"),
        ({"step_1": {"a b": DB}}, r"\$\.config\.step_1: 'a b' cannot be"),
        (
            {"container_config": {"step_1": {"a": {"image": "i", "user": []}}}},
            r"\$\.config\.container_config\.step_1\.a\.user",
        ),
    ],
)
def test_wrong_steps_are_named(config: object, message: str) -> None:
    with pytest.raises(errors.BadInput, match=message):
        spec.parse(config)


def waves(**containers: dict[str, Any]) -> list[list[str]]:
    return spec.waves(spec.parse({name: {"image": "i", **keys} for name, keys in containers.items()}))


def test_waves_are_of_what_depends_on_nothing_that_is_left() -> None:
    assert waves(c={}, a={}, b={}) == [["a", "b", "c"]]
    assert waves(c={}, a={"depends_on": ["c"]}, b={"depends_on": ["a", "elsewhere.service"]}) == [["c"], ["a"], ["b"]]
    assert waves(a={"start_order": 1}, b={}, c={"start_order": 1, "depends_on": ["b"]}) == [["b"], ["a", "c"]]
    assert waves(a={"depends_on": ["tripleo_b.service"]}, b={}) == [["b"], ["a"]]
    assert waves(a={"volumes_from": ["b:ro"]}, b={}) == [["b"], ["a"]]
    for key in ("net", "pid", "ipc", "uts"):
        assert waves(a={key: "container:b"}, b={}) == [["b"], ["a"]]
    assert waves(a={"action": "exec", "command": "b true"}, b={}) == [["b"], ["a"]]
    assert waves(a={"action": "exec", "command": ["elsewhere", "true"]}, b={}) == [["a", "b"]]


@pytest.mark.parametrize(
    ("containers", "message"),
    [
        ({"a": {"depends_on": ["a"]}}, r"\$\.config\.a\.depends_on\[0\]: .*circle: a -> a"),
        (
            {"a": {"depends_on": ["x", "b"]}, "b": {"net": "container:a"}},
            r"\$\.config\.[ab]\.(net|depends_on\[1\]): .*circle",
        ),
        ({"a": {"depends_on": ["b"]}, "b": {"start_order": 1}}, r"\$\.config\.a\.depends_on\[0\]: b comes later"),
        ({"a": {"volumes_from": ["b"]}, "b": {"start_order": 1}}, r"\$\.config\.a\.volumes_from\[0\]: b comes later"),
    ],
)
def test_what_cannot_be_ordered_is_bad_input(containers: dict[str, Any], message: str) -> None:
    with pytest.raises(errors.BadInput, match=message):
        waves(**containers)


def test_a_dependency_on_a_later_step_is_bad_input() -> None:
    with pytest.raises(
        errors.BadInput, match=r"\$\.config\.step_1\.a\.pid: b comes later: step 2, start_order 0 is after"
    ):
        spec.parse({"step_1": {"a": {"image": "i", "pid": "container:b"}}, "step_2": {"b": DB}})


def test_the_order_of_parse_is_that_of_the_groups() -> None:
    containers = spec.parse({"b": DB, "a": {"image": "i", "start_order": 1}, "c": DB})
    assert list(containers) == ["b", "c", "a"]
    assert [order.group(container) for container in containers.values()] == [(0, 0), (0, 0), (0, 1)]


# Exec.


def test_an_exec_needs_no_image_and_says_what_has_no_effect() -> None:
    keys = {"action": "exec", "command": ["db", "mysql", "-e", ""], "user": "root", "environment": {"A": True}}
    containers = spec.parse({"sync": {**keys, "exit_codes": [0, 1], "net": "host", "volumes": ["/a:/a"]}})
    assert containers["sync"].argv == ["db", "mysql", "-e", ""]
    assert spec.notes(containers, units=False) == ["sync: net, volumes has no effect on an exec"]


# What a host or its Podman cannot do.

INFO: dict[str, Any] = {
    "host": {
        "cgroupVersion": "v1",
        "cgroupControllers": ["cpuset", "cpu", "memory", "pids"],
        "security": {"apparmorEnabled": False, "seccompEnabled": True, "selinuxEnabled": False, "rootless": False},
    },
    "version": {"Version": "4.3.1"},
}


def facts(**changes: Any) -> podman_spec.HostFacts:
    host = {**INFO["host"], **{key: value for key, value in changes.items() if key != "version"}}
    return podman_spec.host_facts({"host": host, "version": {"Version": changes.get("version", "4.3.1")}})


def test_the_facts_of_a_host_are_read_from_info() -> None:
    assert podman_spec.host_facts(INFO) == podman_spec.HostFacts(
        version=(4, 3, 1),
        cgroup_version=1,
        controllers=frozenset({"cpuset", "cpu", "memory", "pids"}),
        seccomp=True,
        apparmor=False,
        selinux=False,
        rootless=False,
    )
    assert facts(version="5.4.0-dev").version == (5, 4, 0)
    assert podman_spec.host_facts({}).version == ()


@pytest.mark.parametrize(
    ("keys", "host", "said"),
    [
        ({"mem_swappiness": 10}, {}, ""),
        ({"mem_swappiness": 10}, {"cgroupVersion": "v2"}, "mem_swappiness: cgroups version 2 has no swappiness"),
        ({"mem_swappiness": -1}, {"cgroupVersion": "v2"}, ""),
        ({"mem_limit": "1g", "memswap_limit": -1}, {}, "memswap_limit: Podman takes no -1 on cgroups version 1"),
        ({"mem_limit": "1g", "memswap_limit": -1}, {"cgroupVersion": "v2"}, ""),
        ({"pids_limit": 5}, {"cgroupControllers": ["cpu"]}, "pids_limit: the cgroup controller pids is not there"),
        ({"cpuset_cpus": "all"}, {"cgroupControllers": []}, ""),
        ({"cpu_shares": 5}, {"security": {"rootless": True}}, "cpu_shares: there are no limits without root"),
        ({"security_opt": "apparmor=mine"}, {}, "security_opt: AppArmor is not enabled here"),
        ({"security_opt": "apparmor=unconfined"}, {}, ""),
        ({"security_opt": "seccomp=/a.json"}, {"security": {}}, "security_opt: seccomp is not enabled here"),
        ({"security_opt": ["label=disable", "seccomp=unconfined"]}, {"security": {}}, ""),
        ({"security_opt": "label=nested"}, {}, "security_opt: Podman 4.3.1 has no label=nested"),
        ({"net": "pasta"}, {}, "net: Podman 4.3.1 has no pasta"),
        ({"net": "pasta"}, {"version": "5.4.2"}, "net: pasta does not work as root"),
        ({"net": "pasta"}, {"version": "5.4.2", "security": {"rootless": True}}, ""),
        ({"net": "slirp4netns"}, {"version": "6.0.0"}, "net: Podman 6.0.0 has no slirp4netns any more"),
    ],
)
def test_what_a_host_cannot_do_is_said(keys: dict[str, Any], host: dict[str, Any], said: str) -> None:
    found = podman_spec.unsupported(parsed(**keys), facts(**host))
    assert [line[: len(f"$.config.c.{said}")] for line in found] == ([f"$.config.c.{said}"] if said else [])
