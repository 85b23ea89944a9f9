"""Fixtures of the tests of updates that are carried out."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import places
import updated
from nodebox import box


@pytest.fixture(scope="module")
def world_node() -> Iterator[box.NodeBox]:
    with box.NodeBox(places.SCRATCH / "unode") as made:
        yield made


@pytest.fixture
def world(world_node: box.NodeBox) -> updated.World:
    made = updated.World(world_node)
    made.prepare()
    return made
