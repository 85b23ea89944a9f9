from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from overcloud_agent import errors, fit, model

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture
def golden() -> dict[str, Any]:
    """An entry as a real Heat made it."""
    return dict(json.loads((GOLDEN / "deployment.json").read_text()))


def test_what_heat_serves_is_understood(golden: dict[str, Any]) -> None:
    deployment = model.parse_deployment(golden)
    assert deployment.id == golden["id"]
    assert deployment.group == "script"
    assert deployment.action == "CREATE"
    assert deployment.input("blob") == {"a": 1}
    assert deployment.outputs[1].error_output


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"id": 7}, "$.id"),
        ({"id": "../../etc/x"}, "$.id"),
        ({"id": ".hidden"}, "$.id"),
        ({"id": ""}, "$.id"),
        ({"inputs": {"a": 1}}, "$.inputs"),
        ({"inputs": [{"value": 1}]}, "$.inputs[0]"),
        ({"inputs": [{"name": "deploy_signal_id", "value": {"x": 1}}]}, "$.inputs[0].value"),
        ({"inputs": [{"name": "deploy_action", "value": None}]}, "$.inputs[0].value"),
        ({"group": ["script"]}, "$.group"),
    ],
)
def test_what_is_wrong_is_named_with_its_path(golden: dict[str, Any], change: dict[str, Any], path: str) -> None:
    with pytest.raises(errors.BadInput) as caught:
        model.parse_deployment({**golden, **change})
    assert caught.value.path == path
    assert caught.value.hint


@pytest.mark.parametrize("document", [None, 3, "text", [], [1]])
def test_an_entry_that_is_no_object_is_bad_input(document: object) -> None:
    with pytest.raises(errors.BadInput):
        model.parse_deployment(document)
    assert model.identify(document).startswith("no-id-")
    assert model.target_of(document) is None


def test_a_hook_gets_text_where_an_input_says_string(golden: dict[str, Any]) -> None:
    values = {entry["name"]: entry["value"] for entry in model.hook_document(golden)["inputs"]}
    assert values["rep"] == "None"
    assert values["undeclared"] == "{'x': 1}"
    assert values["step"] == 1
    assert values["blob"] == {"a": 1}


def test_a_hook_gets_everything_else_as_it_came(golden: dict[str, Any]) -> None:
    given = model.hook_document(golden)
    assert {**given, "inputs": None} == {**golden, "inputs": None}
    assert [entry["name"] for entry in given["inputs"]] == [entry["name"] for entry in golden["inputs"]]


@pytest.mark.parametrize(
    ("transport", "target"),
    [
        ("NO_SIGNAL", None),
        ("TEMP_URL_SIGNAL", "PUT"),
        ("HEAT_SIGNAL", "POST"),
        ("ZAQAR_SIGNAL", "POST"),
    ],
)
def test_every_transport_of_heat_has_its_target(transport: str, target: str | None) -> None:
    inputs = json.loads((GOLDEN / "deploy_inputs_by_signal_transport.json").read_text())[transport]
    found = model.target_of({"inputs": inputs})
    if target is None:
        assert found is None
    else:
        assert found is not None
        assert (found.transport, found.verb) == (transport, target)


def test_even_a_broken_entry_has_a_target(golden: dict[str, Any]) -> None:
    broken = {**golden, "id": None, "group": 3, "inputs": [None, 5, {"value": 1}, *golden["inputs"]]}
    found = model.target_of(broken)
    assert found is not None
    assert found.url.startswith("http://heat-cfn:8000/v1/signal/")


@pytest.mark.parametrize(
    ("status", "stdout", "ok", "code"),
    [
        (0, '{"deploy_status_code": 0}', True, 0),
        (0, '{"result": "x"}', True, None),
        (0, '{"deploy_status_code": "-1"}', False, "-1"),
        (0, '{"deploy_status_code": 2}', False, 2),
        (7, '{"deploy_status_code": 0}', False, 7),
        (7, '{"result": "x"}', False, 7),
        (7, '{"deploy_status_code": 3}', False, 3),
        (0, "", False, 1),
        (-9, "  \n", False, -9),
        (0, "garbage", False, 1),
        (4, "garbage", False, 4),
        (0, "[1]", False, 1),
        (0, '"text"', False, 1),
        (0, '{"unset_hook": "pre-update"}', False, 1),
    ],
)
def test_what_a_hook_says_is_interpreted(status: int, stdout: str, ok: bool, code: object) -> None:
    result = model.interpret(status, stdout, "the story")
    assert result.ok is ok
    assert result.body.get("deploy_status_code") == code
    assert bool(result.reason) is not ok
    assert "unset_hook" not in result.body


def test_a_short_body_is_sent_as_the_hook_wrote_it() -> None:
    result = model.interpret(0, '{"deploy_status_code": "-1", "out": [1, null]}', "")
    assert fit.fitted(result).body == {"deploy_status_code": "-1", "out": [1, None]}


@pytest.mark.parametrize("character", ["x", '"', "\x00", "é", "😀"])
def test_a_long_body_fits_and_its_cut_is_named(character: str) -> None:
    result = model.succeeded(character * 2_000_000, stderr="short", outputs={"kept": "whole"})
    body = fit.fitted(result).body
    encoded = json.dumps(body)
    assert 100_000 < len(encoded) <= fit.MAX_BODY
    assert "characters cut here by overcloud-agent" in body["deploy_stdout"]
    assert body["deploy_stdout"].startswith(character)
    assert body["deploy_stdout"].endswith(character)
    assert body["kept"] == "whole"
    assert body["deploy_status_code"] == 0


def test_outputs_that_are_too_long_are_a_failure_that_names_the_longest() -> None:
    result = fit.fitted(model.succeeded("", outputs={"small": 1, "huge": "x" * 1_100_000}))
    assert not result.ok
    assert result.body["deploy_status_code"] == 1
    assert "'huge'" in result.body["deploy_stderr"]


@pytest.mark.parametrize("character", ["x", '"', "\x00", "é", "😀"])
def test_what_heat_makes_a_reason_of_fits_into_its_database(character: str) -> None:
    """Heat joins all of them (service_software_config.py) for a TEXT, which has 65,535 bytes in MySQL."""
    long = dict.fromkeys(("first", "second", "kept"), character * 100_000)
    body = fit.fitted(
        model.succeeded("", outputs={**long, "third": 5}), limit=10**7, reasons=["first", "second", "third"]
    ).body
    reason = ", ".join(f"{name} : {body[name]}" for name in ("first", "second", "third"))
    assert len(reason.encode()) < 65_535
    for name in ("first", "second"):
        assert "characters cut here by overcloud-agent" in body[name]
        assert body[name].startswith(character)
        assert body[name].endswith(character)
    assert body["kept"] == long["kept"]


def test_what_people_see_is_one_printable_line() -> None:
    assert model.plain("a\nWATCHDOG=trigger\ud800\x1b[31mé") == "a\\nWATCHDOG=trigger\\ud800\\x1b[31mé"
