"""Start processes that outlive us, find the box's own, and stop them.

A process belongs to a box if its command line says so: everything a box
starts (service, registry, conmon, a container's cleanup) has a path of the box
among its arguments. No pid is ever taken from a file, where it could be stale.
"""

import contextlib
import os
import pathlib
import select
import signal
import time
from collections.abc import Callable, Mapping, Sequence

from podmanbox import errors

# Programs that Podman, or a box itself, leaves running. A person's editor on
# a file in the box, or a shell, is none of them.
PROGRAMS = frozenset(
    (
        "catatonit",
        "conmon",
        "crun",
        "docker-registry",
        "netavark",
        "podman",
        "registry",
        "runc",
        "slirp4netns",
    )
)


def start(argv: Sequence[str], env: Mapping[str, str], log: pathlib.Path) -> int:
    """Start a process in a session of its own and return its pid.

    Its output is appended to ``log``. argv[0] is an absolute path.
    """
    append = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    return os.posix_spawn(
        argv[0],
        list(argv),
        dict(env),
        file_actions=(
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log), append, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ),
        setsid=True,
        setsigmask=(),
        setsigdef=(signal.SIGINT, signal.SIGTERM, signal.SIGPIPE, signal.SIGHUP),
    )


def command_line(pid: int) -> tuple[str, ...]:
    """Return the argv of a process, () if it is gone or a zombie."""
    try:
        raw = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return ()
    return tuple(os.fsdecode(part) for part in raw.split(b"\0")[:-1])


def find(matches: Callable[[tuple[str, ...]], bool]) -> list[int]:
    """Return the pids of all processes, but this one, whose argv matches."""
    pids = (int(entry) for entry in os.listdir("/proc") if entry.isdigit())
    return [pid for pid in pids if pid != os.getpid() and matches(command_line(pid))]


def belongs_to(directory: pathlib.Path, argv: Sequence[str]) -> bool:
    """Say if ``argv`` is that of a program of the box in ``directory``."""
    if not argv or pathlib.PurePath(argv[0]).name not in PROGRAMS:
        return False
    inside = str(directory)
    return any(_names_path_in(inside, argument) for argument in argv[1:])


def _names_path_in(inside: str, argument: str) -> bool:
    path = argument.rpartition("=")[2].removeprefix("unix://")
    return path == inside or path.startswith(inside + "/")


def stop(matches: Callable[[tuple[str, ...]], bool], grace_s: float = 5.0) -> int:
    """Stop the processes that match: SIGTERM, after ``grace_s`` seconds SIGKILL.

    Return how many there were; when this returns they are gone.
    """
    handles: dict[int, int] = {}
    for pid in find(matches):
        try:
            handle = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        # The handle is for whoever has the pid now: look at the argv once more.
        if matches(command_line(pid)):
            handles[handle] = pid
        else:
            os.close(handle)
    count = len(handles)
    _signal_and_wait(handles, signal.SIGTERM, grace_s)
    _signal_and_wait(handles, signal.SIGKILL, grace_s)
    for handle in handles:
        os.close(handle)
    return count


def _signal_and_wait(handles: dict[int, int], number: signal.Signals, patience_s: float) -> None:
    """Send a signal to the processes and take those out of ``handles`` that end in time."""
    poller = select.poll()
    for handle in handles:
        poller.register(handle, select.POLLIN)
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(handle, number)
    deadline = time.monotonic() + patience_s
    while handles and (left := deadline - time.monotonic()) > 0:
        for handle, _ in poller.poll(left * 1000):
            poller.unregister(handle)
            reap(handles.pop(handle))
            os.close(handle)


def reap(pid: int) -> bool:
    """Collect a child that has ended, lest it stays a zombie; say if it was one of ours."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return False


def wait_ready(pid: int, ready: Callable[[], bool], log: pathlib.Path, timeout_s: float) -> None:
    """Wait until a process just started answers.

    Raise BoxError with the end of its log if it dies or takes more than ``timeout_s`` seconds.
    """
    deadline = time.monotonic() + timeout_s
    while not ready():
        if reap(pid):
            problem = "ended at once"
        elif time.monotonic() > deadline:
            problem = f"does not answer after {timeout_s:g} s"
        else:
            # Neither program can tell when it listens, so it is asked again soon.
            time.sleep(0.02)
            continue
        tail = log.read_text(errors="replace").strip().splitlines()[-5:]
        raise errors.BoxError(f"{log.stem} {problem}", "its last words: " + " / ".join(tail))
