"""What a process of an interpreter runs: its script, and the trees that it takes modules from.

An interpreter does not map its source files, so that is found from its command line, from its unit's ExecStart where
it has written over that, and from where its language looks for modules.
"""

from __future__ import annotations

import dataclasses
import glob
import os
import re
from collections.abc import Callable

from overcloud_agent.packages import hosts, languages, loaded, processes

_BINARIES = ("bin", "sbin", "libexec")
_PYTHON = re.compile(r"/python(\d(?:\.\d+)?)(?:/|$)")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Program:
    """What a process of an interpreter runs; all paths are the host's."""

    kind: languages.Language | None
    """None for a shell or Java: only its files count."""
    files: tuple[str, ...] = ()
    """Files that it runs as they are: the script, jars."""
    start: frozenset[str] = frozenset()
    """The tops that the script loads itself."""
    known: bool = True
    """Whether the command line tells what is run; if not, any module of the trees may be loaded."""
    trees: tuple[str, ...] = ()
    own: tuple[str, ...] = ()
    """The trees of the language's own modules; each program loads some of them."""
    local: tuple[str, ...] = ()
    """Directories that modules are looked for in, and that may hold anything else."""


class Interpreters:
    """Finds out what processes run. `command` has a unit's command line, empty where it has none."""

    def __init__(
        self, table: processes.Table, names: hosts.Names, modules: loaded.Modules, command: Callable[[str], list[str]]
    ) -> None:
        self._table = table
        self._host = table.host
        self._names = names
        self._modules = modules
        self._command = command
        self._globbed: dict[str, tuple[str, ...]] = {}
        self._pythons: dict[tuple[str, ...], tuple[tuple[str, ...], tuple[str, ...]]] = {}

    def program(self, process: processes.Process) -> Program | None:
        """What it runs; None for what is no interpreter, and in a container, which has its modules within it."""
        kind = languages.language(process.name)
        if kind is None and languages.SHELLS.match(process.name):
            script = self._script(process, self._entry(languages.PYTHON, process).script)
            return Program(kind=None, files=(script,) if script else ())
        if kind is None and languages.JAVA.match(process.name):
            return Program(kind=None, files=self._jars(process))
        if kind is None:
            return self._embedded(process)
        if self._table.contained(process):
            return None
        return self._interpreted(kind, process)

    def _embedded(self, process: processes.Process) -> Program | None:
        for mapped in process.code:
            found = languages.EMBEDDED_PYTHON.search(mapped.path)
            if found and not self._table.contained(process):
                version = mapped.path[found.start(1) :].split(".so")[0]
                # Nothing tells what it runs there: a file of Apache's configuration, say.
                trees, own = self._python_trees(version, [])
                return Program(kind=languages.PYTHON, known=False, trees=trees, own=own)
        return None

    def _interpreted(self, kind: languages.Language, process: processes.Process) -> Program:
        arguments = self._table.arguments(process)
        entry = self._entry(kind, process)
        script = self._script(process, entry.script)
        start = set(self._modules.of_script(kind, script)) if script else set()
        if entry.module:
            start.add(entry.module.split(".")[0])
        extra = [one for one in self._table.variable(process, kind.path_variable).split(":") if one.startswith("/")]
        if kind is languages.PYTHON:
            version = process.name.removeprefix("python").removeprefix("pypy")
            trees, own = self._python_trees(version, [process.exe, arguments[0], *self._environment(process)])
        else:
            trees, own = self._expand(kind.trees), ()
        local = list(extra)
        for tree in trees:
            if script.startswith(f"{tree}/"):
                start.add(languages.top(kind, script[len(tree) + 1 :]))
                break
        else:
            local += self._beside(kind, script)
        if entry.module:
            local.append(self._table.directory(process))
        local = [one for one in dict.fromkeys(local) if one and one != "/" and one not in trees]
        return Program(
            kind=kind,
            files=(script,) if script else (),
            start=frozenset(start - {""}),
            known=bool(script or entry.module),
            trees=trees,
            own=own,
            local=tuple(local),
        )

    def _jars(self, process: processes.Process) -> tuple[str, ...]:
        opened = {one.removesuffix(processes.DELETED) for one in self._table.open_files(process)}
        found = {self._table.host_path(process, one) for one in opened if one.endswith(languages.JARS)}
        return tuple(sorted(found - {""}))

    def _entry(self, kind: languages.Language, process: processes.Process) -> languages.Entry:
        arguments = self._table.arguments(process)
        name = arguments[0].rpartition("/")[2]
        written_over = not (kind.program.match(name) or languages.SHELLS.match(name.lstrip("-")))
        if not written_over:
            return languages.entry(kind, arguments)
        command = self._command(self._table.place(process).unit)
        if not command:
            return languages.Entry()
        if kind.program.match(command[0].rpartition("/")[2]):
            return languages.entry(kind, command)
        return languages.Entry(script=command[0])

    def _script(self, process: processes.Process, given: str) -> str:
        """The script's path in the root, with links followed; empty when there is none."""
        if not given:
            return ""
        path = os.path.normpath(os.path.join(self._table.directory(process) or "/", given))
        found = self._table.host_path(process, path)
        found = self._names.target(found) if found else ""
        return found if os.path.isfile(self._host.path(found)) else ""

    def _environment(self, process: processes.Process) -> list[str]:
        """Python's virtual environment, as a program in it, where the process was told of it."""
        told = self._table.variable(process, "VIRTUAL_ENV")
        return [f"{told}/bin/python"] if told else []

    def _beside(self, kind: languages.Language, script: str) -> list[str]:
        directory = os.path.dirname(script)
        if not directory or os.path.basename(directory) in _BINARIES:
            return []
        if kind is not languages.NODE:
            return [directory]
        parts = directory.split("/")
        above = ["/".join(parts[:length]) for length in range(len(parts), 1, -1)]
        return [f"{one}/node_modules" for one in above if os.path.isdir(self._host.path(f"{one}/node_modules"))]

    def _python_trees(self, version: str, programs: list[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Trees of packages, and those of Python's own modules, for a version (3.11) and paths of its program."""
        key = (version, *programs)
        if key not in self._pythons:
            self._pythons[key] = self._find_python_trees(version, programs)
        return self._pythons[key]

    def _find_python_trees(self, version: str, programs: list[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        major = version[:1]
        patterns = list(languages.PYTHON.trees)
        for program in programs:
            above = os.path.dirname(os.path.dirname(program))
            if self._is_isolated(above):
                patterns = [one for one in patterns if not one.endswith("-packages")]
            if program.startswith("/") and above not in ("", "/", "/usr"):
                patterns += [f"{glob.escape(above)}/lib*/python*/*-packages", f"{glob.escape(above)}/lib*/python*"]
        trees: list[str] = []
        own: list[str] = []
        for tree in self._expand(tuple(patterns)):
            named = _PYTHON.search(tree)
            if named and version and named[1] not in (major, version):
                continue
            (trees if tree.endswith("-packages") else own).append(tree)
        trees += [more for tree in trees for more in self._added(tree)]
        return tuple(dict.fromkeys(trees)), tuple(one for one in own if not one.endswith("/python3"))

    def _is_isolated(self, prefix: str) -> bool:
        """Whether there is a virtual environment which does not have the system's packages (PEP 405)."""
        try:
            with open(self._host.path(f"{prefix}/pyvenv.cfg"), errors="replace") as file:
                lines = [line.partition("=") for line in file]
        except OSError:
            return False
        said = {key.strip().lower(): value.strip().lower() for key, _, value in lines}
        return said.get("include-system-site-packages", "false") != "true"

    def _added(self, tree: str) -> list[str]:
        """What the .pth files of a tree add (site.py)."""
        found = []
        for path in sorted(glob.glob(f"{glob.escape(self._host.path(tree))}/*.pth")):
            try:
                with open(path, errors="replace") as file:
                    lines = file.read().splitlines()
            except OSError:
                continue
            for line in lines:
                added = os.path.normpath(os.path.join(tree, line.strip()))
                if line.strip() and not line.startswith(("#", "import ", "import\t")):
                    found += [added] if os.path.isdir(self._host.path(added)) else []
        return found

    def _expand(self, patterns: tuple[str, ...]) -> tuple[str, ...]:
        """The directories in the root that there are, the deepest first, with links followed."""
        found: dict[str, None] = {}
        for pattern in patterns:
            if pattern not in self._globbed:
                above = len(self._host.path(""))
                matching = sorted(glob.glob(f"{glob.escape(self._host.path(''))}{pattern}"))
                there = [self._names.target(one[above:]) for one in matching if os.path.isdir(one)]
                self._globbed[pattern] = tuple(there)
            found.update(dict.fromkeys(self._globbed[pattern]))
        return tuple(sorted(found, key=lambda tree: -len(tree)))
