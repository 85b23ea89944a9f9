"""Where everything of one undercloud lies below its directory, and small-file helpers."""

import contextlib
import dataclasses
import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

ADDRESS = "127.0.0.1"
"""Every service listens here and nowhere else."""

INSIDE = Path(__file__).resolve().parent / "inside"
"""The scripts that run with the undercloud venv's interpreter."""


@dataclasses.dataclass(frozen=True)
class Layout:
    """The paths of one undercloud; ``venv`` may lie elsewhere, shared between several."""

    root: Path
    venv: Path

    @property
    def state_file(self) -> Path:
        """JSON: ports, passwords and settings (see state.py)."""
        return self.root / "undercloud.json"

    @property
    def openrc_file(self) -> Path:
        """Shell exports for the ordinary user ``demo``."""
        return self.root / "openrc"

    @property
    def etc(self) -> Path:
        """Generated configuration and Keystone's key repositories."""
        return self.root / "etc"

    @property
    def data(self) -> Path:
        """The SQLite databases, and markers that say that they are complete."""
        return self.root / "data"

    @property
    def run(self) -> Path:
        """Pid files."""
        return self.root / "run"

    @property
    def logs(self) -> Path:
        """One log per service and per set-up step."""
        return self.root / "log"

    @property
    def python(self) -> Path:
        """The interpreter that has Keystone and Heat."""
        return self.venv / "bin" / "python"

    @property
    def swift(self) -> Path:
        """The directory of Swift's configuration files and rings."""
        return self.etc / "swift"

    @property
    def objects(self) -> Path:
        """The directory that stands for Swift's one disk."""
        return self.data / "swift"

    @property
    def messages(self) -> Path:
        """Redis's directory: Zaqar's queues and messages."""
        return self.data / "redis"

    def database(self, service: str) -> Path:
        """Return the SQLite file of ``keystone`` or ``heat``."""
        return self.data / f"{service}.db"

    def config(self, service: str) -> Path:
        """Return the configuration file of a service (Swift has a directory of them)."""
        return self.etc / f"{service}.conf"


def of(directory: Path) -> Layout:
    """Return the layout below ``directory``; UNDERCLOUD_VENV names a shared venv."""
    root = directory.absolute()
    shared = os.environ.get("UNDERCLOUD_VENV")
    return Layout(root, Path(shared).absolute() if shared else root / "venv")


def make_directories(layout: Layout) -> None:
    """Create the directories, readable by their owner only: they hold passwords and keys."""
    layout.root.parent.mkdir(parents=True, exist_ok=True)
    for path in (layout.root, layout.etc, layout.data, layout.run, layout.logs):
        path.mkdir(mode=0o700, exist_ok=True)


def make_private(path: Path) -> None:
    """Create a directory below one of those."""
    path.mkdir(mode=0o700, exist_ok=True)


def wipe(layout: Layout) -> None:
    """Remove all state: databases, configuration, logs, ports and passwords; keep the venv."""
    for directory in (layout.etc, layout.data, layout.run, layout.logs):
        shutil.rmtree(directory, ignore_errors=True)
    for file in (layout.openrc_file, layout.state_file):
        file.unlink(missing_ok=True)


def write_private(path: Path, text: str) -> None:
    """Write a file with mode 0600 in one step, so that a reader never sees half of it."""
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    new.replace(path)


@contextlib.contextmanager
def exclusive(layout: Layout) -> Iterator[None]:
    """Let one process at a time bring this undercloud up or down; others wait."""
    with (layout.root / ".lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
