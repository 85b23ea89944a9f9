"""The executable 55-heat-config with real files, hooks and sockets: what its namesake keeps, and what it mends."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

import heatconfig
import heatlike


@pytest.fixture
def place(tmp_path: Path) -> heatconfig.HeatConfig:
    return heatconfig.HeatConfig(tmp_path)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# The list


def test_without_a_list_it_ends_with_1(place: heatconfig.HeatConfig) -> None:
    done = place.run()
    assert done.returncode == 1
    assert str(place.list) in done.stderr


@pytest.mark.parametrize("text", ["", "\n", "[]"])
def test_an_empty_list_is_nothing_to_do(place: heatconfig.HeatConfig, text: str) -> None:
    place.list.write_text(text)
    done = place.run()
    assert (done.returncode, done.stdout) == (0, "")
    assert mode(place.list) == 0o600
    assert mode(place.deployed) == 0o700


@pytest.mark.parametrize("text", ["[{]", '{"deployments": []}', '"text"', "null", "\x00"])
def test_garbage_is_named(place: heatconfig.HeatConfig, text: str) -> None:
    place.list.write_text(text)
    done = place.run()
    assert done.returncode == 1
    assert str(place.list) in done.stderr
    assert "Traceback" not in done.stderr


def test_one_bad_entry_does_not_spoil_the_others(place: heatconfig.HeatConfig, heat: heatlike.HeatLike) -> None:
    place.hook("fake")
    bad = heat.deployment("bad", "fake")
    bad["inputs"][0] = {"name": 3}
    place.apply(7, bad, heat.deployment("good", "fake"))
    assert place.runs() == ["good"]
    assert "$.inputs[0].name" in heat.signal("bad")["deploy_stderr"]
    assert heat.signal("good")["deploy_status_code"] == 0


# What is kept


def test_each_runs_once_in_order_with_its_files(place: heatconfig.HeatConfig, heat: heatlike.HeatLike) -> None:
    answer = {"deploy_stdout": "out", "deploy_status_code": "-1", "result": [1]}
    place.hook("fake", answer=answer)
    first, second = (heat.deployment(key, "fa.k/e", {"a": [1, None]}) for key in ("z", "a"))
    place.apply(first, second)
    place.apply(first, second)
    assert place.runs() == ["z", "a"]
    assert place.result("a") == answer == heat.signal("a")
    assert (place.deployed / "z.json").read_text().startswith('{\n  "id": "z",\n')
    assert {path.name for path in place.deployed.glob("*.json")} == {
        "a.json", "a.notify.json", "z.json", "z.notify.json"
    }  # fmt: skip
    assert {mode(path) for path in place.deployed.rglob("*") if path.is_file()} == {0o600}
    assert {mode(path) for path in (place.deployed, *place.deployed.glob("*/"))} == {0o700}
    assert len(heat.tried) == 2


def test_what_others_ran_is_skipped_whatever_their_file_holds(
    place: heatconfig.HeatConfig, heat: heatlike.HeatLike
) -> None:
    place.hook("fake")
    place.deployed.mkdir()
    (place.deployed / "touched.json").touch()
    place.apply(heat.deployment("touched", "fake"))
    assert (place.runs(), heat.tried) == ([], [])


def test_an_older_versions_directory_is_moved(place: heatconfig.HeatConfig, heat: heatlike.HeatLike) -> None:
    place.hook("fake")
    place.old.mkdir(mode=0o700)
    (place.old / "ran.json").write_text("{}")
    # Half of it, from a move that was killed.
    (place.directory / ".deployed.new").mkdir()
    place.apply(heat.deployment("ran", "fake"), heat.deployment("new", "fake"))
    assert place.runs() == ["new"]
    assert (place.deployed / "ran.json").read_text() == "{}"
    assert not place.old.exists()
    assert not list(place.directory.glob(".deployed*"))


def test_text_inputs_are_text_and_others_are_not(place: heatconfig.HeatConfig, heat: heatlike.HeatLike) -> None:
    place.hook("fake")
    given: list[tuple[str, str, object]] = [
        ("a", "String", True),
        ("b", "String", None),
        ("c", "String", {"d": 1}),
        ("e", "Number", 1),
        ("f", "Json", []),
    ]
    inputs = [{"name": name, "type": kind, "value": value} for name, kind, value in given]
    place.apply(heat.deployment("one", "fake", inputs=inputs))
    values = {entry["name"]: entry["value"] for entry in place.document("one")["inputs"]}
    assert {name: values[name] for name in "abcef"} == {"a": "True", "b": "None", "c": "{'d': 1}", "e": 1, "f": []}


def test_a_component_runs_the_tool_for_its_action(place: heatconfig.HeatConfig, heat: heatlike.HeatLike) -> None:
    place.hook("tool")
    configs = [
        {"actions": ["UPDATE"], "config": "no", "tool": "none"},
        {"actions": ["DELETE", "CREATE"], "config": "yes", "tool": "tool"},
    ]
    place.apply(heat.deployment("one", "component", {"configs": configs}))
    assert place.runs() == ["one"]
    assert (place.document("one")["group"], place.document("one")["config"]) == ("tool", "yes")


def test_a_component_with_nothing_to_do_is_answered(place: heatconfig.HeatConfig, heat: heatlike.HeatLike) -> None:
    """Its namesake says nothing, and the stack hangs."""
    place.apply(heat.deployment("one", "component", {"configs": [{"actions": ["X"], "config": "", "tool": "t"}]}))
    assert heat.signal("one")["deploy_status_code"] == 0
    assert "nothing to do" in heat.signal("one")["deploy_stdout"]


# What its namesake leaves unanswered, or answers wrongly


def test_what_has_no_hook_that_can_run_is_answered(place: heatconfig.HeatConfig, heat: heatlike.HeatLike) -> None:
    place.hook("fake")
    place.hook("unable", mode=0o644)
    (place.hooks / "broken").write_text("no first line")
    (place.hooks / "broken").chmod(0o755)
    place.apply(*(heat.deployment(group, group) for group in ("nobody", "unable", "broken")))
    assert "fake" in heat.signal("nobody")["deploy_stderr"], "it names the groups that there are"
    assert "chmod +x" in heat.signal("unable")["deploy_stderr"]
    assert "first line" in heat.signal("broken")["deploy_stderr"]
    for group in ("nobody", "unable", "broken"):
        assert place.result(group) == heat.signal(group)
        assert heat.signal(group)["deploy_status_code"] > 0


def test_a_hook_that_fails_has_failed(place: heatconfig.HeatConfig, heat: heatlike.HeatLike) -> None:
    place.hook("liar", "trap 'exit 3' EXIT")
    place.hook("silent", "echo why >&2; exit 4")
    place.hook("mute", "exit 0")
    place.apply(*(heat.deployment(group, group) for group in ("liar", "silent", "mute")))
    assert heat.signal("liar")["deploy_status_code"] == 3
    assert heat.signal("silent")["deploy_status_code"] == 4
    assert "why" in heat.signal("silent")["deploy_stderr"]
    assert heat.signal("mute")["deploy_status_code"] == 1


def test_an_answer_behind_what_a_tool_printed_is_believed(
    place: heatconfig.HeatConfig, heat: heatlike.HeatLike
) -> None:
    """The docker-cmd hook of heat-agents prints what docker prints, and its own answer after it."""
    answer = {"deploy_stdout": 'f00\n{"deploy_', "deploy_stderr": "", "deploy_status_code": 125}
    place.hook("docker-cmd", "printf f00", answer=answer)
    place.hook("text", "echo f00; exit 0")
    place.apply(heat.deployment("one", "docker-cmd"), heat.deployment("two", "text"))
    assert heat.signal("one") == answer
    assert heat.signal("two")["deploy_stdout"] == "f00\n"
    assert heat.signal("two")["deploy_status_code"] == 1


def test_a_hook_has_a_deadline(place: heatconfig.HeatConfig, heat: heatlike.HeatLike) -> None:
    place.hook("slow", "echo began; sleep 60")
    place.hook("held", "sleep 60 &")
    place.apply(heat.deployment("slow", "slow", options={"timeout": 1}), heat.deployment("held", "held"))
    assert heat.signal("slow")["deploy_status_code"] == 124
    assert heat.signal("slow")["deploy_stdout"] == "began\n"
    assert heat.signal("held")["deploy_status_code"] == 0


def test_any_amount_of_output_is_told(place: heatconfig.HeatConfig, heat: heatlike.HeatLike) -> None:
    huge = "head -c 2000000 /dev/zero | tr '\\0'"
    place.hook(
        "streams", f'printf \'{{"deploy_stdout": "\'; {huge} a; printf \'end", "deploy_status_code": 0}}\'; exit 0'
    )
    place.hook("output", f'printf \'{{"big": "\'; {huge} b; printf \'", "deploy_status_code": 0}}\'; exit 0')
    place.apply(heat.deployment("one", "streams"), heat.deployment("two", "output"))
    told = heat.signal("one")
    assert told["deploy_status_code"] == 0
    assert told["deploy_stdout"].endswith("aend")
    assert "cut here" in told["deploy_stdout"]
    assert 900_000 < len(json.dumps(told)) <= 1048576
    assert "'big'" in heat.signal("two")["deploy_stderr"]
    assert heat.signal("two")["deploy_status_code"] == 1


@pytest.mark.parametrize("key", ["../escaped", "/tmp/escaped", "a/../../escaped", ".hidden", "a\nb"])
def test_an_id_is_no_way_out(place: heatconfig.HeatConfig, heat: heatlike.HeatLike, key: str) -> None:
    place.hook("fake")
    document = heat.deployment("named", "fake")
    document["id"] = key
    place.apply(document)
    assert place.runs() == []
    assert "is not an id" in heat.signal("named")["deploy_stderr"]
    assert [path.name for path in place.deployed.iterdir()] == [".overcloud-agent"]
    assert not list(place.directory.rglob("*escaped*"))
    assert not Path("/tmp/escaped.json").exists()


def test_secrets_stay_where_they_belong(place: heatconfig.HeatConfig, heat: heatlike.HeatLike) -> None:
    place.hook("fake", "echo told >&2")
    inputs = [{"name": "deploy_password", "value": "pa55w0rd"}]
    one, two = (heat.deployment(key, "fake", inputs=inputs) for key in ("one", "two"))
    heat.refuse = {"two": 503}
    told = place.apply(one, two, status=75)
    assert "s3cr3t" not in told
    assert "pa55w0rd" not in told
    # Heat has the first result: its credentials are good for nothing any more.
    assert "s3cr3t" not in (place.deployed / "one.json").read_text()
    assert "pa55w0rd" not in (place.deployed / "one.json").read_text()
    assert [entry["name"] for entry in place.document("one")["inputs"]] == [entry["name"] for entry in one["inputs"]]
    assert place.document("two") == two
    heat.refuse = {}
    place.apply(one, two)
    every = b"".join(path.read_bytes() for path in place.deployed.rglob("*") if path.is_file())
    assert b"s3cr3t" not in every
