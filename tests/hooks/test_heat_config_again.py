"""The executable 55-heat-config called again: after a crash, an outage, by two at once, from within a hook."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest

import heatconfig
import heatlike
import nodes
import places


@pytest.fixture
def place(tmp_path: Path) -> heatconfig.HeatConfig:
    return heatconfig.HeatConfig(tmp_path)


def note(place: heatconfig.HeatConfig, body: str) -> Path:
    """An operator's own notifier, which keeps what it gets beside doing `body`."""
    path = place.directory / "notifier"
    path.write_text(f'#!/bin/sh\necho "$1" >> {path}.called\ntee {path}.stdin < /dev/stdin > /dev/null\n{body}\n')
    path.chmod(0o755)
    return path


def called(notifier: Path) -> list[str]:
    return Path(f"{notifier}.called").read_text().split()


# Run again on purpose


@pytest.mark.parametrize("fate", ["delivered", "refused", "pending"])
def test_who_removes_the_file_has_it_run_again(
    place: heatconfig.HeatConfig, heat: heatlike.HeatLike, fate: str
) -> None:
    """TripleO's config-download does so, whatever became of the earlier result."""
    place.hook("fake", answer={"deploy_status_code": 1})
    document = heat.deployment("one", "fake")
    heat.refuse = {"delivered": {}, "refused": {"one": 404}, "pending": {"one": 503}}[fate]
    place.apply(document, status=75 if fate == "pending" else 0)
    place.apply(document, status=75 if fate == "pending" else 0)
    assert place.runs() == ["one"]
    heat.refuse = {}
    (place.deployed / "one.json").unlink()
    place.hook("fake", answer={"deploy_status_code": 0})
    place.apply(document)
    assert place.runs() == ["one", "one"]
    assert place.result("one") == {"deploy_status_code": 0}
    assert heat.signals[-1][1] == {"deploy_status_code": 0}
    assert [body["deploy_status_code"] for _, body in heat.signals] == ([1, 0] if fate == "delivered" else [0])


def test_a_list_says_nothing_of_what_is_not_in_it(place: heatconfig.HeatConfig, heat: heatlike.HeatLike) -> None:
    """config-download calls with a list of one, again and again."""
    place.hook("fake")
    heat.refuse = {"one": 503}
    place.apply(heat.deployment("one", "fake"), status=75)
    place.apply(heat.deployment("two", "fake"), status=75)
    heat.refuse = {}
    place.apply(heat.deployment("three", "fake"))
    assert {path.rpartition("/")[2] for path, _ in heat.signals} == {"one", "two", "three"}
    assert place.runs() == ["one", "two", "three"]
    assert len(list(place.deployed.glob("*.notify.json"))) == 3


# Outages


@pytest.mark.parametrize("later", ["55-heat-config", "heat-config-notify"])
def test_a_result_is_not_told_when_heat_wants_something_later(
    place: heatconfig.HeatConfig, heat: heatlike.HeatLike, later: str
) -> None:
    """Heat, waiting for the later one, would take it for the later one's."""
    place.hook("fake", answer={"deploy_status_code": 0})
    place.hook("mended", answer={"deploy_status_code": 0, "result": "later"})
    lineage = {"deploy_stack_id": "stack/id", "deploy_resource_name": "resource"}
    inputs = [{"name": name, "type": "String", "value": value} for name, value in lineage.items()]
    first = heat.deployment("first", "fake", inputs=inputs)
    second = heat.deployment("second", "mended", inputs=inputs, creation_time="2026-01-01T00:00:01Z")
    other = heat.deployment("other", "fake")
    heat.refuse = dict.fromkeys(("first", "other"), 503)
    place.apply(first, other, status=75)
    heat.refuse = {}
    if later == "55-heat-config":
        place.apply(second)
    else:
        path = place.directory / "second.json"
        path.write_text(json.dumps(second))
        place.expect(0)
        assert place.run([heatconfig.NOTIFY, path], '{"result": "later"}').returncode == 0
        place.apply()
    assert {path.rpartition("/")[2] for path, _ in heat.signals} == {"second", "other"}


def test_a_result_that_heat_does_not_take_is_the_next_runs(
    place: heatconfig.HeatConfig, heat: heatlike.HeatLike
) -> None:
    place.hook("fake", answer={"deploy_status_code": 0, "result": "kept"})
    document = heat.deployment("one", "fake")
    heat.down = True
    assert "the next run" in place.apply(document, status=75)
    assert place.result("one")["result"] == "kept"
    heat.down = False
    # What it was for has left the list meanwhile.
    place.apply()
    assert heat.signal("one") == {"deploy_status_code": 0, "result": "kept"}
    place.apply(document)
    assert (place.runs(), len(heat.signals)) == (["one"], 1)


