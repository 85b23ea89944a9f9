"""Updates that are carried out on a node: systemd as PID 1, a real dpkg, units, hooks."""

from __future__ import annotations

import json
import shutil
import stat

import pytest

import updated


def test_an_update(world: updated.World) -> None:
    world.ask(batches=updated.BOTH)
    assert world.run() == 0
    (answer,) = world.answers
    assert answer["ok"], answer
    assert answer["restarted"] == ["oca-one.service", "oca-two.service"]
    assert (answer["packages"], answer["still_old"], answer["failed"]) == ("changed", [], {})
    assert "Setting up oca-lib (2)" in answer["log"]
    assert answer["recorded"]
    assert world.trace == ["pre-update", "configured 2", "oca-one 2", "oca-two 2", "post-update done"]
    assert (world.versions(), world.audit()) == ({"ii2"}, "")
    plan = world.node.root / updated.STATE / "packages/update-plan.json"
    assert (json.loads(plan.read_text()), stat.S_IMODE(plan.stat().st_mode)) == ({"deployment": "one"}, 0o600)
    # The same deployment again, as after a crash before its answer was in the journal.
    assert world.run() == 0
    assert world.answers[1] == answer
    assert world.trace.count("configured 2") == world.trace.count("post-update done") == 1


def test_what_a_package_has_restarted_is_not_restarted_again(world: updated.World) -> None:
    (world.node.root / "etc/oca-restarts").touch()
    world.ask(batches=updated.BOTH)
    assert world.run() == 0
    (answer,) = world.answers
    assert answer["ok"], answer
    assert answer["restarted"] == ["oca-one.service", "oca-two.service"]
    assert world.trace == ["pre-update", "configured 2", "oca-one 2", "oca-two 2", "post-update done"]


def test_a_unit_that_does_not_come_back_stops_the_line(world: updated.World) -> None:
    (world.node.root / "etc/oca-one.broken").touch()
    world.ask(batches=updated.BOTH)
    assert world.run() == 0
    (answer,) = world.answers
    assert not answer["ok"]
    assert not answer["recorded"]
    assert "its restart failed" in answer["failed"]["oca-one.service"]
    assert answer["still_old"] == ["oca-two.service"]
    assert answer["reason"].startswith("oca-one.service: ")
    assert "oca-two 2" not in world.trace
    assert world.trace[-1] == "post-update failed"
    assert world.versions() == {"ii2"}


def test_a_unit_that_does_not_stay_up(world: updated.World) -> None:
    (world.node.root / "etc/oca-one.flaky").touch()
    world.ask(batches=updated.BOTH, options={"restart_stable_for": 2})
    assert world.run() == 0
    (answer,) = world.answers
    assert "it does not stay up" in answer["failed"]["oca-one.service"]
    assert answer["still_old"] == ["oca-two.service"]


def test_a_unit_that_did_not_run_is_left_so(world: updated.World) -> None:
    world.node.run(["systemctl", "stop", "oca-one.service"])
    world.ask(batches=updated.BOTH)
    assert world.run() == 0
    (answer,) = world.answers
    assert answer["ok"]
    assert (answer["left"], answer["restarted"]) == (["oca-one.service"], ["oca-two.service"])
    assert "oca-one 2" not in world.trace


def test_restarts_are_only_reported(world: updated.World) -> None:
    world.ask(batches=updated.BOTH, asked={"restart": "report"}, reboot=["linux-image"])
    assert world.run() == 0
    (answer,) = world.answers
    assert answer["ok"]
    assert answer["still_old"] == ["oca-one.service", "oca-two.service"]
    assert answer["reboot_required"] == ["linux-image"]
    assert "oca-one 2" not in world.trace


def container(world: updated.World, name: str, *, gate: dict[str, object]) -> None:
    """Run a container as one of the agent's is, of an image that is made here."""
    tree = world.node.root / "srv/image"
    (tree / "bin").mkdir(parents=True, exist_ok=True)
    shutil.copy(shutil.which("busybox") or "", tree / "bin/busybox")
    world.node.run(["sh", "-c", "tar -C /srv/image -c . | podman import - localhost/sleeper:1"])
    data = {"image": "localhost/sleeper:1", "net": "host", "stop_grace_period": 1, "upgrade": {"gate": gate}}
    label = f"config_data={json.dumps(data)}"
    sleep = ["localhost/sleeper:1", "/bin/busybox", "sleep", "1000"]
    world.node.podman("run", "--detach", f"--name={name}", "--network=host", "--label", label, *sleep)


