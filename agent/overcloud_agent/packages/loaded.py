"""Which modules a program of an interpreted language may load: what its source names, and so on from there.

The rule is to miss nothing: once anything of a top is loaded, all files of that top count as loaded, and so does what
they name, wherever in the file it stands. Plugins that Python packages declare (entry points) belong to the package
whose group they join. Too much is found where a module is only loaded now and then; too little only where a name is
put together while the program runs and is declared nowhere.
"""

from __future__ import annotations

import configparser
import os
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from overcloud_agent.packages import hosts, languages

# A generated file that is longer names nothing that is worth the time.
_LONGEST = 4 << 20
# Groups of entry points that are programs, and no plugins of a package.
_PROGRAMS = ("console_scripts", "gui_scripts")


class Modules:
    """What source files of a root load; each file is read once."""

    def __init__(self, host: hosts.Host) -> None:
        self._host = host
        self._tops: dict[tuple[str, str, str], frozenset[str]] = {}
        self._listed: dict[str, dict[str, list[os.DirEntry[str]]]] = {}
        self._plugins: dict[str, dict[str, set[str]]] = {}

    def reached(
        self, kind: languages.Language, start: Collection[str], trees: Sequence[str], wanted: Collection[str]
    ) -> set[str]:
        """Those of the wanted tops that are loaded from `start`, the tops that a program itself loads."""
        left, seen, wanted = list(start), set(start), set(wanted)
        while left and not wanted <= seen:
            more = self.loads(kind, left.pop(), trees) - seen
            seen |= more
            left += more
        return wanted & seen

    def of_script(self, kind: languages.Language, path: str) -> set[str]:
        """The tops that one file loads."""
        return set(languages.names(kind, self._read(path)))

    def files(self, kind: languages.Language, tree: str, name: str) -> Iterator[os.DirEntry[str]]:
        """The files of code of a top in a tree, as entries whose paths are those of this process."""
        if tree not in self._listed:
            self._listed[tree] = {}
            for entry in _scan(self._host.path(tree)):
                self._listed[tree].setdefault(entry.name.split(".")[0], []).append(entry)
        for entry in self._listed[tree].get(name.split(".")[0], ()):
            if entry.name == name and entry.is_dir():
                yield from _below(entry.path, kind.suffixes)
            elif entry.name.endswith(kind.suffixes) and entry.is_file():
                yield entry

    def loads(self, kind: languages.Language, name: str, trees: Sequence[str]) -> set[str]:
        """The tops that the files of one top load."""
        found: set[str] = set()
        for tree in trees:
            key = (kind.name, tree, name)
            if key not in self._tops:
                self._tops[key] = frozenset(self._names(kind, tree, name))
            found |= self._tops[key]
            if kind is languages.PYTHON:
                found |= self._plugged(tree).get(name, set())
        return found

    def _names(self, kind: languages.Language, tree: str, name: str) -> Iterator[str]:
        for entry in self.files(kind, tree, name):
            if not entry.name.endswith(".so") and "/tests/" not in entry.path:
                yield from languages.names(kind, _read(entry.path))

    def _plugged(self, tree: str) -> dict[str, set[str]]:
        if tree not in self._plugins:
            found: dict[str, set[str]] = {}
            for path in sorted(Path(self._host.path(tree)).glob("*-info/entry_points.txt")):
                for group, name in _plugins(path):
                    found.setdefault(group, set()).add(name)
            self._plugins[tree] = found
        return self._plugins[tree]

    def _read(self, path: str) -> bytes:
        return _read(self._host.path(path))


def _plugins(path: Path) -> Iterator[tuple[str, str]]:
    """Pairs of tops: a package, and one that declares a plugin for it (`oslo.config` is oslo_config's)."""
    parser = configparser.ConfigParser(delimiters=("=",), strict=False, interpolation=None)
    try:
        parser.read_string(path.read_text(errors="replace"))
    except (OSError, configparser.Error):
        return
    for group in parser.sections():
        if group in _PROGRAMS:
            continue
        parts = group.split(".")
        for _, value in parser.items(group):
            name = value.partition(":")[0].split(".")[0].strip()
            yield parts[0], name
            yield "_".join(parts[:2]), name


def _below(directory: str, suffixes: tuple[str, ...]) -> Iterator[os.DirEntry[str]]:
    for entry in _scan(directory):
        if entry.is_dir(follow_symlinks=False):
            if entry.name != "__pycache__":
                yield from _below(entry.path, suffixes)
        elif entry.name.endswith(suffixes):
            yield entry


def newest(directory: str, kind: languages.Language) -> dict[str, tuple[float, str]]:
    """Of each top in a tree (the path is that of this process) when a file was changed last, and which.

    The time is that of the inode (ctime): package managers give a file the time of its build, and put it in its place
    now.
    """
    found: dict[str, tuple[float, str]] = {}
    for first in _scan(directory):
        if first.is_dir():
            if first.name == "__pycache__" or not languages.top(kind, f"{first.name}/"):
                continue
            name, entries = first.name, _below(first.path, kind.suffixes)
        elif first.name.endswith(kind.suffixes):
            name, entries = first.name.split(".")[0], iter((first,))
        else:
            continue
        times = [(when, entry.path) for entry in entries if (when := changed(entry))]
        if times:
            found[name] = max(found.get(name, (0.0, "")), max(times))
    return found


def changed(entry: os.DirEntry[str]) -> float:
    """When a file was put in its place or changed, in seconds since the epoch; 0 when it has gone."""
    try:
        return entry.stat().st_ctime
    except OSError:
        return 0.0


def _scan(directory: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(directory) as entries:
            return list(entries)
    except OSError:
        return []


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(_LONGEST)
    except OSError:
        return b""
