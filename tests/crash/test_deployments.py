"""Deployments whose agent is killed: hooks that may run again and hooks that may not, and whose result arrives."""

from __future__ import annotations

import signal

import pytest

import heatlike
import nodes
import oldjournals
from overcloud_agent import database, failpoints

GOOD = """echo '{"deploy_stdout": "fine", "deploy_status_code": 0}'"""


def die_and_start_again(node: nodes.Node, point: str) -> None:
    node.start(env={failpoints.VARIABLE: point})
    assert node.wait() == -signal.SIGKILL, f"{point} was never reached: {node.log.read_text()}"
    node.start()


@pytest.mark.parametrize(
    "point",
    [
        "journal.migrated",
        "metadata.kept",
        "journal.received",
        "journal.finished",
        "deployed.told",
        "signal.sent",
        "signal.settled",
    ],
)
def test_a_hook_runs_once_and_its_result_arrives(node: nodes.Node, heat: heatlike.HeatLike, point: str) -> None:
    node.hook("script", f"echo run >> {node.directory}/runs; {GOOD}")
    heat.serve(heat.deployment("a"))
    die_and_start_again(node, point)
    assert heat.signal("a")["deploy_stdout"] == "fine"
    node.await_state("a", "signalled")
    assert (node.directory / "runs").read_text() == "run\n"


def test_a_journal_is_migrated_at_once_or_not_at_all(node: nodes.Node, heat: heatlike.HeatLike) -> None:
    path = oldjournals.make(node.state, 1)
    before = oldjournals.look(path)
    node.start(env={failpoints.VARIABLE: "journal.migrated"})
    assert node.wait() == -signal.SIGKILL
    assert oldjournals.look(path) == before
    node.hook("script", GOOD)
    heat.serve(heat.deployment("a"))
    node.start()
    assert heat.signal("a")["deploy_status_code"] == 0
    node.await_state("old", "signalled")
    assert oldjournals.look(path)[0] == database.SCHEMA_VERSION


@pytest.mark.parametrize("point", ["journal.running", "deployed.written", "hook.ended"])
def test_a_hook_that_may_not_run_twice_is_answered_as_interrupted(
    node: nodes.Node, heat: heatlike.HeatLike, point: str
) -> None:
    node.hook("script", f"echo run >> {node.directory}/runs; {GOOD}")
    heat.serve(heat.deployment("a"), heat.deployment("b"))
    die_and_start_again(node, point)
    body = heat.signal("a")
    assert body["deploy_status_code"] == 1
    assert body["deploy_stderr"].startswith("interrupted: ")
    assert heat.signal("b")["deploy_status_code"] == 0, "the next runs"
    runs = (node.directory / "runs").read_text().count("run")
    assert runs == (2 if point == "hook.ended" else 1)


@pytest.mark.parametrize("point", ["journal.running", "deployed.written", "hook.ended"])
def test_a_hook_that_may_run_twice_resumes(node: nodes.Node, heat: heatlike.HeatLike, point: str) -> None:
    node.hook("puppet", GOOD)
    heat.serve(heat.deployment("a", "puppet"))
    die_and_start_again(node, point)
    assert heat.signal("a")["deploy_status_code"] == 0


def test_a_hook_that_outlives_the_agent_is_ended_before_it_is_answered(
    node: nodes.Node, heat: heatlike.HeatLike
) -> None:
    node.hook("script", f"echo $$ > {node.directory}/pid; mv {node.directory}/pid {node.directory}/begun; sleep 60")
    heat.serve(heat.deployment("a"))
    node.start()
    begun = node.directory / "begun"
    node.await_file(begun)
    assert node.stop(signal.SIGKILL) == -signal.SIGKILL
    hook = int(begun.read_text())
    assert nodes.is_running(hook), "it goes on without the agent"
    node.start()
    assert heat.signal("a")["deploy_stderr"].startswith("interrupted: ")
    assert not nodes.is_running(hook)