@pytest.mark.parametrize("passes", [True, False])
def test_a_container_is_restarted_with_its_gate(world: updated.World, passes: bool) -> None:
    command = ["/bin/busybox", "true" if passes else "false"]
    container(world, "web", gate={"stable_for": 0.5, "within": 1, "exec": command})
    before = world.node.podman("inspect", "web", "--format", "{{.Id}} {{.State.StartedAt}}").split(maxsplit=1)
    try:
        world.ask(batches=[[{"kind": "container", "name": "web"}], [updated.unit("oca-one")]])
        assert world.run() == 0
        after = world.node.podman("inspect", "web", "--format", "{{.Id}} {{.State.StartedAt}}").split(maxsplit=1)
    finally:
        world.node.podman("rm", "--force", "--time=0", "web")
    (answer,) = world.answers
    assert after[0] == before[0], "the same container"
    assert after[1] != before[1], "started again"
    assert answer["ok"] is passes, answer["reason"]
    assert answer["restarted"] == (["web", "oca-one.service"] if passes else [])
    assert answer["still_old"] == ([] if passes else ["oca-one.service"])
    assert passes or "did not pass its gate" in answer["failed"]["web"]


def test_a_hook_before_the_update_that_fails_leaves_everything_as_it_was(world: updated.World) -> None:
    world.hook("pre-update", "20-bad", "echo no quorum >&2; exit 3")
    world.hook("pre-update", "30-never")
    world.ask(batches=updated.BOTH)
    assert world.run() == 0
    (answer,) = world.answers
    assert answer["packages"] == "unchanged"
    assert "pre-update hook 20-bad ended with status 3: no quorum" in answer["reason"]
    assert world.trace == ["pre-update", "pre-update", "post-update failed"]
    assert world.versions() == {"ii1"}


def test_a_hook_that_says_what_no_text_can_have(world: updated.World) -> None:
    world.hook("pre-update", "20-bad", r"printf 'no\0quorum\n' >&2; exit 3")
    world.ask(batches=updated.BOTH)
    assert world.run() == 0
    (answer,) = world.answers
    assert "pre-update hook 20-bad ended with status 3: no" in answer["reason"]
    assert world.trace[-1] == "post-update failed", "the node is back in its cluster"


def test_a_hook_that_says_later_is_asked_again(world: updated.World) -> None:
    world.hook("pre-update", "20-later", "[ -e /etc/oca-asked ] || { touch /etc/oca-asked; exit 75; }")
    world.ask(batches=updated.BOTH)
    assert world.run() == 0
    assert world.answers[0]["ok"]
    assert world.trace[:4] == ["pre-update", "pre-update", "pre-update", "configured 2"]


def test_a_hook_that_says_later_for_too_long(world: updated.World) -> None:
    world.hook("pre-update", "20-later", "exit 75")
    world.ask(batches=updated.BOTH, within=5)
    assert world.run() == 0
    assert "20-later still said that it is to be asked later" in world.answers[0]["reason"]
    assert world.trace[-1] == "post-update failed"
    assert world.versions() == {"ii1"}


def test_a_hook_after_the_update_that_fails(world: updated.World) -> None:
    world.hook("post-update", "05-bad", "exit 1")
    world.ask(batches=updated.BOTH)
    assert world.run() == 0
    (answer,) = world.answers
    assert "post-update hook 05-bad" in answer["reason"]
    assert not answer["recorded"]
    assert answer["restarted"] == ["oca-one.service", "oca-two.service"]
    assert world.trace.count("post-update done") == 2, "the others are run all the same"


def test_a_postinst_that_fails(world: updated.World) -> None:
    (world.node.root / "etc/oca-lib.broken").touch()
    world.ask(batches=updated.BOTH)
    assert world.run() == 0
    (answer,) = world.answers
    assert answer["packages"] == "unknown"
    assert "oca-lib" in answer["reason"]
    assert "post-installation script" in answer["reason"]
    assert answer["still_old"] == ["oca-one.service", "oca-two.service"]
    assert world.trace[-1] == "post-update failed"
    # With that mended, the same identifier goes through: what was left is repaired first, and told.
    (world.node.root / "etc/oca-lib.broken").unlink()
    world.ask(batches=updated.BOTH, deployment="two")
    assert world.run() == 0
    assert world.answers[1]["recorded"]
    assert (world.versions(), world.audit()) == ({"ii2"}, "")


def test_a_postinst_that_never_ends(world: updated.World) -> None:
    (world.node.root / "etc/oca-slow").touch()
    world.ask(batches=updated.BOTH, within=4)
    # The least that a transaction has is a minute.
    assert world.run() == 0
    (answer,) = world.answers
    assert "the deployment's time was over" in answer["reason"]
    assert world.trace[-1] == "post-update failed"
    (world.node.root / "etc/oca-slow").unlink()
