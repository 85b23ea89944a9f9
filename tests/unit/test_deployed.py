"""The files of heat-config, by which a node moves to the agent and away from it."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from overcloud_agent import deployed, model, runner

URL = "http://heat/v1/signal/a?Signature=s3cr3t"


@pytest.fixture
def kept(tmp_path: Path) -> deployed.Deployed:
    made = deployed.Deployed(tmp_path / "deployed")
    made.prepare()
    return made


def entry(group: str = "script", transport: str = "CFN_SIGNAL", **values: object) -> dict[str, Any]:
    given = {"deploy_signal_transport": transport, "deploy_signal_id": URL, "deploy_password": "pa55", **values}
    inputs = [{"name": name, "type": "String", "value": value} for name, value in given.items()]
    return {"id": "a", "name": "a", "group": group, "config": "", "inputs": inputs}


def earlier(kept: deployed.Deployed, document: object) -> tuple[model.Result, list[str]] | None:
    found = kept.earlier("a", document)
    return (found[0], [target.transport for target in found[1]]) if found else None


def age(kept: deployed.Deployed, seconds: float) -> None:
    when = time.time() - seconds
    os.utime(kept.path("a"), (when, when))


def test_nobody_ran_it(kept: deployed.Deployed) -> None:
    assert earlier(kept, entry()) is None


@pytest.mark.parametrize(("status", "ok"), [(0, True), ("0", True), (1, False)])
@pytest.mark.parametrize(
    ("transport", "told"), [("CFN_SIGNAL", True), ("HEAT_SIGNAL", True), ("ZAQAR_SIGNAL", False), ("NO_SIGNAL", False)]
)
def test_one_that_was_answered_not_long_ago_is_answered_again(
    kept: deployed.Deployed, status: object, ok: bool, transport: str, told: bool
) -> None:
    """The other agent may have lost the signal (defect 4); a queue or an object would outlive what it is of."""
    kept.write("a", entry())
    kept.write_result("a", {"deploy_status_code": status})
    found = earlier(kept, entry(transport=transport, deploy_auth_url="http://k"))
    assert found
    assert (found[0].body, found[0].ok) == ({"deploy_status_code": status}, ok)
    assert found[1] == ([transport] if told else [])


def test_one_that_nobody_waits_for_any_more_is_told_to_nobody(kept: deployed.Deployed) -> None:
    kept.write("a", entry())
    kept.write_result("a", {"deploy_status_code": 1})
    age(kept, 2 * 86400)
    found = earlier(kept, entry())
    assert found
    assert (found[0].ok, found[1]) == (False, [])


@pytest.mark.parametrize("transport", ["CFN_SIGNAL", "HEAT_SIGNAL"])
def test_one_that_was_begun_and_never_answered_is_answered_as_interrupted(
    kept: deployed.Deployed, transport: str
) -> None:
    """Defect 5: the reference never says anything of it."""
    kept.write("a", entry())
    found = earlier(kept, entry(transport=transport, deploy_auth_url="http://k"))
    assert found
    assert not found[0].ok
    assert found[0].reason == runner.INTERRUPTED
    assert found[1] == [transport]


def test_long_ago_or_for_nobody_it_just_ran(kept: deployed.Deployed) -> None:
    kept.write("a", entry())
    age(kept, 2 * 86400)
    found = earlier(kept, entry())
    assert found
    assert (found[0].ok, found[1]) == (True, [])
    age(kept, 0)
    found = earlier(kept, entry(transport="NO_SIGNAL"))
    assert found
    assert (found[0].ok, found[1]) == (True, [])


def test_a_file_that_says_not_to_run_it_is_heeded(kept: deployed.Deployed) -> None:
    kept.touch("a")
    found = earlier(kept, entry())
    assert found
    assert (found[0].ok, found[1]) == (True, [])


@pytest.mark.parametrize("group", sorted(runner.OUR_OWN))
def test_an_upgrade_that_was_begun_is_resumed(kept: deployed.Deployed, group: str) -> None:
    kept.write("a", entry(group))
    assert earlier(kept, entry(group)) is None


@pytest.mark.parametrize("text", ["", "[]", "{", "null", "\udc00"])
def test_a_result_that_is_none_counts_as_none(kept: deployed.Deployed, text: str) -> None:
    kept.write("a", entry())
    (kept.directory / "a.notify.json").write_bytes(text.encode(errors="surrogatepass"))
    found = earlier(kept, entry())
    assert found
    assert found[0].reason == runner.INTERRUPTED


def test_only_root_reads_them_from_the_first_byte_on(kept: deployed.Deployed, tmp_path: Path) -> None:
    kept.write("a", entry())
    kept.write_result("a", {"password": "x"})
    kept.touch("b")
    assert {path.stat().st_mode & 0o777 for path in kept.directory.iterdir()} == {0o600}
    assert kept.directory.stat().st_mode & 0o777 == 0o700
    assert sorted(path.name for path in kept.directory.iterdir()) == ["a.json", "a.notify.json", "b.json"]


def test_credentials_go_and_the_rest_stays(kept: deployed.Deployed) -> None:
    """Defect 25."""
    kept.write("a", entry(other="kept"))
    kept.scrub("a")
    text = kept.path("a").read_text()
    assert "s3cr3t" not in text
    assert "pa55" not in text
    document = json.loads(text)
    assert {one["name"]: one["value"] for one in document["inputs"]}["other"] == "kept"
    assert document["group"] == "script"


@pytest.mark.parametrize("inputs", [None, {}, "x", [None, 5, {"name": ["x"]}, {"name": {}}, {"value": 1}]])
def test_there_is_nothing_to_take_out_of_what_makes_no_sense(kept: deployed.Deployed, inputs: object) -> None:
    kept.write("a", {"id": "a", "inputs": inputs})
    kept.scrub("a")
    assert json.loads(kept.path("a").read_text())["inputs"] == inputs
    kept.path("a").write_text("no json")
    kept.scrub("a")
    assert kept.path("a").read_text() == "no json"
    kept.scrub("b")
    assert not kept.path("b").exists()


@pytest.mark.parametrize("key", ["../a", "a/b", "", ".a", "a\0b", "x" * 201, "x" * 300])
def test_an_id_that_is_no_file_name_has_no_file(kept: deployed.Deployed, key: str) -> None:
    """Defect 34."""
    assert not kept.has(key)
    kept.write(key, {})
    kept.write_result(key, {})
    kept.touch(key)
    kept.scrub(key)
    kept.remove(key)
    assert kept.earlier(key, entry()) is None
    assert list(kept.directory.iterdir()) == []


def test_the_longest_id_has_all_its_files(kept: deployed.Deployed) -> None:
    key = "x" * 200
    kept.write(key, {})
    kept.write_result(key, {})
    assert kept.has(key)
    kept.remove(key)
    assert list(kept.directory.iterdir()) == []


def test_the_old_place_is_moved_once(tmp_path: Path) -> None:
    old = tmp_path / "run" / "deployed"
    old.mkdir(parents=True)
    (old / "a.json").write_text("{}")
    made = deployed.Deployed(tmp_path / "lib" / "heat-config" / "deployed")
    made.prepare(old)
    assert made.has("a")
    assert not old.exists()
    old.mkdir()
    made.prepare(old)
    assert old.exists(), "the new place is in use already"
