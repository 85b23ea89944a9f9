"""Detached processes with pid files: start one, tell whether it is alive, stop it.

A pid file holds the pid and the process's birth (boot id and start time in clock ticks).  Pids
are reused; pid and birth together name one process only.
"""

import contextlib
import dataclasses
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from undercloud import errors, layout, tools

_DETACH = Path(__file__).resolve().parent / "detach.py"
_STOP_SECONDS = 5.0


@dataclasses.dataclass(frozen=True)
class Process:
    """One process that was started here."""

    pid: int
    birth: str


def start(argv: Sequence[str], log: Path, pid_file: Path, environment: Mapping[str, str]) -> Process:
    """Start ``argv`` in a session of its own, with its output appended to ``log``."""
    tools.open_log(log).close()
    launcher = [sys.executable, "-I", str(_DETACH), str(log), *argv]
    result = subprocess.run(launcher, capture_output=True, text=True, env=dict(environment), check=False)
    if result.returncode != 0:
        raise errors.UndercloudError(f"{argv[0]} did not start: {result.stderr.strip()}")
    pid = int(result.stdout)
    # A process that is gone already has no birth, and counts as dead from here on.
    process = Process(pid, _birth(pid) or "gone")
    layout.write_private(pid_file, f"{process.pid} {process.birth}\n")
    return process


def alive(pid_file: Path) -> Process | None:
    """Return the process of the pid file if it still runs, else None."""
    try:
        pid, birth = pid_file.read_text(encoding="utf-8").split(maxsplit=1)
        process = Process(int(pid), birth.strip())
    except (OSError, ValueError):
        return None
    return process if _birth(process.pid) == process.birth else None


def stop_all(pid_files: Sequence[Path]) -> int:
    """Ask all processes to end, kill those that have not after 5 s; return how many there were."""
    found = [(file, process) for file in pid_files if (process := alive(file))]
    handles = [handle for _, process in found if (handle := _open(process)) is not None]
    for handle in handles:
        _signal(handle, signal.SIGTERM)
    deadline = time.monotonic() + _STOP_SECONDS
    for handle in handles:
        if not _wait(handle, deadline):
            _signal(handle, signal.SIGKILL)
            _wait(handle, time.monotonic() + _STOP_SECONDS)
        os.close(handle)
    for file in pid_files:
        file.unlink(missing_ok=True)
    return len(found)


def _open(process: Process) -> int | None:
    """Return a pidfd, which stays with the process even when its pid is reused."""
    try:
        handle = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return None
    if _birth(process.pid) == process.birth:
        return handle
    os.close(handle)
    return None


def _signal(handle: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(handle, number)


def _wait(handle: int, deadline: float) -> bool:
    """Return True when the process has ended, False when the deadline came first."""
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    return bool(poll.poll(max(0.0, deadline - time.monotonic()) * 1000))


def _birth(pid: int) -> str | None:
    """Return boot id and start time of a process, or None when it is gone or a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The command name, in parentheses, may hold spaces and parentheses; state is the first
    # field after it and the start time the twentieth.
    fields = stat.rpartition(")")[2].split()
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
    return None if fields[0] in "ZX" else f"{boot} {fields[19]}"
