"""A program of its own that carries out one transaction of a package manager, whatever becomes of the agent.

The agent copies this file into its state directory and starts the copy, because the agent may be among the packages
that are replaced. So this knows nothing of the agent's modules, and whatever it needs is imported when it starts.

    carrier.py DIRECTORY IDENTIFIER [DESCRIPTOR]

In DIRECTORY (transaction.py has the other side of each):

    transaction.lock       held while this runs; DESCRIPTOR is where it is open and held already
    transaction.job.json   what to run; it is removed when this begins, and one of another IDENTIFIER is left alone
    transaction.log        what the command prints, one transaction after the other
    transaction.json       how it ended
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

# Seconds between SIGTERM and SIGKILL for a command that ran past its deadline; dpkg ends the package at hand meanwhile.
GRACE = 30.0

# The longest wait, in seconds, that the kernel's clocks take for certain.
MOST = 1e6

# What this ends with when there is nothing to do, because whoever started it has given up on that.
REVOKED = 75


def main(argv: list[str]) -> int:
    """Carry out the job, once."""
    directory, identifier = Path(argv[1]), argv[2]
    # A shutdown waits for the transaction as long as systemd lets it. No SIG_IGN: the command would inherit it.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    _lock(directory, int(argv[3]) if len(argv) > 3 else None)
    job = _take(directory / "transaction.job.json", identifier)
    # systemd-run returns when it hears this, so that whoever called it finds the lock held.
    _notify(b"READY=1")
    if job is None:
        return REVOKED
    begun = time.time()
    with open(directory / "transaction.log", "ab", opener=_private) as log:
        offset = log.tell()
        ended = _run(job, log.fileno())
    outcome = {"identifier": identifier, "begun": begun, "ended": time.time(), "log_from": offset, **ended}
    _write(directory / "transaction.json", json.dumps(outcome).encode())
    return 0


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)


def _lock(directory: Path, inherited: int | None) -> None:
    """Hold the lock until this process ends, and no longer: what the command leaves running must not hold it."""
    if inherited is None:
        descriptor = _private(str(directory / "transaction.lock"), os.O_RDWR | os.O_CREAT)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    else:
        os.set_inheritable(inherited, False)


def _take(path: Path, identifier: str) -> dict[str, object] | None:
    """Read the job and remove it: it has an environment, and nobody else is to begin it."""
    try:
        job = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    if job["identifier"] != identifier:
        return None
    path.unlink()
    return dict(job)


def _notify(message: bytes) -> None:
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
            client.connect("\0" + address[1:] if address.startswith("@") else address)
            client.send(message)


def _run(job: dict[str, object], output: int) -> dict[str, object]:
    """Run the command in a session of its own; returns its status (negative: the signal), and whether it was ended."""
    try:
        process = subprocess.Popen(
            job["argv"],  # type: ignore[call-overload]  # JSON that transaction.py wrote
            env=job["environment"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd="/",
            start_new_session=True,
        )
    except OSError as error:
        os.write(output, f"cannot be started: {error}\n".encode())
        return {"status": 127, "timed_out": False}
    handle = os.pidfd_open(process.pid)
    timed_out = not _ends(handle, float(str(job["timeout"])))
    if timed_out:
        os.killpg(process.pid, signal.SIGTERM)
        if not _ends(handle, GRACE):
            os.killpg(process.pid, signal.SIGKILL)
    return {"status": process.wait(), "timed_out": timed_out}


def _ends(handle: int, within: float) -> bool:
    """Whether a process ends within so many seconds. Signals that come meanwhile do not shorten the wait (PEP 475)."""
    ready, _, _ = select.select([handle], [], [], min(within, MOST))
    return bool(ready)


def _write(path: Path, content: bytes) -> None:
    """Write it so that a reader, and a start after a power cut, finds all of it or the one before."""
    new = path.with_name(f".{path.name}.new")
    with open(new, "wb", opener=_private) as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.rename(new, path)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    os.fsync(directory)
    os.close(directory)


if __name__ == "__main__":
    sys.exit(main(sys.argv))
