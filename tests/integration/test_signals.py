"""The outbox, against endpoints that refuse, break and come back."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

import faketime
import heatlike
import nodes
from overcloud_agent import journal, mail, model
from overcloud_agent.signals import outbox

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


def test_a_clock_that_is_set_back_makes_nothing_wait_for_it(
    node: nodes.Node, heat: heatlike.HeatLike, tmp_path: Path
) -> None:
    """By fifty minutes, as when a node has found out what time it is."""
    clock = tmp_path / "clock"
    clock.write_text("+0\n")
    node.hook("script", GOOD)
    heat.refuse = {"a": 503}
    heat.retry_after = "4"
    node.start(env=faketime.env(clock))
    heat.serve(heat.deployment("a"))
    node.await_log(" waits 4.0 s")
    clock.write_text("-50m\n")
    heat.refuse = {}
    assert heat.signal("a", within=30)["deploy_stdout"] == "fine"


def test_credentials_that_nobody_can_check_are_tried_again(node: nodes.Node, heat: heatlike.HeatLike) -> None:
    """While Keystone's database is away, Heat says 403 to a signature that is good, and Swift 401."""
    node.hook("script", GOOD)
    # Each attempt by the URL, and by the URL signed again.
    heat.refuse_with = [403, 401, 403, 401]
    node.start()
    heat.serve(heat.deployment("a"))
    assert heat.signal("a")["deploy_stdout"] == "fine"
    assert node.await_state("a", "signalled")["ok"] is True
    (row,) = node.status()["signals"]
    assert (row["state"], row["attempts"]) == ("delivered", 3)


def test_credentials_that_stay_refused_are_believed_to_be_wrong(node: nodes.Node, heat: heatlike.HeatLike) -> None:
    node.hook("script", GOOD)
    heat.refuse = {"a": 403}
    node.configure(signal_retry_max=1)
    node.start()
    heat.serve(heat.deployment("a"), heat.deployment("b"))
    assert heat.signal("b")["deploy_stdout"] == "fine", "nobody else waits for that"
    node.await_state("a", "refused")
    (row,) = (row for row in node.status()["signals"] if row["deployment"] == "a")
    assert row["attempts"] == 10
    assert "answered 403" in row["last_error"]


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


def test_a_silent_endpoint_delays_nobody_else(node: nodes.Node, heat: heatlike.HeatLike) -> None:
    """And `status` tells of each signal what it waits for; once the endpoint is back, all that waited goes at once."""
    node.hook("script", GOOD)
    node.configure(signal_timeout=2, signal_retry_max=300)
    with heatlike.HeatLike() as dead:
        dead.silent = True
        node.start()
        heat.serve(*(dead.deployment(f"dead-{number}") for number in range(5)), heat.deployment("live"))
        heat.signal("live", within=2.0)
        node.await_log("no answer within 2 s")
        node.await_state("dead-4", "finished")
        waiting = [row for row in node.status()["signals"] if row["endpoint"] == dead.url]
        assert {row["state"] for row in waiting} == {"pending"}
        assert all(f"{dead.url}: no answer within 2 s" in row["last_error"] for row in waiting), waiting
        assert all(row["next_at"] for row in waiting)
        assert waiting[-1]["last_error"].startswith("not tried yet, because ")
        dead.silent = False
        for number in range(5):
            dead.signal(f"dead-{number}")
        moments = [moment for moment, _ in dead.tried]
        assert moments[-1] - moments[0] < 2.0, "no back-off of their own"


def test_more_dead_endpoints_than_lanes(node: nodes.Node, heat: heatlike.HeatLike) -> None:
    node.hook("script", GOOD)
    node.configure(signal_timeout=2, signal_retry_max=300)
    # Sockets whose connections nobody ever accepts.
    dead = [socket.create_server(("127.0.0.1", 0)) for _ in range(outbox.MOST_LANES + 8)]
    try:
        node.start()
        lost = [
            signal_to(f"http://127.0.0.1:{server.getsockname()[1]}/dead", heat.deployment(f"dead-{index}"))
            for index, server in enumerate(dead)
        ]
        heat.serve(*lost, heat.deployment("live"))
        node.await_state("live", "signalled", within=20.0)
        for index in range(len(dead)):
            node.await_log(f"signal for dead-{index}: http")
    finally:
        for server in dead:
            server.close()


def test_an_endpoint_that_asks_for_a_pause_gets_it(node: nodes.Node, heat: heatlike.HeatLike) -> None:
    node.hook("script", GOOD)
    node.configure(signal_retry_max=1)
    heat.refuse_with = [429]
    heat.retry_after = "3"
    node.start()
    heat.serve(heat.deployment("a"), heat.deployment("b"))
    heat.signal("a")
    heat.signal("b")
    (first, _), (second, _), _ = heat.tried
    assert second - first >= 3, "also the other waited"


def test_a_signal_that_heat_cannot_take_waits_alone(node: nodes.Node, heat: heatlike.HeatLike) -> None:
    node.hook("script", GOOD)
    heat.refuse = {"a": 500}
    node.start()
    heat.serve(*(heat.deployment(key) for key in "abcd"))
    for key in "bcd":
        heat.signal(key, within=5.0)
    (row,) = (row for row in node.status()["signals"] if row["state"] == "pending")
    assert "answered 500" in row["last_error"]
    heat.refuse = {}
    heat.signal("a")


