"""Volumes and networks of the container format in Podman's form. Pure: no I/O.

Both are lists of text with options of their own (pkg/specgen/volumes.go, pkg/specgen/namespaces.go).
"""

from __future__ import annotations

import ipaddress
import posixpath
import re
from typing import Any

from overcloud_agent import errors
from overcloud_agent.containers import values

# Of each line at most one may be given, because they contradict each other.
_OPTIONS = (
    ("rw", "ro"),
    ("z", "Z", "O"),
    ("private", "rprivate", "shared", "rshared", "slave", "rslave", "unbindable", "runbindable"),
    ("bind", "rbind"),
    ("exec", "noexec"),
    ("dev", "nodev"),
    ("suid", "nosuid"),
    ("copy", "nocopy"),
    ("U",),
)
_KNOWN = {option: group for group in _OPTIONS for option in group}
_WITH_VALUE = ("upperdir=", "workdir=", "idmap")
# Docker's hints for other systems than Linux, which Podman's command line leaves out, too.
_MEANINGLESS = ("cached", "delegated")
_VOLUME_HINT = "SOURCE:DESTINATION[:OPTIONS], e.g. /a:/b:ro,z; or a DESTINATION alone"
_NETWORK_OPTIONS = ("ip", "ip6", "mac", "alias", "interface_name")


def generate(volumes: list[str], path: str) -> dict[str, Any]:
    """`mounts` for absolute host paths, `volumes` for names and anonymous ones, `overlay_volumes` for option `O`.

    The same volume may be given twice, as it is where lists are put together; two at one place may not.
    """
    found: dict[str, tuple[str, list[str]]] = {}
    for index, volume in enumerate(volumes):
        with values.at(f"{path}[{index}]"):
            source, destination, options = parse(volume)
            if found.get(destination, (source, options)) != (source, options):
                raise errors.BadInput(f"{volume!r} is the second volume at {destination}", hint="leave one out")
            found[destination] = (source, options)
    return {
        "mounts": [
            {"type": "bind", "source": source, "destination": destination, "options": options}
            for destination, (source, options) in found.items()
            if source.startswith("/") and "O" not in options
        ],
        "volumes": [
            {"Name": source, "Dest": destination, "Options": options}
            for destination, (source, options) in found.items()
            if not source.startswith("/")
        ],
        "overlay_volumes": [
            {"destination": destination, "source": source, "options": options}
            for destination, (source, options) in found.items()
            if source.startswith("/") and "O" in options
        ],
    }


def parse(volume: str) -> tuple[str, str, list[str]]:
    """Source (empty for an anonymous volume), destination and options of a volume's text. Raises BadInput."""
    parts = volume.split(":")
    source, destination = ("", parts[0]) if len(parts) == 1 else (parts[0], parts[1])
    if len(parts) > 3 or not destination.startswith("/") or (len(parts) > 1 and not source):
        raise errors.BadInput(f"{volume!r} is not a volume", hint=_VOLUME_HINT)
    if not source.startswith("/") and not re.fullmatch(r"([a-zA-Z0-9][a-zA-Z0-9_.-]*)?", source):
        raise errors.BadInput(
            f"the source of {volume!r} is neither an absolute path nor a volume's name", hint=_VOLUME_HINT
        )
    options = [option for option in (parts[2].split(",") if len(parts) == 3 else []) if option]
    _check_options(volume, options)
    return source, posixpath.normpath(destination), [option for option in options if option not in _MEANINGLESS]


def _check_options(volume: str, options: list[str]) -> None:
    for option in options:
        if option.startswith(_WITH_VALUE) or option in _MEANINGLESS:
            continue
        group = _KNOWN.get(option)
        if not group:
            raise errors.BadInput(f"{volume!r} has the unknown option {option!r}", hint="for example ro, rw, z, shared")
        if len([other for other in options if other in group]) > 1:
            raise errors.BadInput(f"{volume!r} has more than one of {', '.join(group)}", hint="leave one")


def source_container(value: str) -> str:
    """`NAME[:OPTIONS]` of volumes_from."""
    name, colon, options = value.partition(":")
    given = options.split(",") if colon else []
    # `z` may stand beside either of the other two.
    if not name or not set(given) <= {"ro", "rw", "z"} or len(given) != len(set(given)) or {"ro", "rw"} <= set(given):
        raise errors.BadInput(f"{value!r} is no NAME[:OPTIONS]", hint="options: ro or rw, z")
    return value


def network(net: values.Words, path: str) -> dict[str, Any]:
    """`netns`, and `Networks` with their options. A list, or text with commas, is several networks."""
    names = _networks(net)
    if not names:
        return {}
    mode, _, argument = names[0].partition(":")
    if mode in ("host", "none", "private", "pasta", "slirp4netns", "container", "ns"):
        with values.at(path):
            if len(names) > 1:
                raise errors.BadInput(f"{mode} cannot be combined with other networks", hint="networks' names only")
            if mode in ("pasta", "slirp4netns") and argument:
                options = {"network_options": {mode: argument.split(",")}}
                return {"netns": {"nsmode": mode}, **options}
            return {"netns": values.namespace(names[0], ("none", "pasta", "slirp4netns"))}
    if names == ["bridge"]:
        return {"netns": {"nsmode": "bridge"}}
    networks: dict[str, Any] = {}
    for index, name in enumerate(names):
        with values.at(f"{path}[{index}]" if isinstance(net, list) else path):
            called, options = _network(name)
            networks["default" if called == "bridge" else called] = options
    return {"netns": {"nsmode": "bridge"}, "Networks": networks}


def _networks(net: values.Words) -> list[str]:
    if isinstance(net, str) and ":" not in net:
        return [name for name in net.split(",") if name]
    return values.listed(net)


def _network(value: str) -> tuple[str, dict[str, Any]]:
    """`NAME[:ip=...,mac=...]`: the name, and Podman's PerNetworkOptions."""
    name, _, rest = value.partition(":")
    if not re.fullmatch(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*", name):
        hint = "host, none, bridge, container:NAME, ns:PATH or a network's name"
        raise errors.BadInput(f"{value!r} is not a network", hint=hint)
    options: dict[str, Any] = {}
    for option in rest.split(",") if rest else []:
        key, _, argument = option.partition("=")
        if key not in _NETWORK_OPTIONS or not argument:
            raise errors.BadInput(
                f"{value!r} has the unknown option {option!r}", hint="=..., ".join(_NETWORK_OPTIONS) + "=..."
            )
        if key in ("ip", "ip6"):
            options.setdefault("static_ips", []).append(_address(argument))
        elif key == "alias":
            options.setdefault("aliases", []).append(argument)
        elif key == "mac":
            if not re.fullmatch(r"[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}", argument):
                raise errors.BadInput(f"{argument!r} is not a MAC address", hint="for example 92:d0:c6:0a:29:33")
            options["static_mac"] = argument
        else:
            options["interface_name"] = argument
    return name, options


def _address(value: str) -> str:
    try:
        return str(ipaddress.ip_address(value))
    except ValueError:
        raise errors.BadInput(f"{value!r} is not an IP address") from None
