"""Who holds the locks of rpm, dnf and dnf5 on one root, and waiting until nobody does."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from overcloud_agent import errors
from overcloud_agent.packages import rpm

# Locked with fcntl(2) while they are used: by rpm (lib/rpmlock.c), and by dnf5 (libdnf5/system, libdnf5/utils/locker).
_LOCKED = ("var/lib/dnf/system-repo.lock", "run/dnf/rpmtransaction.lock")
# Files with the pid of their holder (dnf/lock.py).
_PIDS = ("var/lib/dnf/rpmdb_lock.pid", "var/cache/dnf/metadata_lock.pid", "var/cache/dnf/download_lock.pid")

# struct flock of 64-bit Linux: type, whence, start, length, pid.
_FLOCK = struct.Struct("@hhqqi4x")
# Seconds: a lock may be given back by a process that goes on.
_LOOK_AGAIN = 1.0


def holder(root: Path) -> str:
    """Who holds one of the locks, as `dnf (pid 42)`; empty when nobody does."""
    return next((_name(pid) for pid in _holders(root)), "")


def wait(root: Path, seconds: float, alive: Callable[[], None]) -> None:
    """Return when nobody holds a lock. Raises PackageError, with who does, when that takes longer than `seconds`."""
    deadline = time.monotonic() + seconds
    while (pid := next(_holders(root), None)) is not None:
        alive()
        left = deadline - time.monotonic()
        if left <= 0:
            raise errors.PackageError(
                f"{_name(pid)} holds the lock of rpm, and held it for {seconds:g} seconds",
                hint="wait until it is done, or find out why it is not",
            )
        _until_end(pid, min(left, _LOOK_AGAIN))


def _holders(root: Path) -> Iterator[int]:
    for path in (*(directory / ".rpm.lock" for directory in rpm.directories(root)), *(root / name for name in _LOCKED)):
        pid = _locker(path)
        if pid is not None:
            yield pid
    for name in _PIDS:
        pid = _written(root / name)
        if pid is not None:
            yield pid


def _locker(path: Path) -> int | None:
    """Who would keep us from locking the file for writing; 0 when that is in a place that we do not see."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        kind, _, _, _, pid = _FLOCK.unpack(fcntl.fcntl(descriptor, fcntl.F_GETLK, asked))
    finally:
        os.close(descriptor)
    return None if kind == fcntl.F_UNLCK else max(pid, 0)


def _written(path: Path) -> int | None:
    """Who wrote its pid there; None when it is gone, which dnf sees, too, and takes the lock over."""
    with contextlib.suppress(OSError, ValueError):
        pid = int(path.read_text())
        if pid > 0 and os.path.exists(f"/proc/{pid}/stat"):
            return pid
    return None


def _name(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/comm", errors="replace") as file:
            return f"{file.read().strip()} (pid {pid})"
    except OSError:
        return f"a process (pid {pid})" if pid else "a process of another namespace"


def _until_end(pid: int, seconds: float) -> None:
    try:
        handle = os.pidfd_open(pid)
    except (OSError, ValueError):
        time.sleep(min(seconds, 0.1))
        return
    try:
        select.select([handle], [], [], seconds)
    finally:
        os.close(handle)
