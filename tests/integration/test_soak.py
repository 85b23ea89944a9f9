"""Many deployments through a network that breaks 30 % of the requests, an agent that is killed, a Heat that restarts.

Each deployment runs once, the agent learns once that Heat accepted its result, and none is lost; faulty/judge.py says
what exactly that means where the agent is killed. OVERCLOUD_AGENT_SOAK is how many deployments a real Heat makes
(`make soak`: 1000).
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
import time
from pathlib import Path
from typing import Any

import heatlike
import nodes
import stacks
from faulty import counting, judge, plan, relay
from undercloud import box as clouds

SEED = 20261
SHARE = 0.3
REAL = int(os.environ.get("OVERCLOUD_AGENT_SOAK") or 40)
MADE_UP = 1100
# Deployments in one stack, and how many of them Heat may work on at a time.
BATCH = 10
CHAINS = 3
# The batch in the middle of which Heat restarts.
RESTARTED = 1
# By how many deployments the list of the made-up Heat grows at a time.
GROWTH = 100
# Seconds that the agent waits for an answer to a signal.
PATIENCE = 1
# Seconds from one SIGKILL to the next, at random between these.
KILLS_APART = (2.0, 6.0)


class Killer:
    """Kills the agent at random times and starts it again, until it is told to stop."""

    def __init__(self, node: nodes.Node, seed: int) -> None:
        self.monotonic: list[float] = []
        self.boottime: list[float] = []
        self._node = node
        self._dice = random.Random(seed)  # noqa: S311  chance, no secret
        self._one = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._failure: BaseException | None = None

    def __enter__(self) -> Killer:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.rest()

    def rest(self) -> None:
        """Kill it no more; raises what went wrong with it."""
        self._stop.set()
        self._thread.join()
        if self._failure:
            raise self._failure

    def kill(self) -> None:
        """Kill the agent now, and start it again."""
        with self._one:
            assert self._node.process
            assert self._node.process.poll() is None, "the agent ended by itself"
            self._node.stop(signal.SIGKILL)
            self.monotonic.append(time.monotonic())
            self.boottime.append(counting.now())
            self._node.start()

    def _run(self) -> None:
        try:
            while not self._stop.wait(self._dice.uniform(*KILLS_APART)):
                self.kill()
        # It is raised again in the test's own thread.
        except BaseException as error:
            self._failure = error


def prepared(directory: Path, between: relay.Relay, cfn: dict[str, str]) -> tuple[nodes.Node, counting.Counter]:
    """A node whose way to Heat is the relay, with short timeouts: a silent connection costs a second."""
    node = nodes.Node(directory, metadata=through(between, cfn))
    node.configure(signal_timeout=PATIENCE, signal_retry_max=1)
    return node, counting.Counter(node)


def through(between: relay.Relay, cfn: dict[str, str]) -> dict[str, str]:
    return {**cfn, "metadata_url": f"{between.url}/v1/", "timeout": "1"}


def settled(node: nodes.Node, count: int, within: float) -> None:
    """Wait until the journal has `count` deployments, and Heat the results of all."""
    deadline = time.monotonic() + within
    while True:
        states = [row["state"] for row in node.status()["deployments"]]
        if states.count("signalled") == count:
            return
        tally = {state: states.count(state) for state in states}
        assert time.monotonic() < deadline, f"{tally} after {within} s; the log ends: {node.log.read_text()[-2000:]}"
        time.sleep(0.5)


def judged(between: relay.Relay, counter: counting.Counter, wanted: set[str], killer: Killer) -> None:
    """Hold everything that happened against the rules, and tell how much there was."""
    between.ledger.wait(lambda exchanges: all(exchange.ended for exchange in exchanges if exchange.status))
    signals = between.ledger.signals()
    runs = judge.judge_runs(counter.runs(), counter.ends(), wanted, killer.boottime)
    sent = judge.judge_signals(signals, killer.monotonic, PATIENCE)
    faults = between.ledger.faults()
    total = faults.total()
    print(
        f"{len(wanted)} deployments, {total} requests, {total - faults[plan.Fault.NONE]} of them faulty,"
        f" {len(killer.monotonic)} kills, {runs.repeated_runs} runs and {sent.repeated_signals} signals repeated"
    )
    wrong = runs.wrong + sent.wrong
    assert not wrong, "\n".join(wrong)
    assert len(signals) == len(wanted)
    assert killer.monotonic, "it was killed at least once"
    missing = set(plan.HARMFUL) - set(faults)
    assert not missing, f"the plan had no {missing}"


def test_a_growing_list(tmp_path: Path, heat: heatlike.HeatLike) -> None:
    """1,100 deployments in one list that grows, as on a node that lives long."""
    begun = time.monotonic()
    port = int(heat.url.rpartition(":")[2])
    with relay.Relay("127.0.0.1", port, choose=plan.mixed(SEED, SHARE, plan.HURRIED), outage=0.1) as between:
        node, counter = prepared(tmp_path, between, nodes.cfn_section(heat.url))
        entries = [heat.deployment(f"d{index:04}", counting.GROUP, "x") for index in range(MADE_UP)]
        node.start()
        with Killer(node, SEED) as killer:
            for end in range(GROWTH, MADE_UP + GROWTH, GROWTH):
                heat.serve(*entries[:end])
                between.ledger.await_accepted(end - GROWTH, within=120)
            settled(node, MADE_UP, within=120)
        assert node.stop() == 0
        print(f"{time.monotonic() - begun:.0f} s")
        judged(between, counter, {entry["id"] for entry in entries}, killer)
        assert {path.rpartition("/")[2] for path, _ in heat.signals} == {entry["id"] for entry in entries}


def test_a_real_heat(tmp_path: Path, undercloud: clouds.Undercloud) -> None:
    """Batches for one server after the other, which the one node follows; Heat restarts in the middle of the second."""
    begun = time.monotonic()
    heat = stacks.Stacks(undercloud)
    choose = plan.mixed(SEED, SHARE, plan.HURRIED)
    with relay.Relay("127.0.0.1", undercloud.state.ports.cfn, choose=choose, outage=0.1) as between:
        node, counter = prepared(tmp_path, between, {})
        made: set[str] = set()
        node.start()
        with contextlib.closing(node), Killer(node, SEED) as killer:
            for batch, first in enumerate(range(0, REAL, BATCH)):
                size = min(BATCH, REAL - first)
                server, cfn = heat.server(f"soak-node-{batch}")
                # The agent is killed, and its successor finds the node's new configuration.
                write_sources(node, through(between, cfn))
                killer.kill()
                if batch == RESTARTED:
                    counter.hold.touch()
                heat.create(f"soak-{batch}", many(server, size, chained=batch != RESTARTED))
                if batch == RESTARTED:
                    restart_in_the_middle(undercloud, between, node, counter, first + size)
                between.ledger.await_accepted(first + size, within=300)
                made |= accepted(heat, f"soak-{batch}", size, complete=batch != RESTARTED)
                print(f"{len(made)} after {time.monotonic() - begun:.0f} s", flush=True)
            killer.rest()
            settled(node, REAL, within=30)
            assert node.stop() == 0
        judged(between, counter, made, killer)
    heat.close()


def write_sources(node: nodes.Node, cfn: dict[str, str]) -> None:
    """Give the node another [cfn] section."""
    head, _, _ = node.sources.read_text().partition("[cfn]")
    node.sources.write_text("\n".join([f"{head}[cfn]", *(f"{key} = {value}" for key, value in cfn.items()), ""]))


def many(server: str, size: int, *, chained: bool) -> dict[str, Any]:
    """The resources of `size` deployments of one config: cheaper for Heat than a config for each.

    They come a few at a time if `chained`, else all at once, which takes Heat's database minutes now and then: they all
    change the metadata of one server.
    """
    part = stacks.deployment(server, counting.GROUP, "x")
    made = {"config": part["config"]}
    for index in range(size):
        before = {"depends_on": f"d{index - CHAINS}"} if chained and index >= CHAINS else {}
        made[f"d{index}"] = {**part["deployment"], **before}
    return made


def restart_in_the_middle(
    cloud: clouds.Undercloud, between: relay.Relay, node: nodes.Node, counter: counting.Counter, total: int
) -> None:
    """Restart Heat when it has served all of a batch and has the results of a few.

    Heat answers a signal before it has written it down, and may lose what it does at the moment of its end. That is
    not the agent's to mend, so no signal is on its way to Heat at that moment; polls are.
    """
    deadline = time.monotonic() + 300
    while len(node.status()["deployments"]) < total:
        assert time.monotonic() < deadline, "the node never got the whole batch"
    before = len(between.ledger.accepted)
    counter.hold.unlink()
    between.ledger.await_accepted(before + 3, within=60)
    mixed, between.plan = between.plan, plan.on_signals(plan.Fault.UNAVAILABLE)
    between.ledger.wait(lambda exchanges: all(exchange.ended for exchange in exchanges))
    time.sleep(0.5)
    cloud.restart("heat")
    between.plan = mixed


def accepted(heat: stacks.Stacks, name: str, size: int, *, complete: bool) -> set[str]:
    """The ids of a stack's deployments, all of which Heat has a result of.

    A stack that was in progress when Heat's engine ended stays so (Heat does not take it up): without `complete` only
    its deployments are looked at.
    """
    if complete:
        found = heat.await_stack(name)
        assert found.stack_status == "CREATE_COMPLETE", found.stack_status_reason
    keys = set()
    for resource in heat.heat.resources.list(name):
        if resource.resource_name != "config":
            keys.add(result_of(heat, resource.physical_resource_id))
    assert len(keys) == size
    return keys


def result_of(heat: stacks.Stacks, deployment: str) -> str:
    """The result of one deployment, which is the id that the hook was given."""
    deadline = time.monotonic() + 20
    while (found := heat.heat.software_deployments.get(deployment)).status != "COMPLETE":
        assert time.monotonic() < deadline, f"Heat took the signal for {deployment}, and has no result: {found}"
        time.sleep(0.1)
    return str(found.output_values["result"])
