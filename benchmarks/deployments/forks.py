"""The processes of (b): how many a side forks and executes for no-op script deployments, counted by strace."""

from __future__ import annotations

import http.server
import re
import time
from pathlib import Path
from typing import Any

import heatlike
import nodes as plain
from benchmarks.deployments import figures, sides
from reference import node as nodes

SECTION = "(b) Processes on the node"
_FORK = re.compile(r"\b(?:clone3?|v?fork)\(")
_EXEC = re.compile(r"\bexecve(?:at)?\(.* = 0$|<\.\.\. execve(?:at)? resumed>.* = 0$")
_CALLS = "trace=fork,vfork,clone,clone3,execve,execveat"


class LocalHeat(heatlike.HeatLike):
    """The local server, which sends an answer's body without waiting for an acknowledgement of its head.

    With connections that are kept open that wait is some 40 ms for each answer, and no real server has it.
    """

    def _handler(self) -> type[http.server.BaseHTTPRequestHandler]:
        handler = super()._handler()
        handler.disable_nagle_algorithm = True
        return handler


def measure(to: figures.Figures, directory: Path, side: sides.Side, count: int) -> None:
    """One run of one side: all `count` deployments appear at once in an otherwise idle node's metadata."""
    directory.mkdir(parents=True)
    calls = directory / "calls"
    with LocalHeat() as heat, nodes.ReferenceNode(directory / "node") as node:
        occ = local_occ(heat.url)
        heat.metadata = {"deployments": [], "os-collect-config": occ}
        side.prepare(node, occ)
        side.start(node, ("strace", "-f", "-qq", "-ttt", "-e", _CALLS, "-o", str(calls), "--"))
        wait_for_polls(heat, 4)
        began = time.time()
        entries = [heat.deployment(f"one{number}", config="#!/bin/sh\n") for number in range(count)]
        heat.metadata = {"deployments": entries, "os-collect-config": occ}
        for entry in entries:
            heat.signal(entry["id"], within=300)
        # The pass has ended when the node asks again.
        wait_for_polls(heat, 2)
        ended = time.time()
        node.stop()
    forked, executed = _count(calls.read_text(errors="replace").splitlines(), began, ended)
    what = f"{count} deployment{'s' if count > 1 else ''}, for each"
    to.add(SECTION, f"{what}: forked", "", side.name, forked / count)
    to.add(SECTION, f"{what}: programs executed", "", side.name, executed / count)


def local_occ(url: str, **options: object) -> dict[str, Any]:
    """What Heat would say of a server that polls a local server every second."""
    return {"collectors": ["cfn"], "cfn": plain.cfn_section(url), "polling_interval": 1, **options}


def wait_for_polls(heat: heatlike.HeatLike, count: int, within: float = 120.0, step: float = 0.02) -> None:
    """Wait for `count` more polls, looking every `step` seconds."""
    aim, deadline = heat.polls + count, time.monotonic() + within
    while heat.polls < aim:
        assert time.monotonic() < deadline, "the node does not poll"
        time.sleep(step)


def _count(lines: list[str], began: float, ended: float) -> tuple[int, int]:
    """Processes (threads are none) and programs in that time, out of what strace wrote: pid, time, call."""
    forked = executed = 0
    for line in lines:
        _, at, call = line.split(None, 2)
        if not began <= float(at) <= ended:
            continue
        if _FORK.search(call) and "CLONE_THREAD" not in call and " = -1 " not in call:
            forked += 1
        elif _EXEC.search(call):
            executed += 1
    return forked, executed
