"""The registry misbehaves while an image is pulled, or the disk of images is full: nothing has moved by then."""

from __future__ import annotations

import base64
import itertools
import json
import os
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import places
from faulty import plan, registry_relay, world
from overcloud_agent.containers import engine
from podmanbox import box, image

Fault = plan.Fault

_SERVE = "trap 'exit 0' TERM; while :; do sleep 0.2; done"
_MEGABYTE = 1_000_000


@pytest.fixture(scope="module")
def one(podman: box.PodmanBox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[world.World]:
    with world.made(tmp_path_factory.mktemp("node"), podman) as made:
        yield made


@pytest.fixture
def registry(podman: box.PodmanBox) -> Iterator[registry_relay.RegistryRelay]:
    """In front of the registry of `podman`."""
    relay = registry_relay.RegistryRelay(podman.registry)
    yield relay
    relay.close()


@pytest.fixture
def fresh(podman: box.PodmanBox, registry: registry_relay.RegistryRelay) -> tuple[str, str]:
    """An image that Podman does not have: its reference through the relay, and the digest of its one large layer."""
    name = f"fresh:{next(_numbers)}"
    podman.build(name, {"data": base64.b64encode(os.urandom(_MEGABYTE)).decode()}, _config())
    layers = _manifest(podman.registry, *name.split(":"))["layers"]
    return f"{registry.address}/{name}", str(max(layers, key=lambda layer: layer["size"])["digest"])


_numbers = itertools.count(1)


def _config() -> image.ImageConfig:
    return image.ImageConfig(command=("/bin/sh", "-c", _SERVE), stop_signal="SIGTERM")


def _manifest(registry: str, name: str, tag: str) -> dict[str, Any]:
    kind = "application/vnd.docker.distribution.manifest.v2+json"
    request = urllib.request.Request(f"http://{registry}/v2/{name}/manifests/{tag}", headers={"Accept": kind})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return dict(json.load(answer))


def test_half_a_layer_once(one: world.World, registry: registry_relay.RegistryRelay, fresh: tuple[str, str]) -> None:
    reference, layer = fresh
    one.begin()
    registry.breaks("GET", layer, Fault.RESET_IN_ANSWER)
    one.upgrade(reference)
    assert one.ended()["deploy_status_code"] == 0
    asked = [exchange.fault for exchange in registry.ledger.exchanges() if exchange.path.endswith(layer)]
    assert asked == [Fault.RESET_IN_ANSWER, Fault.NONE]


def test_half_a_layer_always(one: world.World, registry: registry_relay.RegistryRelay, fresh: tuple[str, str]) -> None:
    reference, layer = fresh
    one.begin()
    registry.breaks("GET", layer, Fault.RESET_IN_ANSWER, times=None)
    fails_before_anything_moves(one, reference, "cannot pull", "unexpected EOF")
    assert len([None for exchange in registry.ledger.exchanges() if exchange.path.endswith(layer)]) == 4
    registry.mend()
    one.upgrade(reference)
    assert one.ended()["deploy_status_code"] == 0, "what was left of the pull is in nobody's way"


def fails_before_anything_moves(one: world.World, reference: str, *words: str) -> None:
    before = one.running()
    one.upgrade(reference)
    body = one.ended()
    assert body["deploy_status_code"] == 1
    for word in words:
        assert word in body["deploy_stderr"]
    assert one.running() == before, "not even started again"


@pytest.mark.parametrize(
    ("fault", "status"), [(Fault.UNAVAILABLE, 500), (Fault.UNAVAILABLE, 503), (Fault.BUSY, 429), (Fault.SLOW, 200)]
)
def test_a_registry_that_is_busy_for_a_moment(
    one: world.World, registry: registry_relay.RegistryRelay, fresh: tuple[str, str], fault: plan.Fault, status: int
) -> None:
    """Of a layer; Podman itself waits two seconds after a 429."""
    reference, layer = fresh
    one.begin()
    registry.status = status
    registry.breaks("GET", layer, fault)
    one.upgrade(reference)
    assert one.ended()["deploy_status_code"] == 0
    assert fault in [exchange.fault for exchange in registry.ledger.exchanges()], "it was met"


def test_a_layer_that_takes_longer_than_a_silence(
    podman: box.PodmanBox,
    registry: registry_relay.RegistryRelay,
    fresh: tuple[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Slow is not silent: a layer that is on its way is not given up and begun anew."""
    reference, layer = fresh
    monkeypatch.setattr(engine, "PULL_SILENCE", 1.5)
    registry.breaks("GET", layer, Fault.SLOW, times=None)
    begun = time.monotonic()
    with engine.Engine(podman.socket_url) as api:
        assert api.pull(reference, alive=lambda: None).digest
    assert time.monotonic() - begun > 1.8, "it was not slow"
    asked = [exchange for exchange in registry.ledger.exchanges() if exchange.path.endswith(layer)]
    assert len(asked) == 1


def test_a_registry_that_falls_silent_in_a_layer(
    podman: box.PodmanBox,
    registry: registry_relay.RegistryRelay,
    fresh: tuple[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reference, layer = fresh
    monkeypatch.setattr(engine, "PULL_SILENCE", 1.5)
    registry.breaks("GET", layer, Fault.SILENCE_AFTER)
    with engine.Engine(podman.socket_url) as api:
        assert api.pull(reference, alive=lambda: None).digest


def test_a_registry_that_is_away(one: world.World) -> None:
    one.begin()
    one.podman.registry_stop()
    fails_before_anything_moves(one, one.other(), "cannot pull", "connection refused")


def test_a_registry_that_comes_back(one: world.World) -> None:
    """A pull waits for it a few seconds, as long as its tries take."""
    one.begin()
    one.podman.registry_stop()
    one.upgrade()
    one.node.await_that(lambda: "trying again" in one.node.log.read_text().rpartition("running ")[2], 30, "no try")
    one.podman.registry_start()
    assert one.ended()["deploy_status_code"] == 0


@pytest.fixture
def disk() -> Iterator[Path]:
    """A disk of 110 megabytes: the agent wants some room on it before it begins."""
    path = places.SCRATCH / "disk"
    path.mkdir(exist_ok=True)
    _run("mount", "-t", "tmpfs", "-o", "size=110m,mode=700", "disk", str(path))
    yield path
    # A process of the box that is about to end may hold it for another moment.
    _run("umount", "--lazy", str(path))
    path.rmdir()


@pytest.fixture
def small(podman: box.PodmanBox, disk: Path) -> Iterator[box.PodmanBox]:
    """A Podman whose disk is too small for large:2, with service:1 and large:2 in its registry."""
    made = box.PodmanBox(disk / "podman")
    made.up()
    podman.build("large:2", {"data": "0" * 130 * _MEGABYTE}, _config())
    for name in ("service:1", "large:2"):
        podman.podman("pull", "--quiet", f"{podman.registry}/{name}")
        podman.podman("push", "--quiet", f"{podman.registry}/{name}", f"{made.registry}/{name}")
    podman.podman("rmi", "--force", f"{podman.registry}/large:2")
    yield made
    made.down(wipe=True)


def test_a_full_disk(small: box.PodmanBox, disk: Path, tmp_path: Path) -> None:
    with world.made(tmp_path, small) as one:
        one.begin()
        large = f"{small.registry}/large:2"
        fails_before_anything_moves(one, large, f"the disk of Podman's images ({small.directory}", "is full", "prune")
        _run("mount", "-o", "remount,size=400m", str(disk))
        one.upgrade(large)
        assert one.ended()["deploy_status_code"] == 0, "there is room now"


def _run(*argv: str) -> None:
    subprocess.run(argv, check=True, capture_output=True, timeout=30)
