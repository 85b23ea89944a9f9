"""A container's keys as Podman's SpecGenerator, the body of POST /libpod/containers/create. Pure: no I/O.

The forms are those that Podman 4.3 to 5.x take (pkg/specgen/specgen.go, pkg/specgenutil/specgen.go). podman-py's
own keyword arguments are not used: it drops or changes some of them silently.
"""

from __future__ import annotations

import re
import shlex
import signal
from typing import Any

from overcloud_agent import errors
from overcloud_agent.containers import spec

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([bkmgt]?)(?:i?b)?", re.IGNORECASE)
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(h|ms|m|s)")
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_NAMESPACE_MODES = ("host", "private", "none", "shareable", "slirp4netns", "pasta")


def generate(
    container: spec.Container, *, name: str, image: str, labels: dict[str, str], env_files: str
) -> dict[str, Any]:
    """The SpecGenerator for `container`, leaving out what was not asked for.

    `image` is the id of the pulled image; `env_files` the text of its env_file files. Raises BadInput for a value
    that has no such form.
    """
    body: dict[str, Any] = {
        "name": name,
        "image": image,
        "labels": labels,
        "command": _words(container.command),
        "entrypoint": _words(container.entrypoint),
        "env": environment(container.environment, env_files),
        "annotations": pairs(container.annotation),
        "sysctl": pairs(container.sysctl),
        "user": None if container.user is None else str(container.user),
        "groups": [str(group) for group in container.group_add],
        "hostname": container.hostname,
        "hostadd": _hosts(container.extra_hosts),
        "use_image_hosts": True if not container.etc_hosts else None,
        "privileged": container.privileged or None,
        "cap_add": container.cap_add,
        "cap_drop": container.cap_drop,
        "devices": [{"path": device} for device in container.device],
        "volumes_from": container.volumes_from,
        "terminal": container.tty or None,
        "stdin": container.interactive or None,
        "stop_timeout": container.stop_grace_period,
        "stop_signal": _signal(container.stop_signal),
        "r_limits": [_ulimit(limit) for limit in _listed(container.ulimit)],
        "log_configuration": {"options": {"tag": container.log_tag}} if container.log_tag else None,
        "healthconfig": _healthcheck(container),
        "resource_limits": _resources(container),
        **_restart(container.restart),
        **_network(container.net),
        **_volumes(container.volumes),
        **_namespaces(container),
        **_security(container.security_opt),
    }
    return {key: value for key, value in body.items() if value not in (None, [], {})}


def environment(given: spec.Pairs, env_files: str) -> dict[str, str]:
    """The environment: env files first, `environment` over them, as Podman's command line does it."""
    lines = [line for line in env_files.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    return {**pairs(lines), **pairs(given)}


def pairs(given: spec.Pairs) -> dict[str, str]:
    """A map, or a list of `key=value`, as a map of text. Booleans are written as YAML would write them."""
    if isinstance(given, list):
        return {key: value for key, _, value in (entry.partition("=") for entry in given)}
    return {key: _text(value) for key, value in given.items()}


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)


def _words(value: spec.Words | None) -> list[str] | None:
    try:
        return shlex.split(value) if isinstance(value, str) else value
    except ValueError as error:
        raise errors.BadInput(f"a command cannot be split into words: {error}", hint="or write it as a list") from None


def _listed(value: spec.Words) -> list[str]:
    return [value] if isinstance(value, str) else value


def _hosts(given: spec.Pairs) -> list[str]:
    return [f"{name}:{_text(address)}" for name, address in given.items()] if isinstance(given, dict) else given


def seconds(value: float | str) -> float:
    """A duration: a number of seconds, or text such as `90`, `30s` or `1m30s`. Raises BadInput."""
    if not isinstance(value, str):
        return float(value)
    if re.fullmatch(r"\d+(\.\d+)?", value):
        return float(value)
    parts = _DURATION.findall(value)
    if not parts or "".join(number + unit for number, unit in parts) != value:
        raise errors.BadInput(f"{value!r} is not a duration", hint="seconds, or for example 1m30s")
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def size(value: str | int) -> int:
    """Bytes: a number, or text such as `512m` or `1g`. Raises BadInput."""
    if isinstance(value, int) or value == "-1":
        return int(value)
    match = _SIZE.fullmatch(value.strip())
    if not match:
        raise errors.BadInput(f"{value!r} is not a size", hint="bytes, or for example 512m or 1g")
    number, unit = match.groups()
    return int(float(number) * 1024 ** "bkmgt".index(unit.lower() or "b"))


def _signal(value: str | int | None) -> int | None:
    if value is None or isinstance(value, int):
        return value
    if value.isdigit():
        return int(value)
    name = value.upper() if value.upper().startswith("SIG") else f"SIG{value.upper()}"
    try:
        return int(signal.Signals[name])
    except KeyError:
        raise errors.BadInput(f"{value!r} is not a signal", hint="for example SIGTERM or 15") from None


