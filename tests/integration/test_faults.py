"""Every single fault between the agent and a real Heat: the deployment runs once, and Heat gets its result.

The faults are those of faulty/plan.py, and the agent reaches Heat only through the relay. Metadata and signals are
broken in cases of their own. While a fault lasts, `status` names it; when it is over, nobody has to do anything.
"""

from __future__ import annotations

import dataclasses
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import nodes
import stacks
from faulty import certificates, counting, ledger, plan, relay
from undercloud import box as clouds

Fault = plan.Fault

# Ten minutes, scaled down as the pauses between attempts are (signal_retry_max).
OUTAGE = 20.0

# What `status` says of a source while its polls are broken; None where the poll gets through all the same.
OF_METADATA = {
    Fault.REFUSED: ("refused", "reset", "closed without an answer"),
    Fault.RESET: ("reset by peer",),
    Fault.SILENCE: ("no answer in time",),
    Fault.UNAVAILABLE: ("500", "502", "503", "504"),
    Fault.BUSY: ("429",),
    Fault.BUSY_UNTIL: ("429",),
    Fault.RESET_IN_ANSWER: ("reset by peer",),
    Fault.SILENCE_AFTER: ("no answer in time",),
    Fault.UNAVAILABLE_AFTER: ("503",),
    Fault.GARBAGE: ("the answer is not HTTP",),
    Fault.CUT_SHORT: ("not metadata: XMLSyntaxError",),
    Fault.SLOW: None,
}

# What `status` says of a signal while its attempts are broken; None where it is delivered all the same.
OF_SIGNALS = {
    Fault.REFUSED: ("refused", "reset"),
    Fault.RESET: ("reset",),
    Fault.SILENCE: ("no answer",),
    Fault.UNAVAILABLE: ("500", "502", "503", "504"),
    Fault.BUSY: ("429",),
    Fault.BUSY_UNTIL: ("429",),
    Fault.RESET_IN_ANSWER: ("reset",),
    Fault.SILENCE_AFTER: ("no answer",),
    Fault.UNAVAILABLE_AFTER: ("503",),
    Fault.GARBAGE: ("the answer is not HTTP",),
    Fault.CUT_SHORT: None,
    Fault.SLOW: None,
}


@dataclasses.dataclass
class Bench:
    """A node whose only way to Heat is the relay."""

    relay: relay.Relay
    node: nodes.Node
    counter: counting.Counter
    stacks: stacks.Stacks
    server: str

    def begin(self, name: str) -> None:
        """Have Heat create a stack with one deployment for the node."""
        self.stacks.create(name, stacks.deployment(self.server, counting.GROUP, "x"))

    def key(self, name: str, within: float = 30.0) -> str:
        """The id under which the node knows the deployment, once it does."""
        return str(self.await_row("deployments", lambda row: name in str(row["name"]), within)["id"])

    def await_row(self, table: str, wanted: Callable[[dict[str, Any]], bool], within: float = 30.0) -> dict[str, Any]:
        """Ask `status` until a row of it is as wanted."""
        deadline = time.monotonic() + within
        while True:
            rows = self.node.status()[table]
            found = [row for row in rows if wanted(row)]
            if found:
                return dict(found[0])
            assert time.monotonic() < deadline, rows

    def await_reason(self, table: str, column: str, words: tuple[str, ...], **more: object) -> None:
        """Ask `status` until a row says one of `words` in `column`."""

        def says(row: dict[str, Any]) -> bool:
            return any(word in row[column] for word in words) and all(row[key] == more[key] for key in more)

        row = self.await_row(table, says)
        assert "Signature" not in row[column], "a pre-signed URL is a credential"

    def ended_well(self, name: str, within: float = 30.0) -> None:
        """The stack is complete, the deployment ran once, the agent learnt once that Heat has it, and it lives."""
        found = self.stacks.await_stack(name, within=within)
        assert found.stack_status == "CREATE_COMPLETE", found.stack_status_reason
        key = self.key(name)
        self.node.await_state(key, "signalled")
        assert self.stacks.answer(name, "deployment")["result"] == key
        self.told_once(name)

    def answered(self, name: str) -> dict[str, Any]:
        """What Heat has as the deployment's result, once it has: it answers a signal before it writes it down."""
        key = self.stacks.heat.resources.get(name, "deployment").physical_resource_id
        deadline = time.monotonic() + 20
        while (found := self.stacks.heat.software_deployments.get(key)).status != "COMPLETE":
            assert time.monotonic() < deadline, f"Heat took the signal for {name}, and has no result"
            time.sleep(0.1)
        return dict(found.output_values)

    def attempts(self, name: str) -> list[ledger.Exchange]:
        """The attempts to signal for the stack's deployment."""
        signals = self.relay.ledger.signals()
        (found,) = (attempts for path, attempts in signals.items() if f"stacks/{name}/" in path)
        return found

    def told_once(self, name: str) -> None:
        assert len(self.counter.runs()[self.key(name)]) == 1
        attempts = self.attempts(name)
        assert [attempt.told and attempt.accepted for attempt in attempts].count(True) == 1, attempts
        assert attempts[-1].told, "it is not sent again once the agent knows"
        assert self.node.process
        assert self.node.process.poll() is None


