"""The benchmark of container swaps, in small: every side does what it is measured for; the figures are plausible."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

import places
from benchmarks.container_swap import figures

SIDES = {"ours", "stop+rm+run", "floor"}


def run(*options: str) -> str:
    argv = [sys.executable, "-m", "benchmarks.container_swap", *options]
    done = subprocess.run(argv, cwd=places.ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return dict(json.loads(run("--count", "2", "--runs", "1", "--containers", "2", "--known", "1,2", "--json")))


def sections(document: dict[str, Any], words: str) -> list[dict[str, Any]]:
    return [section for section in document["sections"] if section["title"].startswith(words)]


def test_every_side_swaps_on_both_networks(document: dict[str, Any]) -> None:
    found = sections(document, "Downtime")
    assert [section["title"].rpartition(", ")[2] for section in found] == ["the host's network", "a bridge network"]
    for section, more in zip(found, ({"podman auto-update"}, set[str]()), strict=True):
        assert set(section["samples"]) == SIDES | more
        for samples in section["samples"].values():
            assert len(samples) == 2
            assert all(1 < milliseconds < 20_000 for milliseconds in samples)


def test_many_containers_and_nothing_to_do(document: dict[str, Any]) -> None:
    (replaced,) = sections(document, "Replace 2 containers")
    assert set(replaced["samples"]) == {"ours", "stop+rm+run"}
    assert all(0 < value < 120 for values in replaced["samples"].values() for value in values)
    for section in sections(document, "Nothing to do"):
        assert set(section["samples"]) >= {"by tag", "by digest"}
    assert len(document["aims"]) == 6


def test_a_trace_tells_the_requests_around_the_stop() -> None:
    lines = run("--trace", "--count", "1").splitlines()
    (stop,) = [line for line in lines if "/containers/traced/stop" in line]
    assert float(stop.split()[0]) == 0
    events = [line for line in lines if "answer of the" in line]
    assert ["old" in events[0], "new" in events[1]] == [True, True]
    assert any(line.startswith("start, initialised") for line in lines)


def test_figures_say_which_aims_were_missed() -> None:
    section = figures.Section("Downtime", "ms", "floor", {"ours": [2.0, 4.0], "floor": [2.0]})
    aims = [figures.Aim("short", section.ratio("ours", "floor"), 1.15), figures.Aim("long", 3, 2, at_least=True)]
    text = figures.table([section], aims)
    assert "1.50x" in text
    assert "missed  short: 1.50 (at most 1.15)" in text
    assert "held    long: 3.00 (at least 2)" in text
