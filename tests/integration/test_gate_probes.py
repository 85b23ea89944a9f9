"""What a gate asks a container for: a command, a URL, a port."""

from __future__ import annotations

import contextlib
import http.server
import json
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

import gated
import heatlike
import nodes
from overcloud_agent import errors
from overcloud_agent.containers import engine, execs
from podmanbox import box

# Exec


def test_a_command_that_passes_in_the_end(empty: box.PodmanBox, api: engine.Engine) -> None:
    gated.run(empty, f"sleep 2; touch /ready; {gated.FOREVER}")
    gated.check(api, exec=["/bin/test", "-e", "/ready"], within=gated.LONG)


def test_a_command_that_does_not_says_why(empty: box.PodmanBox, api: engine.Engine) -> None:
    gated.run(empty)
    said = gated.refused(api, exec=["/bin/sh", "-c", "echo no quorum >&2; exit 4"], within=1.5)
    assert said.startswith("web did not pass its gate: /bin/sh ended with status 4: no quorum; last of ")
    assert said.endswith(" attempts within 1.5 s")


def test_a_command_that_is_not_there_says_so(empty: box.PodmanBox, api: engine.Engine) -> None:
    gated.run(empty)
    said = gated.refused(api, exec=["/no/such"], within=0)
    assert "/no/such ended with status 127: " in said
    assert said.endswith("; the only attempt within 0 s")


def test_a_command_that_hangs_is_killed(empty: box.PodmanBox, api: engine.Engine) -> None:
    gated.run(empty)
    begun = time.monotonic()
    said = gated.refused(api, exec=["/bin/sh", "-c", "echo thinking; sleep 100; echo"], within=2)
    assert time.monotonic() - begun < gated.SOON
    assert "cannot run /bin/sh in web: it did not end within" in said
    assert "its last words: thinking" in said
    assert gated.processes(empty, "sleep 100") == 0


def test_an_end_while_a_command_hangs_is_noticed_at_once(empty: box.PodmanBox, api: engine.Engine) -> None:
    gated.run(empty, "sleep 2; exit 7")
    begun = time.monotonic()
    assert (
        gated.refused(api, exec=["/bin/sleep", "100"], within=gated.LONG) == "web ended with status 7 within its gate"
    )
    assert time.monotonic() - begun < gated.SOON


def test_a_command_has_a_user_and_an_environment(empty: box.PodmanBox, api: engine.Engine) -> None:
    gated.run(empty)
    shell = ["/bin/sh", "-c", "echo $GREETING; id -u; exit 3"]
    assert api.exec("web", shell, timeout=gated.SOON, user="5", env={"GREETING": "hello you"}) == (3, "hello you\n5")


def test_only_the_end_of_much_output_is_kept(empty: box.PodmanBox, api: engine.Engine) -> None:
    gated.run(empty)
    code, said = api.exec("web", ["/bin/sh", "-c", "yes | head -c 3000000; echo last"], timeout=gated.LONG)
    assert code == 0
    assert said.endswith("\nlast")
    assert len(said) <= 4000


def test_a_command_in_a_container_that_does_not_run_is_an_error(empty: box.PodmanBox, api: engine.Engine) -> None:
    with pytest.raises(errors.EngineError, match="no such container"):
        api.exec("web", ["x"], timeout=1)
    gated.run(empty, "exit 0")
    with pytest.raises(errors.EngineError, match="running"):
        api.exec("web", ["x"], timeout=1)


def test_a_command_past_its_time_is_an_error(empty: box.PodmanBox, api: engine.Engine) -> None:
    gated.run(empty)
    with pytest.raises(execs.TookTooLong, match="within 1 seconds"):
        api.exec("web", ["/bin/sleep", "100"], timeout=1)
    assert gated.processes(empty, "/bin/sleep 100") == 0


# HTTP and TCP


class _Statuses(http.server.BaseHTTPRequestHandler):
    statuses: list[int]

    def do_GET(self) -> None:
        self.send_response(self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0])
        self.end_headers()

    def log_message(self, *args: object) -> None:
        del args


