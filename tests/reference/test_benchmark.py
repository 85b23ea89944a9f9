"""The benchmark runs, and has a figure of both sides wherever both can do what is measured."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import places
from benchmarks.deployments import figures


def test_the_parts_that_need_no_heat() -> None:
    argv = [sys.executable, "-m", "benchmarks.deployments", "--runs", "1", "--only", "forks,known", "--known", "10"]
    environment = {**os.environ, "PYTHONPATH": str(places.ROOT / "tests")}
    done = subprocess.run(
        [*argv, "--json"], cwd=places.ROOT, env=environment, capture_output=True, text=True, timeout=400
    )
    assert done.returncode == 0, done.stderr
    rows = {(row["section"], row["title"]): row for row in json.loads(done.stdout)["rows"]}
    assert len({section for section, _ in rows}) == 2
    for (section, title), row in rows.items():
        assert row["reference"] > 0, (section, title)
        assert row["ours"] is not None, (section, title)
    forked = rows["(b) Processes on the node", "1 deployment, for each: forked"]
    assert forked["ours"] < forked["reference"]


def test_figures_are_medians_by_section() -> None:
    to = figures.Figures()
    for side, values in {"reference": [9.0, 1.0, 4.0], "ours": [2.0]}.items():
        for value in values:
            to.add("one", "a", "s", side, value)
            to.add("two", "b", "s", side, value)
    to.add("one", "c", "s", "reference", 1.0)
    rows = to.rows()
    assert [(row.section, row.title, row.reference, row.ours, row.ratio) for row in rows] == [
        ("one", "a", 4.0, 2.0, 2.0),
        ("one", "c", 1.0, None, None),
        ("two", "b", 4.0, 2.0, 2.0),
    ]
    assert "2.00x" in figures.table(rows)
