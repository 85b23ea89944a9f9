"""`packages_identifier`: equal on all nodes that have the same packages. docs/identifiers.md has its exact format.

It is kept in the state directory beside the stat of the package manager's database, so that a node whose database did
not change answers without starting a process.
"""

from __future__ import annotations

import os
import stat
import time

from overcloud_agent.packages import cached

# A type checker takes this name for true; see cached.py for why not even `typing` is loaded.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from overcloud_agent.packages import backend

_FILE = "packages-identifier.json"


def identifier(manager: backend.Backend, state_dir: Path, *, now: Callable[[], int] = time.time_ns) -> str:
    """The identifier of what is installed. `now` tells the time in ns since the epoch. Raises PackageError."""
    read_at = now()
    found = _stats(manager.database())
    database = _stamps(found)
    known = cached.read(os.path.join(state_dir, _FILE))
    if known and known.get("backend") == manager.name and known.get("database") == database:
        return str(known["identifier"])

    # This loads OpenSSL.
    from overcloud_agent import identifiers

    answer = identifiers.of(
        sorted([package.name, package.architecture, package.version] for package in manager.installed())
    )
    # A package manager at work may change the database meanwhile. The answer was true at some moment, as any answer is,
    # but of which state of the database it is nobody knows.
    settled = _stamps(_stats(manager.database())) == database
    if settled and any(found.values()) and not any(cached.is_racy(one, read_at) for one in found.values() if one):
        cached.write(state_dir / _FILE, {"backend": manager.name, "database": database, "identifier": answer})
    return answer


def _stats(paths: Sequence[Path]) -> dict[str, os.stat_result | None]:
    return {os.fspath(path): _stat(path) for path in paths}


def _stat(path: Path) -> os.stat_result | None:
    """None: nothing is in it. SQLite's write-ahead log comes and goes, and whoever reads sets an empty one's owner."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status if status.st_size or not stat.S_ISREG(status.st_mode) else None


def _stamps(found: dict[str, os.stat_result | None]) -> dict[str, str | None]:
    return {path: cached.stamp(one) if one else None for path, one in found.items()}
