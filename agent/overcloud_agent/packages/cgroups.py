"""Which systemd unit and which container a process belongs to, by its control groups. Pure: no I/O.

cgroups(7) for the format of /proc/PID/cgroup, systemd's cgroup-util.c for how a unit is found in a path
(cg_path_get_unit), Podman's libpod for the names of its groups.
"""

from __future__ import annotations

import dataclasses
import re

# libpod-<id>.scope with systemd, libpod-<id> below /libpod_parent without; conmon has a group of its own. The others
# name theirs alike.
_CONTAINER = re.compile(r"^(?:libpod|docker|crio|cri-containerd)-(?P<conmon>conmon-)?(?P<id>[0-9a-f]{64})(?:\.scope)?$")
_UNITS = (".service", ".scope", ".socket", ".mount", ".swap")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Place:
    """Where a process belongs; each field is empty where there is none."""

    unit: str = ""
    container: str = ""
    """The container's whole id."""
    conmon: str = ""
    """The id of the container that this process supervises, if its group tells."""


def paths(text: str) -> list[str]:
    """The groups in /proc/PID/cgroup, systemd's own hierarchy first: cgroup v1 and the hybrid one name it, v2 is 0."""
    found: list[tuple[int, str]] = []
    for line in text.splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        found.append((0 if controllers == "name=systemd" else 1 if number == "0" else 2, path))
    return [path for _, path in sorted(found, key=lambda one: one[0])]


def prefix(text: str) -> str:
    """What all paths begin with: where PID 1 was started, which is a group of the outer system in a container."""
    own = (paths(text) or ["/"])[0]
    for end in ("/init.scope", "/system.slice", "/system"):
        if own.endswith(end):
            return own.removesuffix(end)
    return own.rstrip("/")


def place(text: str, before: str = "") -> Place:
    """Where a process with this /proc/PID/cgroup belongs; `before` is PID 1's `prefix`."""
    unit = container = conmon = ""
    for path in paths(text):
        parts = path.removeprefix(before).strip("/").split("/")
        for part in parts:
            named = _CONTAINER.match(part)
            if named and named["conmon"]:
                conmon = conmon or named["id"]
            elif named:
                container = container or named["id"]
        unit = unit or _unit(parts)
    return Place(unit=unit, container=container, conmon=conmon)


def _unit(parts: list[str]) -> str:
    """The first group of a path that is not a slice, if it is a unit's."""
    for part in parts:
        # systemd writes an underscore before what the kernel could take for a file of its own.
        name = part.removeprefix("_")
        if not name.endswith(".slice"):
            return name if name.endswith(_UNITS) else ""
    return ""
