"""Updates that are cut off: the agent by SIGKILL at every fail point, the transaction, the whole node."""

from __future__ import annotations

import random
import signal
import time
from typing import Any

import pytest

import updated
from overcloud_agent import failpoints

# Those that an update reaches only where something is amiss, or where more is asked.
_ELSEWHERE = ("package.repair.", "package.failed.", "package.reboot.", "package.restart-self.")
POINTS = [name for name in failpoints.NAMES if name.startswith("package.")]
# In the order in which an update reaches them.
_ORDER = ("plan", "pre-update", "download", "transaction", "verify", "restart", "post-update", "record")
_ENDS = ("begun", "started", "asked", "done")
PLAIN = sorted(
    (name for name in POINTS if not name.startswith(_ELSEWHERE)),
    key=lambda name: (_ORDER.index(name.split(".")[1]), _ENDS.index(name.split(".")[2])),
)
DONE = {"pre-update": 1, "configured 2": 1, "oca-one 2": 1, "oca-two 2": 1, "post-update done": 1}


def judge(world: updated.World, *, configured: int = 1) -> dict[str, Any]:
    """What must be true of the world after an update that came to its end, whatever died in the middle of it."""
    (answer,) = world.answers
    assert answer["ok"], answer["reason"]
    assert answer["recorded"]
    assert answer["restarted"] == ["oca-one.service", "oca-two.service"]
    assert world.count() == {**DONE, "configured 2": configured}
    assert (world.versions(), world.audit()) == ({"ii2"}, "")
    return answer


@pytest.mark.parametrize("point", PLAIN)
def test_the_agent_dies(world: updated.World, point: str) -> None:
    world.ask(batches=updated.BOTH)
    assert world.run(die_at=point) == -signal.SIGKILL
    assert not world.answers
    assert world.run() == 0
    judge(world)
    assert world.transactions() == 1


def test_the_agent_dies_at_every_step_of_one_update(world: updated.World) -> None:
    world.ask(batches=updated.BOTH)
    for point in PLAIN:
        status = world.run(die_at=point)
        # It is not at every point again: the transaction that was started is never started again.
        assert status == -signal.SIGKILL or point.startswith("package.transaction."), point
        if status == 0:
            break
    if not world.answers:
        assert world.run() == 0
    judge(world)
    assert world.transactions() == 1


@pytest.mark.parametrize("seed", range(3))
def test_the_agent_dies_at_random_moments(world: updated.World, seed: int) -> None:
    moments = random.Random(seed)  # noqa: S311
    world.ask(batches=updated.BOTH)
    kills = 0
    for _ in range(12):
        with world.running():
            time.sleep(moments.uniform(0.3, 1.5))
        kills += 1
        if world.answers:
            break
    if not world.answers:
        assert world.run() == 0
    print(f"{kills} kills")
    answer = world.answers[0]
    assert answer["ok"], answer["reason"]
    assert answer["recorded"]
    assert (world.versions(), world.audit()) == ({"ii2"}, "")
    # A hook that was cut off is run again; packages and units are not.
    hooks = ("pre-update", "post-update done")
    assert all(1 <= count <= 2 if what in hooks else count == 1 for what, count in world.count().items()), world.trace
    assert world.count().keys() == DONE.keys()


@pytest.mark.parametrize("end", ["begun", "done"])
def test_the_agent_dies_in_a_repair(world: updated.World, end: str) -> None:
    world.node.run(["dpkg", "--unpack", f"/{updated.REPOSITORY}/oca-lib_2_all.deb"])
    assert world.audit()
    world.ask(batches=updated.BOTH)
    assert world.run(die_at=f"package.repair.{end}") == -signal.SIGKILL
    assert world.run() == 0
    judge(world)


@pytest.mark.parametrize("end", ["begun", "done"])
def test_the_agent_dies_when_it_has_given_up(world: updated.World, end: str) -> None:
    (world.node.root / "etc/oca-one.broken").touch()
    world.ask(batches=updated.BOTH)
    assert world.run(die_at=f"package.failed.{end}") == -signal.SIGKILL
    tried = world.count()["oca-one 2"]
    world.node.run(["systemctl", "stop", "oca-one.service"])
    assert world.run() == 0
    (answer,) = world.answers
    assert "oca-one.service" in answer["failed"]
    assert answer["still_old"] == ["oca-two.service"]
    assert not answer["recorded"]
    assert world.count()["oca-one 2"] >= tried
    assert world.count()["post-update failed"] == 1
    assert "oca-two 2" not in world.trace


