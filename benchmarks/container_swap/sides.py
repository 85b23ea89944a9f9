"""The ways to swap a container for one of another version, all of the same images, with the same Podman.

The floor is the least that Podman can do: the successor has been created, one is stopped, the other one is started.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Protocol

import places
from benchmarks.container_swap import api, service
from podmanbox import box

WITHIN = 120.0
HOOK = places.ROOT / "hooks" / "container-upgrade"


class SwapError(Exception):
    """A swap did not happen, and why."""


class Side(Protocol):
    """One way. Containers are those of `service`; nothing else has to be told."""

    name: ClassVar[str]
    service: service.Service

    def prepare(self, version: str) -> None:
        """Do what may be done while the old container serves, before `swap`."""

    def swap(self, version: str) -> None:
        """Have the service of that version, and none of another, on return. Raises SwapError."""


class Ours:
    """The hook executable, as heat-config starts it: a deployment on stdin."""

    name: ClassVar[str] = "ours"

    def __init__(self, podman: box.PodmanBox, where: service.Service, url: str = "") -> None:
        self.service = where
        self._podman = podman
        self._url = url or podman.socket_url
        self._count = 0

    def prepare(self, version: str) -> None:
        """Nothing: whatever has to be prepared is part of the upgrade."""

    def swap(self, version: str) -> None:
        self._count += 1
        key = {"image": service.reference(self._podman, version), "command": self.service.command}
        config = {self.service.name: {**key, "net": self.service.network, "upgrade": {"gate": {"stable_for": 0}}}}
        deploy(self._podman, self._url, f"{self.service.name}-{self.service.network}-{self._count}", config)


class CommandLine:
    """podman stop, podman rm, podman run, as deployment tools do it; the image has been pulled."""

    name: ClassVar[str] = "stop+rm+run"

    def __init__(self, podman: box.PodmanBox, where: service.Service) -> None:
        self.service = where
        self._podman = podman

    def prepare(self, version: str) -> None:
        """Nothing: the images are there."""

    def swap(self, version: str) -> None:
        there = self._podman.podman("ps", "--all", "--quiet", "--filter", f"name=^{self.service.name}$").split()
        if there:
            self._podman.podman("stop", self.service.name)
            self._podman.podman("rm", self.service.name)
        options = ("--detach", "--name", self.service.name, "--net", self.service.network)
        self._podman.podman("run", *options, service.reference(self._podman, version), *self.service.command)


class Floor:
    """One API request that stops a container, and one that starts another one, which has been created before."""

    name: ClassVar[str] = "floor"

    def __init__(self, podman: box.PodmanBox, where: service.Service) -> None:
        self.service = where
        self._podman = podman
        self._api = api.Api(podman.socket)
        self._old = ""

    def prepare(self, version: str) -> None:
        create(self._api, self._podman, self.service, self._container(version), version)

    def swap(self, version: str) -> None:
        if self._old:
            self._api.act(self._old, "stop")
        self._api.act(self._container(version), "start")
        if self._old:
            self._api.remove(self._old)
        self._old = self._container(version)

    def _container(self, version: str) -> str:
        return f"{self.service.name}-{version}"


def create(to: api.Api, podman: box.PodmanBox, where: service.Service, name: str, version: str) -> None:
    """Create a container of the service under another name, with the API."""
    net: dict[str, object] = {"netns": {"nsmode": "host"}}
    if where.network != service.HOST:
        net = {"netns": {"nsmode": "bridge"}, "Networks": {where.network: {}}}
    to.create({"name": name, "image": service.reference(podman, version), "command": where.command, **net})


def deploy(podman: box.PodmanBox, url: str, key: str, config: Mapping[str, object]) -> dict[str, object]:
    """Give the hook one deployment; returns its result. Raises SwapError with what it said when that is a failure."""
    deployment = {"id": key, "name": key, "group": "container-upgrade", "config": config, "inputs": []}
    environment = {**os.environ, "CONTAINER_HOST": url, "OVERCLOUD_AGENT_CONFIG": str(_options(podman))}
    try:
        done = subprocess.run(
            [str(places.BIN / "python"), str(HOOK)],
            input=json.dumps(deployment),
            env=environment,
            capture_output=True,
            text=True,
            timeout=WITHIN * max(len(config) / 10, 1),
        )
    except subprocess.TimeoutExpired as late:
        raise SwapError(f"the hook did not end within {late.timeout:g} s; it said: {late.stderr!r:.2000}") from None
    result = json.loads(done.stdout) if done.returncode == 0 else {}
    if result.get("deploy_status_code") != 0:
        raise SwapError(f"the hook failed: {result.get('deploy_stderr', '')} {done.stderr[-2000:]}")
    return dict(result)


def _options(podman: box.PodmanBox) -> Path:
    """Defaults, whatever is in this machine's /etc; and a journal that knows of no other run."""
    path = podman.directory / "swap.conf"
    path.write_text(f"[DEFAULT]\nstate_dir = {podman.directory / 'agent'}\n")
    return path
