"""The agent of a node is exchanged and set back while it works, and a machine that goes down does not wait for it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import stacks
from imagebox import build, network, node
from overcloud_agent import database
from reference import servers

# The first test waits for the image, which takes minutes to build.
pytestmark = pytest.mark.timeout(1800)

UNIT = "overcloud-agent.service"

RECORD = '#!/bin/sh\necho "$value" >>/var/lib/ran\n'

# Prints what the journal is; run by the node's own Python, beside the agent.
LOOK = """
import json, sqlite3
db = sqlite3.connect("/var/lib/overcloud-agent/journal.sqlite")
number, integrity = (db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("user_version", "integrity_check"))
columns = [row[1] for row in db.execute("PRAGMA table_info(deployments)")]
notes = db.execute("SELECT note FROM deployments").fetchall() if "note" in columns else []
print(json.dumps([number, integrity, [note for (note,) in notes]]))
"""

# Writes down from which schema on agents can use the journal.
MARK = """
import sqlite3, sys
with sqlite3.connect("/var/lib/overcloud-agent/journal.sqlite") as db:
    db.execute("UPDATE schema SET usable_by = ?", (int(sys.argv[1]),))
"""

# A version that can work by its own account, and ends at once.
ENDS_AT_ONCE = '#!/bin/sh\n[ "$1" != run ]\n'


@pytest.fixture(scope="module")
def server(heat_stacks: stacks.Stacks) -> tuple[str, dict[str, Any]]:
    """A server of Heat, and what it is told at its first boot."""
    return servers.create(heat_stacks, "switched", polling_interval=1)


@pytest.fixture(scope="module")
def booted(
    image: build.Image, net: network.Network, server: tuple[str, dict[str, Any]], directory: Path
) -> Iterator[node.ImageNode]:
    made = node.ImageNode(directory, image, net)
    made.prepare()
    made.hand_metadata({"os-collect-config": server[1], "deployments": []})
    made.boot()
    yield made
    made.down(wipe=True)


@pytest.fixture(scope="module")
def first(booted: node.ImageNode) -> str:
    """The version that the image came with."""
    (only,) = booted.run(["overcloud-agent-version"]).stdout.splitlines()
    return only.removeprefix("* ")


@pytest.fixture(scope="module")
def later(booted: node.ImageNode, image: build.Image, first: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A later version, with another schema, installed beside the first."""
    wheels = build.other_version(image, tmp_path_factory.mktemp("later") / "wheels", "0.1.1.dev1")
    booted.copy_in(wheels, "/root/wheels")
    said = booted.run(["overcloud-agent-version", "install", "/root/wheels"]).stdout
    assert in_use(booted) == first
    return said.split()[-1]


def use(booted: node.ImageNode, version: str) -> str:
    """Switch; what is said when that is refused or taken back, else empty."""
    done = booted.run(["overcloud-agent-version", "use", version], check=False)
    assert done.returncode in (0, 2), done.stderr
    return done.stderr if done.returncode else ""


def in_use(booted: node.ImageNode) -> str:
    lines = booted.run(["overcloud-agent-version"]).stdout.splitlines()
    assert booted.run(["systemctl", "is-active", UNIT], check=False).stdout == "active\n"
    return next(line[2:] for line in lines if line.startswith("* "))


def journal(booted: node.ImageNode) -> tuple[int, str, list[str]]:
    """The number of its schema, what SQLite says of its integrity, and the deployments' notes of a later version."""
    number, integrity, notes = json.loads(booted.run(["/opt/overcloud-agent/current/bin/python", "-c", LOOK]).stdout)
    return number, integrity, notes


def ran(booted: node.ImageNode) -> list[str]:
    return (booted.root / "var/lib/ran").read_text().split()


def ask(heat_stacks: stacks.Stacks, server: str, name: str, script: str = RECORD) -> None:
    one = stacks.deployment(server, "script", script, inputs={"value": name})
    heat_stacks.create(name, stacks.together(one=one))


def carried_out(booted: node.ImageNode, heat_stacks: stacks.Stacks, name: str) -> bool:
    assert heat_stacks.await_stack(name).stack_status == "CREATE_COMPLETE", booted.journal(f"--unit={UNIT}")
    return ran(booted).count(name) == 1


def running(booted: node.ImageNode) -> bool:
    return any(row["state"] == "running" for row in booted.status()["deployments"])


