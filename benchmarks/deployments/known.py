"""(c): a pass with nothing new, on a node that knows many deployments, with a local server in Heat's place.

Heat cannot be made to hold 10,000 deployments in a benchmark's time, and its own time would hide the node's.
"""

from __future__ import annotations

import json
import time
import urllib.request
from pathlib import Path

import heatlike
from benchmarks.deployments import figures, forks, sides, usage
from reference import node as nodes

PAUSE = 0.1
"""Seconds between two polls: the shortest that the agent accepts. Both sides get it."""
_POLLS = 100
_LONGEST = 30.0
"""Seconds after which fewer polls have to do."""

# What the reference does for a pass, and what stands beside it.
_FULL = "a pass of os-refresh-config | a poll of the agent"
_ONCE = "os-collect-config --one-time | a poll of the agent"
_POLL = "a poll of the daemon, both"
_PLUG = "55-heat-config over the same list, both"


def measure(to: figures.Figures, directory: Path, side: sides.Side, known: int) -> None:
    """One run of one side."""
    spent: dict[str, usage.Spent] = {}
    with forks.LocalHeat() as heat, nodes.ReferenceNode(directory) as node:
        occ = forks.local_occ(heat.url, polling_interval=PAUSE, min_polling_interval=PAUSE)
        entries = [heat.deployment(f"known{number:06}", config="#!/bin/sh\n") for number in range(known)]
        # Text, because the server would make the same text of it again at every poll.
        heat.metadata = json.dumps({"deployments": entries, "os-collect-config": occ})
        sides.keep_as_deployed(node, entries)
        side.prepare(node, occ)
        side.learn(node, known)
        if isinstance(side, sides.Reference):
            spent[_FULL] = usage.spend(node, ["os-refresh-config"])
            spent[_ONCE] = usage.spend(node, ["os-collect-config", "--one-time"])
        # What the reference chain rendered lacks the shortest pause.
        node.configure(occ)
        spent[_POLL] = _poll(heat, node, side, known)
        if isinstance(side, sides.Ours):
            spent[_FULL] = spent[_ONCE] = spent[_POLL]
        if command := side.heat_config():
            _render(node, entries)
            _learn_in_passes(node, command)
            spent[_PLUG] = usage.spend(node, command)
        answer = _answer_time(heat.url)
    _add(to, f"(c) Nothing new, {known:,} known deployments, local server", side.name, spent, answer)


def _add(to: figures.Figures, section: str, name: str, spent: dict[str, usage.Spent], answer: float) -> None:
    for what in (_FULL, _ONCE, _POLL, _PLUG):
        if what in spent:
            to.add(section, f"{what}: time", "ms", name, spent[what].wall * 1000)
            to.add(section, f"{what}: processor", "CPU ms", name, spent[what].cpu * 1000)
    to.add(section, "the server's answer, which is part of every poll: time", "ms", name, answer * 1000)


def _poll(heat: heatlike.HeatLike, node: nodes.ReferenceNode, side: sides.Side, known: int) -> usage.Spent:
    """What one poll of the daemon takes: the mean of many, the pause between them taken away."""
    pid = side.start(node)
    side.settle(node, known)
    # The first ones fill caches; then begin exactly with a poll.
    _await_polls(heat, 4)
    first, began, before = heat.polls, time.monotonic(), usage.cpu(pid)
    while heat.polls < first + _POLLS and (time.monotonic() < began + _LONGEST or heat.polls < first + 2):
        _await_polls(heat, 1)
    count, ended, after = heat.polls - first, time.monotonic(), usage.cpu(pid)
    node.stop()
    return usage.Spent(max((ended - began) / count - PAUSE, 0.0), (after - before) / count)


def _await_polls(heat: heatlike.HeatLike, count: int, within: float = 300.0) -> None:
    forks.wait_for_polls(heat, count, within, step=0.001)


def _render(node: nodes.ReferenceNode, entries: list[dict[str, object]]) -> None:
    """The file that 55-heat-config reads, as os-apply-config renders it."""
    rendered = node.path(sides.HEAT_CONFIG)
    rendered.parent.mkdir(parents=True, exist_ok=True)
    rendered.touch(mode=0o600)
    rendered.write_text(json.dumps(entries))


def _learn_in_passes(node: nodes.ReferenceNode, command: list[str]) -> None:
    """Ours takes in what it finds to have run, and ends with 75 as long as Heat has not been told of all of it."""
    for _ in range(20):
        done = node.run(command, within=1800)
        if done.returncode == 0:
            return
        assert done.returncode == 75, f"{command} ended with {done.returncode}: {done.stderr[-2000:]}"
    raise AssertionError(f"{command} does not get done")


def _answer_time(url: str) -> float:
    """Seconds that the server takes for one answer: the best of five."""
    times = []
    for _ in range(5):
        began = time.monotonic()
        with urllib.request.urlopen(f"{url}/v1/", timeout=60) as response:
            response.read()
        times.append(time.monotonic() - began)
    return min(times)
