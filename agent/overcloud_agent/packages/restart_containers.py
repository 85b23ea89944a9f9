"""Restart one container as it is, with the gate that its own config asks for."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Self

from overcloud_agent import errors, lock

if TYPE_CHECKING:
    from overcloud_agent import settings


def runs(config: settings.Settings, name: str) -> bool:
    """Whether a container of that name is there and runs. Raises EngineError."""
    from overcloud_agent.containers import engine

    with engine.Engine(config.podman_url, timeout=config.podman_timeout) as podman:
        found = podman.inspect(name)
        return found is not None and found.running


class Container:
    """A container that is there. A context manager, which holds the lock of the node's containers.

    All methods raise EngineError.
    """

    def __init__(self, config: settings.Settings, name: str) -> None:
        # Podman's client is only loaded where a container is to be restarted.
        from overcloud_agent.containers import adoption, engine, spec, units

        self._name = name
        self._held = contextlib.ExitStack()
        try:
            self._held.enter_context(lock.containers(config.state_dir, shared=True))
            self._podman = self._held.enter_context(engine.Engine(config.podman_url, timeout=config.podman_timeout))
            self._starter = units.starter(config, self._podman)
            document, found = self._podman.document(name), self._podman.inspect(name)
            if not document or not found:
                raise errors.EngineError(f"there is no container {name} any more")
            self._spec = adoption.config_of(document) or spec.Container(image=found.image, name=name)
            self.running = found.running
            self.run = f"{found.id} {found.started_at}"
            """What tells this run of the container from the next one."""
        except BaseException:
            self._held.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._held.close()

    def restart(self) -> None:
        """Stop it, with its grace, and start it."""
        # Dying in between leaves it stopped, and the next process, which finds it so, starts it.
        self._starter.stop(self._name, self._spec.stop_grace_period)
        self._starter.start(self._name)

    def gate(self, alive: Callable[[], None]) -> None:
        """Wait until it has passed its gate. Raises GateError, and what `alive` raises."""
        from overcloud_agent.containers import gates

        def stopping() -> bool:
            alive()
            return False

        gates.check(self._podman, self._name, self._spec.upgrade.gate, stopping=stopping)
