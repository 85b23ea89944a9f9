"""The outbox, against endpoints that refuse, break and come back."""

from __future__ import annotations

import socket
from typing import Any

import pytest

import heatlike
import nodes

GOOD = """echo '{"deploy_stdout": "fine", "deploy_status_code": 0}'"""


def signal_to(url: str, deployment: dict[str, Any]) -> dict[str, Any]:
    """The deployment, its answer going to another place."""
    inputs = [entry for entry in deployment["inputs"] if entry["name"] != "deploy_signal_id"]
    return {**deployment, "inputs": [*inputs, {"name": "deploy_signal_id", "type": "String", "value": url}]}


def test_it_tries_until_heat_accepts(node: nodes.Node, heat: heatlike.HeatLike) -> None:
    node.hook("script", GOOD)
    heat.refuse_with = [500, 503, 429, 408]
    node.start()
    heat.serve(heat.deployment("a"))
    assert heat.signal("a")["deploy_stdout"] == "fine"
    node.await_state("a", "signalled")
    (row,) = node.status()["signals"]
    assert (row["state"], row["attempts"]) == ("delivered", 5)
    assert len(heat.signals) == 1


def test_what_could_not_be_sent_is_sent_after_a_restart(node: nodes.Node, heat: heatlike.HeatLike) -> None:
    node.hook("script", f"echo run >> {node.directory}/runs; {GOOD}")
    with socket.socket() as closed:
        # Bound and not listening: connections are refused, and nobody else gets the port.
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        heat.serve(signal_to(f"http://127.0.0.1:{port}/v1/signal/a?Signature=s3cr3t", heat.deployment("a")))
        assert node.run("apply", "--deliver-within", "0.5").returncode == 1
        (row,) = node.status()["signals"]
        assert (row["state"], row["transport"]) == ("pending", "CFN_SIGNAL")
        assert row["last_error"] == f"http://127.0.0.1:{port}: connection refused"
    with heatlike.HeatLike(port=port) as back:
        assert node.run("apply").returncode == 0
        assert back.signal("a", within=1)["deploy_stdout"] == "fine"
    assert node.deployment("a")["state"] == "signalled"
    assert (node.directory / "runs").read_text() == "run\n"


def test_a_refusal_is_final_and_shown(node: nodes.Node, heat: heatlike.HeatLike) -> None:
    node.hook("script", GOOD)
    heat.refuse_with = [404]
    node.start()
    heat.serve(heat.deployment("a"), heat.deployment("b"))
    heat.signal("b")
    assert node.await_state("a", "refused")["ok"] is True
    (row,) = (row for row in node.status()["signals"] if row["deployment"] == "a")
    assert row["state"] == "refused"
    assert "answered 404: Heat does not know the stack" in row["last_error"]


@pytest.mark.parametrize(
    "url", ["http://a..b/x", "http://" + "a" * 70 + ".example/x", "no url", "ftp://host/x", "http://[/"]
)
def test_an_address_that_makes_no_sense_keeps_nobody_else_waiting(
    node: nodes.Node, heat: heatlike.HeatLike, url: str
) -> None:
    node.hook("script", GOOD)
    node.start()
    heat.serve(signal_to(url, heat.deployment("a")), heat.deployment("b"))
    assert heat.signal("b")["deploy_stdout"] == "fine"
    assert node.await_state("a", "refused")["ok"] is True
    assert "is not an http or https URL" in node.status()["signals"][0]["last_error"]


def test_a_transport_that_nobody_knows_is_a_named_end(node: nodes.Node, heat: heatlike.HeatLike) -> None:
    node.hook("script", GOOD)
    deployment = heat.deployment("a")
    for entry in deployment["inputs"]:
        if entry["name"] == "deploy_signal_transport":
            entry["value"] = "PIGEON_SIGNAL"
    node.start()
    heat.serve(deployment)
    node.await_state("a", "refused")
    assert "cannot signal by PIGEON_SIGNAL" in node.status()["signals"][0]["last_error"]


def test_nobody_wants_an_answer(node: nodes.Node, heat: heatlike.HeatLike) -> None:
    node.hook("script", f"touch {node.directory}/ran; {GOOD}")
    node.start()
    inputs = [{"name": "deploy_signal_transport", "type": "String", "value": "NO_SIGNAL"}]
    heat.serve({**heat.deployment("a"), "inputs": inputs})
    node.await_state("a", "signalled")
    assert (node.directory / "ran").exists()
    assert node.status()["signals"] == []
