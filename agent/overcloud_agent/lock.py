"""One process at a time works with a state directory."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from overcloud_agent import errors


@contextlib.contextmanager
def exclusive(state_dir: Path, *, wait: bool = False) -> Iterator[None]:
    """Hold the lock that makes this process the only one that works with `state_dir`.

    With `wait`, wait for as long as another one holds it; else raises Busy.
    """
    # Whoever sees the lock may send this signal (flush.py), which ends a process that does not expect it.
    before = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    try:
        with _locked(state_dir, wait=wait):
            yield
    finally:
        signal.signal(signal.SIGUSR1, before)


@contextlib.contextmanager
def _locked(state_dir: Path, *, wait: bool) -> Iterator[None]:
    try:
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(state_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise errors.JournalError(
            f"cannot use the state directory {state_dir}: {error.strerror}", hint="set state_dir in the configuration"
        ) from None
    try:
        if not _lock(descriptor):
            if not wait:
                raise errors.Busy(
                    f"another agent works with {state_dir}", hint="`overcloud-agent status` tells what it does"
                )
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        _sign(descriptor, state_dir)
        yield
    finally:
        # The kernel drops the lock when the process dies, whatever the way; the file stays.
        os.close(descriptor)


@contextlib.contextmanager
def containers(state_dir: Path, *, shared: bool = False) -> Iterator[None]:
    """Hold the lock of the node's containers: upgrades share it, a rollback by hand has it alone. Raises Busy."""
    with _opened(state_dir, "containers.lock") as descriptor:
        if shared:
            # Who rolls back by hand is soon done, and an upgrade that failed for it would have to be asked for again.
            fcntl.flock(descriptor, fcntl.LOCK_SH)
        else:
            _at_once(descriptor, "containers are being upgraded")
        yield


@contextlib.contextmanager
def packages(state_dir: Path) -> Iterator[None]:
    """Hold the lock of the node's updates: there is one at a time. Raises Busy."""
    with _opened(state_dir, "packages.lock") as descriptor:
        _at_once(descriptor, "packages are being updated by another process")
        yield


@contextlib.contextmanager
def _opened(state_dir: Path, name: str) -> Iterator[int]:
    try:
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(state_dir / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise errors.JournalError(f"cannot use the state directory {state_dir}: {error.strerror}") from None
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _at_once(descriptor: int, complaint: str) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise errors.Busy(complaint, hint="try again when that is done") from None


def _sign(descriptor: int, state_dir: Path) -> None:
    try:
        os.truncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
    except OSError as error:
        hint = "make room: the disk is full" if error.errno == errno.ENOSPC else "mend the disk or its permissions"
        raise errors.JournalBlocked(f"cannot write into {state_dir}: {error.strerror}", hint=hint) from None


def _lock(descriptor: int) -> bool:
    """Take the lock; `status` holds it for a moment to see whether it is free, so this tries more than once."""
    for attempt in range(5):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except OSError:
            time.sleep(0.02 * attempt)
    return False


def is_open(pid: int, state_dir: Path) -> bool:
    """Whether the process has the lock's file open: it holds the lock, or waits for it."""
    try:
        wanted = os.stat(state_dir / "lock")
        numbers = os.listdir(f"/proc/{pid}/fd")
    # There is no lock yet, or the process has ended.
    except OSError:
        return False
    for number in numbers:
        # Others may be closed meanwhile.
        with contextlib.suppress(OSError):
            if os.path.samestat(wanted, os.stat(f"/proc/{pid}/fd/{number}")):
                return True
    return False
