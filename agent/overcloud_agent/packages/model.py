"""Packages, and what an update would make of them. Pure: no I/O.

Versions are whole ones, as the tools print them: dpkg's `[epoch:]upstream[-revision]`, rpm's
`[epoch:]version-release`.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

Kind = Literal["install", "upgrade", "downgrade", "reinstall", "remove"]
Class = Literal["none", "update", "upgrade"]


@dataclasses.dataclass(frozen=True, kw_only=True, order=True)
class Installed:
    """An installed package. With rpm several of one name may be (kernels)."""

    name: str
    architecture: str
    version: str


@dataclasses.dataclass(frozen=True, kw_only=True, order=True)
class Change:
    """What an update does to one package."""

    name: str
    architecture: str
    kind: Kind
    old: str = ""
    """The installed version; empty for an installation."""
    new: str = ""
    """The version to come; empty for a removal."""
    source: str = ""
    """The source package (dpkg's Source, rpm's SOURCERPM without version): what is built together."""
    repository: str = ""
    """Where it comes from, as the tool names it; empty for a removal."""
    download: int = 0
    """Bytes to fetch."""
    growth: int = 0
    """Bytes on disk that come to it; negative where it shrinks."""
    security: bool | None = None
    """Whether the repository calls it a security update; None where it does not say."""
    cause: str = ""
    """Why a new package comes, in the words of dnf (`dependency`), which remembers it; empty for all others."""


@dataclasses.dataclass(frozen=True, kw_only=True, order=True)
class Kept:
    """A package that has an update, and is left as it is."""

    name: str
    architecture: str
    old: str
    new: str
    reason: str
    """held, excluded, versionlocked, modular, phased, or what the tool says."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pending:
    """All that an update would do, each sorted."""

    changes: tuple[Change, ...] = ()
    kept: tuple[Kept, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Selection:
    """Which packages an update is about; names may have shell wildcards (`nova-*`)."""

    packages: tuple[str, ...] = ()
    """Only these, and what they need; empty: all that are installed."""
    exclude: tuple[str, ...] = ()
    removals: bool = True
    """Whether packages may be removed or replaced by others, as `dist-upgrade` does (dnf always may)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Command:
    """A command line of the package manager that carries out a transaction."""

    argv: tuple[str, ...]
    environment: dict[str, str] = dataclasses.field(default_factory=dict)
    """What comes on top of the agent's own environment."""


@dataclasses.dataclass(frozen=True, kw_only=True, order=True)
class Affected:
    """A systemd unit or a container that runs code which changes, or has changed; or a process of neither."""

    kind: Literal["unit", "container", "process"]
    name: str
    """`nova-compute.service`; a container's own name; `sleep (pid 42)`, which is only ever reported."""
    action: Literal["restart", "reload", "report"] = "restart"
    """report: it is named, and left to the operator (what must not be restarted, such as a user's session)."""
    packages: tuple[str, ...] = ()
    """Those whose files it uses, sorted."""
    reasons: tuple[str, ...] = ()
    """In words, sorted: `maps /usr/lib/libfoo.so.1`, `loaded nova from /usr/lib/python3/dist-packages`."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Affliction:
    """All that runs code which changes."""

    affected: tuple[Affected, ...] = ()
    reboot: tuple[str, ...] = ()
    """Why the node must boot again, in words; empty when it need not."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Workflow:
    """What follows from an update: batches, one after the other; of each, all at once."""

    batches: tuple[tuple[Affected, ...], ...] = ()
    report: tuple[Affected, ...] = ()
    reboot: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Remaining:
    """What is left to be done when the packages have changed."""

    workflow: Workflow
    old: frozenset[str] = frozenset()
    """Units and containers that were found to run old code, by name."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """What can be approved."""

    pending: Pending
    classes: dict[str, tuple[Class, str]]
    """By the name of a package: update or upgrade, and why."""
    workflow: Workflow

    @property
    def change(self) -> Class:
        """The most that any package's change is."""
        found = {kind for kind, _ in self.classes.values()}
        return "upgrade" if "upgrade" in found else "update" if found else "none"