def made(
    cloud: clouds.Undercloud, directory: Path, name: str, authority: certificates.Authority | None = None
) -> Bench:
    """A bench whose relay does not listen yet and whose agent does not run yet."""
    heat = stacks.Stacks(cloud)
    server, cfn = heat.server(name)
    between = relay.Relay("127.0.0.1", cloud.state.ports.cfn, authority=authority, outage=0.3)
    node = nodes.Node(directory, metadata={**cfn, "metadata_url": f"{between.url}/v1/", "timeout": "1"})
    node.configure(signal_timeout=1, signal_retry_max=1)
    return Bench(between, node, counting.Counter(node), heat, server)


@pytest.fixture(scope="module")
def bench(undercloud: clouds.Undercloud, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """One node for all cases: that its agent outlives each of them is a part of the proof."""
    bench = made(undercloud, tmp_path_factory.mktemp("faults"), "faults-node")
    with bench.relay:
        bench.node.start()
        yield bench
        assert bench.node.stop() == 0
    bench.stacks.close()


@pytest.fixture(autouse=True)
def mended(bench: Bench) -> Iterator[None]:
    """Leave nothing broken to the next case."""
    yield
    bench.relay.plan = plan.nothing
    bench.relay.accept()


def test_without_faults_the_relay_breaks_no_signature(bench: Bench) -> None:
    """Polls are signed over the relay's address and signals over Heat's own, and a real Heat takes both."""
    bench.begin("plain")
    bench.ended_well("plain")
    exchanges = bench.relay.ledger.exchanges()
    assert {exchange.status for exchange in exchanges if exchange.status} == {200}
    assert {exchange.path.startswith(plan.SIGNALS) for exchange in exchanges} == {True, False}


@pytest.mark.parametrize("fault", OF_METADATA, ids=lambda fault: fault.name.lower())
def test_metadata(bench: Bench, fault: Fault) -> None:
    name = f"metadata-{fault.name.lower()}".replace("_", "-")
    bench.relay.plan = plan.on_metadata(fault)
    bench.begin(name)
    words = OF_METADATA[fault]
    if words:
        bench.await_reason("sources", "error", words, name="cfn", ok=False)
        bench.relay.plan = plan.nothing
    bench.ended_well(name)
    bench.await_row("sources", lambda row: row["ok"] and not row["error"])


@pytest.mark.parametrize("fault", OF_SIGNALS, ids=lambda fault: fault.name.lower())
def test_signal(bench: Bench, fault: Fault) -> None:
    name = f"signal-{fault.name.lower()}".replace("_", "-")
    bench.relay.plan = plan.on_signals(fault)
    bench.begin(name)
    words = OF_SIGNALS[fault]
    if words:
        bench.await_reason("signals", "last_error", words, deployment=bench.key(name), state="pending")
        bench.relay.plan = plan.nothing
    bench.ended_well(name)
    first = bench.attempts(name)[0]
    assert first.fault is fault
    assert first.accepted == (fault in plan.FORWARDED), "the relay did what it says"


def test_every_fault_has_its_cases() -> None:
    assert set(OF_METADATA) == set(OF_SIGNALS) == set(plan.HARMFUL)


def test_an_outage_loses_nothing(bench: Bench) -> None:
    """Heat is gone while a hook runs, and long after: the result waits, and arrives soon after Heat is back."""
    bench.counter.hold.touch()
    bench.begin("outage")
    key = bench.key("outage")
    bench.relay.refuse()
    begun = time.monotonic()
    bench.counter.hold.unlink()
    bench.await_reason("signals", "last_error", ("connection refused",), deployment=key, state="pending")
    bench.await_reason("sources", "error", ("connection refused",), ok=False)
    time.sleep(max(0.0, begun + OUTAGE - time.monotonic()))
    attempts = bench.await_row("signals", lambda row: row["deployment"] == key)["attempts"]
    assert OUTAGE / 2 < attempts < OUTAGE * 6, "it tries all the time, and does not hammer"
    bench.relay.accept()
    bench.ended_well("outage", within=10)


def test_heat_restarts_while_a_deployment_runs(bench: Bench, undercloud: clouds.Undercloud) -> None:
    """Heat does not take up a stack that was in progress when its engine ended, so its deployment is looked at."""
    bench.counter.hold.touch()
    bench.begin("restarted")
    key = bench.key("restarted")
    bench.node.await_state(key, "running")
    undercloud.restart("heat")
    bench.counter.hold.unlink()
    bench.node.await_state(key, "signalled")
    assert bench.answered("restarted")["result"] == key
    bench.told_once("restarted")
    bench.begin("after-restart")
    bench.ended_well("after-restart")


def test_a_certificate_of_an_unknown_authority(undercloud: clouds.Undercloud, tmp_path: Path) -> None:
    """It is refused, `status` says that it is the certificate, and `ca_certificate` is the way out."""
    authority = certificates.make(tmp_path)
    bench = made(undercloud, tmp_path / "node", "tls-node", authority)
    with bench.relay:
        bench.node.start()
        bench.begin("tls")
        bench.await_reason("sources", "error", ("certificate verify failed",), ok=False)
        assert bench.relay.ledger.exchanges() == [], "nothing was said to a stranger"
        assert bench.relay.handshakes_failed
        bench.node.sources.write_text(f"{bench.node.sources.read_text()}ca_certificate = {authority.ca}\n")
        assert bench.node.process
        bench.node.process.send_signal(signal.SIGHUP)
        bench.ended_well("tls")
        assert bench.node.stop() == 0
    bench.stacks.close()