def test_a_silent_endpoint_holds_no_deployment_up(place: heatconfig.HeatConfig, heat: heatlike.HeatLike) -> None:
    place.configure(signal_timeout=30, deliver_within=30)
    place.hook("fake")
    place.hook("second", f"touch {place.directory}/second")
    heat.silent = True
    place.write(heat.deployment("one", "fake"), heat.deployment("two", "second"))
    process = place.start()
    heatconfig.await_file(place.directory / "second")
    assert heat.signals == []
    heat.silent = False
    assert process.wait(40) == 0
    process.communicate()
    assert heat.signal("one") == heat.signal("two") == {"deploy_status_code": 0}


# Crashes


def test_what_was_cut_short_is_answered_or_resumed(place: heatconfig.HeatConfig, heat: heatlike.HeatLike) -> None:
    for group in ("custom", "puppet"):
        place.hook(group, f"[ -e {place.directory}/{group} ] || {{ touch {place.directory}/{group}; sleep 60; }}")
    documents = [heat.deployment(group, group) for group in ("custom", "puppet")]
    for document in documents:
        place.write(document)
        process = place.start()
        heatconfig.await_file(place.directory / str(document["group"]))
        process.kill()
        process.communicate()
        assert heat.signals == []
        place.apply(document)
        heat.signals, answered = [], heat.signal(str(document["id"]))
        assert place.result(str(document["id"])) == answered
        assert answered["deploy_status_code"] == (1 if document["id"] == "custom" else 0)
    place.apply(*documents)
    assert place.runs() == ["custom", "puppet", "puppet"]
    assert "interrupted" in place.result("custom")["deploy_stderr"]


def test_asked_to_stop_it_ends_between_deployments(place: heatconfig.HeatConfig, heat: heatlike.HeatLike) -> None:
    go = place.directory / "go"
    place.hook("waits", f"touch {place.directory}/began; while [ ! -e {go} ]; do sleep 0.05; done")
    place.hook("fake")
    documents = [heat.deployment("one", "waits"), heat.deployment("two", "fake")]
    place.write(*documents)
    process = place.start()
    heatconfig.await_file(place.directory / "began")
    process.send_signal(signal.SIGTERM)
    go.touch()
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 130, stderr
    assert place.runs() == ["one"]
    place.apply(*documents)
    assert place.runs() == ["one", "two"]
    assert heat.signal("one") == heat.signal("two") == {"deploy_status_code": 0}


# Two of it


def test_two_at_once_wait_and_run_nothing_twice(place: heatconfig.HeatConfig, heat: heatlike.HeatLike) -> None:
    place.hook("fake", "sleep 0.3")
    place.write(*(heat.deployment(key, "fake") for key in ("one", "two")))
    both = [place.start() for _ in range(2)]
    assert [process.wait(60) for process in both] == [0, 0]
    for process in both:
        process.communicate()
    assert place.runs() == ["one", "two"]
    assert len(heat.signals) == 2


def test_called_by_its_own_hook_it_does_not_wait_for_itself(
    place: heatconfig.HeatConfig, heat: heatlike.HeatLike
) -> None:
    inner = f"{place.program} > {place.directory}/inner 2>&1; echo $? > {place.directory}/inner.status"
    place.hook("nested", inner)
    begun = time.monotonic()
    place.apply(heat.deployment("one", "nested"))
    assert time.monotonic() - begun < 20
    assert (place.directory / "inner.status").read_text() == "75\n"
    assert "by a hook" in (place.directory / "inner").read_text()
    assert heat.signal("one") == {"deploy_status_code": 0}


def test_a_hook_may_call_it_for_other_files(place: heatconfig.HeatConfig, heat: heatlike.HeatLike) -> None:
    other = heatconfig.HeatConfig(place.directory / "other")
    other.hook("fake")
    other.write(heat.deployment("two", "fake"))
    variables = " ".join(f"{name}={value}" for name, value in other.env.items())
    place.hook("nested", f"env {variables} {place.program} || exit 9")
    place.apply(heat.deployment("one", "nested"))
    assert other.runs() == ["two"]
    assert heat.signal("one") == heat.signal("two") == {"deploy_status_code": 0}


def test_what_a_hook_left_behind_may_call_it_later(place: heatconfig.HeatConfig, heat: heatlike.HeatLike) -> None:
    """It has the mark of a run that is over."""
    done = place.directory / "later"
    wait = f"while [ ! -e {place.directory}/go ]; do sleep 0.05; done; {place.program}; echo $? > {done}.new"
    place.hook("leaves", f"{{ {wait}; mv {done}.new {done}; }} > /dev/null 2>&1 < /dev/null &")
    place.hook("fake")
    place.apply(heat.deployment("one", "leaves"))
    place.write(heat.deployment("two", "fake"))
    (place.directory / "go").touch()
    heatconfig.await_file(done)
    assert done.read_text() == "0\n"
    assert place.runs() == ["one", "two"]


