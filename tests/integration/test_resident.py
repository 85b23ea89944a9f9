"""The resident agent: what systemd and operators rely on."""

from __future__ import annotations

import signal
import stat
import time

import heatlike
import nodes
from podmanbox import box

GOOD = """echo '{"deploy_stdout": "fine", "deploy_status_code": 0}'"""
CANARY = "canary-5f1c-password"


def test_it_tells_systemd_what_it_does(node: nodes.Node, heat: heatlike.HeatLike) -> None:
    node.hook("script", GOOD)
    node.start(env={"WATCHDOG_USEC": "200000"})
    node.await_notice("WATCHDOG=1")
    heat.serve(heat.deployment("a"))
    node.await_notice("STATUS=running a (script)")
    assert node.process
    node.process.send_signal(signal.SIGTERM)
    node.await_notice("STOPPING=1")
    assert node.wait() == 0


def test_sigterm_lets_the_hook_end_and_starts_no_other(node: nodes.Node, heat: heatlike.HeatLike) -> None:
    node.hook("slow", f"touch {node.directory}/begun; sleep 1; {GOOD}")
    node.start()
    heat.serve(heat.deployment("first", "slow"), heat.deployment("second", "slow"))
    node.await_file(node.directory / "begun")
    assert node.process
    node.process.send_signal(signal.SIGTERM)
    node.await_notice("EXTEND_TIMEOUT_USEC=40000000")
    assert node.wait() == 0
    assert node.deployment("first")["ok"] is True
    assert node.deployment("second")["state"] == "received"
    node.start()
    assert heat.signal("first")["deploy_status_code"] == 0
    assert heat.signal("second")["deploy_status_code"] == 0
    assert len(heat.signals) == 2


def test_sigterm_in_a_gate_leaves_the_upgrade_to_the_next_start(
    container_node: nodes.Node, heat: heatlike.HeatLike, podman: box.PodmanBox
) -> None:
    node = container_node
    gate = {"gate": {"stable_for": 4}}
    node.start()
    heat.serve(
        heat.deployment("up", "container-upgrade", {"web": {"image": f"{podman.registry}/service:1", "upgrade": gate}})
    )
    node.await_step("gate", "up")
    begun = time.monotonic()
    assert node.stop() == 0
    assert time.monotonic() - begun < 3
    assert node.deployment("up")["state"] == "running"
    node.start()
    body = heat.signal("up")
    assert body["changed"] is True
    assert [report["result"] for report in body["containers"]] == ["created"]


def test_sighup_reads_the_configuration_again(node: nodes.Node, heat: heatlike.HeatLike) -> None:
    node.hook("script", GOOD)
    node.start()
    with heatlike.HeatLike() as other:
        node.sources.write_text(node.sources.read_text().replace(heat.url, other.url))
        other.serve(other.deployment("moved"))
        assert node.process
        node.process.send_signal(signal.SIGHUP)
        node.await_notice("READY=1")
        assert other.signal("moved")["deploy_status_code"] == 0
        good = node.sources.read_text()
        mistakes = ["nonsense\n", good + "timeout = abc\n", good.replace("[cfn]", "polling_interval = abc\n[cfn]")]
        mistakes.append(good.replace("[cfn]", "splay = $nope\n[cfn]"))
        for index, mistake in enumerate(mistakes):
            node.sources.write_text(mistake)
            node.process.send_signal(signal.SIGHUP)
            node.await_notice("READY=1")
            other.serve(other.deployment(f"after-{index}"))
            assert other.signal(f"after-{index}")["deploy_status_code"] == 0
        assert node.log.read_text().count("the configuration in force stays") == len(mistakes)
        node.sources.write_text(good)
        assert node.stop() == 0


def test_two_agents_never_share_a_state_directory(node: nodes.Node) -> None:
    node.start()
    second = node.run("apply")
    assert second.returncode == 75
    assert "another agent works with" in second.stderr
    assert node.stop() == 0
    assert node.run("apply").returncode == 0


def test_status_before_during_and_after(node: nodes.Node, heat: heatlike.HeatLike) -> None:
    before = node.status()
    assert before["agent"] == {"running": False, "pid": None, "state_dir": str(node.state)}
    assert before["deployments"] == []
    node.hook("slow", f"touch {node.directory}/begun; sleep 1; {GOOD}")
    node.start()
    heat.serve(heat.deployment("a", "slow"))
    node.await_file(node.directory / "begun")
    during = node.status()
    assert node.process
    assert during["agent"]["pid"] == node.process.pid
    assert [row["state"] for row in during["deployments"]] == ["running"]
    after = node.await_state("a", "signalled")
    assert after["ok"] is True
    assert after["received_at"] <= after["started_at"] <= after["finished_at"] <= after["signalled_at"]
    assert stat.S_IMODE((node.state / "journal.sqlite").stat().st_mode) == 0o600
    assert stat.S_IMODE(node.state.stat().st_mode) == 0o700


def test_no_input_reaches_a_log(container_node: nodes.Node, heat: heatlike.HeatLike, podman: box.PodmanBox) -> None:
    """Not the agent's log, not `status`, not the process list of a hook, and not the journal once Heat has it all."""
    node = container_node
    secret = [{"name": "password", "type": "String", "value": CANARY}]
    config = {"web": {"image": f"{podman.registry}/service:1", "environment": {"PASSWORD": CANARY}}}
    broken = {"web": {"image": f"{podman.registry}/service:broken", "environment": {"PASSWORD": CANARY}}}
    node.hook("script", f"tr '\\0' ' ' < /proc/$$/cmdline >> {node.directory}/cmdlines; cat >&2; {GOOD}")
    node.hook("bad", "cat >&2; exit 3")
    heat.refuse_with = [503, 503]
    node.start()
    heat.serve(
        heat.deployment("s", inputs=secret),
        heat.deployment("b", "bad", inputs=secret),
        heat.deployment("u", "unknown", inputs=secret, config=CANARY),
        heat.deployment("../u", "script", inputs=secret),
        heat.deployment("c1", "container-upgrade", config, inputs=secret),
        heat.deployment("c2", "container-upgrade", broken, inputs=secret),
    )
    heat.signal("c2")
    for key in ("s", "b", "u", "../u", "c1", "c2"):
        node.await_state(key, "signalled")
    shown = node.run("status").stdout + node.run("status", "--json").stdout
    assert node.stop() == 0
    written = node.log.read_bytes() + (node.directory / "cmdlines").read_bytes() + shown.encode()
    written += b"".join(path.read_bytes() for path in node.state.iterdir())
    assert b"503" in node.log.read_bytes(), "the log tells of the refused signals"
    assert CANARY.encode() not in written
    assert b"s3cr3t" not in written, "nor does a signature"
