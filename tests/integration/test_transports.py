"""Signals that need a token, at the socket: what is sent, and what the answers of Keystone and of others mean."""

from __future__ import annotations

import socket
import uuid
from collections.abc import Iterator

import pytest

import cloudlike
from overcloud_agent import keystone, model
from overcloud_agent.signals import access, sender, verdict

BODY = b'{"deploy_stdout": "x", "deploy_status_code": 0}'
HEAT_PATH = "/stacks/name/uuid/resources/a%20b/signal"


@pytest.fixture
def cloud() -> Iterator[cloudlike.CloudLike]:
    with cloudlike.CloudLike() as made:
        yield made


@pytest.fixture
def sending() -> Iterator[sender.Sender]:
    made = sender.Sender(timeout=5.0)
    yield made
    made.close()


def target(cloud: cloudlike.CloudLike, transport: str, *, path: str = "/v3", region: str = "one") -> model.Target:
    return model.Target(
        transport=transport,
        auth_url=cloud.url + path,
        user_id="u",
        password="right",
        project_id="p",
        region_name=region,
        stack_id="name/uuid",
        resource_name="a b",
        queue_id="queue",
    )


def attempt(sending: sender.Sender, where: model.Target) -> verdict.Verdict:
    return sending.attempt(where, BODY, access.Access())


@pytest.mark.parametrize("path", ["", "/", "/v2.0", "/v2.0/", "/v3", "/v3/"])
def test_the_heat_api_is_asked_with_a_token(cloud: cloudlike.CloudLike, sending: sender.Sender, path: str) -> None:
    cloud.serves = {HEAT_PATH: 200}
    where = target(cloud, "HEAT_SIGNAL", path=path)
    assert attempt(sending, where).outcome == "delivered"
    assert attempt(sending, where).outcome == "delivered"
    assert cloud.requests == [("POST", "/v3/auth/tokens"), ("POST", HEAT_PATH), ("POST", HEAT_PATH)], "one login"
    assert cloud.headers[0]["X-Auth-Token"] == "t0ken"
    assert cloud.headers[0]["Content-Type"] == "application/json"
    assert cloud.bodies == [{"deploy_stdout": "x", "deploy_status_code": 0}] * 2


def test_the_region_chooses_the_endpoint(cloud: cloudlike.CloudLike, sending: sender.Sender) -> None:
    cloud.serves = {f"/two{HEAT_PATH}": 200}
    assert attempt(sending, target(cloud, "HEAT_SIGNAL", region="two")).outcome == "delivered"
    answer = attempt(sending, target(cloud, "HEAT_SIGNAL", region="three"))
    assert answer.outcome == "retry", "a catalogue can be mended"
    assert "for region three has no orchestration service" in answer.error


@pytest.mark.parametrize("version", ["v2", "v1.1"])
def test_a_message_goes_to_the_queue(cloud: cloudlike.CloudLike, sending: sender.Sender, version: str) -> None:
    path = f"/{version}/queues/queue/messages"
    cloud.serves = {path: 201}
    assert attempt(sending, target(cloud, "ZAQAR_SIGNAL")).outcome == "delivered"
    assert cloud.requests[-1] == ("POST", path)
    assert len(cloud.requests) == (2 if version == "v2" else 3)
    body = {"deploy_stdout": "x", "deploy_status_code": 0}
    assert cloud.bodies[-1] == {"messages": [{"ttl": 600, "body": body}]}
    assert uuid.UUID(cloud.headers[-1]["Client-ID"])


def test_a_messaging_service_that_is_none(cloud: cloudlike.CloudLike, sending: sender.Sender) -> None:
    answer = attempt(sending, target(cloud, "ZAQAR_SIGNAL"))
    assert answer.outcome == "refused"
    assert "neither version 2 nor version 1.1" in answer.error


def test_a_user_that_keystone_refuses(cloud: cloudlike.CloudLike, sending: sender.Sender) -> None:
    cloud.password = "another"
    answer = attempt(sending, target(cloud, "HEAT_SIGNAL"))
    assert (answer.outcome, answer.doubtful) == ("refused", True)
    assert answer.error == f"{cloud.url} answered 401: it does not let user u in"


def test_a_keystone_that_is_busy_gets_the_pause_it_asks_for(cloud: cloudlike.CloudLike, sending: sender.Sender) -> None:
    cloud.refuse_login = 503
    answer = attempt(sending, target(cloud, "HEAT_SIGNAL"))
    assert (answer.outcome, answer.retry_after, answer.lane) == ("retry", 7.0, True)
    cloud.refuse_login = 0
    cloud.serves = {HEAT_PATH: 503}
    answer = attempt(sending, target(cloud, "HEAT_SIGNAL"))
    assert (answer.outcome, answer.retry_after, answer.lane) == ("retry", 7.0, True)


def test_a_keystone_that_is_away_is_tried_again(sending: sender.Sender) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        answer = attempt(sending, model.Target(transport="HEAT_SIGNAL", auth_url=url, user_id="u", password="s3cr3t"))
    assert (answer.outcome, answer.lane) == ("retry", True)
    assert answer.error == f"{url}: connection refused"


@pytest.mark.parametrize("url", ["", "no url", "ftp://host/", "http://a..b/", "http://[/"])
def test_an_address_that_makes_no_sense_is_final(sending: sender.Sender, url: str) -> None:
    answer = attempt(sending, model.Target(transport="HEAT_SIGNAL", auth_url=url, user_id="u", password="s3cr3t"))
    assert (answer.outcome, answer.doubtful) == ("refused", False)
    assert "s3cr3t" not in answer.error


def test_the_timeout_is_for_login_and_request_together() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        session = keystone.Session(keystone.Login(url, "u", "s3cr3t", "p", timeout=0.5))
        with pytest.raises(keystone.Failure) as caught:
            session.request("orchestration", "GET", "/")
        session.close()
    assert caught.value.kind == "silent"
    assert str(caught.value) == f"{url}: no answer within 0.5 s"


def test_a_login_shows_no_password() -> None:
    assert "s3cr3t" not in repr(keystone.Login("http://keystone", "u", "s3cr3t", "p"))
