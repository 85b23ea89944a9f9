"""The only module that starts a process: a hook, in a process group of its own, with a deadline and bounded output."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from typing import IO

import psutil

from overcloud_agent import model

# How long a hook that ended may leave its output open in the hands of a background child before we stop reading.
PIPE_GRACE = 1.0
# How long a process group that ran past its deadline has between SIGTERM and SIGKILL.
TERM_GRACE = 5.0

_CHUNK = 65536
# What systemd tells the agent about itself is not for hooks: a hook must not notify in the agent's name.
_OWN_VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Completed:
    """How a process ended: `returncode` as in subprocess (negative: the signal), output already bounded."""

    returncode: int
    stdout: bytes
    stderr: bytes
    timed_out: bool
    output_held: bool
    """True when a background child kept the output open after the process had ended."""


class _Bounded:
    """The first and the last half of a stream of bytes; what is between is counted and dropped."""

    def __init__(self, limit: int) -> None:
        self._half = max(limit // 2, 1)
        self._head = bytearray()
        self._tail = bytearray()
        self._dropped = 0

    def add(self, data: bytes) -> None:
        room = self._half - len(self._head)
        if room > 0:
            self._head += data[:room]
            data = data[room:]
        self._tail += data
        excess = len(self._tail) - self._half
        if excess > 0:
            del self._tail[:excess]
            self._dropped += excess

    def value(self) -> bytes:
        if not self._dropped:
            return bytes(self._head + self._tail)
        cut = f"\n[... {self._dropped} bytes cut here by overcloud-agent ...]\n".encode()
        return bytes(self._head) + cut + bytes(self._tail)


def hook(
    argv: Sequence[str],
    stdin: bytes,
    *,
    timeout: float,
    limit: int,
    began: Callable[[model.Process], None] = lambda _: None,
) -> Completed:
    """Run `argv`, feed it `stdin`, and return how it ended.

    `timeout` is in seconds, `limit` in bytes for each of stdout and stderr; `began` is told the process. Past the
    deadline the whole process group is ended, and so it is when anything goes wrong here. Raises OSError when the
    program cannot be started.
    """
    process = subprocess.Popen(
        argv,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={k: v for k, v in os.environ.items() if k not in _OWN_VARIABLES},
        start_new_session=True,
        bufsize=0,
    )
    try:
        with _Conversation(process, stdin, limit) as conversation:
            began(model.Process(process.pid, psutil.Process(process.pid).create_time()))
            return _converse(process, conversation, timeout)
    except BaseException:
        _signal_group(process.pid, signal.SIGKILL)
        process.wait()
        raise


def _converse(process: subprocess.Popen[bytes], conversation: _Conversation, timeout: float) -> Completed:
    timed_out = not conversation.until_exit(time.monotonic() + timeout)
    if timed_out:
        _signal_group(process.pid, signal.SIGTERM)
        # The pipes are served meanwhile: a hook that tells what it was doing must be able to.
        conversation.until_exit(time.monotonic() + TERM_GRACE)
        _signal_group(process.pid, signal.SIGKILL)
        conversation.until_exit(time.monotonic() + TERM_GRACE)
    held = not conversation.until_closed(time.monotonic() + PIPE_GRACE)
    return Completed(
        returncode=process.wait(),
        stdout=conversation.stdout.value(),
        stderr=conversation.stderr.value(),
        timed_out=timed_out,
        output_held=held,
    )


def end_leftover(process: model.Process) -> bool:
    """End the group of a hook that outlived the agent that started it; False when it had ended by itself.

    Only while its leader lives: what a hook that ended left in the background is meant to go on.
    """
    try:
        if psutil.Process(process.pid).create_time() != process.created:
            return False
    except psutil.NoSuchProcess:
        return False
    pidfd = os.pidfd_open(process.pid)
    try:
        _signal_group(process.pid, signal.SIGTERM)
        with selectors.DefaultSelector() as selector:
            selector.register(pidfd, selectors.EVENT_READ)
            selector.select(TERM_GRACE)
        _signal_group(process.pid, signal.SIGKILL)
    finally:
        os.close(pidfd)
    return True


def _signal_group(leader: int, number: int) -> None:
    # The group's id is the leader's pid (start_new_session).
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader, number)


class _Conversation:
    """The three pipes and the end of one process, waited for together."""

    def __init__(self, process: subprocess.Popen[bytes], stdin: bytes, limit: int) -> None:
        assert process.stdin and process.stdout and process.stderr
        self._process = process
        self._pending = memoryview(stdin)
        self.stdout = _Bounded(limit)
        self.stderr = _Bounded(limit)
        self._sinks: dict[IO[bytes], _Bounded] = {process.stdout: self.stdout, process.stderr: self.stderr}
        self._pidfd = os.pidfd_open(process.pid)
        self._exited = False
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._pidfd, selectors.EVENT_READ)
        for pipe in self._sinks:
            os.set_blocking(pipe.fileno(), False)
            self._selector.register(pipe, selectors.EVENT_READ)
        os.set_blocking(process.stdin.fileno(), False)
        self._selector.register(process.stdin, selectors.EVENT_WRITE)

    def __enter__(self) -> _Conversation:
        return self

    def __exit__(self, *exc: object) -> None:
        self._selector.close()
        os.close(self._pidfd)
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe and not pipe.closed:
                pipe.close()

    def until_exit(self, deadline: float) -> bool:
        """Serve the pipes until the process ended (True) or the deadline passed (False)."""
        while not self._exited:
            if not self._serve(deadline):
                return False
        return True

    def until_closed(self, deadline: float) -> bool:
        """Serve the pipes until both outputs are closed (True) or the deadline passed (False)."""
        while any(not pipe.closed for pipe in self._sinks):
            if not self._serve(deadline):
                return False
        return True

    def _serve(self, deadline: float) -> bool:
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            return False
        for key, _ in self._selector.select(min(remaining, 3600.0)):
            if key.fileobj == self._pidfd:
                self._exited = True
                self._selector.unregister(self._pidfd)
            elif key.fileobj is self._process.stdin:
                self._feed()
            else:
                self._read(key.fileobj)  # type: ignore[arg-type]  # the only other things registered are pipes
        return True

    def _feed(self) -> None:
        stdin = self._process.stdin
        assert stdin
        try:
            self._pending = self._pending[os.write(stdin.fileno(), self._pending[:_CHUNK]) :]
        except BrokenPipeError:
            # A hook is free not to read its input; what it makes of that shows in its answer.
            self._pending = memoryview(b"")
        if not self._pending:
            self._selector.unregister(stdin)
            stdin.close()

    def _read(self, pipe: IO[bytes]) -> None:
        data = os.read(pipe.fileno(), _CHUNK)
        if data:
            self._sinks[pipe].add(data)
        else:
            self._selector.unregister(pipe)
            pipe.close()