# The same directory, by ours that stays


def test_to_the_resident_agent_and_back_nothing_runs_twice(node: nodes.Node, heat: heatlike.HeatLike) -> None:
    place = heatconfig.HeatConfig(node.directory)
    place.hook("fake")
    documents = [heat.deployment(key, "fake") for key in ("one", "two", "three")]
    place.apply(documents[0])
    heat.serve(*documents[:2])
    node.start()
    heat.signal("two")
    node.await_state("two", "signalled")
    node.stop()
    place.apply(*documents)
    assert place.runs() == ["one", "two", "three"]


def test_one_is_run_again_by_hand_beside_the_resident_agent(node: nodes.Node, heat: heatlike.HeatLike) -> None:
    """What docs/drop-in.md says, because the resident agent would not run it again."""
    place = heatconfig.HeatConfig(node.directory)
    place.hook("fake")
    documents = [heat.deployment(key, "fake") for key in ("one", "two")]
    heat.serve(*documents)
    node.start()
    heat.signal("two")
    (place.deployed / "one.json").unlink()
    place.apply(documents[0])
    assert place.runs() == ["one", "two", "one"]
    # It is the agent's still to run what comes.
    heat.serve(*documents, heat.deployment("three", "fake"))
    heat.signal("three")
    assert place.runs() == ["one", "two", "one", "three"]


def test_what_is_pending_can_be_looked_at_and_hurried(place: heatconfig.HeatConfig, heat: heatlike.HeatLike) -> None:
    place.hook("fake")
    heat.refuse = {"one": 503}
    place.apply(heat.deployment("one", "fake"), status=75)
    place.configure(state_dir=place.deployed / ".overcloud-agent")
    agent = str(places.BIN / "overcloud-agent")
    assert "503" in place.run([agent, "status", "--json"]).stdout
    heat.refuse = {}
    assert place.run([agent, "signals", "flush"]).returncode == 0
    assert heat.signal("one") == {"deploy_status_code": 0}


# HEAT_CONFIG_NOTIFY


def test_an_operators_own_notifier_gets_file_and_result(place: heatconfig.HeatConfig, heat: heatlike.HeatLike) -> None:
    place.hook("fake", answer={"deploy_status_code": 0, "result": "r"})
    notifier = note(place, f"cp $1 {place.directory}/seen")
    quiet = heat.deployment("quiet", "fake")
    quiet["inputs"] = [{"name": "deploy_signal_transport", "value": "NO_SIGNAL"}]
    document = heat.deployment("one", "fake")
    place.apply(quiet, document, heat.deployment("none", "unknown"), HEAT_CONFIG_NOTIFY=str(notifier))
    assert called(notifier) == [str(place.deployed / f"{key}.json") for key in ("quiet", "one", "none")]
    # It finds there where the result goes, also of what never came to a hook.
    assert "/v1/signal/none" in (place.directory / "seen").read_text()
    assert json.loads(Path(f"{notifier}.stdin").read_text()) == place.result("none")
    assert heat.tried == []
    assert "s3cr3t" not in (place.deployed / "one.json").read_text()


@pytest.mark.parametrize("notifier", ["fails", "missing"])
def test_when_it_fails_the_result_is_delivered_all_the_same(
    place: heatconfig.HeatConfig, heat: heatlike.HeatLike, notifier: str
) -> None:
    place.hook("fake")
    path = note(place, "exit 1") if notifier == "fails" else place.directory / "missing"
    place.apply(heat.deployment("one", "fake"), HEAT_CONFIG_NOTIFY=str(path))
    assert heat.signal("one") == {"deploy_status_code": 0}


@pytest.mark.parametrize("how", ["by name", "linked", "wrapped"])
def test_ours_may_be_named_as_the_notifier(place: heatconfig.HeatConfig, heat: heatlike.HeatLike, how: str) -> None:
    place.hook("fake")
    link = place.directory / "heat-config-notify"
    link.symlink_to(heatconfig.NOTIFY)
    names = {"by name": link.name, "linked": str(link), "wrapped": str(note(place, f"cat $0.stdin | {link} $1"))}
    path = f"{place.directory}:{os.environ['PATH']}"
    place.apply(heat.deployment("one", "fake"), HEAT_CONFIG_NOTIFY=names[how], PATH=path)
    place.apply(heat.deployment("one", "fake"))
    assert heat.signal("one") == {"deploy_status_code": 0}
    assert len(heat.signals) == 1
