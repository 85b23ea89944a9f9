"""Single values of the container format: text such as `512m`, `nofile=1024` or `container:db`, read and checked.

Pure: no I/O. The rules are Podman's (pkg/specgenutil/specgen.go and what it calls, 4.3 to 5.x), so that what Podman
would refuse is refused here, before anything is touched. Each function raises BadInput without a path; the caller
knows where the value is (`at`).
"""

from __future__ import annotations

import contextlib
import difflib
import ipaddress
import json
import re
import shlex
import signal as signals
from collections.abc import Iterator
from typing import Any

from overcloud_agent import errors

Words = str | list[str]
Pairs = dict[str, str | int | float | bool | None] | list[str]

DURATION_PATTERN = r"^\s*(\d+(\.\d+)?|(\d+(\.\d+)?(h|ms|m|s))+)\s*$"
SIZE_PATTERN = r"^\s*(-1|\d+(\.\d+)?\s*[bkmgtBKMGT]?([iI]?[bB])?)\s*$"
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([bkmgt]?)(?:i?b)?", re.IGNORECASE)
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(h|ms|m|s)")
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_ULIMIT_NAMES = """
    core cpu data fsize locks memlock msgqueue nice nofile nproc rss rtprio rttime sigpending stack
"""
_ULIMITS = _ULIMIT_NAMES.split()
# RLIM_INFINITY, which Podman's command line makes of -1.
_NO_LIMIT = 2**64 - 1
_CAPABILITY_NAMES = """
    AUDIT_CONTROL AUDIT_READ AUDIT_WRITE BLOCK_SUSPEND BPF CHECKPOINT_RESTORE CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER
    FSETID IPC_LOCK IPC_OWNER KILL LEASE LINUX_IMMUTABLE MAC_ADMIN MAC_OVERRIDE MKNOD NET_ADMIN NET_BIND_SERVICE
    NET_BROADCAST NET_RAW PERFMON SETFCAP SETGID SETPCAP SETUID SYSLOG SYS_ADMIN SYS_BOOT SYS_CHROOT SYS_MODULE SYS_NICE
    SYS_PACCT SYS_PTRACE SYS_RAWIO SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG WAKE_ALARM
"""
_CAPABILITIES = frozenset(_CAPABILITY_NAMES.split())
# What a container has of its own, so that setting it does not set the host's.
_SYSCTLS = tuple(
    f"kernel.{name}" for name in ("msgmax", "msgmnb", "msgmni", "sem", "shmall", "shmmax", "shmmni", "shm_rmid_forced")
)
_SYSCTL_PREFIXES = ("net.", "fs.mqueue.")

# What paunch says where nothing restarts a container, and what YAML makes of `no`.
_NEVER = ("no", "none", "false")


@contextlib.contextmanager
def at(path: str) -> Iterator[None]:
    """What is wrong in here is wrong at `path`; a BadInput that has a path already keeps it."""
    try:
        yield
    except errors.BadInput as error:
        if error.path:
            raise
        raise errors.BadInput(error.message, path=path, hint=error.hint) from None


