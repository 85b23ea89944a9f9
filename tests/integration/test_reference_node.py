"""The reference chain, unmodified, in a node of its own, driven by a real Heat: what ours is compared with works."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

import stacks
from reference import node, servers
from undercloud import box as clouds

SCRIPT = '#!/bin/sh\nprintf %s "$value" > $heat_outputs_path.result\necho said\n'


@pytest.fixture
def heat_stacks(undercloud: clouds.Undercloud) -> Iterator[stacks.Stacks]:
    made = stacks.Stacks(undercloud)
    yield made
    made.close()


@pytest.mark.parametrize("transport", ["POLL_SERVER_CFN", "POLL_SERVER_HEAT"])
def test_the_reference_chain_completes_a_stack(heat_stacks: stacks.Stacks, tmp_path: Path, transport: str) -> None:
    name = transport.lower().replace("_", "-")
    server, occ = servers.create(heat_stacks, f"reference-{name}", transport, polling_interval=1)
    inputs = {"value": "a word"}
    with node.ReferenceNode(tmp_path) as reference:
        reference.configure(occ)
        reference.start()
        resources = stacks.together(one=stacks.deployment(server, "script", SCRIPT, inputs=inputs))
        heat_stacks.create(f"{name}-script", resources)
        found = heat_stacks.await_stack(f"{name}-script")
        assert found.stack_status == "CREATE_COMPLETE", reference.log.read_text()
        answer = heat_stacks.answer(f"{name}-script", "one")
        assert answer["result"] == "a word"
        assert answer["deploy_stdout"] == "said\n"
        assert reference.stop() == -15
        # The chain has written its own configuration from the metadata, and polls on with it.
        assert "polling_interval = 1" in reference.path(node.SOURCES).read_text()
        kept = [path for path in reference.path(node.DEPLOYED).iterdir() if not path.name.endswith(".notify.json")]
        assert [json.loads(path.read_text())["group"] for path in kept] == ["script"]


def test_a_node_keeps_to_itself_and_leaves_nothing(tmp_path: Path) -> None:
    with node.ReferenceNode(tmp_path, network=True) as first:
        first.configure({"collectors": ["local"], "local": {"path": "/var/lib/local-data"}})
        assert not Path(node.SOURCES).exists() or "local-data" not in Path(node.SOURCES).read_text()
        # In place of a reference executable, and back.
        first.link(f"{node.CONFIGURE_D}/55-heat-config", Path("/bin/true"))
        assert first.run([f"{node.CONFIGURE_D}/55-heat-config"]).returncode == 0
        first.restore()
        assert first.run([f"{node.CONFIGURE_D}/55-heat-config"]).returncode == 1
        first.start(["sleep", "600"])
    # Other tests that run at the same time mount what is theirs.
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()
    with node.ReferenceNode(tmp_path) as again:
        assert "local-data" in again.check_run(["cat", node.SOURCES])
