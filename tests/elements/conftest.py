"""The image and its surroundings, made once: a network, and an undercloud that listens on it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import places
import stacks
from imagebox import build, network, redhat
from undercloud import box as clouds


@pytest.fixture(scope="session")
def image() -> build.Image:
    """The image, built from this checkout."""
    return build.build()


@pytest.fixture(scope="session")
def fedora_image() -> build.Image:
    """An image of the CentOS family, from packages that are made here."""
    return redhat.image()


@pytest.fixture(scope="module")
def net() -> Iterator[network.Network]:
    made = network.Network(str(places.SCRATCH))
    made.up()
    yield made
    made.down()


@pytest.fixture(scope="module")
def cloud(net: network.Network) -> Iterator[clouds.Undercloud]:
    """An undercloud on the network, so that what Heat tells a node of its address holds on the node."""
    made = clouds.Undercloud(places.SCRATCH / "image-undercloud", address=net.machine)
    made.down(wipe=True)
    made.up()
    yield made
    made.down(wipe=True)


@pytest.fixture(scope="module")
def heat_stacks(cloud: clouds.Undercloud) -> Iterator[stacks.Stacks]:
    # The test's own requests go to the same address, and not through a proxy.
    before = {name: os.environ.get(name) for name in ("no_proxy", "NO_PROXY")}
    os.environ.update({name: cloud.openrc[name] for name in before})
    made = stacks.Stacks(cloud)
    yield made
    made.close()
    for name, value in before.items():
        if value is None:
            del os.environ[name]
        else:
            os.environ[name] = value


@pytest.fixture(scope="module")
def directory() -> Path:
    """Where the module's node is; short, because of the sockets in it."""
    return places.SCRATCH / "image-node"
