"""Whether there is room for an update. Pure: no I/O."""

from __future__ import annotations

import collections
from collections.abc import Mapping

from overcloud_agent.packages import model


def room(
    plan: model.Plan, free: Mapping[str, int], *, download: int, cache: str = "/var/cache", files: str = "/usr"
) -> list[str]:
    """What there is no room for, in words, for each mount point that is too small; empty when all fits.

    `free` has the bytes that are free by mount point; `download` bytes are to come to `cache`, packages' files
    to what `files` is on. What shrinks makes room only after everything else has grown, and is not counted.
    """
    growth = sum(change.growth for change in plan.pending.changes if change.growth > 0)
    needs: dict[str, list[tuple[int, str]]] = collections.defaultdict(list)
    for path, size, purpose in ((cache, download, "download"), (files, growth, "unpack")):
        mount = _mount(path, free)
        if mount is not None and size > 0:
            needs[mount].append((size, f"{shown(size)} to {purpose}"))
    return [
        f"{mount} has {shown(free[mount])} free, and the update needs {' and '.join(text for _, text in needed)} there"
        for mount, needed in sorted(needs.items())
        if sum(size for size, _ in needed) > free[mount]
    ]


def _mount(path: str, free: Mapping[str, int]) -> str | None:
    """The mount point that a path is on; None when none of them has it."""
    fits = [mount for mount in free if path == mount or path.startswith(mount.rstrip("/") + "/")]
    return max(fits, key=len, default=None)


def shown(size: int) -> str:
    """Bytes for people."""
    sign, size = ("-", -size) if size < 0 else ("", size)
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= factor:
            return f"{sign}{size / factor:.1f} {unit}"
    return f"{sign}{size} B"
