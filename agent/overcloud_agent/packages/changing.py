"""What uses files of packages that are about to change."""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Mapping, Sequence

from overcloud_agent.packages import hosts, interpreters, languages, loaded, processes, unit_rules, uses


class Index:
    """The files of packages, by their paths with the links among directories followed."""

    def __init__(self, files: Mapping[str, Sequence[str]], host: hosts.Host) -> None:
        self.names = hosts.Names(host)
        self._packages: dict[str, set[str]] = {}
        for package, paths in files.items():
            for path in paths:
                self._packages.setdefault(self.names.real(path), set()).add(package)
        self._sorted = sorted(self._packages)
        self._tops: dict[tuple[str, str], dict[str, set[str]]] = {}

    def packages(self, path: str) -> set[str]:
        """The packages that have a file of this path."""
        return self._packages.get(path) or self._packages.get(self.names.real(path), set()) if path else set()

    def tops(self, kind: languages.Language, tree: str) -> Mapping[str, set[str]]:
        """The packages that have files of a tree, by the tops of their modules (see languages)."""
        key = (kind.name, tree)
        if key not in self._tops:
            found: dict[str, set[str]] = {}
            for place in range(bisect.bisect_left(self._sorted, f"{tree}/"), len(self._sorted)):
                path = self._sorted[place]
                if not path.startswith(f"{tree}/"):
                    break
                if path.endswith(kind.suffixes):
                    top = languages.top(kind, path[len(tree) + 1 :])
                    found.setdefault(top, set()).update(self._packages[path])
            found.pop("", None)
            self._tops[key] = found
        return self._tops[key]


def in_processes(table: processes.Table, index: Index, facts: uses.Facts) -> Iterator[uses.Use]:
    """Uses by processes."""
    modules = loaded.Modules(table.host)
    looking = interpreters.Interpreters(table, index.names, modules, facts.command)
    for process in table.processes:
        yield from _mapped(table, index, process)
        program = looking.program(process)
        if program:
            yield from _run(index, process, program)
            yield from _loaded(index, modules, process, program)


def in_units(index: Index, facts: uses.Facts) -> Iterator[uses.Use]:
    """Uses by units that run: their files, and the programs of their ExecStart."""
    for unit, packages in unit_files(index, facts).items():
        for package in packages:
            yield uses.Use(unit=unit, package=package, reason=f"its unit file is in {package}")
    for unit, values in _active(facts):
        command = unit_rules.command(values)
        if unit_rules.serves_containers(command) and unit != "podman.service":
            continue
        for path in {index.names.target(one) for one in command[:2] if one.startswith("/")}:
            for package in index.packages(path):
                yield uses.Use(unit=unit, package=package, path=path, reason=f"starts {path}")


def unit_files(index: Index, facts: uses.Facts) -> dict[str, set[str]]:
    """Of units that run, the packages with their unit files and drop-ins."""
    found = {}
    for unit, values in _active(facts):
        paths = [values.get("FragmentPath", ""), *values.get("DropInPaths", "").split()]
        packages = {package for path in paths for package in index.packages(path)}
        if packages:
            found[unit] = packages
    return found


def _active(facts: uses.Facts) -> Iterator[tuple[str, Mapping[str, str]]]:
    # The same unit is there under its aliases, too.
    return (
        (unit, values) for unit, values in facts.units.items() if values["Id"] == unit and unit_rules.active(values)
    )


def _mapped(table: processes.Table, index: Index, process: processes.Process) -> Iterator[uses.Use]:
    contained = table.contained(process)
    for mapped in process.code:
        # Few files change: who has the host's view is looked up without asking where the path leads.
        if not contained and table.plain and not index.packages(mapped.path):
            continue
        path = table.host_path(process, mapped.path)
        for package in index.packages(path):
            yield uses.Use(pid=process.pid, package=package, path=path, reason=f"maps {path}")


def _run(index: Index, process: processes.Process, program: interpreters.Program) -> Iterator[uses.Use]:
    for path in program.files:
        for package in index.packages(path):
            yield uses.Use(pid=process.pid, package=package, path=path, reason=f"runs {path}")


def _loaded(
    index: Index, modules: loaded.Modules, process: processes.Process, program: interpreters.Program
) -> Iterator[uses.Use]:
    kind = program.kind
    if kind is None:
        return
    for tree in program.own:
        for package in {package for packages in index.tops(kind, tree).values() for package in packages}:
            yield uses.Use(pid=process.pid, package=package, path=tree, reason=f"loads {kind.name}'s own {tree}")
    trees = [*program.local, *program.trees]
    wanted = {top for tree in trees for top in index.tops(kind, tree)}
    if not wanted:
        return
    found = modules.reached(kind, program.start, trees, wanted) if program.known else wanted
    for tree in trees:
        tops = index.tops(kind, tree)
        for top in sorted(found & set(tops)):
            words = f"loads {top} from {tree}" if program.known else f"could load {top} from {tree}"
            for package in tops[top]:
                yield uses.Use(pid=process.pid, package=package, path=f"{tree}/{top}", reason=words)
