"""Containers that other tools made, as Podman 4.3.1 told of them: golden/adoption has its inspect documents.

nova_api and keystone are paunch's, glance_api is tripleo_container_manage's, and both web are what the hook docker-cmd
of heat-agents 13.0.0 made, run with HEAT_DOCKER_CMD=podman.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from overcloud_agent import errors
from overcloud_agent.containers import adoption, spec

GOLDEN = Path(__file__).parent / "golden" / "adoption"
DIGEST = "sha256:" + "3b" * 32
IMAGE = "registry.example:5000/service:1"
ENV_FILE = "# the database\nDB_HOST=10.0.0.5\nDB_PASSWORD=from the file\n"
IMAGE_ENVIRONMENT = ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]

NOVA: dict[str, Any] = {
    "image": IMAGE,
    "net": "host",
    "privileged": False,
    "user": "0",
    "restart": "always",
    "start_order": 2,
    "environment": {
        "KOLLA_CONFIG_STRATEGY": "COPY_ALWAYS",
        "TRIPLEO_CONFIG_HASH": "2f2f9f0d9e8f1bd2f9f0d9e8f1bd2f9f",
    },
    "volumes": ["/etc/hosts:/etc/hosts:ro", "/etc/localtime:/etc/localtime:ro"],
    "ulimit": ["nofile=1024"],
    "healthcheck": {"test": "/openstack/healthcheck"},
}
KEYSTONE: dict[str, Any] = {
    "image": IMAGE,
    "net": "none",
    "env_file": "/etc/nova/nova.env",
    "environment": ["A=1", "KOLLA_BOOTSTRAP=True"],
    "command": "/bin/sleep 1000",
    "stop_grace_period": 3,
}
GLANCE: dict[str, Any] = {
    "image": IMAGE,
    "start_order": 2,
    "privileged": True,
    "restart": "always",
    "environment": {"KOLLA_BOOTSTRAP": True, "TRIPLEO_CONFIG_HASH": "aa"},
    "command": ["/bin/sleep", "1000"],
    "cap_add": ["NET_ADMIN"],
}
WEB: dict[str, Any] = {
    "image": IMAGE,
    "net": "host",
    "env_file": ["/etc/nova/nova.env"],
    "environment": ["A=1", "B=two words"],
    "privileged": False,
    "restart": "always",
    "user": "root",
    "volumes": ["/etc/hosts:/etc/hosts:ro"],
    "command": "/bin/sleep 1000",
}


def inspected(name: str) -> dict[str, Any]:
    return dict(json.loads((GOLDEN / f"{name}.json").read_text()))


def parsed(config: dict[str, Any]) -> spec.Container:
    return spec.parse({"it": config})["it"]


def env_files(container: spec.Container) -> str:
    return ENV_FILE if container.env_file else ""


def wanted_fingerprint(config: dict[str, Any]) -> str:
    container = parsed(config)
    return spec.fingerprint(container, digest=DIGEST, env_files=env_files(container))


@pytest.mark.parametrize(
    ("name", "config"),
    [("nova_api", NOVA), ("keystone", KEYSTONE), ("glance_api", {**GLANCE, "net": "none"})],
)
def test_what_the_label_tells_is_what_runs(name: str, config: dict[str, Any]) -> None:
    document = inspected(name)
    assert adoption.can_adopt(document)
    assert adoption.config_of(document) == spec.parse({name: config})[name]
    told = adoption.fingerprint(document, DIGEST, env_files, image_environment=IMAGE_ENVIRONMENT)
    assert told == wanted_fingerprint(config)


def test_a_container_that_tripleo_ansible_left_without_network_is_not_one_on_the_bridge() -> None:
    told = adoption.fingerprint(inspected("glance_api"), DIGEST, env_files)
    assert told
    assert told != wanted_fingerprint(GLANCE)


def test_the_config_hash_is_part_of_the_config() -> None:
    environment = {**NOVA["environment"], "TRIPLEO_CONFIG_HASH": "changed"}
    told = adoption.fingerprint(inspected("nova_api"), DIGEST, env_files)
    assert told != wanted_fingerprint({**NOVA, "environment": environment})


def test_keys_that_change_nothing_that_runs_do_not_count() -> None:
    told = adoption.fingerprint(inspected("nova_api"), DIGEST, env_files)
    assert told == wanted_fingerprint({**NOVA, "start_order": 5, "upgrade": {"gate": {"stable_for": 9}}})


@pytest.mark.parametrize(
    "text",
    ["DB_HOST=10.0.0.6\nDB_PASSWORD=from the file\n", ENV_FILE + "NEW=1\n", "A=2\nDB_HOST=10.0.0.6\n"],
    ids=["changed", "added", "changed below the config's own"],
)
def test_an_env_file_that_was_changed_since_is_noticed(text: str) -> None:
    assert adoption.fingerprint(inspected("keystone"), DIGEST, lambda _: text) == ""


def test_an_env_file_that_lost_a_variable_is_noticed_with_the_environment_of_the_image() -> None:
    less = "DB_HOST=10.0.0.5\n"
    told = adoption.fingerprint(inspected("keystone"), DIGEST, lambda _: less, image_environment=IMAGE_ENVIRONMENT)
    assert told == ""


def test_an_env_file_that_cannot_be_read_is_not_known() -> None:
    def unreadable(_: spec.Container) -> str:
        raise errors.BadInput("cannot read an env_file")

    assert adoption.fingerprint(inspected("keystone"), DIGEST, unreadable) == ""


def test_the_config_goes_over_the_env_file() -> None:
    assert adoption.fingerprint(inspected("keystone"), DIGEST, lambda _: "A=9\n" + ENV_FILE)


def relabelled(name: str, **labels: str) -> dict[str, Any]:
    document = copy.deepcopy(inspected(name))
    document["Config"]["Labels"].update(labels)
    return document


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[1]",
        "{'image': open('/etc/passwd')}",
        "__import__('os').system('true')",
        '{"image": "x", "no_such_key": 1}',
        '{"image": 5}',
        "{1: 2}",
        "{" * 9000,
        "(" * 9000,
        "\0",
    ],
)
def test_a_label_that_is_not_understood_adopts_nothing(text: str) -> None:
    document = relabelled("nova_api", config_data=text)
    assert adoption.config_of(document) is None
    assert adoption.fingerprint(document, DIGEST, env_files) == ""


@pytest.mark.parametrize("tool", ["", "somebody", "overcloud-agent", "tripleo"])
def test_what_no_known_tool_made_is_not_known(tool: str) -> None:
    document = relabelled("nova_api", managed_by=tool)
    assert not adoption.can_adopt(document)
    assert adoption.fingerprint(document, DIGEST, env_files) == ""


def test_a_container_without_labels_is_not_known() -> None:
    document = {"Name": "x", "Config": {"Labels": None}}
    assert adoption.fingerprint(document, DIGEST, env_files) == ""
    assert not adoption.made_by_docker_cmd(document, parsed(WEB))


# docker-cmd


def test_what_docker_cmd_made_is_recognized() -> None:
    document = inspected("web")
    assert adoption.made_by_docker_cmd(document, parsed(WEB))
    told = adoption.fingerprint(document, DIGEST, env_files, wanted=parsed(WEB), image_environment=IMAGE_ENVIRONMENT)
    assert told == wanted_fingerprint(WEB)


def test_what_docker_cmd_made_is_recognized_from_a_map_of_variables_and_a_list_of_words() -> None:
    same = {**WEB, "environment": {"A": 1, "B": "two words"}, "command": ["/bin/sleep", "1000"]}
    assert adoption.made_by_docker_cmd(inspected("web"), parsed(same))


def test_what_docker_cmd_made_under_another_name_is_recognized() -> None:
    config = {"image": IMAGE, "pid": "host", "command": ["/bin/sleep", "1000"]}
    document = inspected("web-suffix")
    assert adoption.made_by_docker_cmd(document, parsed(config))
    assert not adoption.made_by_docker_cmd(inspected("web"), parsed(config))


@pytest.mark.parametrize(
    "changed",
    [
        {"net": "none"},
        {"net": None},
        {"user": "0"},
        {"privileged": True},
        {"restart": "no"},
        {"volumes": []},
        {"volumes": ["/etc/hosts:/etc/hosts"]},
        {"environment": ["A=1"]},
        {"environment": ["A=1", "B=two words", "C=3"]},
        {"environment": {"A": 1, "B": "other"}},
        {"env_file": []},
        {"command": "/bin/sleep 999"},
        {"command": ["/bin/sleep", "1000", "more"]},
        {"command": None},
        {"detach": True, "cap_add": ["NET_ADMIN"]},
        {"healthcheck": {"test": "/check"}},
        {"volumes_from": ["other"]},
    ],
    ids=str,
)
def test_a_difference_is_seen_in_what_docker_cmd_made(changed: dict[str, Any]) -> None:
    different = parsed({**WEB, **changed})
    assert not adoption.made_by_docker_cmd(inspected("web"), different)
    assert adoption.fingerprint(inspected("web"), DIGEST, env_files, wanted=different) == ""


def test_a_variable_without_value_came_from_elsewhere() -> None:
    document = inspected("web")
    argv = document["Config"]["CreateCommand"]
    argv[argv.index("--env=A=1")] = "--env=A"
    assert not adoption.made_by_docker_cmd(document, parsed({**WEB, "environment": {"A": "", "B": "two words"}}))


def test_quotes_which_docker_cmd_does_not_understand_are_a_difference() -> None:
    document = inspected("web")
    argv = document["Config"]["CreateCommand"]
    document["Config"]["CreateCommand"] = [*argv[:-2], "echo", '"a', 'b"']
    assert not adoption.made_by_docker_cmd(document, parsed({**WEB, "command": 'echo "a b"'}))


@pytest.mark.parametrize("argv", [None, [], ["podman"], ["podman", "create", "--name", "web"], ["podman", "run", "x"]])
def test_another_command_line_is_not_docker_cmds(argv: list[str] | None) -> None:
    document = inspected("web")
    document["Config"]["CreateCommand"] = argv
    assert not adoption.made_by_docker_cmd(document, parsed(WEB))


def test_docker_cmd_is_not_adopted_without_knowing_what_is_wanted() -> None:
    assert adoption.fingerprint(inspected("web"), DIGEST, env_files) == ""


# Names


def entry(name: str, created: str = "2026-01-01T00:00:00Z", **labels: str) -> dict[str, Any]:
    return {"Names": [name], "Created": created, "Labels": {"managed_by": "docker-cmd", **labels}}


def test_a_container_is_found_by_its_name_first() -> None:
    listed = [entry("web-abcd1234", container_name="web"), entry("web", container_name="web")]
    assert adoption.find("web", listed) == "web"


def test_of_containers_under_other_names_the_youngest_is_found() -> None:
    listed = [
        entry("web-aaaaaaaa", "2026-01-01T00:00:00Z", container_name="web"),
        entry("web-bbbbbbbb", "2026-03-01T00:00:00Z", container_name="web"),
        entry("web-cccccccc", "2026-04-01T00:00:00Z", container_name="other"),
        entry("web-dddddddd", "2026-04-01T00:00:00Z", container_name="web", managed_by="somebody"),
        entry("web.next", "2026-04-01T00:00:00Z", container_name="web"),
        {"Names": ["web-eeeeeeee"], "Labels": None},
    ]
    assert adoption.find("web", listed) == "web-bbbbbbbb"


def test_a_container_that_is_nowhere_is_not_found() -> None:
    assert adoption.find("web", [entry("db", container_name="db")]) is None
