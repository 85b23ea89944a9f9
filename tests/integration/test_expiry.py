"""Hooks that take longer than the URL for their result lives, with a real Keystone that lets it live for a minute."""

from __future__ import annotations

import functools
import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import nodes
import places
import stacks
from undercloud import box as clouds

# Heat signs when it makes the deployment, so the hook alone is longer than the minute.
SLOW = """sleep 65; echo '{"deploy_stdout": "slow", "deploy_status_code": 0, "result": "yes"}'"""


@pytest.fixture(scope="module")
def heat_stacks() -> Iterator[stacks.Stacks]:
    cloud = clouds.Undercloud(places.SCRATCH / "expiry-undercloud", auth_ttl=1)
    cloud.down(wipe=True)
    cloud.up()
    made = stacks.Stacks(cloud)
    yield made
    made.close()
    cloud.down(wipe=True)


class Shelf:
    """Files over HTTP, as Swift would serve them."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        handler = functools.partial(_Quiet, directory=str(directory))
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()

    def put(self, name: str, content: object) -> str:
        """Keep JSON; returns its URL."""
        (self._directory / name).write_text(json.dumps(content))
        return f"http://127.0.0.1:{self._server.server_address[1]}/{name}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the library's name for it
        del format, args


class Slow:
    """A stack with a server and a deployment of a slow hook, and the server's node."""

    def __init__(self, heat: stacks.Stacks, directory: Path, transport: str = "POLL_SERVER_CFN") -> None:
        self.name = directory.name
        self._heat = heat
        self._transport = transport
        self.server, self.section = heat.server(self.name, transport)
        self.node = nodes.Node(directory, metadata=self.section, collector=stacks.SECTIONS[transport])
        self.node.hook("script", SLOW)

    def deploy(self) -> None:
        # In the server's own stack: its user and its key pair are known in that one.
        parts = stacks.deployment(self.server, "script", "x")
        self._heat.update(self.name, {**stacks.server(self._transport), **parts})

    def deploy_nested(self) -> None:
        parts = stacks.deployment(self.server, "script", "x")
        group = {"type": "OS::Heat::ResourceGroup", "properties": {"count": 1, "resource_def": parts["deployment"]}}
        resources = {**stacks.server(self._transport), "config": parts["config"], "group": group}
        self._heat.update(self.name, resources)

    def deploy_elsewhere(self) -> None:
        self._heat.create(f"{self.name}-other", stacks.deployment(self.server, "script", "x"))

    def forget_credentials(self, shelf: Shelf) -> None:
        """Give the node its metadata as by a TempURL: without a user or a key."""
        listed = self._heat.await_metadata(self.server)
        url = shelf.put(self.name, {"deployments": listed})
        self.node = nodes.Node(self.node.directory, metadata={"metadata_url": url}, collector="request")

    def settled(self, state: str) -> dict[str, Any]:
        """The deployment's signal, once the deployment is in `state`."""
        (deployment,) = self.node.status()["deployments"]
        self.node.await_state(deployment["id"], state, within=120)
        (signal,) = self.node.status()["signals"]
        return dict(signal)


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    (tmp_path / "shelf").mkdir()
    made = Shelf(tmp_path / "shelf")
    yield made
    made.close()


def test_a_hook_may_take_longer_than_its_url_lives(heat_stacks: stacks.Stacks, shelf: Shelf, tmp_path: Path) -> None:
    signing = Slow(heat_stacks, tmp_path / "signing")
    asking = Slow(heat_stacks, tmp_path / "asking", "POLL_SERVER_HEAT")
    unaware = Slow(heat_stacks, tmp_path / "unaware")
    without = Slow(heat_stacks, tmp_path / "without")
    nested = Slow(heat_stacks, tmp_path / "nested")
    elsewhere = Slow(heat_stacks, tmp_path / "elsewhere")
    everybody = (signing, asking, unaware, without, nested, elsewhere)
    for slow in (signing, asking, unaware, without):
        slow.deploy()
    nested.deploy_nested()
    elsewhere.deploy_elsewhere()
    without.forget_credentials(shelf)
    for slow in (signing, asking, without):
        slow.node.configure(cfn_signal_ttl=60)
    # It tries ten times before it believes that.
    elsewhere.node.configure(signal_retry_max=1)
    try:
        for slow in everybody:
            slow.node.start()
        for slow in (signing, asking, unaware, nested):
            found = heat_stacks.await_stack(slow.name, within=150)
            assert found.stack_status == "UPDATE_COMPLETE", (slow.name, found.stack_status_reason)
            if slow is not nested:
                assert heat_stacks.answer(slow.name, "deployment")["result"] == "yes"
            signal = slow.settled("signalled")
            assert (signal["state"], signal["attempts"]) == ("delivered", 1)
        assert "delivered by the URL signed with the key of [cfn]" in signing.node.log.read_text()
        assert "delivered by Heat's API with the user of [heat]" in asking.node.log.read_text()
        assert "delivered by the URL signed with the key of [cfn]" in unaware.node.log.read_text()
        signal = without.settled("expired")
        assert signal["state"] == "expired"
        for way_out in ("auth_ttl", "HEAT_SIGNAL", "POLL_SERVER_HEAT"):
            assert way_out in signal["last_error"]
        signal = elsewhere.settled("refused")
        for words in ("the URL: ", "answered 403", "the URL signed with the key of [cfn]: ", "auth_ttl"):
            assert words in signal["last_error"]
        for slow in everybody:
            assert "Signature=" not in slow.node.log.read_text()
    finally:
        for slow in everybody:
            slow.node.close()
