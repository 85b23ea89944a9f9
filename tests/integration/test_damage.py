"""The journal's file is garbage, cut or empty: it is set aside, and what it said is found out again."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

import heatlike
import nodes

GOOD = """echo '{"deploy_stdout": "fine", "deploy_status_code": 0}'"""


def garbage(path: Path) -> None:
    path.write_bytes(b"not a database, " * 4096)


def cut(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def scramble(path: Path) -> None:
    """Its header stays whole, what is in it does not."""
    content = path.read_bytes()
    path.write_bytes(content[:4096] + bytes(byte ^ 0x5A for byte in content[4096:]))


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [garbage, cut, scramble, empty])
def test_a_damaged_journal_costs_nothing(
    node: nodes.Node, heat: heatlike.HeatLike, damage: Callable[[Path], None]
) -> None:
    """Told: one that Heat knows of, one whose result it does not have, one that ran half, one that did not run."""
    node.hook("script", f"echo script >> {node.directory}/runs; {GOOD}")
    node.hook("slow", f"echo slow >> {node.directory}/runs; touch {node.directory}/begun; sleep 60")
    node.hook("later", f"echo later >> {node.directory}/runs; {GOOD}")
    entries = [heat.deployment("told"), heat.deployment("untold"), heat.deployment("half", "slow")]
    heat.serve(entries[0])
    node.start()
    heat.signal("told")
    node.await_state("told", "signalled")
    heat.refuse["untold"] = 503
    heat.serve(*entries, heat.deployment("new", "later"))
    node.await_file(node.directory / "begun")
    assert node.stop(signal.SIGKILL) == -signal.SIGKILL
    for path in node.state.glob("journal.sqlite-*"):
        path.unlink()
    damage(node.state / "journal.sqlite")
    del heat.refuse["untold"]
    node.start()
    assert heat.signal("untold")["deploy_stdout"] == "fine", "from its file"
    assert heat.signal("half")["deploy_stderr"].startswith("interrupted: ")
    assert heat.signal("new")["deploy_stdout"] == "fine"
    assert (node.directory / "runs").read_text().split() == ["script", "script", "slow", "later"], "nothing ran twice"
    said = node.log.read_text()
    (aside,) = node.state.glob("journal.sqlite.damaged-*")
    assert f"the journal was damaged and is {aside} now" in said
    assert node.stop() == 0
