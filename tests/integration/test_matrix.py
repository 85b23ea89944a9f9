"""Every way in and every way out: metadata transports x signal transports, on a real Heat with Swift and Zaqar."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import nodes
import stacks
from overcloud_agent import failpoints
from undercloud import box as clouds

SIGNALS = ("CFN_SIGNAL", "TEMP_URL_SIGNAL", "HEAT_SIGNAL", "ZAQAR_SIGNAL", "NO_SIGNAL")
# Name, transport, and what a node's section has on top of what Heat says.
METADATA: tuple[tuple[str, str, dict[str, str]], ...] = (
    ("cfn", "POLL_SERVER_CFN", {}),
    ("heat", "POLL_SERVER_HEAT", {}),
    ("temp-url", "POLL_TEMP_URL", {}),
    ("zaqar", "ZAQAR_MESSAGE", {}),
    ("zaqar-socket", "ZAQAR_MESSAGE", {"use_websockets": "true"}),
)

SCRIPT = """#!/bin/sh
echo "$deploy_signal_transport" >> {ran}
echo "$greeting by $deploy_signal_transport" > $heat_outputs_path.result
"""


@pytest.fixture(scope="module")
def full_stacks(full_undercloud: clouds.Undercloud) -> Iterator[stacks.Stacks]:
    made = stacks.Stacks(full_undercloud)
    yield made
    made.close()


def outputs(cloud: clouds.Undercloud, stack: str) -> dict[str, Any]:
    """A stack's outputs as the `openstack` client tells them."""
    argv = [str(cloud.openstack), "stack", "output", "show", "--all", stack, "-f", "json"]
    done = subprocess.run(argv, env={**os.environ, **cloud.openrc}, capture_output=True, text=True, check=True)
    shown = json.loads(done.stdout)
    found = [json.loads(value) if isinstance(value, str) else value for value in shown.values()]
    return {entry["output_key"]: entry["output_value"] for entry in found}


def states_of(node: nodes.Node) -> list[str]:
    return [row["state"] for row in node.status()["deployments"]]


@pytest.mark.parametrize(("name", "transport", "more"), METADATA, ids=[entry[0] for entry in METADATA])
def test_every_transport(
    full_stacks: stacks.Stacks,
    full_undercloud: clouds.Undercloud,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    transport: str,
    more: dict[str, str],
) -> None:
    collector, stack, ran = stacks.SECTIONS[transport], f"by-{name}", tmp_path / "ran"
    parts = {
        way.lower(): stacks.deployment(
            {"get_resource": "server"},
            "script",
            SCRIPT.format(ran=ran),
            inputs={"greeting": "here"},
            signal_transport=way,
        )
        for way in SIGNALS
    }
    shown = {way: {"value": {"get_attr": [way.lower(), "result"]}} for way in SIGNALS}
    # In one stack, because Heat logs in at a deployment's project to reach its server's queue.
    full_stacks.create(stack, {**stacks.server(transport), **stacks.together(**parts)}, shown)
    section = full_stacks.await_section(stack, transport)
    node = nodes.Node(tmp_path, metadata={**section, **more}, collector=collector)
    node.start()
    try:
        found = full_stacks.await_stack(stack)
        assert found.stack_status == "CREATE_COMPLETE", found.stack_status_reason
        told = outputs(full_undercloud, stack)
        # Heat takes a deployment without a signal for done at once, and never hears of its outputs.
        assert told == {way: f"here by {way}\n" for way in SIGNALS[:-1]} | {"NO_SIGNAL": None}
        # Nobody waits for the deployment without a signal, so it may reach the node after the stack is complete.
        node.await_that(lambda: states_of(node) == ["signalled"] * len(SIGNALS), 60, "not all are done")
        assert sorted(ran.read_text().split()) == sorted(SIGNALS), "each ran, and ran once"
    finally:
        node.close()
    with capsys.disabled():
        print(f"\n{transport} ({name}): {found.stack_status}; {json.dumps(told)}")


@pytest.mark.parametrize("point", ["metadata.kept", "journal.received"])
def test_a_message_is_not_lost_by_a_crash(full_stacks: stacks.Stacks, tmp_path: Path, point: str) -> None:
    """The agent dies when it has read the message and not deleted it: before, or after the journal has it."""
    stack, ran = f"crash-{point.partition('.')[0]}", tmp_path / "ran"
    server = {"get_resource": "server"}
    part = stacks.deployment(server, "script", SCRIPT.format(ran=ran), inputs={"greeting": "here"})
    full_stacks.create(stack, {**stacks.server("ZAQAR_MESSAGE"), **stacks.together(one=part)})
    section = full_stacks.await_section(stack, "ZAQAR_MESSAGE")
    node = nodes.Node(tmp_path, metadata=section, collector="zaqar")
    node.start(env={failpoints.VARIABLE: point})
    try:
        assert node.wait() == -signal.SIGKILL
        node.start()
        assert full_stacks.await_stack(stack).stack_status == "CREATE_COMPLETE"
        assert ran.read_text().split() == ["CFN_SIGNAL"]
    finally:
        node.close()