@pytest.mark.parametrize("point", ["", "package.restart-self.begun", "package.restart-self.done"])
def test_the_agent_restarts_itself_last_and_answers_once(world: updated.World, point: str) -> None:
    world.ask(batches=[[updated.unit("overcloud-agent")], *updated.BOTH])
    world.run_as_unit(die_at=point)
    answer = world.await_answer()
    assert answer["ok"], answer["reason"]
    assert answer["recorded"]
    assert answer["restarted"] == ["oca-one.service", "oca-two.service", updated.OWN_UNIT]
    assert world.count() == DONE
    assert len(world.answers) == 1


def test_an_update_of_the_agent_in_the_middle_of_its_transaction(world: updated.World) -> None:
    """As a maintainer script does it: the agent's unit is restarted while the transaction waits for that."""
    (world.node.root / "etc/oca-slow").touch()
    world.ask(batches=updated.BOTH)
    world.run_as_unit()
    world.await_trace("configured 2")
    begun = time.monotonic()
    world.node.run(["systemctl", "restart", updated.OWN_UNIT])
    assert time.monotonic() - begun < 20, "the agent does not wait for what waits for it"
    (world.node.root / "etc/oca-slow").unlink()
    world.await_answer()
    judge(world)
    assert world.transactions() == 1


def test_asked_to_stop_the_agent_leaves_the_transaction_to_itself(world: updated.World) -> None:
    (world.node.root / "etc/oca-slow").touch()
    world.ask(batches=updated.BOTH)
    with world.running() as process:
        world.await_trace("configured 2")
        process.terminate()
        assert process.wait(20) == 130
    (world.node.root / "etc/oca-slow").unlink()
    assert world.run() == 0
    judge(world)
    assert world.transactions() == 1


@pytest.mark.parametrize("what", ["dpkg", "everything"])
def test_the_transaction_dies(world: updated.World, what: str) -> None:
    """dpkg alone, while the agent waits for it; or agent, carrier and dpkg at once."""
    (world.node.root / "etc/oca-slow").touch()
    world.ask(batches=updated.BOTH)
    with world.running() as process:
        world.await_trace("configured 2")
        (world.node.root / "etc/oca-slow").unlink()
        if what == "everything":
            process.kill()
            world.node.run(["systemctl", "kill", "--signal=KILL", "overcloud-agent-transaction-*"])
        else:
            pids = world.node.run(["pidof", "dpkg"]).stdout.split()
            world.node.run(["kill", "-KILL", *pids])
            assert process.wait(60) == 0
    if what == "everything":
        assert world.run() == 0
    answer = judge(world, configured=2)
    assert any("an interrupted transaction was repaired" in note for note in answer["notes"])


def test_the_power_is_cut_in_a_transaction(world: updated.World) -> None:
    (world.node.root / "etc/oca-slow").touch()
    world.ask(batches=updated.BOTH)
    with world.running():
        world.await_trace("configured 2")
        world.node.cut_power()
    (world.node.root / "etc/oca-slow").unlink()
    world.node.boot()
    assert world.run() == 0
    (answer,) = world.answers
    assert answer["ok"], answer["reason"]
    assert answer["restarted"] == ["oca-one.service", "oca-two.service"]
    assert (world.versions(), world.audit()) == ({"ii2"}, "")
    assert world.count()["post-update done"] == 1


@pytest.mark.parametrize("point", ["", "package.reboot.begun", "package.reboot.done"])
def test_a_reboot_is_asked_for_and_waited_for(world: updated.World, point: str) -> None:
    world.ask(
        batches=updated.BOTH,
        reboot=["linux-image"],
        asked={"reboot": "when-required"},
        options={"reboot_command": "systemctl poweroff"},
    )
    if point.endswith("begun"):
        assert world.run(die_at=point) == -signal.SIGKILL
        assert "oca-one 2" not in world.trace
    with world.running() as driver:
        driver.await_off(world.node)
    assert not world.answers
    world.node.boot()
    if point.endswith("done"):
        assert world.run(die_at=point) == -signal.SIGKILL
    assert world.run() == 0
    answer = judge(world)
    assert answer["boot_id"] == world.node.run(["cat", "/proc/sys/kernel/random/boot_id"]).stdout.strip()
    assert answer["reboot_required"] == []
    assert world.trace[-1] == "post-update done", "when the node is back"


def test_a_reboot_that_is_refused(world: updated.World) -> None:
    world.ask(
        batches=updated.BOTH,
        reboot=["linux-image"],
        asked={"reboot": "when-required"},
        options={"reboot_command": "false"},
    )
    assert world.run() == 0
    (answer,) = world.answers
    assert "asked 3 times to boot again" in answer["reason"]
    assert answer["reboot_required"] == ["linux-image"]
    assert answer["still_old"] == ["oca-one.service", "oca-two.service"]
    assert world.trace[-1] == "post-update failed"


def test_every_fail_point_is_here() -> None:
    tested = {*PLAIN, *(f"{prefix}{end}" for prefix in _ELSEWHERE for end in ("begun", "done"))}
    assert tested == set(POINTS)
