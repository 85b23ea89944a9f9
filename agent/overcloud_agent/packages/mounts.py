"""Which file of the host a path in another mount namespace is. Pure: no I/O.

A container has files of its own under the same names as the host's; only what is mounted into it from the host is the
host's. proc_pid_mountinfo(5) for the format.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

_ESCAPED = re.compile(r"\\([0-7]{3})")


@dataclasses.dataclass(frozen=True)
class Mount:
    """A mount: `root` of the file system `device` is seen at `point`."""

    device: str
    root: str
    point: str


def read(text: str) -> list[Mount]:
    """Read a mountinfo, the longest mount points first, and of those in one place the topmost."""
    found = []
    for line in text.splitlines():
        fields = line.split(" ")
        if len(fields) > 4:
            found.append(Mount(fields[2], _plain(fields[3]), _plain(fields[4])))
    found.reverse()
    return sorted(found, key=lambda mount: -len(mount.point))


def on_host(path: str, there: Sequence[Mount], here: Sequence[Mount], *, own_root: bool) -> str:
    """The host's path of the file that has `path` in the other namespace; empty when it is not the host's.

    With `own_root`, what lies on the other namespace's root file system never is.
    """
    mount = next((mount for mount in there if _rest(path, mount.point) is not None), None)
    if mount is None or (own_root and mount.point == "/"):
        return ""
    inside = _join(mount.root, _rest(path, mount.point) or "")
    for host in here:
        rest = _rest(inside, host.root) if host.device == mount.device else None
        if rest is not None:
            found = _join(host.point, rest)
            if _visible(found, host, here):
                return found
    return ""


def _visible(path: str, mount: Mount, here: Sequence[Mount]) -> bool:
    return next((one for one in here if _rest(path, one.point) is not None), None) == mount


def _rest(path: str, above: str) -> str | None:
    """What follows `above` in `path`; None when it is not below it."""
    if above == "/":
        return path
    if path == above:
        return ""
    return path[len(above) :] if path.startswith(f"{above}/") else None


def _join(above: str, rest: str) -> str:
    return (above.rstrip("/") + rest) or "/"


def _plain(field: str) -> str:
    return _ESCAPED.sub(lambda found: chr(int(found[1], 8)), field) if "\\" in field else field
