"""Transactions as dnf's `history replay` and dnf5's `replay` read them. Pure: no I/O.

Both take exactly the packages that a file names, and fail when one is not there or when another would have to come
or go. The formats are those of dnf/transaction_sr.py (dnf 4) and libdnf5/transaction/transaction_sr.cpp (dnf5).
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from overcloud_agent.packages import model, nevras

INSTALLED = "@System"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dialect:
    """What the two call the same thing."""

    version: str
    """Of the format; dnf 4 takes only the one that it writes itself."""
    user: str
    """The reason of a package that a person asked for: nothing removes it as no longer needed."""
    replaced: Mapping[model.Kind, str]
    """What becomes of the installed package, by the kind of the change."""


def dnf4(version: str) -> Dialect:
    """That of dnf 4, which tells its `version` of it."""
    replaced: dict[model.Kind, str] = {
        "upgrade": "Upgraded",
        "downgrade": "Downgraded",
        "reinstall": "Reinstalled",
        "remove": "Removed",
    }
    return Dialect(version=version, user="user", replaced=replaced)


def dnf5() -> Dialect:
    """That of dnf5."""
    replaced: dict[model.Kind, str] = {
        "upgrade": "Replaced",
        "downgrade": "Replaced",
        "reinstall": "Replaced",
        "remove": "Remove",
    }
    return Dialect(version="1.0", user="User", replaced=replaced)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Leftover:
    """What a transaction left that did not end."""

    transaction: str = ""
    """The tool's number of it; empty when it has none that did not end."""
    done: tuple[nevras.Nevra, ...] = ()
    """Packages of that transaction that came, some of whose scripts may not have run."""
    duplicates: tuple[nevras.Nevra, ...] = ()
    """Installed packages of which several versions are there, and one should be."""
    repositories: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Where those of them are that are still to be had, by NEVRA."""


def document(changes: Sequence[model.Change], dialect: Dialect, *, installed: Collection[model.Installed]) -> bytes:
    """The file that replays `changes`; `installed` are the packages that the system has.

    What comes newly, and of which the tool gave no cause, is the user's, which nothing removes by itself.
    """
    architectures: dict[tuple[str, str], list[str]] = {}
    for package in installed:
        architectures.setdefault((package.name, package.version), []).append(package.architecture)
    entries = []
    for change in changes:
        if change.new:
            new = nevras.Nevra(name=change.name, architecture=change.architecture, version=change.new)
            reason = change.cause or dialect.user
            entries.append(_entry(new, change.kind.capitalize(), reason, change.repository))
        if change.old:
            # An upgrade may change the architecture; the change names the new one.
            known = architectures.get((change.name, change.old), [])
            architecture = known[0] if len(known) == 1 else change.architecture
            old = nevras.Nevra(name=change.name, architecture=architecture, version=change.old)
            entries.append(_entry(old, dialect.replaced[change.kind], dialect.user, INSTALLED))
    return _file(entries, dialect)


def file_name(change: model.Change) -> str:
    """The name of the file of a package that comes: it has no epoch."""
    return f"{change.name}-{change.new.rpartition(':')[2]}.{change.architecture}.rpm"


def repair(leftover: Leftover, dialect: Dialect) -> bytes:
    """The file that ends an interrupted transaction: of duplicates the newest stays, and what came comes again.

    Again, because its scripts may not have run. What is not to be had any more stays as it is.
    """
    old = _outdated(leftover.duplicates)
    again = sorted({*leftover.done, *leftover.duplicates} - old)
    entries = [_entry(package, dialect.replaced["remove"], dialect.user, INSTALLED) for package in sorted(old)]
    for package in again:
        repository = leftover.repositories.get(str(package))
        if repository:
            entries.append(_entry(package, "Reinstall", dialect.user, repository))
            entries.append(_entry(package, dialect.replaced["reinstall"], dialect.user, INSTALLED))
    return _file(entries, dialect)


def describe(leftover: Leftover) -> str:
    """What was left, in words; empty when nothing was."""
    parts = []
    if leftover.duplicates:
        names = sorted({package.name for package in leftover.duplicates})
        parts.append(f"two versions are installed of {_few(names)}")
    if leftover.done:
        parts.append(f"scripts may not have run of {_few([str(package) for package in leftover.done])}")
    if not parts:
        return ""
    what = f"transaction {leftover.transaction}" if leftover.transaction else "a transaction"
    return f"{what} was interrupted: {'; '.join(parts)}"


def _outdated(duplicates: Collection[nevras.Nevra]) -> set[nevras.Nevra]:
    groups: dict[tuple[str, str], list[nevras.Nevra]] = {}
    for package in duplicates:
        groups.setdefault((package.name, package.architecture), []).append(package)
    newest = {max(group, key=lambda package: nevras.key(package.version)) for group in groups.values()}
    return set(duplicates) - newest


def _few(names: Sequence[str], most: int = 10) -> str:
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest


def _entry(package: nevras.Nevra, action: str, reason: str, repository: str) -> dict[str, str]:
    return {"action": action, "nevra": str(package), "reason": reason, "repo_id": repository}


def _file(entries: Sequence[Mapping[str, Any]], dialect: Dialect) -> bytes:
    return json.dumps({"version": dialect.version, "rpms": entries}, indent=1).encode()
