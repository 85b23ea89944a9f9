"""From uses of code by processes and units to what is affected, and what is to be done about it."""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Collection, Iterable, Iterator, Mapping

from overcloud_agent.packages import cgroups, hosts, model, processes, unit_rules

# More reasons than a person reads.
_REASONS = 5
# Seconds by which a process is older than the main one of its unit to be of an earlier start.
_EARLIER = 1.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Use:
    """That a process (or, with pid 0, a unit itself) uses code which changes or has changed."""

    reason: str
    path: str = ""
    pid: int = 0
    unit: str = ""
    """Of a use with pid 0."""
    package: str = ""
    """Empty after an update."""


class Facts:
    """What systemd knows of the host's units, and what its containers are called; asked when it is first needed."""

    def __init__(self, host: hosts.Host) -> None:
        self.host = host
        self._units: dict[str, dict[str, str]] | None = None
        self._containers: dict[str, str] = {}

    @property
    def units(self) -> Mapping[str, Mapping[str, str]]:
        """The services in systemd's memory; empty where systemd does not run."""
        if self._units is None:
            self._units = self.host.show(["*.service"], unit_rules.PROPERTIES) if self.host.booted else {}
        return self._units

    def unit(self, name: str) -> Mapping[str, str]:
        """What systemd knows of one service; nothing where it knows none of that name."""
        return self.units.get(name, {}) if name.endswith(".service") else {}

    def command(self, unit: str) -> list[str]:
        """The command line of a unit; empty where there is none."""
        return unit_rules.command(self.unit(unit))

    def container(self, identity: str) -> str:
        """A container's name, or the beginning of its id where nobody knows it."""
        return self.named(identity) or identity[:12]

    def named(self, identity: str) -> str:
        """A container's name, empty where nobody knows it."""
        if identity not in self._containers:
            self._containers[identity] = self.host.containers([identity]).get(identity, "")
        return self._containers[identity]


@dataclasses.dataclass
class _Found:
    packages: set[str] = dataclasses.field(default_factory=set)
    reasons: set[str] = dataclasses.field(default_factory=set)
    report: str = ""


def gather(
    found: Iterable[Use], table: processes.Table, facts: Facts, *, going: Collection[str] = ()
) -> tuple[model.Affected, ...]:
    """All uses by what has to be restarted for them, sorted; `going` are units whose package is being removed."""
    by_pid = {process.pid: process for process in table.processes}
    groups: dict[tuple[str, str], _Found] = {}
    for use in found:
        key, report = _owner(use, by_pid, table, facts)
        group = groups.setdefault(key, _Found())
        group.packages |= {use.package} - {""}
        group.reasons.add(use.reason)
        group.report = group.report or report
    return tuple(sorted(_affected(key, group, facts, going) for key, group in groups.items() if key != ("", "")))


def needs_boot(found: Iterable[Use], table: processes.Table) -> Iterator[str]:
    """Why uses that were found after an update make a boot necessary."""
    by_pid = {process.pid: process for process in table.processes}
    for use in found:
        process = by_pid.get(use.pid)
        unit = "init.scope" if use.pid == 1 else table.place(process).unit if process else ""
        if unit in unit_rules.REBOOT:
            yield f"{'PID 1' if unit == 'init.scope' else unit} runs what was replaced"


def _owner(
    use: Use, by_pid: Mapping[int, processes.Process], table: processes.Table, facts: Facts
) -> tuple[tuple[str, str], str]:
    """(kind, name) of what a use belongs to, and why that is only reported, if it is."""
    if not use.pid:
        return ("unit", use.unit), ""
    process = by_pid[use.pid]
    place = table.place(process)
    if table.started(process) == float("inf"):
        # It ended meanwhile.
        return ("", ""), ""
    if place.container:
        return ("container", facts.container(place.container)), "" if facts.named(place.container) else "it is not ours"
    if process.name in unit_rules.CONTAINER_TOOLS:
        supervised = place.conmon or _conmon(table.arguments(process))
        why = f"{process.name} serves a container, which would stop with it"
        if process.name == "conmon" and supervised:
            return ("container", f"{facts.container(supervised)} (conmon)"), why
        # The service for Podman's API is one like others.
        return _place(process, place), "" if place.unit == "podman.service" else why
    if _is_left(process, place, table, facts):
        # The unit has been restarted since, and would be for ever.
        why = f"a restart of {place.unit} leaves it running (KillMode={facts.unit(place.unit)['KillMode']})"
        return _place(process, cgroups.Place()), why
    return _place(process, place), ""


def _is_left(process: processes.Process, place: cgroups.Place, table: processes.Table, facts: Facts) -> bool:
    """Whether a process is of an earlier start of its unit, which did not end it."""
    unit = facts.unit(place.unit)
    stamp = int(unit.get("ExecMainStartTimestampMonotonic") or 0) / 1e6
    if not stamp or not unit_rules.spares_children(unit):
        return False
    return table.started(process) + _EARLIER < time.time() - time.clock_gettime(time.CLOCK_MONOTONIC) + stamp


def _place(process: processes.Process, place: cgroups.Place) -> tuple[str, str]:
    if place.unit:
        return "unit", place.unit
    return "process", f"{process.name} (pid {process.pid})"


def _affected(key: tuple[str, str], group: _Found, facts: Facts, going: Collection[str]) -> model.Affected:
    kind, name = key
    host = facts.host
    action: unit_rules.Action = "report" if group.report else "restart"
    why = group.report
    if kind == "unit" and not why:
        unit = facts.unit(name)
        action = unit_rules.decide(name, unit, own=host.own_unit, reload=host.reload, report=host.report)
        why = unit_rules.why_left_alone(name, unit, own=host.own_unit, report=host.report)
        if name in going:
            action, why = "report", "its package is removed"
    elif kind == "process":
        action, why = "report", why or "no unit of systemd runs it"
    reasons = sorted(group.reasons)
    if len(reasons) > _REASONS:
        reasons = [*reasons[: _REASONS - 1], f"{len(reasons) - _REASONS + 1} more"]
    if why:
        reasons.append(f"left alone: {why}")
    return model.Affected(
        kind="container" if kind == "container" else "unit" if kind == "unit" else "process",
        name=name,
        action=action,
        packages=tuple(sorted(group.packages)),
        reasons=tuple(reasons),
    )


def _conmon(arguments: list[str]) -> str:
    """The id of the container that a conmon supervises (its option -c)."""
    return next((value for key, value in itertools.pairwise(arguments) if key == "-c"), "")