def test_the_agent_is_upgraded_set_back_and_upgraded_again(
    booted: node.ImageNode,
    heat_stacks: stacks.Stacks,
    server: tuple[str, dict[str, Any]],
    first: str,
    later: str,
) -> None:
    """The other version has another schema; the switch waits for the deployment that runs, and that counts."""
    assert journal(booted) == (database.SCHEMA_VERSION, "ok", [])
    # As in the unit, only sooner: it is the agent that has systemd wait on.
    booted.write(f"etc/systemd/system/{UNIT}.d/soon.conf", "[Service]\nTimeoutStopSec=3\n", 0o644)
    booted.run(["systemctl", "daemon-reload"])
    ask(heat_stacks, server[0], "slow", f"{RECORD}sleep 7\n")
    booted.await_that(lambda: running(booted), "it does not begin")
    # Any verb of the later version migrates the journal, also while the first one works with it.
    booted.run([f"/opt/overcloud-agent/versions/{later}/bin/overcloud-agent", "status"])
    migrated = (database.SCHEMA_VERSION + 1, "ok")
    assert journal(booted) == (*migrated, ["none"])
    assert running(booted)
    assert use(booted, later) == ""
    assert in_use(booted) == later
    (booted.root / f"etc/systemd/system/{UNIT}.d/soon.conf").unlink()
    booted.run(["systemctl", "daemon-reload"])
    assert carried_out(booted, heat_stacks, "slow")
    assert journal(booted) == (*migrated, ["none"])

    assert use(booted, first) == ""
    assert in_use(booted) == first
    ask(heat_stacks, server[0], "back")
    assert carried_out(booted, heat_stacks, "back")
    assert journal(booted) == (*migrated, ["none"] * 2)

    assert use(booted, later) == ""
    ask(heat_stacks, server[0], "forth")
    assert carried_out(booted, heat_stacks, "forth")
    assert journal(booted) == (*migrated, ["none"] * 3)
    assert ran(booted) == ["slow", "back", "forth"], "each ran once"
    said = booted.journal(f"--unit={UNIT}")
    assert "damaged" not in said


def test_a_version_that_cannot_work_is_not_left_in_use(booted: node.ImageNode, first: str, later: str) -> None:
    assert use(booted, later) == ""
    assert "there is no version 9" in use(booted, "9")
    booted.write("opt/overcloud-agent/versions/8/bin/overcloud-agent", ENDS_AT_ONCE, 0o755)
    booted.write("opt/overcloud-agent/versions/8/complete", "")
    assert f"version 8 does not start, and {later} is in use again" in use(booted, "8")
    assert in_use(booted) == later
    # As a migration leaves it after which there is no way back.
    usable_by(booted, database.SCHEMA_VERSION + 1)
    said = use(booted, first)
    assert f"use overcloud-agent {later} or a later one" in said
    assert f"version {first} cannot work here, and {later} stays in use" in said
    assert in_use(booted) == later
    usable_by(booted, database.USABLE_BY)


def usable_by(booted: node.ImageNode, number: int) -> None:
    booted.run(["/opt/overcloud-agent/current/bin/python", "-c", MARK, str(number)])


@pytest.mark.parametrize(
    ("script", "status", "within"),
    [
        # It is answered before the node is down, or after it is up again.
        ("systemctl poweroff\nexit 0\n", "CREATE_COMPLETE", 15),
        ("systemctl poweroff\nsleep 600\n", "CREATE_FAILED", 25),
    ],
)
def test_a_script_that_switches_the_machine_off(
    booted: node.ImageNode,
    heat_stacks: stacks.Stacks,
    server: tuple[str, dict[str, Any]],
    script: str,
    status: str,
    within: float,
) -> None:
    booted.write("etc/overcloud-agent.conf.d/10-soon.conf", "[DEFAULT]\nshutdown_grace = 3\n", 0o644)
    booted.run(["systemctl", "restart", UNIT])
    name = f"off-{status[7:].lower()}"
    begun = time.monotonic()
    ask(heat_stacks, server[0], name, RECORD + script)
    booted.await_that(lambda: not booted.running(), "the machine does not go down")
    assert time.monotonic() - begun < within
    booted.boot()
    found = heat_stacks.await_stack(name)
    assert found.stack_status == status, booted.journal(f"--unit={UNIT}")
    last = booted.status()["deployments"][-1]
    assert last["reason"].startswith("interrupted: ") is (status == "CREATE_FAILED")
    assert ran(booted).count(name) == 1
