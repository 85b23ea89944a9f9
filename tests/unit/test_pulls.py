"""Which failed pulls are tried again; the messages are Podman 4.3's own."""

from __future__ import annotations

import pytest

from overcloud_agent import errors
from overcloud_agent.containers import pulls

HERE = "cannot pull reg:5000/web:2: "


@pytest.mark.parametrize(
    "said",
    [
        'writing blob: storing blob to file "/var/tmp/storage1/1": happened during read: unexpected EOF',
        "reading blob sha256:b94b: Error fetching blob: invalid status code from registry 503 (Service Unavailable)",
        "reading blob sha256:b94b: too many requests to registry",
        "reading manifest 4 in reg:5000/web: received unexpected HTTP status: 503 Service Unavailable",
        'pinging container registry reg:5000: Get "http://reg:5000/v2/": EOF',
        'pinging container registry reg:5000: Get "http://reg:5000/v2/": dial tcp: connect: connection refused',
        "Podman's answer broke off (ChunkedEncodingError)",
    ],
)
def test_what_may_pass_is_tried_again(said: str) -> None:
    assert not pulls.is_definite(HERE + said)


@pytest.mark.parametrize(
    "said",
    [
        "reading manifest none in reg:5000/web: manifest unknown: manifest unknown",
        "reading manifest 2 in docker.io/some/where: errors: denied: requested access to the resource is denied",
        "Source image rejected: Running image docker://reg:5000/web:2 is rejected by policy.",
        "no image found in manifest list for architecture amd64",
        "writing blob: adding layer with blob sha256:b94b: write /big: no space left on device",
    ],
)
def test_a_definite_refusal_is_not(said: str) -> None:
    assert pulls.is_definite(HERE + said)


def test_an_agent_that_is_to_stop_does_not_wait_for_the_next_try() -> None:
    tries = []

    def pull() -> None:
        tries.append(1)
        raise errors.EngineError("unexpected EOF")

    def alive() -> None:
        raise errors.Interrupted("asked to stop")

    with pytest.raises(errors.Interrupted):
        pulls.persistently(pull, alive=alive)
    assert len(tries) == 1
