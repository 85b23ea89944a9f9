"""A backend that knows only what is installed, of the real dpkg: for tests and benchmarks of what is built on it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from overcloud_agent import run
from overcloud_agent.packages import model


class Dpkg:
    """packages/backend.py's Backend. `asked` counts how often dpkg-query was started."""

    name = "apt"

    def __init__(self, admindir: Path = Path("/var/lib/dpkg")) -> None:
        self.admindir = admindir
        self.asked = 0

    def database(self) -> Sequence[Path]:
        return (self.admindir / "status", self.admindir / "updates")

    def installed(self) -> tuple[model.Installed, ...]:
        self.asked += 1
        form = "${db:Status-Status}\t${Package}\t${Architecture}\t${Version}\n"
        argv = ["dpkg-query", f"--admindir={self.admindir}", "--show", f"--showformat={form}"]
        done = run.command(argv, timeout=60, limit=64 * 1024 * 1024)
        assert done.returncode == 0, done.stderr
        rows = [line.split("\t") for line in done.stdout.decode().splitlines()]
        return tuple(
            sorted(
                model.Installed(name=name, architecture=architecture, version=version)
                for status, name, architecture, version in rows
                if status == "installed"
            )
        )

    def files(self, names: Collection[str]) -> dict[str, tuple[str, ...]]:
        raise NotImplementedError

    def refresh(self, *, wait: float, alive: Callable[[], None]) -> None:
        raise NotImplementedError

    def pending(self, selection: model.Selection) -> model.Pending:
        raise NotImplementedError

    def download(self, pending: model.Pending, *, wait: float, alive: Callable[[], None]) -> None:
        raise NotImplementedError

    def transaction(self, pending: model.Pending) -> model.Command:
        raise NotImplementedError

    def interrupted(self) -> str:
        raise NotImplementedError

    def repair(self) -> model.Command:
        raise NotImplementedError

    def missing(self, pending: model.Pending) -> int:
        raise NotImplementedError

    def lock_holder(self) -> str:
        raise NotImplementedError
