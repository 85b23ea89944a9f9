"""A node whose agent runs all the time, with relays in front of its Podman, and one container to upgrade.

An upgrade is judged from outside: what Heat was told, what `status` says, and what runs.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import heatlike
import nodes
from faulty import podman_relay
from podmanbox import box

NAME = "web"

# Seconds. Shorter than in life, so that a request that hangs does not hold up the tests.
PODMAN_TIMEOUT = 3.0
GATE = {"stable_for": 0.3, "healthy_within": 5}


@dataclasses.dataclass(frozen=True)
class Running:
    """What runs under NAME."""

    id: str
    image: str
    started: str


class World:
    """`image(version)` is what the container is upgraded to; versions are "1" and "2"."""

    def __init__(self, directory: Path, heat: heatlike.HeatLike, podman: box.PodmanBox) -> None:
        self.heat = heat
        self.podman = podman
        self.relay = podman_relay.PodmanRelay(podman.directory / "relay.sock", podman.socket)
        self.node = nodes.Node(directory, metadata=nodes.cfn_section(heat.url), podman_url=self.relay.url)
        self.node.configure(podman_timeout=PODMAN_TIMEOUT)
        self.node.collect({"cfn": nodes.cfn_section(heat.url)}, polling_interval=0.3)
        self._numbers = itertools.count(1)
        self.before: Running | None = None
        """What ran when the latest upgrade was asked for."""

    def begin(self, **keys: Any) -> None:
        """Make everything whole, with a container of version 1 that is given `keys`."""
        self.relay.mend()
        self.podman.registry_start()
        self.podman.service_start()
        if not self.node.process:
            self.node.start()
        if keys or self.names() != [NAME] or not self.is_running():
            self.podman.remove_containers()
            self.upgrade(self.image("1"), **keys)
            assert self.ended()["deploy_status_code"] == 0

    def image(self, version: str) -> str:
        return f"{self.podman.registry}/service:{version}"

    def other(self) -> str:
        """The image of the version that does not run now."""
        return self.image("1" if self.running().image.endswith(":2") else "2")

    def upgrade(self, image: str = "", **keys: Any) -> None:
        """Let Heat ask for `image`, or for the version that does not run."""
        self.before = self.running() if self.names() else None
        config = {"image": image or self.other(), "net": "host", "upgrade": {"gate": GATE}, **keys}
        self.key = f"d{next(self._numbers)}"
        self.heat.serve(self.heat.deployment(self.key, "container-upgrade", {NAME: config}))

    def ended(self, within: float = 60.0) -> dict[str, Any]:
        """Wait for the end of the latest upgrade, judge it, and return what Heat was told.

        Either the new container runs and nothing was wrong, or the one that ran before runs again and Heat was told
        why. Nothing else is left over.
        """
        body = dict(self.heat.signal(self.key, within))
        row = self.node.await_state(self.key, "signalled")
        assert [path for path, _ in self.heat.signals].count(f"/v1/signal/{self.key}") == 1, "one result"
        assert bool(row["ok"]) is (body["deploy_status_code"] == 0), "`status` and the signal agree"
        story = f"{json.dumps(body, indent=1)}\n{self.node.log.read_text()[-3000:]}"
        assert self.names() == [NAME], story
        assert self.is_running(), story
        if body["deploy_status_code"] == 0:
            assert not self.before or self.running().id != self.before.id, story
        else:
            assert self.before, story
            assert self.running().id == self.before.id, story
            assert body["deploy_stderr"], "it says why"
        return body

    def names(self) -> list[str]:
        return sorted(self.podman.podman("ps", "--all", "--format", "{{.Names}}").split())

    def running(self) -> Running:
        words = self.podman.podman("inspect", NAME, "--format", "{{.Id}} {{.ImageName}} {{.State.StartedAt}}").split()
        return Running(id=words[0], image=words[1], started=" ".join(words[2:4]))

    def is_running(self) -> bool:
        return self.podman.podman("inspect", NAME, "--format", "{{.State.Running}}").strip() == "true"

    def close(self) -> None:
        self.relay.mend()
        self.node.close()
        self.relay.close()


@contextlib.contextmanager
def made(directory: Path, podman: box.PodmanBox) -> Iterator[World]:
    """A world for a while; its containers go with it."""
    with heatlike.HeatLike() as heat:
        world = World(directory, heat, podman)
        try:
            yield world
        finally:
            world.close()
            podman.service_start()
            podman.registry_start()
            podman.remove_containers()
