"""Talk to systemd: READY, STATUS, STOPPING, RELOADING and the watchdog (sd_notify(3), sd_watchdog_enabled(3))."""

from __future__ import annotations

import os
import socket
import threading
import time


def send(*assignments: str) -> None:
    """Send `NAME=value` assignments to systemd; without systemd, do nothing.

    Errors are dropped on purpose, and nothing is waited for: a full or vanished notification socket must not stop a
    deployment.
    """
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
            sock.sendto("\n".join(assignments).encode(), socket.MSG_DONTWAIT, address)
    except OSError:
        return


def status(text: str) -> None:
    """Show `text` in `systemctl status`."""
    # A line break would begin an assignment of its own, and names come from the metadata.
    send("STATUS=" + " ".join(text.splitlines()))


class Watchdog:
    """Ping systemd as long as the main thread keeps its word.

    The main thread legitimately blocks for long (a hook, an image pull), so pinging only between its steps would let
    systemd kill it in the middle of an upgrade, and pinging blindly from a thread would prove nothing. Therefore
    the main thread says beforehand how long it may be silent, and the thread pings until that time has passed.
    """

    def __init__(self) -> None:
        # systemd asks for pings at half the interval; 0 means that it does not watch.
        self._every = int(os.environ.get("WATCHDOG_USEC", "0")) / 2e6
        self._silent_until = time.monotonic() + 60
        self._stopped = threading.Event()

    def expect(self, seconds: float) -> None:
        """Promise that the next call comes within `seconds`."""
        self._silent_until = time.monotonic() + seconds

    def start(self) -> None:
        """Start pinging, where systemd asked for it."""
        if self._every:
            threading.Thread(target=self._ping, name="watchdog", daemon=True).start()

    def stop(self) -> None:
        self._stopped.set()

    def _ping(self) -> None:
        while not self._stopped.wait(self._every):
            if time.monotonic() < self._silent_until:
                send("WATCHDOG=1")
