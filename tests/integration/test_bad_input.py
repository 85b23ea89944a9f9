"""Bad input, through the real agent and a real socket: each is answered, the next runs, the agent stays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import heatlike
import nodes
from podmanbox import box

SECONDS = 20.0
GOOD = """echo '{"deploy_stdout": "fine", "deploy_status_code": 0}'"""


def answer(node: nodes.Node, heat: heatlike.HeatLike, *bad: dict[str, Any]) -> dict[str, Any]:
    """What the agent signals for the first of `bad`, after it showed that the next still runs."""
    node.hook("script", GOOD)
    node.start()
    heat.serve(*bad, heat.deployment("next"))
    body = heat.signal(bad[0]["id"], within=SECONDS)
    assert heat.signal("next", within=SECONDS)["deploy_status_code"] == 0
    assert node.process
    assert node.process.poll() is None
    assert node.stop() == 0
    return dict(body)


def test_unknown_group(node: nodes.Node, heat: heatlike.HeatLike) -> None:
    body = answer(node, heat, heat.deployment("bad", "magic"))
    assert body["deploy_status_code"] == 2
    assert "there is no hook for the group 'magic'" in body["deploy_stderr"]
    assert "container-upgrade, docker-cmd, os-apply-config, package-update, script" in body["deploy_stderr"]


def test_group_that_is_longer_than_a_file_name(node: nodes.Node, heat: heatlike.HeatLike) -> None:
    body = answer(node, heat, heat.deployment("bad", "m" * 300))
    assert body["deploy_status_code"] == 2
    assert "there is no hook for the group 'mmm" in body["deploy_stderr"]


def test_hook_that_is_not_executable(node: nodes.Node, heat: heatlike.HeatLike) -> None:
    path = node.hook("puppet", GOOD, mode=0o644)
    body = answer(node, heat, heat.deployment("bad", "puppet"))
    assert body["deploy_status_code"] == 2
    assert f"chmod +x {path}" in body["deploy_stderr"]


def test_hook_that_cannot_be_started(node: nodes.Node, heat: heatlike.HeatLike) -> None:
    node.hook("puppet", "").write_text("no shebang\n")
    body = answer(node, heat, heat.deployment("bad", "puppet"))
    assert body["deploy_status_code"] == 2
    assert "cannot be started: Exec format error" in body["deploy_stderr"]


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ("{not json: [", "neither JSON nor YAML"),
        ({"web": {"imgae": "x"}}, "$.config.web.imgae is not a known key (nearest: image)"),
        ({"web": {"image": 5}}, "$.config.web.image: Expected `str`, got `int`"),
    ],
)
def test_config_that_makes_no_sense(node: nodes.Node, heat: heatlike.HeatLike, config: object, said: str) -> None:
    body = answer(node, heat, heat.deployment("bad", "container-upgrade", config))
    assert body["deploy_status_code"] == 2
    assert said in body["deploy_stderr"]


@pytest.mark.parametrize(
    ("config", "path"),
    [
        ({"web": {"image": "x", "cpu_shares": "1" * 5000}}, "$.config.web"),
        ({"web": {"image": "x", "mem_limit": "9" * 400}}, "$.config.web"),
        ({"web": {"image": "x", "stop_signal": "\u00b2"}}, "$.config.web"),
        ("web: {image: x, user: 2020-13-41}", "$.config"),
        ("web: &web {image: x, volumes: &all [*all]}", "$.config"),
        ("[" * 2000, "$.config"),
    ],
    ids=["digits", "infinite", "superscript", "date", "circle", "deep"],
)
def test_config_that_trips_up_who_reads_it(
    node: nodes.Node, heat: heatlike.HeatLike, config: object, path: str
) -> None:
    """Numbers that are none to Python, dates that are not in the calendar: one config must not end the agent."""
    body = answer(node, heat, heat.deployment("bad", "container-upgrade", config))
    assert body["deploy_status_code"] == 2
    assert body["deploy_stderr"].startswith(path)


def test_yaml_that_multiplies_itself(node: nodes.Node, heat: heatlike.HeatLike) -> None:
    """Nine lines of aliases are hundreds of millions of words."""
    lines = ["- &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"- &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]" for level in range(1, 9)]
    text = "web:\n  image: x\n  volumes:\n" + "".join(f"    {line}\n" for line in lines)
    body = answer(node, heat, heat.deployment("bad", "container-upgrade", text))
    assert body["deploy_status_code"] == 2
    assert "aliases" in body["deploy_stderr"]


def test_podman_socket_that_is_missing(node: nodes.Node, heat: heatlike.HeatLike) -> None:
    body = answer(node, heat, heat.deployment("bad", "container-upgrade", {"web": {"image": "x"}}))
    assert body["deploy_status_code"] == 1
    assert "Podman does not answer" in body["deploy_stderr"]


def test_image_that_does_not_exist(container_node: nodes.Node, heat: heatlike.HeatLike, podman: box.PodmanBox) -> None:
    config = {"web": {"image": f"{podman.registry}/nothing:1"}}
    body = answer(container_node, heat, heat.deployment("bad", "container-upgrade", config))
    assert body["deploy_status_code"] == 1
    assert f"cannot pull {podman.registry}/nothing:1" in body["deploy_stderr"]


def test_registry_that_is_down_costs_nothing(
    container_node: nodes.Node, heat: heatlike.HeatLike, podman: box.PodmanBox
) -> None:
    podman.podman("run", "--detach", "--name", "web", "--net", "host", f"{podman.registry}/service:1")
    before = podman.podman("inspect", "web", "--format", "{{.Id}} {{.State.StartedAt}} {{.State.Running}}")
    podman.registry_stop()
    try:
        config = {"web": {"image": f"{podman.registry}/service:2"}}
        body = answer(container_node, heat, heat.deployment("bad", "container-upgrade", config))
    finally:
        podman.registry_start()
    assert body["deploy_status_code"] == 1
    assert "cannot pull" in body["deploy_stderr"]
    assert "refused" in body["deploy_stderr"]
    assert podman.podman("inspect", "web", "--format", "{{.Id}} {{.State.StartedAt}} {{.State.Running}}") == before


def test_two_deployments_with_one_id(node: nodes.Node, heat: heatlike.HeatLike) -> None:
    body = answer(node, heat, heat.deployment("bad", name="one"), heat.deployment("bad", name="two"))
    assert body["deploy_status_code"] == 2
    assert "2 deployments have the id 'bad': 'one', 'two'" in body["deploy_stderr"]
    assert [path for path, _ in heat.signals].count("/v1/signal/bad") == 2, "both are answered"


def test_text_that_is_no_unicode(node: nodes.Node, heat: heatlike.HeatLike) -> None:
    """JSON may hold half a surrogate pair; a name with a line break must not forge a line of the log."""
    node.hook("script", GOOD)
    node.start()
    odd = heat.deployment("odd", name="a\ud800\nforged line")
    heat.serve({**odd, "id": "\ud800"}, heat.deployment("next"))
    assert "is not an id" in heat.signal("odd", within=SECONDS)["deploy_stderr"]
    assert heat.signal("next", within=SECONDS)["deploy_status_code"] == 0
    assert "\nforged line" not in node.log.read_text()
    assert node.run("status").returncode == 0
    assert node.stop() == 0


@pytest.mark.parametrize("timeout", ["inf", "nan", 3_000_000_000, 0, -1, "soon", [1]])
def test_timeout_that_is_none(node: nodes.Node, heat: heatlike.HeatLike, timeout: object) -> None:
    body = answer(node, heat, heat.deployment("bad", options={"timeout": timeout}))
    assert body["deploy_status_code"] == 2
    assert "is not a timeout" in body["deploy_stderr"]


def test_an_error_output_that_is_longer_than_heat_can_say(node: nodes.Node, heat: heatlike.HeatLike) -> None:
    """Heat on MySQL accepts it and then loses the result, because it has no room for the reason."""
    node.hook("long", """printf '{"problem": "%0100000d", "log": "%0100000d"}' 0 0""")
    node.start()
    outputs = [{"name": "problem", "error_output": True}, {"name": "log", "error_output": False}]
    heat.serve(heat.deployment("a", "long", outputs=outputs))
    body = heat.signal("a", within=SECONDS)
    assert len(body["problem"]) < 65_000
    assert "characters cut here by overcloud-agent" in body["problem"]
    assert len(body["log"]) == 100_000


def test_id_that_is_a_path(node: nodes.Node, heat: heatlike.HeatLike) -> None:
    bad = heat.deployment("harmless")
    node.hook("script", GOOD)
    node.start()
    heat.serve({**bad, "id": "../../etc/x"}, heat.deployment("next"))
    body = heat.signal("harmless", within=SECONDS)
    assert body["deploy_status_code"] == 2
    assert "'../../etc/x' is not an id" in body["deploy_stderr"]
    assert heat.signal("next", within=SECONDS)["deploy_status_code"] == 0


@pytest.mark.parametrize("entry", [None, 7, "text", [1], {"name": "no id at all"}])
def test_entry_that_is_no_deployment(node: nodes.Node, heat: heatlike.HeatLike, entry: object) -> None:
    node.hook("script", GOOD)
    node.start()
    heat.serve(entry, heat.deployment("next"))
    assert heat.signal("next", within=SECONDS)["deploy_status_code"] == 0
    (row,) = (row for row in node.status()["deployments"] if row["id"] != "next")
    assert row["ok"] is False
    assert row["reason"]


@pytest.mark.parametrize("value", [None, 5, {"a": "b"}])
def test_input_of_the_agent_that_is_not_text(node: nodes.Node, heat: heatlike.HeatLike, value: object) -> None:
    inputs = [{"name": "deploy_action", "type": "String", "value": value}]
    body = answer(node, heat, heat.deployment("bad", inputs=inputs))
    assert body["deploy_status_code"] == 2
    assert "$.inputs[0].value: Expected `str`" in body["deploy_stderr"]


@pytest.mark.parametrize(("value", "text"), [(None, "None"), (5, "5"), ({"a": "b"}, "{'a': 'b'}")])
def test_input_of_a_hook_that_is_not_text(node: nodes.Node, heat: heatlike.HeatLike, value: object, text: str) -> None:
    """Existing hooks rely on Python's str(), so that is what they get; the deployment is answered all the same."""
    node.hook("echo", f"cat > {node.directory}/stdin; {GOOD}")
    body = answer(node, heat, heat.deployment("bad", "echo", inputs=[{"name": "x", "type": "String", "value": value}]))
    assert body["deploy_status_code"] == 0
    assert f'"value": "{text}"' in (node.directory / "stdin").read_text()


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        ("<not json", "JSONDecodeError|failed to parse as json"),
        ('{"deployments": [', "JSONDecodeError|failed to parse as json"),
        (["a", "list"], "is not metadata"),
        ("null", "is not metadata"),
        ({"deployments": {"a": 1}}, "deployments is dict, expected a list"),
        ({"deployments": "text"}, "deployments is str, expected a list"),
    ],
)
def test_metadata_that_is_none(node: nodes.Node, heat: heatlike.HeatLike, metadata: object, said: str) -> None:
    node.hook("script", GOOD)
    heat.serve(heat.deployment("before"))
    node.start()
    heat.signal("before", within=SECONDS)
    heat.metadata = metadata
    source = await_source(node, lambda source: not source["ok"])
    assert any(part in source["error"] for part in said.split("|")), source
    assert source["answered_at"] is not None
    heat.serve(heat.deployment("before"), heat.deployment("next"))
    assert heat.signal("next", within=SECONDS)["deploy_status_code"] == 0
    assert node.stop() == 0


