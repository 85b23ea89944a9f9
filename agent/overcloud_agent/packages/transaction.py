"""Transactions of the package manager, in a process that outlives the agent.

The agent may be among the packages, and a package manager that is cut off leaves the node half way. So carrier.py runs
the command: as a transient unit where systemd runs, else in a session of its own. It holds a lock as long as it lives,
and leaves how the command ended in a file. Whoever wants to know waits for the lock: the process that started it, or,
after a crash or an upgrade, another one.

Every transaction has an identifier that is in the agent's journal before it is started. One whose lock is free and
whose outcome is not there has died with the node, or never began; `settle` sees to it that it never will.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import logging
import os
import secrets
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from overcloud_agent import errors, files, redact, run
from overcloud_agent.containers import units
from overcloud_agent.packages import carrier, model

log = logging.getLogger(__name__)

UNIT = "overcloud-agent-transaction"
LOCK, JOB, OUTCOME, LOG = "transaction.lock", "transaction.job.json", "transaction.json", "transaction.log"

# Seconds that a shutdown waits for a transaction.
_SHUTDOWN_WAITS = 1800
# Seconds until systemd has to have started the carrier.
_START_LIMIT = 60.0
# Seconds that the carrier may take after the deadline of its command: for its end, and for the disk.
_SLACK = carrier.GRACE + 30.0
# Seconds in which it is noticed that the agent is to stop: there is no event for that.
_STOP_NOTICED = 0.5
# Bytes of output that are kept for the result, and after which the log is begun anew.
TAIL = 8192
_LOG_LIMIT = 16 * 1024 * 1024


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ended:
    """How a transaction ended: the command's status (negative: the signal that ended it) and the end of its output."""

    status: int
    timed_out: bool
    log: str


def directory(state_dir: Path) -> Path:
    """Where the transactions' files are, made if need be."""
    made = state_dir / "packages"
    files.private_directory(made)
    return made


def new_identifier() -> str:
    """An identifier for a transaction, to be written down before it is started."""
    return secrets.token_hex(8)


def start(state_dir: Path, command: model.Command, identifier: str, *, timeout: float, systemd: bool) -> None:
    """Start the command, and return when it is under way, or begins at once.

    It is ended when it runs for more than `timeout` seconds. Another transaction that runs is waited for. Raises
    PackageError when it cannot be started: it never will be, then.
    """
    place = directory(state_dir)
    job = {
        "identifier": identifier,
        "argv": list(command.argv),
        "environment": {**run.environment(), **command.environment},
        "timeout": timeout,
    }
    try:
        with _locked(place) as descriptor:
            _begin_log(place / LOG, command, identifier)
            files.write(place / "carrier.py", Path(carrier.__file__).read_bytes())
            files.write(place / JOB, json.dumps(job).encode())
            argv = [sys.executable, "-I", "-S", str(place / "carrier.py"), str(place), identifier]
            if not systemd:
                # The lock goes over to the carrier with its descriptor: there is no moment in which nobody holds it.
                run.detach([*argv, str(descriptor)], keep=descriptor)
        if systemd:
            _start_unit(argv, identifier)
    except OSError as error:
        (place / JOB).unlink(missing_ok=True)
        raise errors.PackageError(f"cannot start the package manager: {error}") from None


def _start_unit(argv: list[str], identifier: str) -> None:
    options = [
        f"--unit={UNIT}-{identifier}",
        "--description=Packages are changed by overcloud-agent",
        "--collect",
        "--quiet",
        "--service-type=notify",
        # The carrier is asked to end at a shutdown, and does when the package manager has; see carrier.py.
        "--property=KillMode=mixed",
        f"--property=TimeoutStopSec={_SHUTDOWN_WAITS}",
    ]
    done = run.command(["systemd-run", *options, "--", *argv], timeout=_START_LIMIT)
    if done.returncode != 0 or done.timed_out:
        said = done.stderr.decode(errors="replace").strip() or f"no answer within {_START_LIMIT:g} seconds"
        raise OSError(f"systemd-run: {said}")


def settle(state_dir: Path, identifier: str, *, deadline: float, alive: Callable[[], None]) -> Ended | None:
    """Wait until no transaction runs; how the one of that identifier ended, or None when it has no end.

    One that has none has died, or has not begun and will not from here on. `alive` is called while this waits, and
    ends it by raising. Raises PackageError past `deadline` (of time.monotonic), which the carrier enforces as well.
    """
    place = directory(state_dir)
    with _awaited(place, deadline + _SLACK, alive):
        with contextlib.suppress(FileNotFoundError, ValueError):
            outcome = json.loads((place / OUTCOME).read_bytes())
            if outcome["identifier"] == identifier:
                tail = _tail(place / LOG, outcome["log_from"])
                return Ended(status=outcome["status"], timed_out=outcome["timed_out"], log=tail)
        (place / JOB).unlink(missing_ok=True)
        return None


def last_log(state_dir: Path) -> str:
    """The end of what the last transaction printed, if there was one."""
    return _tail(directory(state_dir) / LOG, 0)


@contextlib.contextmanager
def _locked(place: Path) -> Iterator[int]:
    descriptor = os.open(place / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _awaited(place: Path, deadline: float, alive: Callable[[], None]) -> Iterator[None]:
    """Hold the lock when nobody else does any more. It is waited for in a thread, which nothing else can end."""
    got, release, given_up = threading.Event(), threading.Event(), threading.Event()

    def hold() -> None:
        with _locked(place):
            got.set()
            if not given_up.is_set():
                release.wait()

    thread = threading.Thread(target=hold, name="transaction", daemon=True)
    thread.start()
    try:
        while not got.wait(_STOP_NOTICED):
            alive()
            if time.monotonic() > deadline:
                raise errors.PackageError(
                    "the package manager still runs, long after its deadline", hint=f"see {place / LOG}"
                )
        yield
    finally:
        given_up.set()
        release.set()
        if got.is_set():
            thread.join()


def _begin_log(path: Path, command: model.Command, identifier: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        if path.stat().st_size > _LOG_LIMIT:
            path.rename(path.with_name(f"{LOG}.1"))
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    # Not its arguments: there may be thousands.
    text = f"\n==== {now} {identifier}: {Path(command.argv[0]).name}\n"
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with open(descriptor, "a") as file:
        file.write(text)


def _tail(path: Path, begin: int) -> str:
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(begin, size - TAIL))
            text = file.read(TAIL).decode(errors="replace")
    except OSError:
        return ""
    # A repair may fetch, and tell of a repository by its whole URL.
    return redact.text(text if size - TAIL <= begin else text.partition("\n")[2])


def is_booted() -> bool:
    """Whether systemd is PID 1."""
    return units.BOOTED.is_dir()
