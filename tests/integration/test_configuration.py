"""What a node makes of its metadata: its configuration, and which deployments run.

The reference behaviour that a test is about is the defect with the number in its docstring.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

import heatlike
import nodes

GOOD = """echo '{"deploy_stdout": "fine", "deploy_status_code": 0}'"""


@pytest.fixture
def other() -> Iterator[heatlike.HeatLike]:
    """A second source."""
    with heatlike.HeatLike() as server:
        yield server


def listed(node: nodes.Node) -> list[str]:
    return [Path(text).name for text in json.loads((node.cache / "os_config_files.json").read_text())]


def test_a_node_follows_a_switch_of_transports(
    node: nodes.Node, heat: heatlike.HeatLike, other: heatlike.HeatLike
) -> None:
    """Heat sets what the old section had to null, and names the new one; what Heat says nothing of stays."""
    node.hook("script", GOOD)
    heat.serve(heat.deployment("a"))
    other.serve(heat.deployment("a"), heat.deployment("b"))
    node.start()
    heat.signal("a")
    old = dict.fromkeys(nodes.cfn_section(""))
    section = {"collectors": ["request", "local"], "cfn": old, "request": {"metadata_url": other.temp_url}}
    heat.metadata = {"deployments": [heat.deployment("a")], "os-collect-config": section}
    assert heat.signal("b")["deploy_status_code"] == 0
    polls = heat.polls
    other.await_polls(3)
    assert heat.polls <= polls + 1, "the old one is not asked any more"
    assert [path for path, _ in heat.signals] == ["/v1/signal/a", "/v1/signal/b"], "nothing ran twice"
    text = node.sources.read_text()
    assert f"cachedir = {node.cache}" in text
    assert "secret_access_key" not in text
    assert node.stop() == 0
    node.start()
    other.serve(heat.deployment("c"))
    assert heat.signal("c")["deploy_status_code"] == 0, "and a restart asks there"
    assert node.stop() == 0


def template(node: nodes.Node, path: str, text: str, mode: int = 0o644) -> Path:
    made = node.templates / path
    made.parent.mkdir(parents=True, exist_ok=True)
    made.write_text(text)
    made.chmod(mode)
    return made


@pytest.mark.parametrize("group", ["os-apply-config", "Heat::Ungrouped", None])
def test_a_deployment_for_templates_is_rendered_and_answered(
    node: nodes.Node, heat: heatlike.HeatLike, group: str | None
) -> None:
    template(node, "etc/site", "{{site.colour}} {{other}}\n")
    script = "#!/usr/bin/env python3\nimport json, sys\nprint(json.load(sys.stdin)['site']['colour'])\n"
    template(node, "etc/made", script, mode=0o755)
    entry = heat.deployment("a", config={"site": {"colour": "blue"}}, name="site")
    heat.metadata = {"deployments": [{**entry, "group": group}], "other": "red", "site": {"colour": "none"}}
    node.start()
    body = heat.signal("a")
    assert body["deploy_status_code"] == 0
    assert "/etc/site" in body["deploy_stdout"]
    assert (node.root / "etc/site").read_text() == "blue red\n"
    assert (node.root / "etc/made").read_text() == "blue\n"
    assert node.stop() == 0


@pytest.mark.parametrize("text", ["{{/site}}", "#!/bin/sh\ncat >&2; exit 3\n"])
def test_a_deployment_for_templates_is_answered_when_they_fail(
    node: nodes.Node, heat: heatlike.HeatLike, text: str
) -> None:
    """The template is named; what a script printed, which may be what it was given, is told to nobody."""
    bad = template(node, "etc/bad", text, mode=0o755 if text.startswith("#!") else 0o644)
    template(node, "etc/good", "{{site}}")
    node.hook("script", GOOD)
    heat.serve(
        heat.deployment("a", "os-apply-config", {"site": "c4nary"}, name="site"),
        heat.deployment("b"),
    )
    node.start()
    body = heat.signal("a")
    assert body["deploy_status_code"] != 0
    assert str(bad) in body["deploy_stderr"]
    assert heat.signal("b")["deploy_status_code"] == 0
    assert not (node.root / "etc").exists(), "nothing is written of half a configuration"
    assert node.stop() == 0
    assert "c4nary" not in node.log.read_text() + json.dumps(body)


@pytest.mark.parametrize("name", ["../../evil", "/etc/evil", "cfn", "", ".evil"])
def test_a_name_that_is_a_path_is_refused(node: nodes.Node, heat: heatlike.HeatLike, name: str) -> None:
    """Defect 34: a file wherever the name says."""
    node.hook("script", GOOD)
    heat.serve(heat.deployment("a", "os-apply-config", {"x": 1}, name=name), heat.deployment("b"))
    node.start()
    body = heat.signal("a")
    assert body["deploy_status_code"] == 2
    assert "cannot be the name of a deployment" in body["deploy_stderr"]
    assert heat.signal("b")["deploy_status_code"] == 0
    assert listed(node) == ["cfn.json"]
    assert not list(node.directory.rglob("*evil*"))
    assert not (node.directory.parent / "evil.json").exists()
    assert not Path("/etc/evil.json").exists()
    assert node.stop() == 0


def test_a_section_that_would_orphan_the_node_is_refused(node: nodes.Node, heat: heatlike.HeatLike) -> None:
    """A file with which the agent does not start cannot be taken back by Heat."""
    node.hook("script", GOOD)
    before = node.sources.read_text()
    for index, section in enumerate(({"polling_interval": "soon"}, {"cfn": {"path": "\ud800"}})):
        heat.metadata = {"deployments": [heat.deployment(f"a{index}")], "os-collect-config": section}
        node.start()
        assert heat.signal(f"a{index}")["deploy_status_code"] == 0
        assert node.stop() == 0
        assert node.sources.read_text() == before


def test_a_component_is_run_by_the_tool_for_its_action(node: nodes.Node, heat: heatlike.HeatLike) -> None:
    """Defect 31: one with nothing for the action is never answered there."""
    node.hook("one", f"echo one >> {node.directory}/ran; {GOOD}")
    node.hook("two", f"echo two >> {node.directory}/ran; {GOOD}")
    configs = [
        {"actions": ["UPDATE"], "tool": "one", "config": "x"},
        {"actions": ["CREATE", "UPDATE"], "tool": "two", "config": "y"},
    ]
    heat.serve(
        heat.deployment("several", "component", {"configs": configs}),
        heat.deployment("none", "component", {"configs": configs[:1]}),
        heat.deployment("bad", "component", {"configs": [{"actions": ["CREATE"]}]}),
    )
    node.start()
    assert heat.signal("several")["deploy_status_code"] == 0
    assert heat.signal("none")["deploy_status_code"] == 0
    assert "$.config.configs[0].tool" in heat.signal("bad")["deploy_stderr"]
    assert (node.directory / "ran").read_text() == "two\n"
    assert node.stop() == 0


def test_an_update_replaces_a_queued_create(node: nodes.Node, heat: heatlike.HeatLike) -> None:
    node.hook("slow", f"touch {node.directory}/begun; sleep 2; {GOOD}")
    node.hook("script", f"cat >> {node.directory}/ran; echo >> {node.directory}/ran; {GOOD}")
    first = heat.deployment("first", "slow")
    heat.serve(first, heat.deployment("create"))
    node.start()
    node.await_file(node.directory / "begun")
    heat.serve(first, heat.deployment("update"))
    heat.await_polls(2)
    assert heat.signal("update")["deploy_status_code"] == 0
    assert node.stop() == 0
    ran = [json.loads(line)["id"] for line in (node.directory / "ran").read_text().splitlines()]
    assert ran == ["update"]
    assert node.deployment("create")["state"] == "superseded"


def test_an_update_withdraws_the_pending_result_of_the_create(node: nodes.Node, heat: heatlike.HeatLike) -> None:
    node.hook("script", GOOD)
    lineage = [
        {"name": "deploy_stack_id", "type": "String", "value": "stack/uuid"},
        {"name": "deploy_resource_name", "type": "String", "value": "res"},
    ]
    heat.refuse["create"] = 503
    heat.serve(heat.deployment("create", inputs=lineage))
    node.start()
    node.await_state("create", "finished")
    later = heat.deployment("update", inputs=lineage, creation_time="2026-01-01T00:10:00Z")
    heat.serve(later)
    assert heat.signal("update")["deploy_status_code"] == 0
    heat.refuse.clear()
    node.await_state("create", "withdrawn")
    heat.await_polls(3)
    assert [path for path, _ in heat.signals] == ["/v1/signal/update"]
    assert node.stop() == 0