def test_source_that_is_down_supersedes_nothing(node: nodes.Node, heat: heatlike.HeatLike) -> None:
    node.hook("script", GOOD)
    heat.down = True
    node.start()
    source = await_source(node, lambda source: not source["ok"])
    assert "503" in source["error"]
    assert "Signature" not in source["error"]
    heat.serve(heat.deployment("next"))
    heat.down = False
    assert heat.signal("next", within=SECONDS)["deploy_status_code"] == 0


def await_source(node: nodes.Node, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    for _ in range(100):
        (source,) = node.status()["sources"] or [{"ok": True}]
        if wanted(source):
            return dict(source)
        assert node.process
        assert node.process.poll() is None
    raise AssertionError(f"the source never got there: {source}")


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (":", 1, "printed no result"),
        ("echo garbage", 1, "is not JSON"),
        ("echo '[1]'", 1, "printed a JSON array"),
        ("head -c 2000000 /dev/zero | tr '\\0' x", 1, "is not JSON"),
        ("""echo '{"deploy_status_code": 0}'; exit 7""", 7, "although its result claims success"),
        ("kill -9 $$", -9, "printed no result"),
        ("""echo '{"deploy_status_code": "\\ud800", "deploy_stderr": "odd"}'""", "?", "odd"),
    ],
)
def test_hook_that_answers_badly(node: nodes.Node, heat: heatlike.HeatLike, body: str, status: int, said: str) -> None:
    node.hook("odd", body)
    answered = answer(node, heat, heat.deployment("bad", "odd"))
    assert answered["deploy_status_code"] == status
    assert said in answered["deploy_stderr"]


