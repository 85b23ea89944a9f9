"""The command line: `python -m benchmarks.packages`, with tests/ on PYTHONPATH, or `make benchmark-packages`."""

from __future__ import annotations

import argparse
import shlex
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import places
from benchmarks import options
from benchmarks.deployments import figures
from benchmarks.packages import identifiers, pending, restarts, roots, sides


def main(argv: Sequence[str]) -> int:
    """Measure what is asked for, and print it."""
    arguments = _parser().parse_args(argv)
    to = figures.Figures()
    places.SCRATCH.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="benchmark-", dir=places.SCRATCH) as directory:
        for part in arguments.only:
            print(f"{part} ...", file=sys.stderr)
            (Path(directory) / part).mkdir()
            PARTS[part](to, arguments, Path(directory) / part)
    settings = {key: getattr(arguments, key) for key in ("runs", "rpms", "files", "processes", "only")}
    print(figures.document(to.rows(), settings) if arguments.json else figures.table(to.rows()))
    return 0


def _dpkg(to: figures.Figures, arguments: argparse.Namespace, directory: Path) -> None:
    identifiers.packages(
        to, "packages_identifier, this machine's dpkg", Path("/"), "dpkg-query -W", directory, arguments.runs
    )


def _rpm(to: figures.Figures, arguments: argparse.Namespace, directory: Path) -> None:
    section = f"packages_identifier, {arguments.rpms} RPMs"
    with roots.with_rpms(directory, arguments.rpms) as root:
        command = shlex.join(["rpm", "--root", str(root), "-qa"])
        identifiers.packages(to, section, root, command, directory, arguments.runs)


def _tree(to: figures.Figures, arguments: argparse.Namespace, directory: Path) -> None:
    identifiers.tree(to, arguments.files, directory, arguments.runs)


def _apt(to: figures.Figures, arguments: argparse.Namespace, directory: Path) -> None:
    pending.apt(to, directory, arguments.runs)


def _dnf(to: figures.Figures, arguments: argparse.Namespace, _directory: Path) -> None:
    pending.dnf(to, arguments.rpms, arguments.runs)


def _restarts(to: figures.Figures, arguments: argparse.Namespace, _directory: Path) -> None:
    rows, found = restarts.run_apart(arguments.processes, arguments.runs)
    section = f"What runs old code, {arguments.processes} processes"
    ours, *references = rows
    for row in references:
        title = f"{ours.side}, to {row.side}"
        for reference, own in zip(row.samples, ours.samples, strict=True):
            to.add(section, title, "ms", sides.REFERENCE, reference * 1000)
            to.add(section, title, "ms", sides.OURS, own * 1000)
    print(f"  found: ours {found.ours}, needrestart {found.theirs}, missed {found.missed}", file=sys.stderr)


# A part has a directory of its own.
PARTS: dict[str, Callable[[figures.Figures, argparse.Namespace, Path], None]] = {
    "dpkg": _dpkg,
    "rpm": _rpm,
    "tree": _tree,
    "apt": _apt,
    "dnf": _dnf,
    "restarts": _restarts,
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="benchmarks.packages", description="Packages and trees, compared.")
    parser.add_argument("--runs", type=int, default=9, help="runs of each side; the figures are medians (9)")
    parser.add_argument("--rpms", type=int, default=500, help="RPMs in the root that is made (500)")
    parser.add_argument("--files", type=int, default=5000, help="files in the tree that is made (5000)")
    parser.add_argument("--processes", type=int, default=200, help="processes that are looked at (200)")
    options.add_common(parser, PARTS)
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
