"""A container's keys as Podman's SpecGenerator, the body of POST /libpod/containers/create. Pure: no I/O.

The forms are those that Podman 4.3 to 5.x take (pkg/specgen/specgen.go). podman-py's own keyword arguments are not
used: it drops or changes some of them silently.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from overcloud_agent import errors
from overcloud_agent.containers import security, values, volumes

if TYPE_CHECKING:
    from overcloud_agent.containers import spec


def generate(
    container: spec.Container, *, name: str, image: str, labels: dict[str, str], env_files: str
) -> dict[str, Any]:
    """The SpecGenerator for `container`, leaving out what was not asked for.

    `image` is the id of the pulled image; `env_files` the text of its env_file files. Raises BadInput, with the path
    down to the key, for a value that has no such form; spec.parse has found those already.
    """
    path = container.path
    body: dict[str, Any] = {
        "name": name,
        "image": image,
        "labels": labels,
        "command": _one(container, "command", values.words),
        "entrypoint": _one(container, "entrypoint", values.words),
        "env": _environment(container, env_files),
        "annotations": _pairs(container, "annotation", values.annotation),
        "sysctl": _pairs(container, "sysctl", values.sysctl),
        "user": None if container.user is None else str(container.user),
        "groups": [str(group) for group in container.group_add],
        "hostname": _one(container, "hostname", values.hostname),
        **_hosts(container),
        "privileged": container.privileged or None,
        # Podman would remove a one-shot before its exit code and its last words were read: the agent removes that.
        "remove": (container.remove and container.detach) or None,
        "cap_add": _each(container, "cap_add", values.capability),
        "cap_drop": _each(container, "cap_drop", values.capability),
        "devices": _each(container, "device", values.device),
        "volumes_from": _each(container, "volumes_from", volumes.source_container),
        "terminal": container.tty or None,
        "stdin": container.interactive or None,
        "stop_timeout": container.stop_grace_period,
        "stop_signal": _one(container, "stop_signal", values.signal),
        "r_limits": _ulimits(container),
        "log_configuration": {"options": {"tag": container.log_tag}} if container.log_tag else None,
        "healthconfig": _healthcheck(container),
        "resource_limits": _resources(container),
        **(_one(container, "restart", values.restart) or {}),
        **volumes.network(container.net or "", f"{path}.net"),
        **volumes.generate(container.volumes, f"{path}.volumes"),
        "pidns": _one(container, "pid", values.namespace),
        "ipcns": _one(container, "ipc", lambda value: values.namespace(value, ("none", "shareable"))),
        "utsns": _one(container, "uts", values.namespace),
    }
    _check_together(container, body)
    protection = security.generate(_each(container, "security_opt", security.parse))
    annotations = {**protection.pop("annotations"), **body["annotations"]}
    whole = {**body, **protection, "annotations": annotations}
    return {key: value for key, value in whole.items() if value not in (None, [], {})}


def environment(given: values.Pairs, env_files: str) -> dict[str, str]:
    """The environment: env files first, `environment` over them, as Podman's command line does it."""
    lines = [line for line in env_files.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    return {**values.pairs(lines), **values.pairs(given)}


# How a key is read: the value, or each entry of it, with the path of what is wrong.


def _one(container: spec.Container, key: str, read: Callable[[Any], Any]) -> Any:
    value = getattr(container, key)
    if value is None or value == "":
        return None
    with values.at(f"{container.path}.{key}"):
        return read(value)


def _each(container: spec.Container, key: str, read: Callable[[str], Any]) -> list[Any]:
    value = getattr(container, key)
    found = []
    for index, entry in enumerate(values.listed(value)):
        with values.at(f"{container.path}.{key}" + (f"[{index}]" if isinstance(value, list) else "")):
            found.append(read(entry))
    return found


def _pairs(container: spec.Container, key: str, read: Callable[[str], tuple[str, str]]) -> dict[str, str]:
    value = getattr(container, key)
    found: dict[str, str] = {}
    for where, entry in _entries(value, "="):
        with values.at(f"{container.path}.{key}{where}"):
            found.update([read(entry)])
    return found


def _entries(given: values.Pairs, between: str) -> list[tuple[str, str]]:
    """Each entry of a map or a list as text, with the last part of its path."""
    places = [f".{key}" for key in given] if isinstance(given, dict) else [f"[{index}]" for index in range(len(given))]
    return list(zip(places, values.entries(given, between), strict=True))


def _environment(container: spec.Container, env_files: str) -> dict[str, str]:
    _pairs(container, "environment", values.variable)
    return environment(container.environment, env_files)


def _hosts(container: spec.Container) -> dict[str, Any]:
    # podman_container of Ansible calls extra_hosts `etc_hosts`; a boolean says whether Podman writes the file at all.
    own = {} if isinstance(container.etc_hosts, bool) else {"etc_hosts": container.etc_hosts}
    found = []
    for key, given in {"extra_hosts": container.extra_hosts, **own}.items():
        for where, entry in _entries(given, ":"):
            with values.at(f"{container.path}.{key}{where}"):
                found.append(values.host_entry(entry))
    return {"hostadd": found, "use_image_hosts": True if container.etc_hosts is False else None}


def _ulimits(container: spec.Container) -> list[dict[str, Any]]:
    # `host` is Podman's word for: leave the limits as they are.
    if "host" in values.listed(container.ulimit):
        return []
    return _each(container, "ulimit", values.ulimit)


def _healthcheck(container: spec.Container) -> dict[str, Any] | None:
    given = container.healthcheck
    if not given:
        return None
    path = f"{container.path}.healthcheck"
    with values.at(f"{path}.test"):
        test = values.check(given.test)
    with values.at(f"{path}.interval"):
        interval = _interval(given.interval)
    if container.check_interval is not None:
        with values.at(f"{container.path}.check_interval"):
            interval = _interval(container.check_interval)
    with values.at(f"{path}.timeout"):
        timeout = values.seconds(given.timeout)
        if timeout < 1:
            raise errors.BadInput("Podman wants a healthcheck's timeout of at least 1 second")
    with values.at(f"{path}.start_period"):
        start_period = values.seconds(given.start_period)
    with values.at(f"{path}.retries"):
        if given.retries < 1:
            raise errors.BadInput("Podman wants at least one retry of a healthcheck")
    return {
        "Test": test,
        "Interval": int(interval * 1e9),
        "Timeout": int(timeout * 1e9),
        "StartPeriod": int(start_period * 1e9),
        "Retries": given.retries,
    }


def _interval(value: float | str) -> float:
    return 0.0 if value == "disable" else values.seconds(value)


def _resources(container: spec.Container) -> dict[str, Any]:
    memory = {
        "limit": _one(container, "mem_limit", values.size),
        "swap": _one(container, "memswap_limit", values.size) or None,
        "swappiness": _one(container, "mem_swappiness", _swappiness),
    }
    cpu = {
        "shares": _one(container, "cpu_shares", _shares),
        # paunch writes 'all' where no limit is meant.
        "cpus": None if container.cpuset_cpus == "all" else _one(container, "cpuset_cpus", values.cpuset),
    }
    limits = {
        "memory": {key: value for key, value in memory.items() if value is not None},
        "cpu": {key: value for key, value in cpu.items() if value is not None},
        "pids": {} if container.pids_limit is None else {"limit": container.pids_limit},
    }
    return {key: value for key, value in limits.items() if value}


def _swappiness(value: int) -> int | None:
    if not -1 <= value <= 100:
        raise errors.BadInput(f"{value} is no swappiness", hint="0 to 100, or -1 for the host's")
    return None if value == -1 else value


def _shares(value: int) -> int:
    if not 0 <= value <= 262144:
        raise errors.BadInput(f"{value} are no CPU shares", hint="2 to 262144")
    return value


def _check_together(container: spec.Container, body: dict[str, Any]) -> None:
    """Raises BadInput for keys that Podman refuses together."""
    memory = body["resource_limits"].get("memory", {})
    swap, limit = memory.get("swap"), memory.get("limit")
    net, ipc, uts = ((body.get(key) or {}).get("nsmode") for key in ("netns", "ipcns", "utsns"))
    hosts, sysctls = bool(body["hostadd"]), body["sysctl"]
    mistakes = {
        ("memswap_limit", "it needs a mem_limit beside it"): swap is not None and not limit,
        ("memswap_limit", "it is memory and swap together, and cannot be below mem_limit"): 0
        < (swap or 0)
        < (limit or 0),
        ("extra_hosts", "it contradicts etc_hosts: false"): hosts and container.etc_hosts is False,
        ("extra_hosts", "with net: container:... the hosts are that container's"): hosts and net == "container",
        ("hostname", "it needs a UTS namespace of the container's own"): body["hostname"]
        and uts not in (None, "private"),
        ("remove", "what is removed when it ends cannot be restarted"): body["remove"]
        and body.get("restart_policy", "no") != "no",
        ("sysctl", "net.* is the host's with net: host"): net == "host" and _any(sysctls, "net."),
        ("sysctl", "with ipc: host, this is the host's"): ipc == "host" and _any(sysctls, "kernel.", "fs.mqueue."),
    }
    for (key, reason), made in mistakes.items():
        if made:
            raise errors.BadInput(reason, path=f"{container.path}.{key}", hint="Podman refuses it")


def _any(names: dict[str, str], *beginnings: str) -> bool:
    return any(name.startswith(beginnings) for name in names)


@dataclasses.dataclass(frozen=True, kw_only=True)
class HostFacts:
    """What GET /libpod/info tells of the host. `controllers` are the cgroup controllers that Podman may use."""

    version: tuple[int, ...]
    cgroup_version: int
    controllers: frozenset[str]
    seccomp: bool
    apparmor: bool
    selinux: bool
    rootless: bool


def host_facts(document: dict[str, Any]) -> HostFacts:
    """The facts in the document of GET /libpod/info."""
    host = document.get("host") or {}
    protection = host.get("security") or {}
    version = (document.get("version") or {}).get("Version") or ""
    return HostFacts(
        version=tuple(int(number) for number in re.findall(r"\d+", version.partition("-")[0])[:3]),
        cgroup_version=2 if host.get("cgroupVersion") == "v2" else 1,
        controllers=frozenset(host.get("cgroupControllers") or ()),
        seccomp=bool(protection.get("seccompEnabled")),
        apparmor=bool(protection.get("apparmorEnabled")),
        selinux=bool(protection.get("selinuxEnabled")),
        rootless=bool(protection.get("rootless")),
    )


# Each limit, and the cgroup controller that it needs. Without it Podman leaves the limit out, with only a warning.
_CONTROLLERS = {
    "mem_limit": "memory",
    "memswap_limit": "memory",
    "mem_swappiness": "memory",
    "cpu_shares": "cpu",
    "cpuset_cpus": "cpuset",
    "pids_limit": "pids",
}


def unsupported(container: spec.Container, facts: HostFacts) -> list[str]:
    """What this Podman or this host cannot do of `container`: `$.config.NAME.key: why`, a line each."""
    if container.action == "exec":
        return []
    body = generate(container, name="", image="", labels={}, env_files="")
    net = (body.get("netns") or {}).get("nsmode")
    profiles = [body.get(key, "unconfined") for key in ("apparmor_profile", "seccomp_profile_path")]
    podman = "Podman " + ".".join(map(str, facts.version))
    mode = "without root" if facts.rootless else "as root"
    memory = body.get("resource_limits", {}).get("memory", {})
    v2 = facts.cgroup_version == 2
    reasons = [
        *_limits(container, facts),
        ("mem_swappiness", "cgroups version 2 has no swappiness", "swappiness" in memory and v2),
        ("memswap_limit", "Podman takes no -1 on cgroups version 1", memory.get("swap") == -1 and not v2),
        ("security_opt", "AppArmor is not enabled here", profiles[0] != "unconfined" and not facts.apparmor),
        ("security_opt", "seccomp is not enabled here", profiles[1] != "unconfined" and not facts.seccomp),
        ("security_opt", f"{podman} has no label=nested", "label_nested" in body and facts.version < (4, 5)),
        ("net", f"{podman} has no pasta", net == "pasta" and facts.version < (4, 4)),
        ("net", f"pasta does not work {mode}", net == "pasta" and facts.version >= (4, 4) and not facts.rootless),
        ("net", f"{podman} has no slirp4netns any more", net == "slirp4netns" and facts.version >= (6,)),
    ]
    return [f"{container.path}.{key}: {why}" for key, why, so in reasons if so]


def _limits(container: spec.Container, facts: HostFacts) -> list[tuple[str, str, bool]]:
    given = {key: getattr(container, key) not in (None, "all") for key in _CONTROLLERS}
    if facts.rootless and facts.cgroup_version == 1:
        return [(key, "there are no limits without root on cgroups version 1", asked) for key, asked in given.items()]
    return [
        (
            key,
            f"the cgroup controller {_CONTROLLERS[key]} is not there",
            asked and _CONTROLLERS[key] not in facts.controllers,
        )
        for key, asked in given.items()
    ]
