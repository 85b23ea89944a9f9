"""Fixtures of all tiers. What is slow to start (Podman, Heat) starts once a session, and only if a test asks."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import gated
import heatlike
import images
import nodes
import places
from overcloud_agent import settings
from overcloud_agent.containers import engine
from podmanbox import box
from undercloud import box as clouds


@pytest.fixture(scope="session", autouse=True)
def _state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Executables that are given no configuration have one, or they would keep their state on the machine itself."""
    directory = tmp_path_factory.mktemp("machine")
    (directory / "agent.conf").write_text(f"[DEFAULT]\nstate_dir = {directory}/state\n")
    before = os.environ.get(settings.CONFIG_VARIABLE)
    os.environ[settings.CONFIG_VARIABLE] = str(directory / "agent.conf")
    yield
    if before is None:
        del os.environ[settings.CONFIG_VARIABLE]
    else:
        os.environ[settings.CONFIG_VARIABLE] = before


@pytest.fixture
def heat() -> Iterator[heatlike.HeatLike]:
    """A misbehaving Heat; see heatlike.py."""
    with heatlike.HeatLike() as server:
        yield server


@pytest.fixture
def node(tmp_path: Path, heat: heatlike.HeatLike) -> Iterator[nodes.Node]:
    """A node whose metadata comes from `heat`, without containers."""
    made = nodes.Node(tmp_path, metadata=nodes.cfn_section(heat.url))
    yield made
    made.close()


@pytest.fixture(scope="session")
def podman() -> Iterator[box.PodmanBox]:
    """A private Podman with a registry that has the images of `images.py`: service:1, :2, :broken, :checked."""
    made = box.PodmanBox(places.SCRATCH / "podman")
    made.up()
    images.build_service(made, "service:1", "1")
    images.build_service(made, "service:2", "2")
    images.build_broken(made, "service:broken")
    images.build_checked(made, "service:checked")
    yield made
    made.down()


@pytest.fixture
def empty(podman: box.PodmanBox) -> Iterator[box.PodmanBox]:
    podman.remove_containers()
    yield podman
    podman.remove_containers()


@pytest.fixture
def api(empty: box.PodmanBox) -> Iterator[engine.Engine]:
    with gated.connected(empty) as made:
        yield made


@pytest.fixture
def container_node(tmp_path: Path, heat: heatlike.HeatLike, podman: box.PodmanBox) -> Iterator[nodes.Node]:
    """A node whose metadata comes from `heat`, with the session's Podman, empty."""
    podman.remove_containers()
    made = nodes.Node(tmp_path, metadata=nodes.cfn_section(heat.url), podman_url=podman.socket_url)
    yield made
    made.close()
    podman.remove_containers()


@pytest.fixture(scope="session")
def undercloud() -> Iterator[clouds.Undercloud]:
    """A real Keystone and Heat, started once, without stacks."""
    made = clouds.Undercloud(places.SCRATCH / "test-undercloud")
    made.down(wipe=True)
    made.up()
    yield made
    made.down(wipe=True)


@pytest.fixture(scope="session")
def full_undercloud() -> Iterator[clouds.Undercloud]:
    """The same with Swift and Zaqar: every transport of Heat works there. Another one, so that no other test waits."""
    made = clouds.Undercloud(places.SCRATCH / "full-undercloud", services=("swift", "zaqar"))
    made.down(wipe=True)
    made.up()
    yield made
    made.down(wipe=True)