def text(value: object) -> str:
    """A scalar as text. Booleans are written as YAML would write them, null as nothing."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)


def pairs(given: Pairs) -> dict[str, str]:
    """A map, or a list of `key=value`, as a map of text. A key without a value stands for nothing."""
    if isinstance(given, list):
        return {key: value for key, _, value in (entry.partition("=") for entry in given)}
    return {key: text(value) for key, value in given.items()}


def entries(given: Pairs, between: str) -> list[str]:
    """A map, or a list, as a list of `key<between>value`."""
    return [f"{key}{between}{text(value)}" for key, value in given.items()] if isinstance(given, dict) else given


def listed(value: Words) -> list[str]:
    """A list, or text that is its only entry."""
    if isinstance(value, str):
        return [value] if value else []
    return value


def words(value: Words) -> list[str]:
    """A command as argv; text is split as a shell would do it."""
    try:
        return shlex.split(value) if isinstance(value, str) else value
    except ValueError as error:
        raise errors.BadInput(f"the text cannot be split into words: {error}", hint="or write it as a list") from None


def seconds(value: float | str) -> float:
    """A duration: a number of seconds, or text such as `90`, `30s` or `1m30s`."""
    if not isinstance(value, str) or re.fullmatch(r"\d+(\.\d+)?", value.strip()):
        given = float(value)
    else:
        parts = _DURATION.findall(value)
        if not parts or "".join(number + unit for number, unit in parts) != value.strip():
            raise errors.BadInput(f"{value!r} is not a duration", hint="seconds, or for example 1m30s")
        given = sum(float(number) * _UNITS[unit] for number, unit in parts)
    if not 0 <= given < 2**31:
        raise errors.BadInput(f"{value!r} is not a duration", hint="it cannot be negative, or longer than 68 years")
    return given


def size(value: str | int) -> int:
    """Bytes: a number, or text such as `512m` or `1g`; -1 is no limit."""
    if str(value).strip() == "-1":
        return -1
    match = _SIZE.fullmatch(str(value).strip())
    if not match:
        raise errors.BadInput(f"{value!r} is not a size", hint="bytes, or for example 512m or 1g")
    number, unit = match.groups()
    return int(float(number) * 1024 ** "bkmgt".index(unit.lower() or "b"))


def signal(value: str | int) -> int:
    """The number of a signal: `SIGTERM`, `term`, `15`, `SIGRTMIN+3`."""
    name = str(value).strip().upper()
    base, sign, offset = re.fullmatch(r"(.*?)(?:([+-])(\d+))?", name).groups()  # type: ignore[union-attr] # it matches any text
    try:
        number = int(base) if base.isdigit() else int(signals.Signals["SIG" + base.removeprefix("SIG")])
    except KeyError:
        number = 0
    if sign and base.removeprefix("SIG") in ("RTMIN", "RTMAX"):
        number += int(sign + offset)
    elif sign:
        number = 0
    if not 1 <= number <= int(signals.SIGRTMAX):
        raise errors.BadInput(f"{value!r} is not a signal", hint="for example SIGTERM, 15 or SIGRTMIN+3")
    return number


def ulimit(value: str) -> dict[str, Any]:
    """`NAME=SOFT[:HARD]`; -1 is no limit."""
    match = re.fullmatch(r"([a-z]+)=(-1|\d+)(?::(-1|\d+))?", value)
    if not match or match[1] not in _ULIMITS:
        near = difflib.get_close_matches(value.partition("=")[0], _ULIMITS, n=1)
        hint = f"for example {near[0] if near else 'nofile'}=1024:4096, or host"
        raise errors.BadInput(f"{value!r} is not a ulimit", hint=hint)
    soft, hard = (int(number) % (_NO_LIMIT + 1) for number in (match[2], match[3] or match[2]))
    if soft > hard:
        raise errors.BadInput(f"the soft limit of {value!r} is above its hard limit", hint="NAME=SOFT:HARD")
    return {"type": match[1], "soft": soft, "hard": hard}


def capability(value: str) -> str:
    """A capability, with `CAP_` or without, or `ALL`."""
    name = value.upper().removeprefix("CAP_")
    if name != "ALL" and name not in _CAPABILITIES:
        near = difflib.get_close_matches(name, sorted(_CAPABILITIES), n=1)
        raise errors.BadInput(
            f"{value!r} is not a capability", hint=f"nearest: {near[0]}" if near else "for example NET_ADMIN, or ALL"
        )
    return value


def device(value: str) -> dict[str, str]:
    """`HOST[:CONTAINER][:PERMISSIONS]`, which Podman's service takes apart itself; or a CDI name."""
    parts = value.split(":")
    good = bool(parts[0].startswith("/") or re.fullmatch(r"[\w.-]+/[\w.-]+=[\w.:-]+", value))
    if parts[0].startswith("/"):
        good = len(parts) == 1 or (len(parts) == 2 and (parts[1].startswith("/") or _permissions(parts[1])))
        good = good or (len(parts) == 3 and parts[1].startswith("/") and _permissions(parts[2]))
    if not good:
        raise errors.BadInput(f"{value!r} is not a device", hint="for example /dev/sda, /dev/sda:/dev/xvda:rwm")
    return {"path": value}


def _permissions(value: str) -> bool:
    return bool(value) and set(value) <= set("rwm") and len(set(value)) == len(value)


