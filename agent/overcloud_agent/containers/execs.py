"""A command in a container that runs: started, followed to its end, and not left behind when it takes too long."""

from __future__ import annotations

import contextlib
import http.client
import time
from typing import Any

from overcloud_agent import errors
from overcloud_agent.containers import direct

# Seconds for a request that Podman answers at once.
_TIMEOUT = 60.0

# Bytes of output that are kept, from its end.
_TAIL = 4000

# Before each piece of output: which stream, and how long it is.
_HEADER = 8


class TookTooLong(errors.EngineError):
    """The command did not end in time, and was killed where that was possible."""


class Exec:
    """One command. `run` waits for it, and another thread may `cancel` it meanwhile."""

    def __init__(
        self,
        url: str,
        name: str,
        argv: list[str],
        *,
        user: str | None = None,
        privileged: bool = False,
        env: dict[str, str] | None = None,
    ) -> None:
        """Prepare `argv` in the container `name` of Podman at `url`. Raises EngineError, also when it does not run."""
        if not direct.reaches(url):
            raise errors.EngineError(f"cannot run a command in {name} through {url}", hint="unix://... is needed")
        self._url = url
        self._what = f"run {argv[0]} in {name}"
        body: dict[str, Any] = {"Cmd": argv, "AttachStdout": True, "AttachStderr": True, "Privileged": privileged}
        if user is not None:
            body["User"] = user
        if env:
            body["Env"] = [f"{key}={value}" for key, value in env.items()]
        self._id: str = direct.ask(url, "POST", f"/containers/{name}/exec", self._what, timeout=_TIMEOUT, body=body)[
            "Id"
        ]
        self._connection = direct.Connection(url, _TIMEOUT)

    def run(self, timeout: float) -> tuple[int, str]:
        """Start it and wait: its exit code, and the last 4,000 bytes of its output as text.

        A command that is not there ends with 127, as in a shell, and Podman's words for its output. Raises
        TookTooLong after `timeout` seconds, and EngineError.
        """
        deadline = time.monotonic() + timeout
        tail = bytearray()
        try:
            with contextlib.closing(self._connection):
                self._follow(deadline, tail)
            session = self._session()
        except TimeoutError:
            self._kill()
            said = f"; its last words: {text}" if (text := _text(tail)[-200:]) else ""
            raise TookTooLong(f"cannot {self._what}: it did not end within {timeout:g} seconds{said}") from None
        if session["Running"]:
            self._kill()
            raise errors.EngineAway(f"cannot {self._what}: Podman's answer broke off while it ran")
        return int(session["ExitCode"]), _text(tail)

    def cancel(self) -> None:
        """Kill it, and let `run` return soon. For other threads."""
        self._connection.cut()
        with contextlib.suppress(errors.EngineError):
            self._kill()

    def _follow(self, deadline: float, tail: bytearray) -> None:
        """Read the output to its end, which is that of the command. Raises TimeoutError."""
        body = {"Detach": False, "Tty": False}
        answer = self._connection.ask("POST", f"/exec/{self._id}/start", self._what, body)
        with contextlib.closing(answer):
            while header := self._exactly(answer, _HEADER, deadline):
                left = int.from_bytes(header[4:], "big")
                while left and (piece := self._some(answer, left, deadline)):
                    left -= len(piece)
                    tail += piece
                    del tail[:-_TAIL]

    def _exactly(self, answer: http.client.HTTPResponse, size: int, deadline: float) -> bytes:
        """`size` bytes; empty at the end."""
        found = b""
        while len(found) < size:
            piece = self._some(answer, size - len(found), deadline)
            if not piece:
                return b""
            found += piece
        return found

    def _some(self, answer: http.client.HTTPResponse, most: int, deadline: float) -> bytes:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._connection.limit(left)
        try:
            return answer.read1(most)
        except TimeoutError:
            raise
        except (OSError, http.client.HTTPException):
            # How the command itself ended, Podman says when it is asked.
            return b""

    def _session(self) -> dict[str, Any]:
        session: dict[str, Any] = direct.ask(self._url, "GET", f"/exec/{self._id}/json", self._what, timeout=_TIMEOUT)
        return session

    def _kill(self) -> None:
        """Kill the command and what it has started. Podman's API has no request for that before version 5.

        Who has the number that Podman tells is only trusted to be the command when its parent is the conmon of this
        exec: that is on this node, in sight, and not a newer process of the same number.
        """
        import psutil

        session = self._session()
        if not session["Running"] or not session["Pid"] or not direct.is_local(self._url):
            return
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(session["Pid"])
            parent = process.parent()
            if parent and self._id in parent.cmdline():
                for one in (*process.children(recursive=True), process):
                    with contextlib.suppress(psutil.Error):
                        one.kill()


def _text(tail: bytearray) -> str:
    return tail.decode(errors="replace").strip()
