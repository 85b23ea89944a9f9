"""A real Heat drives the real agent."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import nodes
import stacks
from podmanbox import box
from undercloud import box as clouds

GOOD = """echo '{"deploy_stdout": "fine", "deploy_status_code": 0, "result": "yes"}'"""


@pytest.fixture
def heat_stacks(undercloud: clouds.Undercloud) -> Iterator[stacks.Stacks]:
    made = stacks.Stacks(undercloud)
    yield made
    made.close()


def install_odd_hooks(node: nodes.Node) -> None:
    node.hook("script", GOOD)
    node.hook("echo", f"cat > {node.directory}/stdin-$$; {GOOD}")
    node.hook("puppet", GOOD, mode=0o644)
    node.hook("silent", ":")
    node.hook("garbage", "echo garbage")
    node.hook("huge", "head -c 2000000 /dev/zero | tr '\\0' x")
    node.hook("liar", "echo '{\"deploy_status_code\": 0}'; exit 7")
    node.hook("background", f"{GOOD}; sleep 20 &")


def test_bad_input_is_answered_through_heat(heat_stacks: stacks.Stacks, podman: box.PodmanBox, tmp_path: Path) -> None:
    """Everything wrong that Heat can be made to serve, for one node: each fails in its own words, the others work."""
    podman.remove_containers()
    server, cfn = heat_stacks.server("bad-node")
    node = nodes.Node(tmp_path, metadata=cfn, podman_url=podman.socket_url)
    install_odd_hooks(node)
    image = f"{podman.registry}/service:1"
    gate = {"gate": {"stable_for": 0.5}}
    wrong: dict[str, tuple[str, object, dict[str, Any], str]] = {
        "unknown_group": ("magic", "x", {}, "there is no hook for the group 'magic'"),
        "not_executable": ("puppet", "x", {}, "is not executable"),
        "not_json": ("container-upgrade", "{not json: [", {}, "neither JSON nor YAML"),
        "unknown_key": ("container-upgrade", {"a": {"imgae": image}}, {}, "(nearest: image)"),
        "no_image": ("container-upgrade", {"b": {"image": f"{podman.registry}/none:1"}}, {}, "cannot pull"),
        "null_image": ("container-upgrade", {"c": {"image": None}}, {}, "$.config.c.image: the image is missing"),
        "silent": ("silent", "x", {}, "printed no result"),
        "garbage": ("garbage", "x", {}, "is not JSON"),
        "huge": ("huge", "x", {}, "is not JSON"),
        "liar": ("liar", "x", {}, "although its result claims success"),
        "bad_timeout": ("script", "x", {"options": {"timeout": "soon"}}, "'soon' is not a timeout"),
    }
    right: dict[str, tuple[str, object, dict[str, Any]]] = {
        "good": ("script", "x", {}),
        "background": ("background", "x", {}),
        "null_input": ("echo", "x", {"inputs": {"value": None}}),
        "number_input": ("echo", "x", {"inputs": {"value": 5}}),
        "dict_input": ("echo", "x", {"inputs": {"value": {"a": "b"}}}),
        "container": ("container-upgrade", {"web": {"image": image, "upgrade": gate}}, {}),
    }
    node.start()
    try:
        # Heat gives up the other resources of a stack when one fails, so each wrong one has a stack of its own.
        for name, (group, config, more, _) in wrong.items():
            heat_stacks.create(f"bad-{name}", stacks.deployment(server, group, config, **more))
        parts = {
            name: stacks.deployment(server, group, config, **more) for name, (group, config, more) in right.items()
        }
        heat_stacks.create("good", stacks.together(**parts))
        for name, (_, _, _, said) in wrong.items():
            assert heat_stacks.await_stack(f"bad-{name}").stack_status == "CREATE_FAILED", name
            assert said in heat_stacks.answer(f"bad-{name}", "deployment")["deploy_stderr"], name
        assert heat_stacks.await_stack("good").stack_status == "CREATE_COMPLETE"
        assert heat_stacks.answer("good", "container")["changed"] is True
        assert node.process
        assert node.process.poll() is None
        assert [row["state"] for row in node.status()["deployments"]] == ["signalled"] * (len(wrong) + len(right))
    finally:
        node.close()


def test_text_that_is_no_unicode_is_no_lost_result(heat_stacks: stacks.Stacks, tmp_path: Path) -> None:
    """Heat accepts half a surrogate pair, says 200, and then cannot write it where it says why a deployment failed."""
    server, cfn = heat_stacks.server("half-node")
    node = nodes.Node(tmp_path, metadata=cfn)
    results = {
        "reason": r'{"deploy_status_code": 0, "problem": "no \ud83d room", "result": "\ud83d\ude00"}',
        "status": r'{"deploy_status_code": "1\ud83d"}',
    }
    for name, result in results.items():
        node.hook(name, f"cat <<'END'\n{result}\nEND")
        parts = stacks.deployment(server, name, "x")
        parts["config"]["properties"]["outputs"] = [{"name": "problem", "error_output": True}, {"name": "result"}]
        heat_stacks.create(f"half-{name}", parts)
    node.start()
    try:
        for name in results:
            assert heat_stacks.await_stack(f"half-{name}", within=60).stack_status == "CREATE_FAILED", name
        answer = heat_stacks.answer("half-reason", "deployment")
        assert (answer["problem"], answer["result"]) == ("no ? room", "\U0001f600")
    finally:
        node.close()


def test_chained_deployments_follow_each_other_quickly(heat_stacks: stacks.Stacks, tmp_path: Path) -> None:
    """Polling hurries after each change, so a chain does not wait for the configured interval."""
    server, cfn = heat_stacks.server("chain-node")
    node = nodes.Node(tmp_path, metadata=cfn, polling_interval=30.0)
    node.hook("script", GOOD)
    parts = {f"step{index}": stacks.deployment(server, "script", "x") for index in range(4)}
    resources = stacks.together(**parts)
    for index in range(1, 4):
        resources[f"step{index}"]["depends_on"] = f"step{index - 1}"
    node.start()
    try:
        heat_stacks.create("chain", resources)
        assert heat_stacks.await_stack("chain", within=25.0).stack_status == "CREATE_COMPLETE"
        assert heat_stacks.answer("chain", "step3")["result"] == "yes"
        names = [row["name"].rpartition("step")[2] for row in node.status()["deployments"]]
        assert names == sorted(names)
    finally:
        node.close()


def test_one_pass_is_the_same_code(heat_stacks: stacks.Stacks, tmp_path: Path) -> None:
    server, cfn = heat_stacks.server("apply-node")
    node = nodes.Node(tmp_path, metadata=cfn)
    node.hook("script", GOOD)
    heat_stacks.create("apply", stacks.together(one=stacks.deployment(server, "script", "x")))
    for _ in range(20):
        done = node.run("apply")
        assert done.returncode == 0, done.stderr
        if node.status()["deployments"]:
            break
    assert heat_stacks.await_stack("apply").stack_status == "CREATE_COMPLETE"


def test_results_go_through_heats_api_where_heat_wants_that(heat_stacks: stacks.Stacks, tmp_path: Path) -> None:
    """HEAT_SIGNAL: each deployment has a user of its own."""
    server, cfn = heat_stacks.server("api-node")
    node = nodes.Node(tmp_path, metadata=cfn)
    node.hook("script", GOOD)
    node.hook("bad", "echo broken >&2; exit 3")
    one, two, bad = (
        stacks.deployment(server, group, "x", signal_transport="HEAT_SIGNAL") for group in ("script", "script", "bad")
    )
    node.start()
    try:
        heat_stacks.create("api", stacks.together(one=one, two=two))
        heat_stacks.create("api-bad", bad)
        assert heat_stacks.await_stack("api").stack_status == "CREATE_COMPLETE"
        assert heat_stacks.answer("api", "one")["result"] == "yes"
        assert heat_stacks.await_stack("api-bad").stack_status == "CREATE_FAILED"
        assert "broken" in heat_stacks.answer("api-bad", "deployment")["deploy_stderr"]
        for row in node.status()["deployments"]:
            node.await_state(row["id"], "signalled")
        signals = node.status()["signals"]
        assert [(row["transport"], row["state"], row["attempts"]) for row in signals] == [
            ("HEAT_SIGNAL", "delivered", 1)
        ] * 3
    finally:
        node.close()
