"""The undercloud's optional services do what Heat and nodes need of them."""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
import json
import shutil
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

import websockets
from undercloud import box as clouds
from undercloud import errors, services
from undercloud import state as states


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


@pytest.fixture(scope="module")
def member(full_undercloud: clouds.Undercloud) -> Iterator[Member]:
    rc = full_undercloud.openrc
    domain = {"id": "default"}
    user = {"name": rc["OS_USERNAME"], "password": rc["OS_PASSWORD"], "domain": domain}
    scope = {"project": {"name": rc["OS_PROJECT_NAME"], "domain": domain}}
    identity = {"methods": ["password"], "password": {"user": user}}
    with requests.Session() as http:
        http.trust_env = False
        url = f"{rc['OS_AUTH_URL']}/auth/tokens"
        answer = http.post(url, json={"auth": {"identity": identity, "scope": scope}}, timeout=20)
        answer.raise_for_status()
        token, facts = answer.headers["X-Subject-Token"], answer.json()["token"]
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
