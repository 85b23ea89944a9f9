"""Which changes of packages are an update, and which an upgrade, and why. Pure: no I/O.

What decides is in data/services.yaml, which says it for people, too.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable
from typing import Literal

import msgspec

from overcloud_agent import errors
from overcloud_agent.packages import model

Carried = Literal["schema", "rpc", "data"]

_WORDS: dict[Carried, str] = {"schema": "its schema", "rpc": "its RPC interface", "data": "its data"}
# Of how many packages with one reason a refusal has the names.
_NAMED = 5


class Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"excepted": "except"}):
    """One entry of services.yaml."""

    services: list[str]
    sources: list[str] = []
    packages: list[str] = []
    excepted: list[str] = []
    major: int
    carries: list[Carried]


class Service:
    """A service with its names ready to be compared."""

    def __init__(self, name: str, entry: Entry) -> None:
        self.name = name
        self.major = entry.major
        self.carries = " and ".join(_WORDS[one] for one in entry.carries)
        self._sources = _pattern(entry.sources, name)
        self._packages = _pattern(entry.packages, name)
        self._excepted = _pattern(entry.excepted, name)

    def has(self, package: str, source: str) -> bool:
        """Whether the package is one of the service's."""
        found = self._packages.fullmatch(package) or (source and self._sources.fullmatch(source))
        return bool(found) and not self._excepted.fullmatch(package)


class Rules:
    """All services, in the order in which they are asked."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        self._entries = tuple(entries)
        self.services = tuple(Service(name, entry) for entry in self._entries for name in entry.services)
        # Most packages are no service's, and to find that out takes one look instead of one for each service.
        every = [
            pattern.format(service=name)
            for entry in self._entries
            for name in entry.services
            for pattern in (*entry.sources, *entry.packages)
        ]
        self._any = _pattern(every, "")

    def service(self, package: str, source: str) -> Service | None:
        """The service that a package is of."""
        if not self._any.fullmatch(package) and not (source and self._any.fullmatch(source)):
            return None
        return next((one for one in self.services if one.has(package, source)), None)


def read(document: object) -> Rules:
    """The rules of services.yaml. Raises SettingsError."""
    try:
        return Rules(msgspec.convert(document, list[Entry]))
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at ")
        raise errors.SettingsError(message, path=f"services.yaml: {path.strip('`') or '$'}") from None


def _pattern(names: Iterable[str], service: str) -> re.Pattern[str]:
    alternatives = "|".join(fnmatch.translate(name.format(service=service)) for name in names)
    # With no alternative, nothing fits.
    return re.compile(alternatives or r"(?!)")


def classify(pending: model.Pending, rules: Rules) -> dict[str, tuple[model.Class, str]]:
    """Update or upgrade, and why, by the names of the packages that change."""
    found: dict[str, tuple[model.Class, str]] = {}
    for change in sorted(pending.changes):
        kind, why = _of(change, rules)
        # A name can have several changes (architectures, kernels); one that is an upgrade makes it one.
        if change.name not in found or (kind == "upgrade" and found[change.name][0] != "upgrade"):
            found[change.name] = (kind, why)
    return found


def _of(change: model.Change, rules: Rules) -> tuple[model.Class, str]:
    service = rules.service(change.name, change.source)
    if service is None:
        return "update", "no service's"
    if not service.carries:
        return "update", f"{service.name} carries no schema, RPC interface or data"
    if change.kind == "remove":
        return "upgrade", f"{service.name} is removed, which may end {service.carries}"
    if change.kind == "downgrade":
        return "upgrade", f"{service.name} goes back, which may not fit {service.carries}"
    if not change.old:
        return "update", f"{service.name} is new here"
    old, new = major(change.old, service.major), major(change.new, service.major)
    if old == new:
        return "update", f"{service.name} stays at {shown(new)}"
    return "upgrade", f"{service.name} moves from {shown(old)} to {shown(new)}, which may change {service.carries}"


def major(version: str, numbers: int) -> tuple[str, ...]:
    """The epoch, and the first numbers of the upstream version; of a version without numbers all of it.

    `2:27.1.0~rc1-0ubuntu1` has, with one number, the major version ("2", "27").
    """
    epoch, colon, rest = version.partition(":")
    if not colon:
        epoch, rest = "0", version
    # Debian's revision and rpm's release come after the last hyphen, which neither may have in itself.
    upstream = rest.rpartition("-")[0] or rest
    found = tuple(re.findall(r"[0-9]+", upstream)[:numbers])
    return (epoch, *(found or (upstream,)))


def shown(found: tuple[str, ...]) -> str:
    """A major version as people write it; the epoch where there is one."""
    epoch, *numbers = found
    text = ".".join(numbers)
    return text if epoch == "0" else f"{epoch}:{text}"


def refuse(plan: model.Plan, allow: Literal["update", "upgrade"]) -> str:
    """Why a plan is more than what is allowed, naming the packages that make it so; empty when it is not."""
    if allow == "upgrade" or plan.change != "upgrade":
        return ""
    by_reason: dict[str, list[str]] = {}
    versions = {change.name: change for change in sorted(plan.pending.changes, reverse=True)}
    for name, (kind, why) in sorted(plan.classes.items()):
        if kind == "upgrade":
            by_reason.setdefault(why, []).append(_with_versions(name, versions.get(name)))
    told = [f"{why}: {_some(names)}" for why, names in by_reason.items()]
    return (
        f"this is an upgrade, and the deployment allows updates only: {'; '.join(told)}"
        " (give the input allow: upgrade, or exclude these packages)"
    )


def _with_versions(name: str, change: model.Change | None) -> str:
    if change is None:
        return name
    return f"{name} {change.old} -> {change.new or 'removed'}" if change.old else f"{name} {change.new}"


def _some(names: list[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")
