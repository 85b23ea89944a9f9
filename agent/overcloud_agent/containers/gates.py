"""The gate: what a container has to show before its predecessor is given up."""

from __future__ import annotations

import time
from collections.abc import Callable

from overcloud_agent import errors
from overcloud_agent.containers import engine, plan, spec

# Between two healthchecks while the gate waits; the container's own interval, made for years, is mostly too long.
CHECK_EVERY = 1.0


def check(podman: engine.Engine, name: str, gate: spec.Gate, *, stopping: Callable[[], bool]) -> None:
    """Wait until `name` is healthy (where its config or its image has a healthcheck) and has run for `stable_for`.

    Every wait ends at once when the container does. Raises GateError that says what was missing, and Interrupted
    when the agent is to stop: the new container serves then, and the gate is asked again at the next start.
    """
    begun = time.monotonic()
    before = _running(podman, name)
    if before.check_timeout is not None:
        _until_healthy(podman, name, before.check_timeout, begun + gate.healthy_within, stopping)
    remaining = gate.stable_for - (time.monotonic() - begun)
    while remaining > 0:
        _interruptible(stopping)
        if podman.wait_exit(name, min(remaining, CHECK_EVERY)):
            raise _ended(podman, name)
        remaining = gate.stable_for - (time.monotonic() - begun)
    after = _running(podman, name)
    if (after.restarts, after.started_at) != (before.restarts, before.started_at):
        raise errors.GateError(f"{name} restarted within the {gate.stable_for:g} seconds of its gate")


def _until_healthy(
    podman: engine.Engine, name: str, limit: float, deadline: float, stopping: Callable[[], bool]
) -> None:
    """Run the healthcheck until it passes. Nobody else may: without systemd Podman has no timer that does."""
    while True:
        _interruptible(stopping)
        passed, said = podman.healthcheck(name, min(limit, max(deadline - time.monotonic(), 1.0)))
        if passed:
            return
        if time.monotonic() >= deadline:
            words = f"; its last check said: {said}" if said else ""
            raise errors.GateError(f"{name} did not become healthy in time{words}")
        if podman.wait_exit(name, CHECK_EVERY):
            raise _ended(podman, name)


def _running(podman: engine.Engine, name: str) -> plan.Container:
    container = podman.inspect(name)
    if not container or not container.running:
        raise _ended(podman, name)
    return container


def _ended(podman: engine.Engine, name: str) -> errors.GateError:
    container = podman.inspect(name)
    code = f" with status {container.exit_code}" if container and not container.running else ""
    return errors.GateError(f"{name} ended{code} within its gate")


def _interruptible(stopping: Callable[[], bool]) -> None:
    if stopping():
        raise errors.Interrupted("asked to stop while a gate was open")
