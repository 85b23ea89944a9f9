"""The command line: `python -m benchmarks.deployments`, with tests/ on PYTHONPATH, or `make benchmark`."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import places
import stacks
from benchmarks import options
from benchmarks.deployments import figures, forks, idle, known, latency
from reference import install
from undercloud import box


def main(argv: Sequence[str]) -> int:
    """Measure what is asked for, and print it."""
    arguments = _parser().parse_args(argv)
    install.install()
    to = figures.Figures()
    with tempfile.TemporaryDirectory(prefix="benchmark-", dir=places.SCRATCH) as directory:
        for part in PARTS:
            if part in arguments.only:
                print(f"{part} ...", file=sys.stderr)
                PARTS[part](to, arguments, Path(directory) / part)
    settings = {key: getattr(arguments, key) for key in ("runs", "known", "idle_seconds", "only")}
    print(figures.document(to.rows(), settings) if arguments.json else figures.table(to.rows()))
    return 0


def _latency(to: figures.Figures, arguments: argparse.Namespace, directory: Path) -> None:
    with _cloud() as cloud:
        for run, side in latency.alternate(arguments.runs):
            name = f"latency-{side.name}-{run}"
            latency.measure(to, cloud, directory / name, side, name)


def _forks(to: figures.Figures, arguments: argparse.Namespace, directory: Path) -> None:
    for count in (1, 20):
        for run, side in latency.alternate(arguments.runs):
            forks.measure(to, directory / f"{side.name}-{count}-{run}", side, count)


def _known(to: figures.Figures, arguments: argparse.Namespace, directory: Path) -> None:
    for count in arguments.known:
        for run, side in latency.alternate(arguments.runs):
            known.measure(to, directory / f"{side.name}-{count}-{run}", side, count)


def _idle(to: figures.Figures, arguments: argparse.Namespace, directory: Path) -> None:
    with _cloud() as cloud:
        for transport in idle.TRANSPORTS:
            for run, side in latency.alternate(arguments.runs):
                name = f"idle-{transport.rpartition('_')[2].lower()}-{side.name}-{run}"
                idle.measure(to, cloud, directory / name, side, name, transport, arguments.idle_seconds)


PARTS: dict[str, Callable[[figures.Figures, argparse.Namespace, Path], None]] = {
    "latency": _latency,
    "forks": _forks,
    "known": _known,
    "idle": _idle,
}


@contextmanager
def _cloud() -> Iterator[latency.Cloud]:
    """A real Keystone and Heat, without stacks; gone afterwards."""
    made = box.Undercloud(places.SCRATCH / "benchmark-undercloud")
    made.down(wipe=True)
    made.up()
    heat = stacks.Stacks(made)
    try:
        yield latency.Cloud(made, heat)
    finally:
        heat.close()
        made.down(wipe=True)


def _parser() -> argparse.ArgumentParser:
    counts = options.counts
    parser = argparse.ArgumentParser(
        prog="benchmarks.deployments", description="overcloud-agent and the reference stack."
    )
    parser.add_argument("--runs", type=int, default=3, help="runs of each side; the figures are medians (3)")
    parser.add_argument("--known", type=counts, default=[10, 1000, 10000], help="known deployments (10,1000,10000)")
    parser.add_argument("--idle-seconds", type=float, default=60.0, help="how long a daemon is watched idling (60)")
    options.add_common(parser, PARTS)
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
