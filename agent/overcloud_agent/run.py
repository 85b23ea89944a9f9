"""The only module that starts a process, in a group of its own, with a deadline and bounded output."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence

from overcloud_agent import model, records

# A type checker takes this name for true; see records.py.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import IO

# How long a hook that ended may leave its output open in the hands of a background child before we stop reading.
PIPE_GRACE = 1.0
# How long a process group that ran past its deadline has between SIGTERM and SIGKILL.
TERM_GRACE = 5.0

# A line that is longer than this (bytes) is not handed on while a process runs; its output has it all the same.
LINE_LIMIT = 65536
# How long a process may run (seconds) until who waits for it is asked again whether that is still wanted.
ALIVE_INTERVAL = 1.0

_CHUNK = 65536
# What systemd tells the agent about itself is not for hooks: a hook must not notify in the agent's name.
_OWN_VARIABLES = (
    b"NOTIFY_SOCKET",
    b"WATCHDOG_USEC",
    b"WATCHDOG_PID",
    b"LISTEN_PID",
    b"LISTEN_FDS",
    b"LISTEN_FDNAMES",
)


class Completed(records.Record):
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


class _Lines:
    """Hands the lines of a stream of bytes on as they come, without their ends."""

    def __init__(self, live: Callable[[bytes], None]) -> None:
        self._live = live
        self._rest = bytearray()
        self._dropped = 0

    def add(self, data: bytes) -> None:
        self._rest += data
        *lines, self._rest = self._rest.split(b"\n")
        for line in lines:
            self._hand_on(line)
        if len(self._rest) > LINE_LIMIT:
            self._dropped += len(self._rest)
            self._rest.clear()

    def end(self) -> None:
        if self._rest or self._dropped:
            self._hand_on(self._rest)
            self._rest.clear()

    def _hand_on(self, line: bytearray) -> None:
        length = self._dropped + len(line)
        self._dropped = 0
        # Not its beginning either: a secret that is cut in two is not found by whoever looks for it.
        self._live(bytes(line) if length <= LINE_LIMIT else f"[a line of {length} bytes is not shown]".encode())


def hook(
    argv: Sequence[str],
    stdin: bytes,
    *,
    timeout: float,
    limit: int,
    began: Callable[[model.Process], None] = lambda _: None,
    cwd: str | os.PathLike[str] | None = None,
    variables: Mapping[bytes, bytes] | None = None,
    live: Callable[[bytes], None] | None = None,
    alive: Callable[[], None] | None = None,
) -> Completed:
    """Run `argv`, feed it `stdin`, and return how it ended.

    `timeout` is in seconds, `limit` in bytes for each of stdout and stderr; `began` is told the process. `variables`
    come on top of our own environment; `live` is told each line of stdout and stderr while the process runs, and
    `alive` is called at least once a second. Past the deadline the whole process group is ended, and so it is when
    anything goes wrong here, such as when one of these raises. Raises OSError when the program cannot be started.
    """
    process = subprocess.Popen(
        argv,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=cwd,
        env={**_inherited(), **(variables or {})},
        start_new_session=True,
        bufsize=0,
    )
    try:
        with _Conversation(process, stdin, limit, live, alive) as conversation:
            began(model.Process(pid=process.pid, created=created(process.pid)))
            return _converse(process, conversation, timeout)
    except BaseException:
        signal_group(process.pid, signal.SIGKILL)
        process.wait()
        raise


def _inherited() -> dict[bytes, bytes]:
    return {key: value for key, value in os.environb.items() if key not in _OWN_VARIABLES}


def environment() -> dict[str, str]:
    """What a process of ours gets of our own environment; bytes that are no text as os.fsdecode has them."""
    return {os.fsdecode(key): os.fsdecode(value) for key, value in _inherited().items()}


def detach(argv: Sequence[str], *, keep: int) -> None:
    """Start a process that goes on when this one ends, in a session of its own; it inherits the descriptor `keep`.

    Nobody hears what it says or how it ends. Raises OSError when the program cannot be started.
    """
    # Only an update of packages needs it.
    import threading

    process = subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        env=_inherited(),
        start_new_session=True,
        pass_fds=[keep],
    )
    # If it ends first, it must not stay a zombie as long as this process lives.
    threading.Thread(target=process.wait, name="reaper", daemon=True).start()


def command(argv: Sequence[str], *, timeout: float, limit: int = _CHUNK) -> Completed:
    """Run a program of the system that reads nothing; times and sizes, and what is raised, as in `hook`."""
    return hook(argv, b"", timeout=timeout, limit=limit)


def _converse(process: subprocess.Popen[bytes], conversation: _Conversation, timeout: float) -> Completed:
    timed_out = not conversation.until_exit(time.monotonic() + timeout)
    if timed_out:
        signal_group(process.pid, signal.SIGTERM)
        # The pipes are served meanwhile: a hook that tells what it was doing must be able to.
        conversation.until_exit(time.monotonic() + TERM_GRACE)
        signal_group(process.pid, signal.SIGKILL)
        conversation.until_exit(time.monotonic() + TERM_GRACE)
    held = not conversation.until_closed(time.monotonic() + PIPE_GRACE)
    conversation.end_lines()
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
        if created(process.pid) != process.created:
            return False
    except OSError:
        return False
    pidfd = os.pidfd_open(process.pid)
    try:
        signal_group(process.pid, signal.SIGTERM)
        with selectors.DefaultSelector() as selector:
            selector.register(pidfd, selectors.EVENT_READ)
            selector.select(TERM_GRACE)
        signal_group(process.pid, signal.SIGKILL)
    finally:
        os.close(pidfd)
    return True


def created(pid: int) -> float:
    """When a process was created: seconds since the node booted, on top of a number that each boot has of its own.

    Not since the epoch, as psutil has it: after the clock was set, the same process would have been created at another
    time. From proc(5). Raises OSError when there is none.
    """
    with open(f"/proc/{pid}/stat", "rb") as file:
        # The name, in parentheses, can have anything in it, also spaces and parentheses.
        ticks = int(file.read().rpartition(b")")[2].split()[19])
    with open("/proc/sys/kernel/random/boot_id", "rb") as file:
        boot = int(file.read(8), 16)
    return boot + ticks / os.sysconf("SC_CLK_TCK")


def signal_group(leader: int, number: int) -> None:
    """Send a signal to every process of the group of a hook that `hook` started, if there is one left."""
    # The group's id is the leader's pid (start_new_session).
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader, number)


class _Conversation:
    """The three pipes and the end of one process, waited for together."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        stdin: bytes,
        limit: int,
        live: Callable[[bytes], None] | None,
        alive: Callable[[], None] | None,
    ) -> None:
        assert process.stdin and process.stdout and process.stderr
        self._process = process
        self._alive = alive
        self._pending = memoryview(stdin)
        self.stdout = _Bounded(limit)
        self.stderr = _Bounded(limit)
        self._sinks: dict[IO[bytes], _Bounded] = {process.stdout: self.stdout, process.stderr: self.stderr}
        self._lines = {pipe: _Lines(live) for pipe in self._sinks} if live else {}
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

    def end_lines(self) -> None:
        """Hand on what came without the end of a line."""
        for lines in self._lines.values():
            lines.end()

    def _serve(self, deadline: float) -> bool:
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            return False
        if self._alive:
            self._alive()
        for key, _ in self._selector.select(min(remaining, ALIVE_INTERVAL if self._alive else 3600.0)):
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
            if pipe in self._lines:
                self._lines[pipe].add(data)
        else:
            self._selector.unregister(pipe)
            pipe.close()
