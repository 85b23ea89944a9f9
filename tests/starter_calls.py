"""Run on a node: call the agent's starter, and Podman, as an upgrade does, one call after the other.

argv[1] is a JSON list of [what, arguments ...], argv[2] the agent's configuration file or empty; prints a JSON list of
what each returned. The first call that raises ends the script, with its message on stderr and exit code 1.
"""

from __future__ import annotations

import json
import pathlib
import sys
from typing import Any

from overcloud_agent import errors, settings
from overcloud_agent.containers import engine, gates, podman_spec, spec, units


class Calls:
    def __init__(self, config: settings.Settings) -> None:
        self.podman = engine.Engine(config.podman_url)
        self.starter = units.starter(config, self.podman)

    def create(self, name: str, serves_as: str, keys: dict[str, Any]) -> None:
        """Create a container `name` that is to serve under another name."""
        container = container_of(serves_as, keys)
        image = self.podman.pull(container.image, alive=lambda: None)
        body = podman_spec.generate(container, name=name, image=image.id, labels={}, env_files="")
        self.podman.create({**body, **self.starter.body(container, serves_as)})

    def install(self, name: str, keys: dict[str, Any]) -> None:
        self.starter.install(name, container_of(name, keys))

    def gate(self, name: str, stable_for: float) -> None:
        gates.check(self.podman, name, spec.Gate(stable_for=stable_for), stopping=lambda: False)

    def kind(self) -> str:
        return type(self.starter).__name__

    def call(self, what: str, *arguments: Any) -> Any:
        for one in (self, self.starter, self.podman):
            if hasattr(one, what):
                return getattr(one, what)(*arguments)
        raise AttributeError(what)


def container_of(name: str, keys: dict[str, Any]) -> spec.Container:
    return spec.parse({name: keys})[name]


def main(calls: list[list[Any]], config: str) -> int:
    made = Calls(settings.load(pathlib.Path(config) if config else None))
    try:
        print(json.dumps([made.call(*call) for call in calls], default=str))
    except errors.AgentError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1]), sys.argv[2]))
