"""The story, on stderr: plain lines for people, `<N>` priorities where systemd reads them (sd-daemon(3))."""

from __future__ import annotations

import logging
import os
import sys
import time
import traceback

_PRIORITIES = ((logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6), (logging.DEBUG, 7))


class _Formatter(logging.Formatter):
    def __init__(self, *, journald: bool) -> None:
        super().__init__()
        self._journald = journald

    def format(self, record: logging.LogRecord) -> str:
        message = record.getMessage()
        if record.exc_info:
            # Where it happened and what kind it is; the exception's own text may quote an input.
            kind, _, where = record.exc_info
            message += f"\n{''.join(traceback.format_tb(where))}{kind.__name__ if kind else ''}"
        if not self._journald:
            clock = time.strftime("%H:%M:%S", time.localtime(record.created))
            return f"{clock} {record.levelname.lower():7} {message}"
        priority = next((number for level, number in _PRIORITIES if record.levelno >= level), 7)
        # journald takes each line as a message of its own, so each needs the priority.
        return "\n".join(f"<{priority}>{line}" for line in message.splitlines())


def setup(*, verbose: bool = False) -> None:
    """Send the agent's own log to stderr, and nothing of the libraries'.

    Libraries log URLs with their signatures and whole request bodies; what of theirs matters is taken by the
    module that calls them, without the credentials.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter(journald=_is_journald()))
    root = logging.getLogger()
    root.handlers[:] = [logging.NullHandler()]
    ours = logging.getLogger("overcloud_agent")
    ours.handlers[:] = [handler]
    ours.propagate = False
    ours.setLevel(logging.DEBUG if verbose else logging.INFO)


def _is_journald() -> bool:
    """Whether stderr is the stream that systemd gave: a hook inherits the variable and has a pipe (systemd.exec(5))."""
    device, _, inode = os.environ.get("JOURNAL_STREAM", "").partition(":")
    try:
        stream = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError):
        return False
    return (device, inode) == (str(stream.st_dev), str(stream.st_ino))
