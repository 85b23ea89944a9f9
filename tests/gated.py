"""Containers whose gate a test opens itself, without an upgrade around it."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from overcloud_agent import errors
from overcloud_agent.containers import engine, gates, spec
from podmanbox import box

FOREVER = "trap 'exit 0' TERM; while :; do sleep 0.2; done"

# Far more than a noisy machine needs to notice something, and far less than the deadlines of these gates.
SOON = 15.0
LONG = 120.0


@contextlib.contextmanager
def connected(podman: box.PodmanBox) -> Iterator[engine.Engine]:
    """The engine of a Podman; afterwards nothing of a gate waits any longer."""
    with engine.Engine(podman.socket_url) as made:
        yield made
    await_no_threads()


def await_no_threads() -> None:
    """Nothing of a gate waits any longer when it has passed or not."""
    deadline = time.monotonic() + SOON
    while left := [one.name for one in threading.enumerate() if one.name in ("gate", "events")]:
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


def run(podman: box.PodmanBox, script: str = FOREVER, *options: str, name: str = "web") -> None:
    image = f"{podman.registry}/service:1"
    podman.podman("run", "--detach", "--name", name, "--net", "host", *options, image, "/bin/sh", "-c", script)


def check(api: engine.Engine, **keys: Any) -> None:
    gate = spec.Gate(**{"stable_for": 0, **keys})
    gates.check(api, "web", gate, stopping=lambda: False)


def refused(api: engine.Engine, **keys: Any) -> str:
    with pytest.raises(errors.GateError) as caught:
        check(api, **keys)
    return str(caught.value)


def later(seconds: float, action: Any, *arguments: Any) -> threading.Timer:
    timer = threading.Timer(seconds, action, arguments)
    timer.start()
    return timer


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as made:
        return int(made.getsockname()[1])


def processes(podman: box.PodmanBox, command: str) -> int:
    """How many of `command` run in the container; those that wait for their parent to notice their end do not."""
    return [line.split()[-2:] for line in podman.podman("top", "web", "state", "args").splitlines()].count(
        command.split()
    )


def identity(podman: box.PodmanBox) -> str:
    return podman.podman("inspect", "web", "--format", "{{.Id}}").strip()