def _ulimit(limit: str) -> dict[str, Any]:
    match = re.fullmatch(r"([a-z]+)=(\d+)(?::(\d+))?", limit)
    if not match:
        raise errors.BadInput(f"{limit!r} is not a ulimit", hint="for example nofile=1024:4096")
    name, soft, hard = match.groups()
    return {"type": name, "soft": int(soft), "hard": int(hard or soft)}


def _healthcheck(container: spec.Container) -> dict[str, Any] | None:
    check = container.healthcheck
    if not check:
        return None
    interval = check.interval if container.check_interval is None else container.check_interval
    test = ["CMD-SHELL", check.test] if isinstance(check.test, str) else check.test
    if test[:1] not in (["CMD"], ["CMD-SHELL"], ["NONE"]):
        test = ["CMD", *test]
    return {
        "Test": test,
        "Interval": _nanoseconds(interval),
        "Timeout": _nanoseconds(check.timeout),
        "StartPeriod": _nanoseconds(check.start_period),
        "Retries": check.retries,
    }


def _nanoseconds(value: float | str) -> int:
    return int(seconds(value) * 1e9)


def _resources(container: spec.Container) -> dict[str, Any]:
    memory = {
        "limit": None if container.mem_limit is None else size(container.mem_limit),
        "swap": None if container.memswap_limit is None else size(container.memswap_limit),
        "swappiness": container.mem_swappiness,
    }
    # paunch writes 'all' where no limit is meant.
    cpus = None if container.cpuset_cpus == "all" else container.cpuset_cpus
    limits = {
        "memory": {key: value for key, value in memory.items() if value is not None},
        "cpu": {k: v for k, v in {"shares": container.cpu_shares, "cpus": cpus}.items() if v is not None},
        "pids": {} if container.pids_limit is None else {"limit": container.pids_limit},
    }
    return {key: value for key, value in limits.items() if value}


def _restart(policy: str | None) -> dict[str, Any]:
    if not policy:
        return {}
    name, _, tries = policy.partition(":")
    if name not in ("no", "always", "on-failure", "unless-stopped") or (tries and not tries.isdigit()):
        raise errors.BadInput(
            f"{policy!r} is not a restart policy", hint="no, always, on-failure[:TIMES] or unless-stopped"
        )
    return {"restart_policy": name, **({"restart_tries": int(tries)} if tries else {})}


def _network(net: spec.Words | None) -> dict[str, Any]:
    if not net:
        return {}
    names = _listed(net)
    if len(names) == 1 and names[0] in ("bridge", *_NAMESPACE_MODES):
        return {"netns": {"nsmode": names[0]}}
    if len(names) == 1 and ":" in names[0]:
        return {"netns": _namespace(names[0])}
    return {"netns": {"nsmode": "bridge"}, "Networks": {name: {} for name in names}}


def _namespaces(container: spec.Container) -> dict[str, Any]:
    given = {"pidns": container.pid, "ipcns": container.ipc, "utsns": container.uts}
    return {key: _namespace(value) for key, value in given.items() if value}


def _namespace(value: str) -> dict[str, str]:
    mode, colon, argument = value.partition(":")
    mode = {"ns": "path"}.get(mode, mode)
    if not colon and mode in _NAMESPACE_MODES:
        return {"nsmode": mode}
    if argument and mode in ("container", "path"):
        return {"nsmode": mode, "value": argument}
    raise errors.BadInput(f"{value!r} is not a namespace", hint="host, private, container:NAME or ns:PATH")


def _volumes(volumes: list[str]) -> dict[str, Any]:
    """Bind mounts for absolute host paths, named volumes for names; options as they came."""
    mounts: list[dict[str, Any]] = []
    named: list[dict[str, Any]] = []
    for volume in volumes:
        source, _, rest = volume.partition(":")
        destination, _, flags = rest.partition(":")
        options = [flag for flag in flags.split(",") if flag]
        if not destination.startswith("/"):
            raise errors.BadInput(f"{volume!r} is not a volume", hint="SOURCE:DESTINATION[:OPTIONS], e.g. /a:/b:ro,z")
        if source.startswith("/"):
            mounts.append({"type": "bind", "source": source, "destination": destination, "options": options})
        else:
            named.append({"Name": source, "Dest": destination, "Options": options})
    return {"mounts": mounts, "volumes": named}


def _security(options: spec.Words) -> dict[str, Any]:
    body: dict[str, Any] = {}
    labels: list[str] = []
    for option in _listed(options):
        key, _, value = option.replace(":", "=", 1).partition("=")
        if key == "label" and value:
            labels.append(value)
        elif key == "seccomp" and value:
            body["seccomp_profile_path"] = value
        elif key == "apparmor" and value:
            body["apparmor_profile"] = value
        elif key == "no-new-privileges":
            body["no_new_privileges"] = value != "false"
        else:
            hint = "label=, seccomp=, apparmor= or no-new-privileges"
            raise errors.BadInput(f"{option!r} is not a security option", hint=hint)
    return {**body, "selinux_opts": labels}
