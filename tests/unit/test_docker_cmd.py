from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from overcloud_agent import errors, model
from overcloud_agent.containers import adoption, docker_cmd, spec

HOOKS = Path(__file__).resolve().parents[2] / "hooks"
GOLDEN = Path(__file__).parent / "golden" / "adoption"

# What the hook of heat-agents was given to make golden/adoption/web.json.
WEB: dict[str, Any] = {
    "image": "registry.example:5000/service:1",
    "net": "host",
    "env_file": ["/etc/nova/nova.env", ""],
    "environment": ["A=1", "", "B=two words"],
    "privileged": False,
    "restart": "always",
    "user": "root",
    "volumes": ["/etc/hosts:/etc/hosts:ro", ""],
    "command": "/bin/sleep 1000",
}


def converted(**entry: Any) -> Any:
    return docker_cmd.to_containers({"web": {"image": "i", **entry}}).config["web"]


def test_every_key_of_the_hook_is_one_of_ours() -> None:
    assert set(docker_cmd.KEYS) <= set(spec.Container.__struct_fields__)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {}),
        ({"command": "serve --name 'a b'"}, {"command": ["serve", "--name", "'a", "b'"]}),
        ({"command": ["sleep", 5]}, {"command": ["sleep", "5"]}),
        ({"command": ""}, {}),
        ({"command": None}, {}),
        ({"privileged": "True"}, {"privileged": True}),
        ({"privileged": "false"}, {"privileged": False}),
        ({"privileged": 1}, {"privileged": True}),
        ({"privileged": "perhaps"}, {"privileged": "perhaps"}),
        ({"detach": 0}, {"detach": False}),
        ({"env_file": ["", "/e"]}, {"env_file": ["/e"]}),
        ({"env_file": "/e"}, {"env_file": "/e"}),
        ({"environment": ["A=1", ""]}, {"environment": ["A=1"]}),
        ({"environment": {"A": 1}}, {"environment": {"A": 1}}),
        ({"volumes": [None, "/a:/a"]}, {"volumes": ["/a:/a"]}),
        ({"exit_codes": [0, 3], "start_order": 2}, {"exit_codes": [0, 3], "start_order": 2}),
        ({"action": "exec", "command": ["db", "ls"]}, {"action": "exec", "command": ["db", "ls"]}),
        ({"volumes": "/a:/a"}, {"volumes": "/a:/a"}),
    ],
    ids=str,
)
def test_keys_mean_what_they_mean_to_the_hook(given: dict[str, Any], expected: dict[str, Any]) -> None:
    assert converted(**given) == {"image": "i", **expected}


def test_what_the_hook_passes_over_is_left_out_and_said() -> None:
    result = docker_cmd.to_containers({"web": {"image": "i", "cap_add": ["X"], "typo": 1, "environment": {"A": 1}}})
    assert result.config == {"web": {"image": "i", "environment": {"A": 1}}}
    assert result.notes == (
        "web: the key cap_add has no effect in the group docker-cmd",
        "web: the key typo has no effect in the group docker-cmd",
        "web: environment is a map: the hook of heat-agents would have left out its values",
    )


@pytest.mark.parametrize("config", [None, "", {}])
def test_no_config_is_nothing_to_do(config: object) -> None:
    assert docker_cmd.to_containers(config) == docker_cmd.Converted({})


def test_a_config_may_be_text() -> None:
    expected = {"web": {"image": "i", "command": ["a", "b"]}}
    assert docker_cmd.to_containers("web:\n  image: i\n  command: a b\n").config == expected
    assert docker_cmd.to_containers('{"web": {"image": "i", "command": "a b"}}').config == expected


@pytest.mark.parametrize("config", ["just text", [1], 5, "{a: ["])
def test_a_config_that_is_no_map_of_names_is_refused(config: object) -> None:
    with pytest.raises(errors.BadInput):
        docker_cmd.to_containers(config)


def test_a_name_that_cannot_be_is_told_by_the_parser_of_the_config() -> None:
    with pytest.raises(errors.BadInput, match="cannot be a container's name"):
        spec.parse(docker_cmd.to_containers({"../x": {"image": "i"}}).config)


def test_a_wrong_type_is_told_by_the_parser_of_the_config() -> None:
    with pytest.raises(errors.BadInput, match=r"\$\.config\.web"):
        spec.parse(docker_cmd.to_containers({"web": ["image"]}).config)


def test_a_container_of_the_hook_is_recognized_from_its_config() -> None:
    document = json.loads((GOLDEN / "web.json").read_text())
    container = spec.parse(docker_cmd.to_containers({"web": WEB}).config)["web"]
    assert adoption.made_by_docker_cmd(document, container)


def deployment(
    key: str = "d-2", *, config: object = None, action: str = "UPDATE", resource: str = "web"
) -> model.Deployment:
    values = {"deploy_action": action, "deploy_stack_id": "cloud/1c2d", "deploy_resource_name": resource}
    inputs = tuple(model.Input(name=name, value=value) for name, value in values.items())
    return model.Deployment(id=key, group="docker-cmd", config=config, inputs=inputs)


def test_the_labels_of_a_resource_are_those_of_the_hook() -> None:
    made = json.loads((GOLDEN / "web.json").read_text())["Config"]["Labels"]
    labels = docker_cmd.labels(deployment("d-1"))
    assert labels.items() <= made.items()
    assert set(labels) == {"deploy_stack_id", "deploy_resource_name"}


# A deployment


def upgraded(config: object, **given: Any) -> tuple[model.Result, list[object]]:
    """The result, and the configs that the upgrade was asked for."""
    asked: list[object] = []

    def upgrade(one: model.Deployment) -> model.Result:
        asked.append(one.config)
        assert (one.id, one.action, one.group) == ("d-2", given.get("action", "UPDATE"), "docker-cmd")
        return given.get("result") or model.succeeded("web: upgraded", outputs={"changed": True})

    return docker_cmd.carry_out(deployment(config=config, action=given.get("action", "UPDATE")), upgrade), asked


def test_the_upgrade_gets_the_config_in_its_own_format() -> None:
    result, asked = upgraded("web: {image: i, command: a b, typo: 1}")
    assert asked == [{"web": {"image": "i", "command": ["a", "b"]}}]
    assert result.ok
    assert result.body["changed"] is True
    assert result.body["deploy_stdout"].splitlines() == [
        "web: upgraded",
        "web: the key typo has no effect in the group docker-cmd",
    ]


def test_a_failure_keeps_its_status_and_its_reason() -> None:
    result, _ = upgraded({"web": {"image": "i"}}, result=model.failed("it ended with status 125", status=125))
    assert (result.ok, result.body["deploy_status_code"]) == (False, 125)
    assert result.reason == "it ended with status 125"


def test_a_deletion_is_for_the_engine_whatever_the_config() -> None:
    result, asked = upgraded({"web": {"image": "i"}}, action="DELETE")
    assert result.ok
    assert asked == [{"web": {"image": "i"}}]


@pytest.mark.parametrize(("config", "action"), [("", "CREATE"), (None, "UPDATE")])
def test_nothing_to_do_touches_nothing(config: object, action: str) -> None:
    result, asked = upgraded(config, action=action)
    assert result.ok
    assert result.body["deploy_status_code"] == 0
    assert asked == []


def test_the_description_beside_the_hook_is_the_code_s() -> None:
    described = json.dumps(docker_cmd.describe(), indent=2) + "\n"
    assert (HOOKS / "docker-cmd.json").read_text() == described, "`make describe` writes it"
    config = docker_cmd.describe()["config"]["additionalProperties"]
    assert set(config["properties"]) == set(docker_cmd.KEYS)
