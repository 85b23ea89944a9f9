"""The world misbehaves in the middle of an upgrade: Podman fails, hangs or starts again, and people use their hands.

Each ends with the old or the new container running under its name, one result, and nothing left over; world.World.ended
judges that. A relay stands between the agent and the real Podman.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import Any

import pytest

from faulty import plan, world
from podmanbox import box

Fault = plan.Fault

# What a gate waits on: its events, or its end.
WATCH = ("GET|POST", "/(events|wait)$")

# A container that runs its own healthcheck in the gate, so that an upgrade has every kind of call.
CHECKED: dict[str, Any] = {"healthcheck": {"test": "true"}}

# These can be asked for again: nothing is changed by them, or the same thing. One fault costs the upgrade nothing.
REPEATABLE = re.compile(r"^(GET|DELETE) |^POST .*/(wait|images/create|rename)$")

# Nobody tells it to go: SIGKILL has to.
STUBBORN: dict[str, Any] = {
    "command": ["/bin/sh", "-c", "trap '' TERM; while :; do sleep 0.2; done"],
    "stop_grace_period": 2,
}


@pytest.fixture(scope="module")
def one(podman: box.PodmanBox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[world.World]:
    with world.made(tmp_path_factory.mktemp("node"), podman) as made:
        yield made


@pytest.fixture(scope="module")
def calls(one: world.World) -> list[tuple[str, str]]:
    """The different calls of an upgrade in which nothing goes wrong: method and path, inspections as one."""
    one.begin(**CHECKED)
    since = len(one.relay.requests())
    one.upgrade(**CHECKED)
    assert one.ended()["deploy_status_code"] == 0
    made = [(method, _kind(path)) for method, path in one.relay.requests(since)]
    assert {"POST /images/create$", f"POST /containers/{world.NAME}/start$"} <= {" ".join(call) for call in made}
    return list(dict.fromkeys(made))


def _kind(path: str) -> str:
    """A regular expression for calls that are alike."""
    if path.startswith("/images/") and path.endswith("/json"):
        return "/images/.*/json$"
    if re.fullmatch(r"/containers/[^/]*/json", path):
        return f"/containers/{world.NAME}[^/]*/json$"
    return re.escape(path) + "$"


@pytest.mark.parametrize(
    "fault", [Fault.UNAVAILABLE, Fault.UNAVAILABLE_AFTER, Fault.RESET, Fault.RESET_IN_ANSWER], ids=lambda one: one.name
)
def test_every_call_goes_wrong_once(one: world.World, calls: list[tuple[str, str]], fault: plan.Fault) -> None:
    """Podman answers 500, or the connection ends; before Podman has the request, or after."""
    problems = []
    for method, path in calls:
        try:
            one.begin()
            one.relay.breaks(method, path, fault)
            one.upgrade(**CHECKED)
            body = one.ended()
            if REPEATABLE.search(f"{method} {path[:-1]}"):
                assert body["deploy_status_code"] == 0, body
            assert fault in [exchange.fault for exchange in one.relay.ledger.exchanges()[-80:]], "it was not met"
        except AssertionError as problem:
            problems.append(f"{method} {path}: {problem}")
    assert not problems, "\n\n".join(problems)


@pytest.mark.parametrize(
    ("call", "fault"),
    [
        ("containers/create", Fault.SILENCE_AFTER),
        ("stop", Fault.SILENCE),
        ("stop", Fault.SILENCE_AFTER),
        ("start", Fault.SILENCE),
        ("start", Fault.SILENCE_AFTER),
    ],
)
def test_podman_does_not_answer_a_call(one: world.World, call: str, fault: plan.Fault) -> None:
    one.begin()
    one.relay.breaks("POST", f"/{call}$", fault)
    one.upgrade(stop_grace_period=1)
    body = one.ended()
    assert "Podman did not answer within" in body["deploy_stderr"]


def test_podman_fails_twice_in_a_row(one: world.World) -> None:
    """The step fails, and so does the first try of the way back."""
    one.begin()
    one.relay.breaks("POST", "/start$", Fault.UNAVAILABLE, times=2)
    one.upgrade()
    assert "database is locked" in one.ended()["deploy_stderr"]


@pytest.mark.parametrize("call", ["images/create", "containers/create", "stop", "start", "gate"])
def test_podman_s_service_starts_again_in_the_middle_of_a_call(one: world.World, call: str) -> None:
    """The service is stopped while it works on the request."""
    # One that goes at once would be stopped before the service ends.
    keys = STUBBORN if call == "stop" else {}
    one.begin(**keys)
    # A wait is answered when it is over, events at once.
    held = one.relay.hold(*(WATCH if call == "gate" else ("POST", f"/{call}$")), after=True)
    one.upgrade(**keys)
    held.under_way()
    one.podman.service_stop()
    held.release()
    one.podman.service_start()
    body = one.ended()
    if call in ("images/create", "gate"):
        assert body["deploy_status_code"] == 0, "it is asked for again"
    one.relay.mend()
    one.upgrade()
    assert one.ended()["deploy_status_code"] == 0, "the image storage is usable"


def test_last_words_that_never_come_keep_no_service_down(one: world.World) -> None:
    """They are for the report; the old container is put back first of all."""
    one.begin()
    one.relay.breaks("GET", "/logs$", Fault.SILENCE, times=None)
    one.upgrade(f"{one.podman.registry}/service:broken")
    body = one.ended()
    one.relay.mend()
    assert body["deploy_status_code"] == 3, body
    assert body["containers"][0]["result"] == "rolled back"


MOMENTS = {
    "before the successor is made": ("POST", "/containers/create$", False),
    "before the stop": ("POST", "/stop$", False),
    "after the stop": ("POST", "/stop$", True),
    "before the start": ("POST", "/start$", False),
    "after the start": ("POST", "/start$", True),
    "in the gate": (*WATCH, False),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_container_is_removed_by_hand(one: world.World, moment: str) -> None:
    """Each of the containers of the upgrade is removed once in each of its moments."""
    problems = []
    for victim in _victims(one, moment):
        try:
            one.begin()
            _remove_by_hand(one, moment, victim)
        except AssertionError as problem:
            problems.append(f"{victim} {moment}: {problem}")
    assert not problems, "\n\n".join(problems)


def _victims(one: world.World, moment: str) -> list[str]:
    """The containers that there are at that moment of an upgrade in which nobody interferes."""
    one.begin()
    method, path, after = MOMENTS[moment]
    held = one.relay.hold(method, path, after=after)
    one.upgrade()
    held.reached()
    found = one.names()
    held.release()
    assert one.ended()["deploy_status_code"] == 0
    return found


def _remove_by_hand(one: world.World, moment: str, victim: str) -> None:
    method, path, after = MOMENTS[moment]
    held = one.relay.hold(method, path, after=after)
    one.upgrade()
    held.reached()
    one.podman.podman("rm", "--force", "--time", "0", victim)
    held.release()
    one.ended()


def test_a_container_that_does_not_go_is_killed_after_its_grace(one: world.World) -> None:
    one.begin(**STUBBORN)
    held = one.relay.hold("POST", "/stop$")
    one.upgrade()
    held.reached()
    begun = time.monotonic()
    held.release()
    assert one.ended()["deploy_status_code"] == 0
    assert 2 <= time.monotonic() - begun < 10, "it had its grace, and no more"