def host_entry(value: str) -> str:
    """`NAME:ADDRESS`, a line of /etc/hosts."""
    name, _, address = value.partition(":")
    if not name or re.search(r"\s", name):
        raise errors.BadInput(f"{value!r} is no NAME:ADDRESS", hint="for example db:10.0.0.1")
    if address != "host-gateway":
        try:
            ipaddress.ip_address(address.removeprefix("[").removesuffix("]"))
        except ValueError:
            raise errors.BadInput(
                f"{address!r} of {value!r} is not an IP address", hint="for example db:10.0.0.1"
            ) from None
    return value


def sysctl(value: str) -> tuple[str, str]:
    """`NAME=VALUE`, for what a container has of its own."""
    name, equals, setting = value.partition("=")
    if not equals or value != f"{name.strip()}={setting.strip()}":
        raise errors.BadInput(f"{value!r} is no NAME=VALUE", hint="for example net.ipv4.ip_forward=1, without spaces")
    if name not in _SYSCTLS and not name.startswith(_SYSCTL_PREFIXES):
        raise errors.BadInput(
            f"the sysctl {name!r} is the whole host's, not a container's", hint="net.*, fs.mqueue.*, kernel.shm*, ..."
        )
    return name, setting


def annotation(value: str) -> tuple[str, str]:
    """`KEY=VALUE`."""
    key, equals, said = value.partition("=")
    if not equals or not key:
        raise errors.BadInput(f"{value!r} is no KEY=VALUE")
    return key, said


def variable(value: str) -> tuple[str, str]:
    """`NAME=VALUE` of an environment; `NAME` alone is set to nothing."""
    name, _, said = value.partition("=")
    if not name or "\0" in value:
        raise errors.BadInput(f"{value!r} is no NAME=VALUE")
    return name, said


def restart(value: str) -> dict[str, Any]:
    """A restart policy, as the two keys that Podman has for it."""
    policy, colon, tries = value.partition(":")
    known = policy in (*_NEVER, "always", "on-failure", "unless-stopped")
    if not known or (colon and (policy != "on-failure" or not tries.isdigit())):
        raise errors.BadInput(
            f"{value!r} is not a restart policy", hint="no, always, on-failure[:TIMES] or unless-stopped"
        )
    return {"restart_policy": "no" if policy in _NEVER else policy, **({"restart_tries": int(tries)} if tries else {})}


def namespace(value: str, modes: tuple[str, ...] = ()) -> dict[str, str]:
    """A namespace other than the network's: host, private, `container:NAME`, `ns:PATH`, or one of `modes`."""
    mode, colon, argument = value.partition(":")
    if not colon and mode in ("host", "private", *modes):
        return {"nsmode": mode}
    if mode in ("container", "ns") and argument:
        return {"nsmode": "path" if mode == "ns" else mode, "value": argument}
    hint = ", ".join(("host", "private", *modes)) + ", container:NAME or ns:PATH"
    raise errors.BadInput(f"{value!r} is not such a namespace", hint=hint)


def cpuset(value: str) -> str:
    """CPUs, such as `0-3,6`."""
    if not re.fullmatch(r"\d+(-\d+)?(,\d+(-\d+)?)*", value):
        raise errors.BadInput(f"{value!r} is no list of CPUs", hint="for example 0-3,6, or all")
    return value


def hostname(value: str) -> str:
    """A name of at most 64 characters, as the kernel takes it."""
    if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,62}[A-Za-z0-9])?", value):
        raise errors.BadInput(f"{value!r} is not a hostname", hint="at most 64 letters, digits, '-' and '.'")
    return value


def check(test: Words) -> list[str]:
    """A healthcheck's test in Podman's form. Text is for a shell, or is a list in JSON."""
    if isinstance(test, str):
        try:
            document = json.loads(test) if test.lstrip().startswith("[") else None
        except ValueError:
            document = None
        if isinstance(document, list) and all(isinstance(word, str) for word in document):
            return check(document)
        if test.strip().lower() == "none":
            return ["NONE"]
        test = ["CMD-SHELL", test] if test.strip() else []
    if not test or test in (["CMD"], ["CMD-SHELL"]):
        raise errors.BadInput("the healthcheck has no command", hint="for example /openstack/healthcheck, or none")
    return test if test[0] in ("CMD", "CMD-SHELL", "NONE") else ["CMD", *test]
