"""What runs code that is not what is on disk now."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

from overcloud_agent.packages import hosts, interpreters, languages, loaded, processes, unit_rules, uses

# Programs unpack code there for themselves, and delete it while they run.
_TEMPORARY = ("/tmp/", "/var/tmp/", "/run/", "/var/run/")  # noqa: S108  nothing is written there
# Where packages have their units; others are written by people, generators and the agent itself.
_PACKAGED = ("/lib/systemd/", "/usr/lib/systemd/")
# Where a host's code is that a container may have mounted; elsewhere are its data.
_HOST_CODE = ("/usr/", "/lib", "/bin/", "/sbin/", "/opt/")


def in_processes(table: processes.Table, facts: uses.Facts) -> Iterator[uses.Use]:
    """Uses by processes: of mapped files, and of an interpreter's files."""
    names = hosts.Names(table.host)
    modules = loaded.Modules(table.host)
    looking = interpreters.Interpreters(table, names, modules, facts.command)
    mapped, newer = _Mapped(table), _Newer(table, modules)
    for process in table.processes:
        yield from mapped.of(process)
        program = looking.program(process)
        if program:
            yield from newer.of(process, program)


def in_units(table: processes.Table, facts: uses.Facts) -> Iterator[uses.Use]:
    """Units whose packaged files are newer than their processes."""
    now, monotonic = time.time(), time.clock_gettime(time.CLOCK_MONOTONIC)
    for unit, values in facts.units.items():
        stamp = int(values.get("ExecMainStartTimestampMonotonic") or 0) / 1e6
        if not stamp or values["Id"] != unit or not unit_rules.active(values):
            continue
        for path in (values.get("FragmentPath", ""), *values.get("DropInPaths", "").split()):
            if path.startswith(_PACKAGED) and _changed(table.host.path(path)) > now - monotonic + stamp:
                yield uses.Use(unit=unit, path=path, reason=f"{path} is newer")


class _Mapped:
    """Looks at each file once, and at those that are not what they were once for each process."""

    def __init__(self, table: processes.Table) -> None:
        self._table = table
        self._fresh: dict[processes.Mapped, bool] = {}

    def of(self, process: processes.Process) -> Iterator[uses.Use]:
        for mapped in process.code:
            fresh = self._fresh.get(mapped)
            if fresh is None:
                fresh = self._fresh[mapped] = self._is_fresh(process, mapped)
            if not fresh:
                path = self._table.host_path(process, mapped.path)
                if path and self._counts(process, mapped, path):
                    yield uses.Use(
                        pid=process.pid,
                        path=path,
                        reason=f"maps {path}, which was {'deleted' if mapped.deleted else 'replaced'}",
                    )

    def _is_fresh(self, process: processes.Process, mapped: processes.Mapped) -> bool:
        """Whether the file of that path, as this process sees it, is the one that is mapped."""
        if mapped.deleted or not self._table.plain:
            return False
        return self._table.same_file(process, mapped, mapped.path)

    def _counts(self, process: processes.Process, mapped: processes.Mapped, path: str) -> bool:
        if path.startswith(_TEMPORARY):
            return False
        if self._table.contained(process) and not path.startswith(_HOST_CODE):
            return False
        return mapped.deleted or not self._table.same_file(process, mapped, self._table.host.path(path))


class _Newer:
    """Looks at each tree of modules once."""

    def __init__(self, table: processes.Table, modules: loaded.Modules) -> None:
        self._table = table
        self._modules = modules
        self._newest: dict[tuple[str, str], dict[str, tuple[float, str]]] = {}
        self._beside: dict[tuple[str, tuple[str, ...], frozenset[str]], dict[str, tuple[float, str]]] = {}

    def of(self, process: processes.Process, program: interpreters.Program) -> Iterator[uses.Use]:
        started = self._table.started(process)
        for path in (one for one in program.files if not one.startswith(_TEMPORARY)):
            if _changed(self._table.host.path(path)) > started:
                yield uses.Use(pid=process.pid, path=path, reason=f"runs {path}, which is newer")
        kind = program.kind
        if kind is None:
            return
        for tree in program.own:
            for when, path in self._in_tree(kind, tree).values():
                if when > started:
                    yield self._use(process, path, "loads")
                    break
        yield from self._in_trees(process, program, kind, started)

    def _in_trees(
        self, process: processes.Process, program: interpreters.Program, kind: languages.Language, started: float
    ) -> Iterator[uses.Use]:
        newer: dict[str, list[str]] = {}
        for tree in program.trees:
            for top, (when, path) in self._in_tree(kind, tree).items():
                if when > started:
                    newer.setdefault(top, []).append(path)
        for top, (when, path) in self._in_local(program, kind).items():
            if when > started:
                newer.setdefault(top, []).append(path)
        if not newer:
            return
        trees = [*program.local, *program.trees]
        found = self._modules.reached(kind, program.start, trees, newer) if program.known else set(newer)
        for top in sorted(found):
            for path in newer[top]:
                yield self._use(process, path, "loads" if program.known else "could load")

    def _in_tree(self, kind: languages.Language, tree: str) -> dict[str, tuple[float, str]]:
        key = (kind.name, tree)
        if key not in self._newest:
            self._newest[key] = loaded.newest(self._table.host.path(tree), kind)
        return self._newest[key]

    def _in_local(self, program: interpreters.Program, kind: languages.Language) -> dict[str, tuple[float, str]]:
        """The modules beside a script that it loads; what else is there may be large, and no module."""
        # The workers of a service are many, and all the same program.
        key = (kind.name, program.local, program.start)
        if key not in self._beside:
            self._beside[key] = self._find_in_local(program, kind)
        return self._beside[key]

    def _find_in_local(self, program: interpreters.Program, kind: languages.Language) -> dict[str, tuple[float, str]]:
        found: dict[str, tuple[float, str]] = {}
        for tree in program.local:
            if f"{tree}/".startswith(_TEMPORARY):
                continue
            left, seen = set(program.start), set[str]()
            while left:
                top = left.pop()
                seen.add(top)
                files = list(self._modules.files(kind, tree, top))
                if files:
                    found[top] = max([found.get(top, (0.0, "")), *((loaded.changed(one), one.path) for one in files)])
                    left |= self._modules.loads(kind, top, [tree]) - seen
        return found

    def _use(self, process: processes.Process, path: str, verb: str) -> uses.Use:
        inside = path.removeprefix(self._table.host.path(""))
        return uses.Use(pid=process.pid, path=inside, reason=f"{verb} {inside}, which is newer")


def _changed(path: str) -> float:
    try:
        return os.stat(path).st_ctime
    except OSError:
        return 0.0
