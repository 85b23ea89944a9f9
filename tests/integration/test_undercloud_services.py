"""The undercloud's optional services do what Heat and nodes need of them."""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
import json
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

import stacks
import websockets
from undercloud import box as clouds
from undercloud import errors, services
from undercloud import state as states

OUTPUT = {"occ": {"value": {"get_attr": ["server", "os_collect_config"]}}}
ANSWER = {"deploy_status_code": 0, "deploy_stdout": "done"}


@dataclasses.dataclass(frozen=True)
class Member:
    """The ordinary user's session with the services, by their addresses in the catalogue."""

    project: str
    token: str
    catalogue: dict[str, str]
    http: requests.Session

    def store(self, method: str, path: str, **options: Any) -> requests.Response:
        return self.http.request(method, self.catalogue["object-store"] + path, timeout=20, **options)

    def queue(self, method: str, path: str, **options: Any) -> requests.Response:
        return self.http.request(method, f"{self.catalogue['messaging']}/v2/queues/{path}", timeout=20, **options)


def authenticate(cloud: clouds.Undercloud, user: dict[str, Any], project: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """A token, and what Keystone says of it."""
    identity = {"methods": ["password"], "password": {"user": user}}
    body = {"auth": {"identity": identity, "scope": {"project": project}}}
    answer = requests.post(f"{cloud.keystone_url}/auth/tokens", json=body, timeout=20)
    answer.raise_for_status()
    return answer.headers["X-Subject-Token"], answer.json()["token"]


def node_token(cloud: clouds.Undercloud, user: str, password: str, project: str) -> str:
    """A token for one of the users that Heat makes for nodes."""
    return authenticate(cloud, {"id": user, "password": password}, {"id": project})[0]


@pytest.fixture
def heat_stacks(full_undercloud: clouds.Undercloud) -> Iterator[stacks.Stacks]:
    made = stacks.Stacks(full_undercloud)
    yield made
    made.close()


@pytest.fixture(scope="module")
def member(full_undercloud: clouds.Undercloud) -> Iterator[Member]:
    rc = full_undercloud.openrc
    domain = {"id": "default"}
    user = {"name": rc["OS_USERNAME"], "password": rc["OS_PASSWORD"], "domain": domain}
    project = {"name": rc["OS_PROJECT_NAME"], "domain": domain}
    token, facts = authenticate(full_undercloud, user, project)
    with requests.Session() as http:
        http.headers.update({"X-Auth-Token": token, "Client-ID": str(uuid.uuid4())})
        catalogue = {
            service["type"]: endpoint["url"]
            for service in facts["catalog"]
            for endpoint in service["endpoints"]
            if endpoint["interface"] == "public"
        }
        yield Member(facts["project"]["id"], token, catalogue, http)


def test_an_object_goes_through_a_temporary_url(member: Member) -> None:
    key = "the key"
    assert member.store("POST", "", headers={"X-Account-Meta-Temp-URL-Key": key}).status_code == 204
    assert member.store("PUT", "/box").status_code == 201
    assert member.store("PUT", "/box/thing", data=b"").status_code == 201
    root, _, account = member.catalogue["object-store"].partition("/v1/")
    path, expires = f"/v1/{account}/box/thing", int(time.time()) + 600

    def signed(method: str) -> str:
        digest = hmac.new(key.encode(), f"{method}\n{expires}\n{path}".encode(), hashlib.sha256).hexdigest()
        return f"{root}{path}?temp_url_sig={digest}&temp_url_expires={expires}"

    assert requests.put(signed("PUT"), data=b'{"a": 1}', timeout=20).status_code == 201
    got = requests.get(signed("GET"), timeout=20)
    assert (got.status_code, got.content) == (200, b'{"a": 1}')
    assert requests.put(signed("GET"), data=b"no", timeout=20).status_code == 401
    assert member.store("GET", "/box/thing").content == b'{"a": 1}'


def test_a_message_is_posted_claimed_and_deleted(member: Member) -> None:
    posted = member.queue("POST", "claims/messages", json={"messages": [{"body": {"a": 1}, "ttl": 600}]})
    assert posted.status_code == 201
    claimed = member.queue("POST", "claims/claims", json={"ttl": 60, "grace": 60})
    assert claimed.status_code == 201
    (message,) = claimed.json()["messages"]
    assert message["body"] == {"a": 1}
    href = message["href"].removeprefix("/v2/queues/")
    assert member.queue("DELETE", href).status_code == 204
    assert member.queue("GET", "claims/messages", params={"echo": "true"}).json()["messages"] == []


def test_what_is_posted_over_http_reaches_a_websocket(member: Member) -> None:
    headers = {"Client-ID": str(uuid.uuid4()), "X-Project-ID": member.project}
    with websockets.WebSocket(member.catalogue["messaging-websocket"]) as connection:

        def ask(action: str, extra: dict[str, str] | None = None, **body: object) -> dict[str, Any]:
            connection.send({"action": action, "headers": {**headers, **(extra or {})}, "body": body})
            return connection.receive()

        assert ask("queue_list")["headers"] == {"status": 403}
        assert ask("authenticate", {"X-Auth-Token": member.token})["headers"] == {"status": 200}
        assert ask("queue_create", queue_name="pushed")["headers"] == {"status": 201}
        assert ask("subscription_create", queue_name="pushed", ttl=600)["headers"] == {"status": 201}
        assert ask("message_delete_many", queue_name="pushed", pop=1)["body"] == {"messages": []}
        posted = member.queue("POST", "pushed/messages", json={"messages": [{"body": {"a": 1}, "ttl": 600}]})
        assert posted.status_code == 201
        pushed = connection.receive()
        assert (pushed["body"], pushed["queue_name"]) == ({"a": 1}, "pushed")
        # Being told of a message does not take it.
        popped = ask("message_delete_many", queue_name="pushed", pop=1)["body"]["messages"]
        assert [message["body"] for message in popped] == [{"a": 1}]


def resources(metadata: str, signal: str) -> dict[str, Any]:
    server = {"type": "OS::Heat::DeployedServer", "properties": {"software_config_transport": metadata}}
    config = {"type": "OS::Heat::SoftwareConfig", "properties": {"group": "script", "config": "x"}}
    properties = {
        "server": {"get_resource": "server"},
        "config": {"get_resource": "config"},
        "signal_transport": signal,
    }
    deployment = {"type": "OS::Heat::SoftwareDeployment", "properties": properties}
    return {"server": server, "config": config, "deployment": deployment}


def awaited(ask: Callable[[], dict[str, Any] | None]) -> dict[str, Any]:
    """The first answer that is one."""
    deadline = time.monotonic() + 60
    while (answer := ask()) is None:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    return answer


def section(heat: stacks.Stacks, stack: str, name: str) -> dict[str, str]:
    """What Heat tells a node of its server, once it does."""

    def ask() -> dict[str, Any] | None:
        outputs = {entry["output_key"]: entry["output_value"] for entry in heat.heat.stacks.get(stack).outputs}
        return dict(outputs["occ"][name]) if outputs.get("occ") else None

    return awaited(ask)


def inputs_in(metadata: dict[str, Any]) -> dict[str, Any] | None:
    deployments = metadata["deployments"]
    return {entry["name"]: entry["value"] for entry in deployments[0]["inputs"]} if deployments else None


def test_heat_goes_through_the_object_store(heat_stacks: stacks.Stacks, member: Member) -> None:
    heat_stacks.create("store", resources("POLL_TEMP_URL", "TEMP_URL_SIGNAL"), OUTPUT)
    url = section(heat_stacks, "store", "request")["metadata_url"]

    def ask() -> dict[str, Any] | None:
        answer = requests.get(url, timeout=20)
        return inputs_in(answer.json()) if answer.content else None

    inputs = awaited(ask)
    assert inputs["deploy_signal_verb"] == "PUT"
    assert requests.put(inputs["deploy_signal_id"], json=ANSWER, timeout=20).status_code == 201
    assert heat_stacks.await_stack("store").stack_status == "CREATE_COMPLETE"
    assert heat_stacks.answer("store", "deployment")["deploy_stdout"] == "done"


def test_heat_goes_through_queues(
    heat_stacks: stacks.Stacks, member: Member, full_undercloud: clouds.Undercloud
) -> None:
    heat_stacks.create("queues", resources("ZAQAR_MESSAGE", "ZAQAR_SIGNAL"), OUTPUT)
    zaqar = section(heat_stacks, "queues", "zaqar")
    reader = node_token(full_undercloud, zaqar["user_id"], zaqar["password"], zaqar["project_id"])

    def ask() -> dict[str, Any] | None:
        path, headers = f"{zaqar['queue_id']}/messages", {"X-Auth-Token": reader}
        messages = member.queue("DELETE", path, params={"pop": 1}, headers=headers).json()["messages"]
        return inputs_in(messages[0]["body"]) if messages else None

    given = {name.removeprefix("deploy_"): value for name, value in awaited(ask).items()}
    headers = {"X-Auth-Token": node_token(full_undercloud, given["user_id"], given["password"], given["project_id"])}
    posted = {"messages": [{"body": ANSWER, "ttl": 600}]}
    assert member.queue("POST", f"{given['queue_id']}/messages", json=posted, headers=headers).status_code == 201
    assert heat_stacks.await_stack("queues").stack_status == "CREATE_COMPLETE"
    assert heat_stacks.answer("queues", "deployment")["deploy_stdout"] == "done"


def test_services_are_added_once_and_remembered(full_undercloud: clouds.Undercloud, tmp_path: Path) -> None:
    with pytest.raises(errors.UndercloudError, match="no optional service 'nova'"):
        clouds.Undercloud(tmp_path, services=["nova"])
    before = full_undercloud.state
    other = clouds.Undercloud(full_undercloud.layout.root, services=["zaqar"])
    other.up()
    assert other.state == before
    assert other.running()


def test_a_state_without_optional_services_still_loads(tmp_path: Path, full_undercloud: clouds.Undercloud) -> None:
    layout = dataclasses.replace(full_undercloud.layout, root=tmp_path)
    shutil.copy(full_undercloud.layout.state_file, layout.state_file)
    stored = json.loads(layout.state_file.read_text())
    del stored["swift"], stored["zaqar"]
    layout.state_file.write_text(json.dumps(stored))
    loaded = states.load(layout)
    assert loaded
    assert loaded.services == ()
    assert [service.name for service in services.table(layout, loaded)] == ["keystone", "heat"]
    grown = states.with_services(loaded, ["swift", "zaqar"])
    ports = [port for service in services.table(layout, grown) for port in service.ports]
    assert len(set(ports)) == len(ports) == 11
