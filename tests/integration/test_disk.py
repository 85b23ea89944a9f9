"""The state directory's disk is full, or read-only: that is said by its name, and nothing is lost by it.

The disk is a real one, of two megabytes. An agent that cannot write its journal may end, and systemd starts it again;
the tests do that for it.
"""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import heatlike
import nodes
from faulty import counting

FULL = "disk is full"


@pytest.fixture
def small(node: nodes.Node) -> Iterator[nodes.Node]:
    """The node, with its state on a disk of its own."""
    node.state.mkdir(mode=0o700)
    mount("-t", "tmpfs", "-o", "size=2m,mode=700", "state", str(node.state))
    yield node
    node.close()
    subprocess.run(["umount", str(node.state)], check=True, timeout=30)


def mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True, capture_output=True, timeout=30)


def fill(node: nodes.Node) -> Path:
    """Take all the room that there is; returns the file to remove."""
    filler = node.state / "filler"
    subprocess.run(["dd", "if=/dev/zero", f"of={filler}", "bs=4096"], check=False, capture_output=True, timeout=30)
    return filler


def go_on(node: nodes.Node) -> None:
    """Do what systemd does with an agent that ends, if this one does."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        assert node.wait(within=3) == 1
        node.start()


def test_a_full_disk_when_deployments_come(small: nodes.Node, heat: heatlike.HeatLike) -> None:
    """What cannot be written down is not begun, so all of it runs, once, when there is room."""
    counter = counting.Counter(small)
    small.start()
    entries = [heat.deployment(f"d{index}", counting.GROUP, "x" * 20_000) for index in range(6)]
    heat.serve(entries[0])
    heat.signal("d0")
    small.await_state("d0", "signalled")
    filler = fill(small)
    heat.serve(*entries)
    small.await_log(FULL)
    assert set(counter.runs()) == {"d0"}
    filler.unlink()
    go_on(small)
    for entry in entries:
        assert heat.signal(entry["id"])["deploy_status_code"] == 0
        small.await_state(entry["id"], "signalled")
    assert [len(runs) for runs in counter.runs().values()] == [1] * len(entries)
    assert sorted(path for path, _ in heat.signals) == [f"/v1/signal/{entry['id']}" for entry in entries]


def test_a_full_disk_at_the_start(small: nodes.Node, heat: heatlike.HeatLike) -> None:
    counter = counting.Counter(small)
    heat.serve(heat.deployment("d0", counting.GROUP))
    filler = fill(small)
    refused = small.run("apply")
    assert refused.returncode == 1
    assert FULL in refused.stderr
    assert "Traceback" not in refused.stderr
    assert counter.runs() == {}
    filler.unlink()
    assert small.run("apply").returncode == 0
    assert len(counter.runs()["d0"]) == len(heat.signals) == 1


def test_a_disk_that_fills_while_a_hook_runs(small: nodes.Node, heat: heatlike.HeatLike) -> None:
    """A result that cannot be written down waits for room: what the hook did is not done again."""
    counter = counting.Counter(small)
    counter.hold.touch()
    small.start()
    heat.serve(heat.deployment("held", counting.GROUP))
    small.await_state("held", "running")
    filler = fill(small)
    counter.hold.unlink()
    small.await_log(FULL)
    assert heat.signals == [], "Heat is told nothing that the journal does not know"
    filler.unlink()
    go_on(small)
    assert heat.signal("held")["result"] == "held"
    small.await_state("held", "signalled")
    assert len(counter.runs()["held"]) == 1
    assert len(heat.signals) == 1


def test_a_disk_that_was_full_for_a_moment_holds_up_no_signal(small: nodes.Node, heat: heatlike.HeatLike) -> None:
    """While a hook runs, for hours maybe, what waits for Heat is sent as soon as there is room and Heat is back."""
    counter = counting.Counter(small)
    heat.refuse = {"first": 503}
    small.start()
    heat.serve(heat.deployment("first", counting.GROUP))
    small.await_log("signal for first")
    counter.hold.touch()
    heat.serve(heat.deployment("first", counting.GROUP), heat.deployment("held", counting.GROUP))
    small.await_state("held", "running")
    filler = fill(small)
    small.await_log(FULL)
    filler.unlink()
    heat.refuse = {}
    assert heat.signal("first", within=20)["result"] == "first"
    small.await_state("first", "signalled")
    assert small.deployment("held")["state"] == "running"
    counter.hold.unlink()
    assert heat.signal("held")["result"] == "held"
    small.await_state("held", "signalled")
    assert [len(runs) for runs in counter.runs().values()] == [1, 1]


def test_a_read_only_disk_at_the_start(small: nodes.Node, heat: heatlike.HeatLike) -> None:
    """A kernel makes a disk read-only when it finds it damaged, and then the node is started again."""
    counter = counting.Counter(small)
    heat.serve(heat.deployment("d0", counting.GROUP))
    assert small.run("apply").returncode == 0
    mount("-o", "remount,ro", str(small.state))
    heat.serve(heat.deployment("d0", counting.GROUP), heat.deployment("d1", counting.GROUP))
    refused = small.run("apply")
    assert refused.returncode == 1
    assert "Read-only file system" in refused.stderr
    assert set(counter.runs()) == {"d0"}
    mount("-o", "remount,rw", str(small.state))
    assert small.run("apply").returncode == 0
    assert {key: len(runs) for key, runs in counter.runs().items()} == {"d0": 1, "d1": 1}
    assert len(heat.signals) == 2
