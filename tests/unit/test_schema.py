"""The schema of the format and the parser agree, and the table of keys is complete."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import containerkeys
from overcloud_agent import errors
from overcloud_agent.containers import spec

ROOT = Path(__file__).resolve().parents[2]
DB = {"image": "db"}

GOOD: list[Any] = [
    {"c": {"image": "i", **case.keys}} for case in containerkeys.CASES if case.key not in ("image", "security_opt")
] + [
    {"step_1": {"a": DB}, "step_2": None, "step_3": ""},
    {"docker_config": {"step_1": {"a": DB}}},
    {"container_config": {"step_1": {"a": DB}}},
    {"a": {"action": "exec", "command": "b c"}},
    {"a": {"image": "i", "start_order": "1", "detach": "false", "exit_codes": ["0"], "restart": None}},
    {"a": {"image": "i", "upgrade": {"drain": [["a"], {"hook": ["b"]}], "keep": "1", "gate": {"within": "5"}}}},
    {"a": {"image": "i", "healthcheck": None, "upgrade": None}},
]
BAD: list[Any] = [
    {},
    [],
    "text",
    {"a": 3},
    {"a": {}},
    {"a": {"image": 7}},
    {"a": {"action": "exec"}},
    {"a": {"action": "runs", "image": "i"}},
    {"a": {"image": "i", "nett": "host"}},
    {"a": {"image": "i", "step": 1}},
    {"a": {"image": "i", "start_order": "first"}},
    {"a": {"image": "i", "privileged": "perhaps"}},
    {"a": {"image": "i", "environment": {"A": []}}},
    {"a": {"image": "i", "volumes": "/a:/b"}},
    {"a": {"image": "i", "volumes": [{}]}},
    {"a": {"image": "i", "healthcheck": {}}},
    {"a": {"image": "i", "healthcheck": {"test": "x", "tets": "x"}}},
    {"a": {"image": "i", "upgrade": {"drain": [{"hok": ["b"]}]}}},
    {"a": {"image": "i", "upgrade": {"drain": [[]]}}},
    {"a": {"image": "i", "upgrade": {"keep": -1}}},
    {"a": {"image": "i", "upgrade": {"gate": {"within": 100000}}}},
    {"a": {"image": "i", "upgrade": {"rollback": "maybe"}}},
    {"a": {"image": "i", "exit_codes": [256]}},
    {"docker_config": {"a": DB}},
    {"step_1": {"a": {"image": "i", "nett": "host"}}},
    {"step_1": [DB]},
]


@pytest.mark.parametrize("config", GOOD, ids=range(len(GOOD)))
def test_what_the_parser_takes_the_schema_takes(config: Any) -> None:
    filled = {"base": "b", "base_image": "i", "dir": "/d", "pid": "1"}
    spec.parse(_filled(config, filled))
    jsonschema.validate(_filled(config, filled), spec.schema(), cls=jsonschema.Draft202012Validator)


def _filled(value: Any, filled: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _filled(one, filled) for key, one in value.items()}
    if isinstance(value, list):
        return [_filled(one, filled) for one in value]
    return value.format(**filled) if isinstance(value, str) else value


@pytest.mark.parametrize("config", BAD, ids=range(len(BAD)))
def test_what_the_parser_refuses_the_schema_refuses(config: Any) -> None:
    with pytest.raises(errors.BadInput):
        spec.parse(config)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(config, spec.schema(), cls=jsonschema.Draft202012Validator)


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(spec.schema())


ROW = re.compile(r"^\| `([a-z_]+)` \|.*\| ([^|]*) \|$", re.MULTILINE)


def test_the_table_of_keys_is_complete_and_names_tests_that_are_there() -> None:
    rows = dict(ROW.findall((ROOT / "docs" / "container-keys.md").read_text()))
    assert set(rows) == set(spec.KEYS)
    for key, tests in rows.items():
        named = set(re.findall(r"`([^`]+)`", tests))
        assert named, key
        assert {case.id for case in containerkeys.CASES if case.key == key} <= named, key
        for test in named - {case.id for case in containerkeys.CASES}:
            module, _, function = test.partition("::")
            assert f"def {function}(" in (ROOT / "tests" / module).read_text(), test


def test_every_case_s_key_is_one_of_the_format() -> None:
    assert {case.key for case in containerkeys.CASES} <= set(spec.KEYS)
