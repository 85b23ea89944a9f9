"""What a process uses, as the kernel counts it."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import time
from collections.abc import Mapping, Sequence

import psutil

from reference import node as nodes


def cpu(pid: int) -> float:
    """Seconds of processor time of a process, its threads, and all its children that have ended (ticks of 10 ms)."""
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system + times.children_user + times.children_system)


def memory(pid: int) -> dict[str, float]:
    """MiB in memory of a process: RSS, all; PSS, shared pages divided by who shares them; USS, its own pages only."""
    found = psutil.Process(pid).memory_full_info()
    return {"RSS": found.rss / 2**20, "PSS": found.pss / 2**20, "USS": found.uss / 2**20}


def wait_for_children(pid: int, within: float = 120.0) -> None:
    """Return when a process has no children: what it started has ended, and counts as its own usage."""
    deadline = time.monotonic() + within
    while psutil.Process(pid).children():
        assert time.monotonic() < deadline, f"process {pid} still has children"
        time.sleep(0.02)


@dataclasses.dataclass(frozen=True)
class Spent:
    """What one command took, with all that it started: seconds."""

    wall: float
    cpu: float


def spend(node: nodes.ReferenceNode, argv: Sequence[str], env: Mapping[str, str] | None = None) -> Spent:
    """Run a command in the node, which has to succeed."""
    environment = {**node.environment, **(env or {})}
    began = time.monotonic()
    with node.log.open("ab") as log:
        process = subprocess.Popen(
            node.command(argv), env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
        _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, f"{argv} ended with {process.returncode}; see {node.log}"
    return Spent(time.monotonic() - began, used.ru_utime + used.ru_stime)
