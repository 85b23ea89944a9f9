"""What runs code that changes: before an update, from the files of its packages; after it, from what is on disk.

Before, a process is affected by a package when

- it has mapped one of the package's files as code (programs, libraries, extension modules), or has it open (jars);
- it is an interpreter and runs one of the package's files as its script;
- it is an interpreter and may load a module of the package: one that its script names, or that what is named there
  names, and so on (loaded.py), from where its language looks for modules. Where nobody can tell what it runs (a program
  in an argument, Python within Apache), all that it could load counts.

A unit is affected by its processes, and by a package that has its unit file, one of its drop-ins, or the program of its
ExecStart. A container is affected by what it has from the host (bind mounts); what its image brings is for
container-upgrade.

After an update the same counts for files that were deleted, or replaced, or, of an interpreter, are newer than the
process. A program that executed itself again keeps the time of its start, and may be found although it is new.

All of it errs on the side of a restart.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Literal

from overcloud_agent.packages import boot_reasons, changing, hosts, model, processes, stale, uses

State = Literal["old code", "new code"]


@dataclasses.dataclass(frozen=True, kw_only=True, order=True)
class Running:
    """A line of the table of processes."""

    pid: int
    program: str
    unit: str
    """The systemd unit; empty where there is none."""
    container: str
    """The container's name, or its id where nobody knows the name."""
    packages: tuple[str, ...]
    """Those whose files it uses."""
    state: State
    reasons: tuple[str, ...]


def before(
    files: Mapping[str, Sequence[str]], *, changes: Sequence[model.Change], host: hosts.Host
) -> model.Affliction:
    """What uses files of the packages that are about to change, and whether the node must boot.

    `files` has the paths of each package's files in the host's root, as `Backend.files` gives them. Raises PackageError
    when systemd does not answer.
    """
    facts = uses.Facts(host)
    table = processes.Table(host)
    index = changing.Index(files, host)
    found = [*changing.in_processes(table, index, facts), *changing.in_units(index, facts)]
    removed = {change.name for change in changes if change.kind == "remove"}
    going = {unit for unit, packages in changing.unit_files(index, facts).items() if packages <= removed}
    return model.Affliction(
        affected=uses.gather(found, table, facts, going=going), reboot=boot_reasons.before(files, changes)
    )


def after(*, host: hosts.Host) -> model.Affliction:
    """What still runs code that is not what is on disk, and whether the node must boot. Raises as `before`."""
    facts = uses.Facts(host)
    table = processes.Table(host)
    found = [*stale.in_processes(table, facts), *stale.in_units(table, facts)]
    reasons = {*boot_reasons.after(host, table.booted), *uses.needs_boot(found, table)}
    return model.Affliction(affected=uses.gather(found, table, facts), reboot=tuple(sorted(reasons)))


def running(host: hosts.Host, files: Mapping[str, Sequence[str]] | None = None) -> tuple[Running, ...]:
    """The processes that use files of these packages, or whose code is not what is on disk, by pid. Raises as `before`.

    To be called before an update and after it; `files` as there, and of a package that has changed, those of before
    and of now.
    """
    facts = uses.Facts(host)
    table = processes.Table(host)
    index = changing.Index(files or {}, host)
    old: dict[int, list[uses.Use]] = {}
    for use in stale.in_processes(table, facts):
        old.setdefault(use.pid, []).append(use)
    used: dict[int, list[uses.Use]] = {}
    for use in changing.in_processes(table, index, facts):
        used.setdefault(use.pid, []).append(use)
    lines = []
    for process in table.processes:
        if process.pid in old or process.pid in used:
            place = table.place(process)
            packages = {one.package for one in used.get(process.pid, ())} | {
                package for one in old.get(process.pid, ()) for package in index.packages(one.path)
            }
            lines.append(
                Running(
                    pid=process.pid,
                    program=process.name,
                    unit=place.unit,
                    container=facts.container(place.container) if place.container else "",
                    packages=tuple(sorted(packages)),
                    state="old code" if process.pid in old else "new code",
                    reasons=tuple(sorted({one.reason for one in old.get(process.pid) or used[process.pid]})),
                )
            )
    return tuple(sorted(lines))
