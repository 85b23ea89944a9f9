"""Being asked to stop while something runs: how long systemd waits, and what becomes of it when the machine goes down.

Whoever stops or restarts the service can wait for the deployment at hand, which may take an hour. A machine that is
rebooted or powered off cannot, and least of all for a script that asked for that itself.
"""

from __future__ import annotations

import logging
import os
import select
import threading
from collections.abc import Callable

from overcloud_agent import notify, run

log = logging.getLogger(__name__)

# Seconds between two times that systemd is asked and asked to wait on: the machine may begin to go down meanwhile. What
# is asked for covers two of them, and what a process group has between SIGTERM and SIGKILL comes on top of a grace.
_ASK_EVERY = 15.0
_ANSWER_LIMIT = 10.0
_LAST_STEPS = 45.0


class Leaving:
    """From ``start`` to ``stop``; ``asked`` is for signal handlers, and does not block.

    ``grace`` tells how many seconds what runs has when the machine goes down; past it, ``cut_short`` is called in a
    thread. Without systemd all this does nothing.
    """

    def __init__(self, grace: Callable[[], float], cut_short: Callable[[], None]) -> None:
        self._grace = grace
        self._cut_short = cut_short
        # An eventfd, because a signal handler may interrupt whoever holds an Event's lock.
        self._asked = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._stay, name="leaving", daemon=True)

    def start(self) -> None:
        """From here on ``asked`` has an effect."""
        if os.environ.get("NOTIFY_SOCKET"):
            self._thread.start()

    def asked(self) -> None:
        """The process was asked to stop."""
        os.eventfd_write(self._asked, 1)

    def stop(self) -> None:
        """Nothing runs any more."""
        self._ended.set()
        self.asked()

    def _stay(self) -> None:
        select.select([self._asked], [], [])
        while not self._ended.is_set() and not _machine_goes_down():
            _wait_on(2 * _ASK_EVERY + _ANSWER_LIMIT)
            self._ended.wait(_ASK_EVERY)
        if self._ended.is_set():
            return
        grace = self._grace()
        _wait_on(grace + _LAST_STEPS)
        log.info("the machine goes down; what runs has %g seconds to come to its end", grace)
        if not self._ended.wait(grace):
            self._cut_short()


def _machine_goes_down() -> bool:
    try:
        answer = run.command(["systemctl", "is-system-running"], timeout=_ANSWER_LIMIT)
    except OSError:
        return False
    return answer.stdout == b"stopping\n"


def _wait_on(seconds: float) -> None:
    """Have systemd wait that long from now, whatever the unit's TimeoutStopSec says; never less than that."""
    notify.send(f"EXTEND_TIMEOUT_USEC={int(seconds * 1e6)}")
