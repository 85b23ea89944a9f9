"""The executables heat-config-notify, at the socket, and heat-config-rebuild-deployed, with os-apply-config's files."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

import cloudlike
import heatconfig
import heatlike
import places

STACK = "stack/2f8a3a6c-0000-4000-8000-000000000000"
SIGNAL = f"/stacks/{STACK}/resources/one/signal"


@pytest.fixture
def place(tmp_path: Path) -> heatconfig.HeatConfig:
    return heatconfig.HeatConfig(tmp_path)


@pytest.fixture
def cloud() -> Iterator[cloudlike.CloudLike]:
    with cloudlike.CloudLike() as made:
        made.serves = {SIGNAL: 200, "/v2/queues/queue/messages": 201, "/v1.1/queues/queue/messages": 201}
        yield made


def keystone(cloud: cloudlike.CloudLike, transport: str) -> dict[str, Any]:
    """A deployment whose result goes through Keystone."""
    values = {
        "deploy_signal_transport": transport,
        "deploy_stack_id": STACK,
        "deploy_resource_name": "one",
        "deploy_auth_url": f"{cloud.url}/v3",
        "deploy_user_id": "u",
        "deploy_password": "right",
        "deploy_project_id": "p",
        "deploy_region_name": "one",
    }
    if transport == "ZAQAR_SIGNAL":
        values["deploy_queue_id"] = "queue"
    return {"id": "one", "inputs": [{"name": name, "type": "String", "value": value} for name, value in values.items()]}


def notify(
    place: heatconfig.HeatConfig,
    document: Mapping[str, Any],
    stdin: str = '{"deploy_status_code": 0}',
    *,
    status: int = 0,
) -> str:
    path = place.directory / f"{document['id']}.json"
    path.write_text(json.dumps(document))
    place.expect(status)
    done = place.run([heatconfig.NOTIFY, path], stdin)
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


def test_a_pre_signed_url(place: heatconfig.HeatConfig, heat: heatlike.HeatLike) -> None:
    body = {"deploy_status_code": 3, "deploy_stdout": "ä", "result": {"a": [None]}}
    assert "s3cr3t" not in notify(place, heat.deployment("one"), json.dumps(body))
    assert heat.signal("one") == body
    # Called again by hand, it tells again.
    notify(place, heat.deployment("one"), "{}")
    assert [told for _, told in heat.signals] == [body, {}]


@pytest.mark.parametrize("transport", ["HEAT_SIGNAL", "ZAQAR_SIGNAL"])
def test_with_a_user(place: heatconfig.HeatConfig, cloud: cloudlike.CloudLike, transport: str) -> None:
    told = notify(place, keystone(cloud, transport), '{"deploy_status_code": 0, "result": 1}')
    assert "right" not in told.split()
    (body,) = cloud.bodies
    if transport == "ZAQAR_SIGNAL":
        assert [message["body"] for message in body["messages"]] == [{"deploy_status_code": 0, "result": 1}]
    else:
        assert body == {"deploy_status_code": 0, "result": 1}


@pytest.mark.parametrize("named", [True, False])
def test_the_named_transport_is_used_and_only_that(
    place: heatconfig.HeatConfig, heat: heatlike.HeatLike, cloud: cloudlike.CloudLike, named: bool
) -> None:
    """Its namesake goes by the inputs that there are, and uses two transports when there are inputs for two."""
    document = heat.deployment("one", inputs=keystone(cloud, "ZAQAR_SIGNAL")["inputs"][1:])
    if not named:
        document["inputs"] = [entry for entry in document["inputs"] if entry["name"] != "deploy_signal_transport"]
    notify(place, document)
    assert (len(heat.signals), cloud.requests) == (1, [])


def test_nobody_asked(place: heatconfig.HeatConfig) -> None:
    inputs = [{"name": "deploy_signal_transport", "value": "NO_SIGNAL"}]
    notify(place, {"id": "one", "inputs": inputs})
    notify(place, {"id": "one", "inputs": []})


@pytest.mark.parametrize(
    ("stdin", "status"), [("", None), ("  \n", None), ("not json", 1), ("[1]", 1), ('"text"', 1), ('{"deploy_', 1)]
)
def test_what_is_no_result_is_no_success(
    place: heatconfig.HeatConfig, heat: heatlike.HeatLike, stdin: str, status: int | None
) -> None:
    notify(place, heat.deployment("one"), stdin)
    assert heat.signal("one").get("deploy_status_code") == status


def test_without_a_deployment_it_is_1(place: heatconfig.HeatConfig) -> None:
    for arguments in ([], [place.directory / "missing.json"], [place.directory]):
        done = place.run([heatconfig.NOTIFY, *arguments], "{}")
        assert done.returncode == 1
        assert "Traceback" not in done.stderr
    (place.directory / "garbage.json").write_text('{"deploy_password": "s3cr3t"')
    done = place.run([heatconfig.NOTIFY, place.directory / "garbage.json"], "{}")
    assert (done.returncode, "s3cr3t" in done.stderr) == (1, False)


def test_inputs_without_a_value_and_worse(place: heatconfig.HeatConfig, heat: heatlike.HeatLike) -> None:
    document = heat.deployment("one", inputs=[{"name": "valueless", "type": "String"}, {}, 7])
    notify(place, document)
    assert heat.signal("one") == {"deploy_status_code": 0}


def test_a_huge_result_is_cut_to_what_heat_takes(place: heatconfig.HeatConfig, heat: heatlike.HeatLike) -> None:
    notify(place, heat.deployment("one"), json.dumps({"deploy_stdout": "x" * 2_000_000, "deploy_status_code": 0}))
    assert "cut here" in heat.signal("one")["deploy_stdout"]
    assert len(json.dumps(heat.signal("one"))) <= 1048576


def test_busy_then_accepted(place: heatconfig.HeatConfig, heat: heatlike.HeatLike) -> None:
    """Its namesake never tries a POST again, and says that all went well."""
    heat.refuse_with = [503, 500, 429]
    notify(place, heat.deployment("one"))
    assert len(heat.tried) == 4
    assert heat.signal("one") == {"deploy_status_code": 0}


def test_a_definite_refusal_is_1(place: heatconfig.HeatConfig, heat: heatlike.HeatLike) -> None:
    heat.refuse = {"one": 404}
    notify(place, heat.deployment("one"), status=1)
    assert len(heat.tried) == 1


@pytest.mark.parametrize("later", ["heat-config-notify", "55-heat-config"])
def test_what_is_not_accepted_in_time_is_kept(
    place: heatconfig.HeatConfig, heat: heatlike.HeatLike, later: str
) -> None:
    heat.refuse = {"one": 503}
    assert "a later call" in notify(place, heat.deployment("one"), status=75)
    heat.refuse = {}
    if later == "55-heat-config":
        place.apply()
    else:
        notify(place, heat.deployment("two"))
    assert heat.signal("one", within=0.1) == {"deploy_status_code": 0}


def test_a_silent_endpoint_is_left_in_time(place: heatconfig.HeatConfig, heat: heatlike.HeatLike) -> None:
    place.configure(signal_timeout=1)
    heat.silent = True
    notify(place, heat.deployment("one"), status=75)


# heat-config-rebuild-deployed


def rebuild(place: heatconfig.HeatConfig, *files: Path) -> str:
    paths = ":".join(str(path) for path in files)
    done = place.run([places.BIN / "heat-config-rebuild-deployed"], OS_CONFIG_FILES=paths)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_everything_in_the_metadata_is_said_to_have_run(place: heatconfig.HeatConfig, heat: heatlike.HeatLike) -> None:
    place.hook("fake")
    documents = [heat.deployment("one", "fake"), heat.deployment("two", "os-apply-config", {"a": 1})]
    documents += [heat.deployment("three", "Heat::Ungrouped", {}), heat.deployment("../four", "fake")]
    first, second = place.directory / "ec2.json", place.directory / "cfn.json"
    first.write_text(json.dumps({"deployments": [heat.deployment("zero", "fake")]}))
    second.write_text(json.dumps({"deployments": documents}))
    place.deployed.mkdir()
    (place.deployed / "one.json").write_text("kept")
    # As os-apply-config merges them: of two lists the later one counts.
    assert "Found 4 deployments" in rebuild(place, first, place.directory / "missing.json", second)
    assert {path.name: path.read_text() for path in place.deployed.iterdir()} == {"one.json": "kept"}
    assert not list(place.directory.rglob("four*"))
    (place.deployed / "one.json").unlink()
    rebuild(place, second)
    place.apply(documents[0])
    assert (place.runs(), heat.tried) == ([], [])


def test_an_older_versions_directory_counts_until_it_is_moved(
    place: heatconfig.HeatConfig, heat: heatlike.HeatLike
) -> None:
    metadata = place.directory / "cfn.json"
    metadata.write_text(json.dumps({"deployments": [heat.deployment("one", "fake")]}))
    place.old.mkdir()
    rebuild(place, metadata)
    assert [path.name for path in place.old.iterdir()] == ["one.json"]
    place.apply(heat.deployment("one", "fake"))
    assert (place.deployed / "one.json").exists()
    assert heat.tried == []


def test_no_metadata_is_nothing_to_say(place: heatconfig.HeatConfig) -> None:
    assert "Found 0" in rebuild(place, place.directory / "missing.json")
    (place.directory / "bad.json").write_text("{")
    done = place.run([places.BIN / "heat-config-rebuild-deployed"], OS_CONFIG_FILES=str(place.directory / "bad.json"))
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
