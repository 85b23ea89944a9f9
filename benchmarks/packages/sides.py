"""How both sides are timed: by turns, run by run, so that a change of the machine's mood touches both."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from benchmarks.deployments import figures

REFERENCE, OURS = "reference", "ours"


def alternate(
    to: figures.Figures, section: str, reference: Callable[[], None], ours: Mapping[str, Callable[[], None]], runs: int
) -> None:
    """Add a row for each of `ours`, by its title, all against the same `reference`; milliseconds."""
    sides = {title: _timed(work) for title, work in ours.items()}
    for _ in range(runs):
        compared = _timed(reference)()
        for title, timed in sides.items():
            to.add(section, title, "ms", REFERENCE, compared)
            to.add(section, title, "ms", OURS, timed())


def _timed(work: Callable[[], None]) -> Callable[[], float]:
    def timed() -> float:
        begun = time.perf_counter()
        work()
        return (time.perf_counter() - begun) * 1000

    return timed


def shell(command: str, directory: Path) -> Callable[[], None]:
    """A command line of the reference, its start included."""

    def run() -> None:
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", command], cwd=directory, capture_output=True, timeout=600
        )
        # What `dnf check-update` says when there is something.
        if done.returncode not in (0, 100):
            raise RuntimeError(f"{command}: {done.stderr.decode(errors='replace')}")

    return run
