"""A node: systemd and Podman on it, what survives what, and what is left."""

from __future__ import annotations

import pathlib
import sys
from collections.abc import Iterator

import pytest

import places
from nodebox import box
from overcloud_agent.containers import engine
from podmanbox import errors, processes, traces


@pytest.fixture(scope="module")
def node() -> Iterator[box.NodeBox]:
    made = box.NodeBox(places.SCRATCH / "test-node")
    with made:
        yield made


def nspawns(node: box.NodeBox) -> int:
    return len(processes.find(lambda argv: f"--directory={node.root}" in argv))


def test_systemd_and_podman_run_on_it(node: box.NodeBox) -> None:
    assert node.run(["cat", "/proc/1/comm"]).stdout == "systemd\n"
    assert node.run(["systemctl", "is-system-running"], check=False).stdout == "running\n"
    assert node.podman("info", "--format", "{{.Host.CgroupManager}} {{.Host.LogDriver}}") == "systemd journald"
    assert node.journal("--unit=podman.socket")


def test_this_python_and_this_agent_run_on_it(node: box.NodeBox) -> None:
    program = "import overcloud_agent, podman, sys; print(overcloud_agent.__file__, sys.prefix)"
    there = node.run([sys.executable, "-c", program]).stdout.split()
    assert there == [str(places.ROOT / "agent/overcloud_agent/__init__.py"), sys.prefix]
    assert node.run(["touch", str(places.ROOT / "agent/x")], check=False).returncode == 1, "it is read-only"


def test_podman_is_reached_from_outside(node: box.NodeBox) -> None:
    with engine.Engine(node.podman_url) as podman:
        assert podman.host().storage
        assert podman.inspect("nothing") is None


def test_files_survive_a_reboot_and_a_power_cut(node: box.NodeBox) -> None:
    node.run(["touch", "/etc/kept", "/run/lost"])
    node.reboot()
    node.cut_power()
    assert not node.running()
    with pytest.raises(errors.BoxError, match="does not run"):
        node.run(["true"])
    node.boot()
    assert (node.root / "etc/kept").exists()
    assert node.run(["ls", "/run/lost"], check=False).returncode != 0


def test_a_failed_command_says_why(node: box.NodeBox) -> None:
    with pytest.raises(errors.CommandError, match="No such file"):
        node.run(["ls", "/nothing"])


def test_what_a_killed_session_left_is_cleared_away(node: box.NodeBox) -> None:
    (node.root / "etc/kept").touch()
    other = box.NodeBox(node.directory)
    other.up()
    assert nspawns(other) == 1
    assert not (other.root / "etc/kept").exists()


def test_nothing_is_left(tmp_path: pathlib.Path) -> None:
    short = box.NodeBox(places.SCRATCH / f"n{tmp_path.name[-2:]}")
    with short as node:
        assert nspawns(node) == 1
    assert nspawns(short) == 0
    assert not traces.mounts_below(short.directory)
    assert not short.directory.exists()