@contextlib.contextmanager
def serving(*statuses: int) -> Iterator[str]:
    """A server on the node that answers with these, the last again and again."""
    handler = type("Handler", (_Statuses,), {"statuses": list(statuses)})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


def test_a_service_that_is_ready_later_passes(empty: box.PodmanBox, api: engine.Engine) -> None:
    gated.run(empty)
    with serving(503, 503, 200) as url:
        begun = time.monotonic()
        gated.check(api, http=url, within=gated.LONG)
        assert time.monotonic() - begun >= 2, "one try a second"


def test_a_service_that_stays_away_does_not(empty: box.PodmanBox, api: engine.Engine) -> None:
    gated.run(empty)
    with serving(503) as url:
        said = gated.refused(api, http=url, within=1.5)
    assert said.startswith(f"web did not pass its gate: {url} answered 503; last of ")


def test_the_container_itself_answers(empty: box.PodmanBox, api: engine.Engine) -> None:
    port = gated.free_port()
    gated.run(empty, f"mkdir /www; echo hello > /www/index.html; sleep 2; exec httpd -f -h /www -p 127.0.0.1:{port}")
    gated.check(api, http=f"http://127.0.0.1:{port}/", tcp=f"127.0.0.1:{port}", within=gated.LONG)
    said = gated.refused(api, http=f"http://127.0.0.1:{port}/none", within=0)
    assert f"http://127.0.0.1:{port}/none answered 404" in said


def test_a_port_that_opens_later_passes(empty: box.PodmanBox, api: engine.Engine) -> None:
    port = gated.free_port()
    gated.run(empty, f"sleep 2; exec httpd -f -p 127.0.0.1:{port}")
    gated.check(api, tcp=f"127.0.0.1:{port}", within=gated.LONG)


def test_a_port_that_stays_closed_does_not(empty: box.PodmanBox, api: engine.Engine) -> None:
    port = gated.free_port()
    gated.run(empty)
    said = gated.refused(api, tcp=f"127.0.0.1:{port}", within=1.5)
    assert said.startswith(f"web did not pass its gate: 127.0.0.1:{port}: connection refused; last of ")


def test_an_end_while_nobody_answers_is_noticed_at_once(empty: box.PodmanBox, api: engine.Engine) -> None:
    gated.run(empty, "sleep 2; exit 7")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        begun = time.monotonic()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        assert gated.refused(api, http=url, within=gated.LONG) == "web ended with status 7 within its gate"
        assert time.monotonic() - begun < gated.SOON


# Through the agent


def test_a_gate_that_is_not_passed_leads_back(
    container_node: nodes.Node, heat: heatlike.HeatLike, podman: box.PodmanBox
) -> None:
    port = gated.free_port()
    image = {"image": f"{podman.registry}/service:1", "net": "host"}
    serve = ["/bin/sh", "-c", f"exec httpd -f -p 127.0.0.1:{port}"]
    gate = {"tcp": f"127.0.0.1:{port}", "exec": ["/bin/true"], "within": 20, "stable_for": 0}
    good = {**image, "command": serve, "stop_signal": "SIGKILL", "upgrade": {"gate": gate}}
    assert upgrade(container_node, heat, "one", good)["deploy_status_code"] == 0
    before = gated.identity(podman)
    # The old container has to pass the same gate on the way back.
    command = ["/bin/sh", "-c", 'test -z "$A" || { echo A is bad; exit 1; }']
    bad = {**good, "environment": {"A": "1"}, "upgrade": {"gate": {**gate, "exec": command, "within": 2}}}
    body = upgrade(container_node, heat, "two", bad)
    assert body["deploy_status_code"] == 3, body
    assert "web did not pass its gate: /bin/sh ended with status 1: A is bad; last of" in body["deploy_stderr"]
    assert gated.identity(podman) == before


def upgrade(node: nodes.Node, heat: heatlike.HeatLike, key: str, container: dict[str, Any]) -> dict[str, Any]:
    heat.serve(heat.deployment(key, "container-upgrade", json.dumps({"web": container})))
    node.run("apply")
    return dict(heat.signal(key))
