"""The clock jumps by a day in the middle of an upgrade: nothing waits a day, and no figure is made up.

libfaketime stands between the agent and its clock. It leaves the monotonic clock alone, as a jump does, and Podman's
clock, which it cannot reach.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import faketime
from faulty import world
from podmanbox import box

DAY = 86_400


@pytest.fixture(scope="module")
def clock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file that tells by how much the agent's clock is wrong."""
    path = tmp_path_factory.mktemp("clock") / "offset"
    path.write_text("+0\n")
    return path


@pytest.fixture(scope="module")
def one(podman: box.PodmanBox, tmp_path_factory: pytest.TempPathFactory, clock: Path) -> Iterator[world.World]:
    with world.made(tmp_path_factory.mktemp("node"), podman) as made:
        made.node.start(env=faketime.env(clock))
        yield made


@pytest.mark.parametrize("moment", ["images/create", "stop", "start", "events|wait"])
@pytest.mark.parametrize("jump", ["+1d", "-1d"])
def test_the_clock_jumps(one: world.World, clock: Path, jump: str, moment: str) -> None:
    """In the middle of a pull, of the downtime, of the gate; and back again before the next upgrade."""
    clock.write_text("+0\n")
    one.begin()
    held = one.relay.hold("GET|POST", f"/({moment})$", after=moment == "images/create")
    begun = time.monotonic()
    one.upgrade()
    held.reached()
    clock.write_text(f"{jump}\n")
    held.release()
    body = one.ended()
    assert body["deploy_status_code"] == 0
    assert 0 < body["containers"][0]["downtime"] < time.monotonic() - begun
    row = one.node.deployment(one.key)
    assert (row["started_at"] < row["finished_at"]) is (jump == "+1d"), "the agent did see the jump"


def test_a_gate_is_not_over_because_the_clock_says_so(one: world.World, clock: Path) -> None:
    """The clock jumps over the gate's deadline before the first healthcheck, which fails; the second passes."""
    clock.write_text("+0\n")
    one.begin()
    held = one.relay.hold("GET", "/healthcheck$")
    one.upgrade(healthcheck={"test": "test -e /tmp/well || { touch /tmp/well; exit 1; }"})
    held.reached()
    clock.write_text("+1d\n")
    held.release()
    assert one.ended()["deploy_status_code"] == 0


def test_podman_s_clock_jumps_while_nothing_serves(one: world.World, clock: Path) -> None:
    """When the old container stopped, it was today; when the new one starts, it is tomorrow: that is no downtime."""
    clock.write_text("+0\n")
    one.begin()
    held = one.relay.hold("POST", "/start$")
    one.upgrade()
    held.reached()
    jumped = datetime.now(UTC).replace(microsecond=0)

    def tomorrow(found: re.Match[bytes]) -> bytes:
        said = datetime.fromisoformat(found[2].decode()).replace(tzinfo=UTC)
        return found[1] + (said + timedelta(days=said >= jumped)).strftime("%Y-%m-%dT%H:%M:%S").encode()

    # Podman's own clock cannot be set, so what it says is changed on the way.
    one.relay.change = lambda piece: re.sub(rb'("StartedAt":")([-0-9]{10}T[:0-9]{8})', tomorrow, piece)
    held.release()
    body = one.ended()
    assert body["deploy_status_code"] == 0
    assert 0 < body["containers"][0].get("downtime", 1) < 60, "a sane one, or none"
