"""Identifiers of packages and of a tree, cold and unchanged, against a checksum of what the tools print."""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.deployments import figures
from benchmarks.packages import sides
from overcloud_agent.packages import inventory, select, trees

# Bytes of a Puppet manifest, from the smallest to the largest.
_SIZES = (200, 8000)
# Seconds after which the times of what was written are relied on; see cached.is_racy.
_REST = 2.1


def packages(to: figures.Figures, section: str, root: Path, command: str, directory: Path, runs: int) -> None:
    """The identifier of the packages of `root`; `command` prints them, and a checksum of that is the reference."""
    manager = select.backend(root)
    state = directory / "state"

    def identify() -> None:
        inventory.identifier(manager, state)

    time.sleep(_REST)
    ours = {"cold (aim: at least 0.77x)": _cold(state, identify), "unchanged (aim: under 1 ms)": identify}
    sides.alternate(to, section, sides.shell(f"{command} | sha256sum", directory), ours, runs)


def tree(to: figures.Figures, files: int, directory: Path, runs: int) -> None:
    """The identifier of a tree like that of Puppet modules."""
    root, state = directory / "modules", directory / "state"
    changing = _plant(root, files)
    numbers = iter(range(runs))

    def identify() -> None:
        trees.identify(root, state)

    def change() -> None:
        changing.write_text(f"class changed {{ {next(numbers)} }}\n")
        identify()

    time.sleep(_REST)
    reference = sides.shell("find . -type f -print0 | sort -z | xargs -0 sha256sum | sha256sum", root)
    section = f"A tree of {files} files"
    sides.alternate(to, section, reference, {"cold": _cold(state, identify), "unchanged": identify}, runs)
    sides.alternate(to, section, reference, {"one file changed": change}, runs)


def _cold(state: Path, identify: Callable[[], None]) -> Callable[[], None]:
    def run() -> None:
        shutil.rmtree(state, ignore_errors=True)
        identify()

    return run


def _plant(root: Path, files: int) -> Path:
    """Modules of 100 files; returns one of these."""
    chance = random.Random(files)  # noqa: S311  # the same tree every time
    for number in range(files):
        part = ("manifests", "lib/puppet/type", "templates", "files", "spec/classes")[number % 5]
        path = root / f"module{number // 100}" / part / f"file_{number}.pp"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(chance.randbytes(chance.randint(*_SIZES)))
    return path
