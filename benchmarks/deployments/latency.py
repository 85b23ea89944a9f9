"""(a) and the processor time of (b): from metadata that a node can see to results that Heat has accepted, real Heat.

A node is started and left alone until it has nothing to do. Then the relay holds its view of Heat still while the
deployments are created, so that Heat's own slowness with many of them is no part of the figure, and lets go when all
of them are in the metadata.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import stacks
from benchmarks.deployments import figures, relay, sides, usage
from reference import node as nodes
from reference import servers
from undercloud import box

NO_OP = "#!/bin/sh\n"
INTERVAL = 1
"""Seconds between two polls, on both sides; also os-collect-config's shortest pause by default."""

LATENCY = f"(a) Metadata to accepted signals, real Heat, polling every {INTERVAL} s"
PROCESSOR = "(b) Processor time on the node, real Heat"


@dataclasses.dataclass(frozen=True)
class Cloud:
    """The undercloud that both sides work with, and what creates stacks in it."""

    box: box.Undercloud
    heat: stacks.Stacks

    @property
    def ports(self) -> list[int]:
        """The ports that a node needs."""
        ports = self.box.state.ports
        return [ports.keystone, ports.heat, ports.cfn]


def measure(to: figures.Figures, cloud: Cloud, directory: Path, side: sides.Side, name: str) -> None:
    """One run of one side; `name` is unique in the undercloud."""
    server, occ = servers.create(cloud.heat, name, polling_interval=INTERVAL)
    with nodes.ReferenceNode(directory, network=True) as node, relay.Relay(node, cloud.ports) as seen:
        side.prepare(node, occ)
        pid = side.start(node)
        settle(seen, pid)
        for count in (1, 20):
            _measure_batch(to, cloud, seen, side, pid, server, f"{name}-{count}", count)
        node.stop()


def settle(seen: relay.Relay, pid: int) -> None:
    """Return when a daemon has asked for metadata and has nothing to do; the reference's first pass re-executes it."""
    seen.wait_for_polls(2)
    usage.wait_for_children(pid)
    seen.wait_for_polls(2)


def _measure_batch(
    to: figures.Figures,
    cloud: Cloud,
    seen: relay.Relay,
    side: sides.Side,
    pid: int,
    server: str,
    stack: str,
    count: int,
) -> None:
    seen.hold()
    new = create(cloud, server, stack, count)
    before = usage.cpu(pid)
    released = seen.release()
    found = seen.wait(lambda some: sum(one.is_signal for one in some) >= count, released)
    signals = [one for one in found if one.is_signal]
    accepted = signals[-1].ended
    served = next(one.ended for one in found if relay.is_poll(one) and all(key.encode() in one.body for key in new))
    usage.wait_for_children(pid)
    seen.wait_for_polls(1)
    spent = usage.cpu(pid) - before
    _check(cloud, stack)
    what = f"{count} deployment{'s' if count > 1 else ''}"
    to.add(LATENCY, f"{what}: served to the node -> last signal accepted", "s", side.name, accepted - served)
    to.add(LATENCY, f"{what}: in Heat's metadata -> last signal accepted", "s", side.name, accepted - released)
    heat = sum(one.ended - one.began for one in signals) / count
    to.add(LATENCY, f"{what}: Heat's own time for a signal, mean", "s", side.name, heat)
    to.add(PROCESSOR, f"{what}: for each", "CPU s", side.name, spent / count)


def create(cloud: Cloud, server: str, stack: str, count: int) -> list[str]:
    """Create a stack with no-op script deployments; returns their ids once all are in the server's metadata."""
    known = _listed(cloud, server)
    part = stacks.deployment(server, "script", NO_OP)
    cloud.heat.create(stack, stacks.together(**{f"one{number}": part for number in range(count)}))
    while len(new := _listed(cloud, server) - known) < count:
        status = cloud.heat.heat.stacks.get(stack).stack_status
        assert status == "CREATE_IN_PROGRESS", f"{stack} is {status}, although no node has seen it"
    return sorted(new)


def _listed(cloud: Cloud, server: str) -> set[str]:
    return {entry["id"] for entry in cloud.heat.heat.software_deployments.metadata(server_id=server)}


def _check(cloud: Cloud, stack: str) -> None:
    found = cloud.heat.await_stack(stack)
    assert found.stack_status == "CREATE_COMPLETE", found.stack_status_reason


def alternate(runs: int) -> Sequence[tuple[int, sides.Side]]:
    """The runs of both sides, by turns, so that a change of the machine's mood touches both."""
    return [(run, side) for run in range(runs) for side in sides.SIDES]
