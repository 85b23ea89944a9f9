"""Who else works with dpkg and apt, and the wait for it. Their locks are those of fcntl(2)."""

from __future__ import annotations

import fcntl
import os
import struct
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from overcloud_agent import errors, run

# In the order in which apt takes them; the first is held as long as anything is installed.
DPKG = ("var/lib/dpkg/lock-frontend", "var/lib/dpkg/lock")
LISTS = ("var/lib/apt/lists/lock",)
ARCHIVES = ("var/cache/apt/archives/lock",)

# struct flock, as fcntl(2) has it on Linux: type, whence, start, length, pid.
_FLOCK = "hhqqi"
# Takes each lock and lets it go, which waits without polling until nobody has it.
_WAITER = "import fcntl, sys\nfor path in sys.argv[1:]:\n    fcntl.lockf(open(path, 'r+'), fcntl.LOCK_EX)"


def holder(root: Path, locks: Iterable[str]) -> str:
    """Who holds the first of `locks` that is held, as `apt-get (pid 42)`; empty when nobody does."""
    for lock in locks:
        pid = _pid(root / lock)
        if pid:
            return f"{_program(pid)} (pid {pid})" if pid > 0 else "a program that cannot be told"
    return ""


def wait(root: Path, locks: Iterable[str], deadline: float, alive: Callable[[], None]) -> None:
    """Wait until nobody holds one of `locks`. Past `deadline` (time.monotonic) raises PackageError: who does."""
    paths = [str(root / lock) for lock in locks if (root / lock).exists()]
    while who := holder(root, locks):
        alive()
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            raise held(who)
        done = run.hook([sys.executable, "-IS", "-c", _WAITER, *paths], b"", timeout=remaining, limit=4096, alive=alive)
        if done.returncode != 0 and not done.timed_out:
            raise errors.PackageError(
                f"{who} holds the package manager's lock, and waiting failed: {done.stderr.decode(errors='replace')}"
            )


def held(who: str) -> errors.PackageError:
    """The error that says so."""
    return errors.PackageError(
        f"{who} holds the package manager's lock", hint="let it end, or end it, and try again; or wait longer"
    )


def _pid(path: Path) -> int:
    """The pid of who holds the lock; 0 when nobody does, negative when the kernel does not tell."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return 0
    except OSError as error:
        raise errors.PackageError(f"cannot look at the lock {path}: {error.strerror}") from None
    try:
        asked = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        kind, _, _, _, pid = struct.unpack(_FLOCK, fcntl.fcntl(descriptor, fcntl.F_GETLK, asked))
    finally:
        # This process has none of these locks itself: to close the file would let it go.
        os.close(descriptor)
    # 0 is a holder that this pid namespace does not see, -1 a lock of an open file.
    return 0 if kind == fcntl.F_UNLCK else pid or -1


def _program(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text(errors="replace").strip()
    except OSError:
        return "a program that has ended"
