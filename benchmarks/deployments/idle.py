"""(d): what a daemon takes and asks for when nothing happens, real Heat, by each API that a node can poll."""

from __future__ import annotations

import time
from pathlib import Path

from benchmarks.deployments import figures, latency, relay, sides, usage
from reference import node as nodes
from reference import servers

TRANSPORTS = ("POLL_SERVER_CFN", "POLL_SERVER_HEAT")


def measure(
    to: figures.Figures,
    cloud: latency.Cloud,
    directory: Path,
    side: sides.Side,
    name: str,
    transport: str,
    seconds: float,
) -> None:
    """One run of one side: a node that has run a deployment, and then idles for `seconds`."""
    section = f"(d) Idle, {transport}, polling every {latency.INTERVAL} s, real Heat"
    server, occ = servers.create(cloud.heat, name, transport, polling_interval=latency.INTERVAL)
    with nodes.ReferenceNode(directory, network=True) as node, relay.Relay(node, cloud.ports) as seen:
        side.prepare(node, occ)
        pid = side.start(node)
        began = time.monotonic()
        latency.create(cloud, server, f"{name}-1", 1)
        seen.wait(lambda some: any(one.is_signal for one in some), began)
        latency.settle(seen, pid)
        before = usage.cpu(pid)
        began = time.monotonic()
        time.sleep(seconds)
        spent = usage.cpu(pid) - before
        asked = seen.exchanges(began)
        minutes = (time.monotonic() - began) / 60
        memory = usage.memory(pid)
        node.stop()
    polls = sum(relay.is_poll(one) for one in asked)
    for kind, size in memory.items():
        to.add(section, f"memory of the daemon, {kind}", "MiB", side.name, size)
    to.add(section, "processor time", "CPU s/min", side.name, spent / minutes)
    to.add(section, "requests", "1/min", side.name, len(asked) / minutes)
    to.add(section, "requests for each poll", "", side.name, len(asked) / polls)