def test_an_answer_that_never_ends_is_no_answer(node: nodes.Node, heat: heatlike.HeatLike) -> None:
    node.hook("script", GOOD)
    node.configure(signal_timeout=1)
    heat.drip = True
    node.start()
    heat.serve(heat.deployment("a"))
    node.await_log("no answer within 1 s", within=5.0)
    heat.drip = False
    heat.signal("a")


def test_an_unknown_certificate_authority_is_named(node: nodes.Node, heat: heatlike.HeatLike, tmp_path: Path) -> None:
    node.hook("script", GOOD)
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    request = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"]
    request += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(request, check=True, capture_output=True)
    with heatlike.HeatLike(tls=(certificate, key)) as secure:
        node.start()
        heat.serve(secure.deployment("a"))
        node.await_log(f"{secure.url}: certificate verify failed: self-signed certificate")
        assert node.deployment("a")["state"] == "finished"
        node.sources.write_text(node.sources.read_text() + f"ca_certificate = {certificate}\n")
        assert node.process
        node.process.send_signal(signal.SIGHUP)
        secure.signal("a")


def test_a_result_is_tried_before_the_agent_ends(node: nodes.Node, heat: heatlike.HeatLike) -> None:
    """Whatever other endpoints do, and within the time of one attempt."""
    node.hook("slow", f"touch {node.directory}/begun; sleep 1; {GOOD}")
    node.hook("script", GOOD)
    node.configure(signal_timeout=3, signal_retry_max=300)
    with heatlike.HeatLike() as dead:
        dead.silent = True
        node.start()
        heat.serve(dead.deployment("dead-1"), dead.deployment("dead-2"), heat.deployment("live", "slow"))
        node.await_file(node.directory / "begun")
        begun = time.monotonic()
        assert node.stop() == 0
        assert time.monotonic() - begun < 6
        assert heat.signal("live", within=0.1)["deploy_stdout"] == "fine"
        assert node.deployment("live")["state"] == "signalled"
        assert node.deployment("dead-2")["state"] == "finished"


def test_flush_wakes_the_resident_agent(node: nodes.Node, heat: heatlike.HeatLike) -> None:
    """Also while a hook runs."""
    node.hook("script", GOOD)
    node.hook("long", f"touch {node.directory}/long; sleep 30")
    heat.refuse_with = [503]
    heat.retry_after = "600"
    node.start()
    heat.serve(heat.deployment("a"), heat.deployment("b"), heat.deployment("c", "long"))
    node.await_file(node.directory / "long")
    node.await_log("asks for a pause of 600 s")
    begun = time.monotonic()
    done = node.run("signals", "flush", "--json")
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - begun < 5
    assert sorted(row["deployment"] for row in json.loads(done.stdout)["delivered"]) == ["a", "b"]
    assert node.run("signals", "flush").stdout == "nothing is pending\n"


def test_flush_without_an_agent_delivers_itself(node: nodes.Node, heat: heatlike.HeatLike) -> None:
    node.hook("script", GOOD)
    assert node.run("signals", "flush").stdout == "nothing is pending\n"
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        url = f"http://127.0.0.1:{port}/v1/signal"
        heat.serve(*(signal_to(f"{url}/{key}?Signature=s3cr3t", heat.deployment(key)) for key in "ab"))
        assert node.run("apply", "--deliver-within", "0.5").returncode == 1
        done = node.run("signals", "flush", "--json")
        assert done.returncode == 75
        report = json.loads(done.stdout)
        assert len(report["pending"]) == 2
        assert all("connection refused" in row["last_error"] for row in report["pending"])
        assert "s3cr3t" not in done.stdout + done.stderr
    with heatlike.HeatLike(port=port) as back:
        done = node.run("signals", "flush")
        assert done.returncode == 0, done.stderr
        assert "delivered" in done.stdout
        assert len(back.signals) == 2


def test_a_backlog_stays_on_disk(node: nodes.Node, heat: heatlike.HeatLike) -> None:
    """20,000 signals, half of them for an endpoint that does not answer: the agent is no larger for them."""
    node.start()
    assert node.process
    node.hook("script", GOOD)
    heat.serve(heat.deployment("a"))
    heat.signal("a")
    lean = psutil.Process(node.process.pid).memory_info().rss
    assert node.stop() == 0
    with heatlike.HeatLike() as dead:
        dead.silent = True
        fill(node, heat, 10_000)
        fill(node, dead, 10_000)
        node.start()
        # At many a second, or this takes longer than it may.
        heat.signal("499", within=20.0)
        grown = psutil.Process(node.process.pid).memory_info().rss
        assert grown - lean < 8 * 1024 * 1024, (lean, grown)


def fill(node: nodes.Node, heat: heatlike.HeatLike, number: int) -> None:
    """Put finished deployments into the journal, each with a result of 4 KB on its way to `heat`."""
    book = journal.Journal.open(node.state)
    result = model.succeeded("x" * 4000)
    with book._store.transaction() as db:
        for index in range(number):
            key = f"{heat.url}-{index}"
            db.execute(
                "INSERT INTO deployments (id, name, grp, source, position, state, document, received_at)"
                " VALUES (?, '', 'script', 'elsewhere', 0, 'finished', '{}', 0)",
                (key,),
            )
            url = f"{heat.url}/v1/signal/{index}?Signature=s3cr3t"
            mail.post(db, key, model.Target(transport="CFN_SIGNAL", url=url), result)
    book.close()