def test_hook_that_says_nothing_may_be_taken_at_its_status(node: nodes.Node, heat: heatlike.HeatLike) -> None:
    """Hooks of one's own, made for heat-config, may be like that."""
    node.configure(silent_hook="succeeds")
    node.hook("silent", "echo story >&2")
    node.hook("wrong", "exit 3")
    node.start()
    heat.serve(heat.deployment("a", "silent"), heat.deployment("b", "wrong"))
    body = heat.signal("a", within=SECONDS)
    assert (body["deploy_status_code"], body["deploy_stderr"]) == (0, "story\n")
    assert heat.signal("b", within=SECONDS)["deploy_status_code"] == 3


def test_hook_whose_background_child_holds_stdout(node: nodes.Node, heat: heatlike.HeatLike) -> None:
    node.hook("odd", f"{GOOD}; sleep 30 &")
    answered = answer(node, heat, heat.deployment("bad", "odd"))
    assert answered["deploy_status_code"] == 0, "its answer was complete before"
    assert "background child" in node.log.read_text()


def test_hook_that_prints_two_megabytes_of_result(node: nodes.Node, heat: heatlike.HeatLike) -> None:
    node.hook("odd", """printf '{"deploy_stdout": "'; head -c 2000000 /dev/zero | tr '\\0' x; printf '"}'""")
    answered = answer(node, heat, heat.deployment("bad", "odd"))
    assert "characters cut here" in answered["deploy_stdout"]
    assert len(answered["deploy_stdout"]) > 500_000


def test_hook_that_takes_too_long(node: nodes.Node, heat: heatlike.HeatLike) -> None:
    node.hook("slow", "sleep 60")
    answered = answer(node, heat, heat.deployment("bad", "slow", options={"timeout": 1}))
    assert answered["deploy_status_code"] == 124
    assert "longer than its deadline of 1 seconds" in answered["deploy_stderr"]
