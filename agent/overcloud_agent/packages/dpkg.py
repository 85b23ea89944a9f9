"""What dpkg has written down: which packages are there, in which state, and their files.

Read from its files, which dpkg-query does as well, and cheaper than a process. Formats: deb-status in dpkg(1),
/var/lib/dpkg/info in deb-md5sums and dpkg-query --control-list, diversions in dpkg-divert(1), versions in
deb-version(7).
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
import os
import re
from collections.abc import Collection, Iterator
from pathlib import Path

from overcloud_agent import errors
from overcloud_agent.packages import model

DATABASE = "var/lib/dpkg"
# States in which all files of a package's version are there: its maintainer script may still have to run.
PRESENT = frozenset({"installed", "triggers-awaited", "triggers-pending", "half-configured", "unpacked"})
# States in which nothing is under way.
SETTLED = frozenset({"installed", "config-files", "not-installed"})
# What is a link into /usr where /usr is merged. Packages may name their files by it, and processes never do.
_ALIASES = ("bin", "sbin", "lib", "lib32", "lib64", "libx32", "libo32")

# With the line break in front it is found four times as fast as with an anchor.
_FIELDS = re.compile(r"\n(Package|Status|Architecture|Version|Installed-Size|Source): *([^\n]*)")
# dpkg's journal: the stanzas that changed since it wrote `status`, in files that are numbered in order.
_UPDATE = re.compile(r"\d+")
_PARTS = re.compile(r"(\D*)(\d*)")
# The end of a part of a version is as new as a zero.
_END = ([0], 0)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """A package in dpkg's database, in whatever state."""

    name: str
    architecture: str
    version: str
    want: str
    """What is wanted: install, hold, deinstall, purge, unknown."""
    flag: str
    """ok, or reinstreq: it is broken and must be installed again."""
    state: str
    size: int
    """Bytes on disk, as the package says."""
    source: str


@dataclasses.dataclass(frozen=True)
class Known:
    """The packages of one root's database, by name and architecture."""

    entries: dict[tuple[str, str], Entry]

    @functools.cached_property
    def native(self) -> str:
        """The architecture that the root's own dpkg is for."""
        return next((arch for name, arch in self.entries if name == "dpkg"), "")

    def present(self) -> list[Entry]:
        """Those whose files are there, sorted by name and architecture."""
        return [entry for _, entry in sorted(self.entries.items()) if entry.state in PRESENT]

    def find(self, name: str) -> Entry | None:
        """By the name that apt prints, which has an architecture if it is a foreign one."""
        bare, _, architecture = name.partition(":")
        wanted = (architecture,) if architecture else (self.native, "all")
        return next((entry for arch in wanted if (entry := self.entries.get((bare, arch)))), None)

    def printed(self, name: str, architecture: str) -> str:
        """The name that apt prints."""
        return name if architecture in (self.native, "all") else f"{name}:{architecture}"


def read(root: Path) -> Known:
    """All packages in the database of `root`. Raises PackageError."""
    directory = root / DATABASE
    try:
        # The journal first: what dpkg removes from it meanwhile, it has written into `status` before.
        updates = []
        for name in journal(root):
            with contextlib.suppress(FileNotFoundError):
                updates.append(_text(directory / "updates" / name))
        texts = [_text(directory / "status"), *updates]
    except OSError as error:
        raise errors.PackageError(
            f"cannot read dpkg's database: {error.filename}: {error.strerror}", hint="is this a root with dpkg?"
        ) from None
    return Known({(entry.name, entry.architecture): entry for text in texts for entry in parse(text)})


def journal(root: Path) -> list[str]:
    """The names of the files in dpkg's journal, in order; there are none but while it works, or was interrupted."""
    try:
        return sorted(name for name in os.listdir(root / DATABASE / "updates") if _UPDATE.fullmatch(name))
    except FileNotFoundError:
        return []


def installed(root: Path) -> tuple[model.Installed, ...]:
    """Those whose files are there, sorted. Raises PackageError."""
    return tuple(
        model.Installed(name=entry.name, architecture=entry.architecture, version=entry.version)
        for entry in read(root).present()
    )


def parse(text: str) -> Iterator[Entry]:
    """The stanzas of a status file. One without a status, name or version is not a package's, and left out."""
    for stanza in text.split("\n\n"):
        found = dict(_FIELDS.findall(f"\n{stanza}"))
        status = found.get("Status", "").split()
        if len(status) == 3 and "Package" in found:
            size = found.get("Installed-Size", "")
            yield Entry(
                name=found["Package"],
                architecture=found.get("Architecture", ""),
                version=found.get("Version", ""),
                want=status[0],
                flag=status[1],
                state=status[2],
                size=int(size) * 1024 if size.isdecimal() else 0,
                source=source(found.get("Source", ""), found["Package"]),
            )


def source(field: str, name: str) -> str:
    """The source package's name: `Source` may have its version with it, and is left out where the names are equal."""
    return field.partition(" ")[0] or name


def unsettled(known: Known) -> dict[str, list[str]]:
    """The packages that an interruption or a failure left half done: by state, the names, sorted."""
    found: dict[str, list[str]] = {}
    for _, entry in sorted(known.entries.items()):
        if entry.state not in SETTLED:
            found.setdefault(entry.state, []).append(entry.name)
        elif entry.flag != "ok":
            found.setdefault("to be installed again", []).append(entry.name)
    return found


def files(root: Path, names: Collection[str]) -> dict[str, tuple[str, ...]]:
    """By `name` or `name:architecture`, as asked, the absolute paths of a package's files; without who is not there.

    Where a file is diverted the path is where it is. A directory is named only if nothing of the package is in it.
    """
    info = root / DATABASE / "info"
    lists: dict[str, list[str]] = {}
    try:
        for entry in os.listdir(info):
            if entry.endswith(".list"):
                known = entry.removesuffix(".list")
                lists.setdefault(known.partition(":")[0], []).append(known)
        diverted, merged = _diversions(root), _merged(root)
        return {
            name: tuple(sorted({path for one in chosen for path in _paths(info, one, diverted, merged)}))
            for name in names
            if (chosen := _lists_of(name, lists))
        }
    except OSError as error:
        raise errors.PackageError(f"cannot read dpkg's lists of files: {error.filename}: {error.strerror}") from None


def _lists_of(name: str, lists: dict[str, list[str]]) -> list[str]:
    bare, _, architecture = name.partition(":")
    known = lists.get(bare, [])
    # Only what may be there for several architectures has one in the name of its list.
    return [one for one in known if not architecture or one in (name, bare)]


def _paths(info: Path, name: str, diverted: dict[str, tuple[str, str]], merged: tuple[str, ...]) -> Iterator[str]:
    # The first is the root itself, as `/.`.
    paths = _text(info / f"{name}.list").splitlines()[1:]
    directories = {path.rpartition("/")[0] for path in paths}
    bare = name.partition(":")[0]
    for path in paths:
        if path in directories:
            continue
        to, owner = diverted.get(path, ("", ""))
        if to and owner != bare:
            path = to
        yield f"/usr{path}" if path.startswith(merged) else path


def _diversions(root: Path) -> dict[str, tuple[str, str]]:
    """By path, where it is diverted to, and for whom the path is kept (a package, or `:` for the administrator)."""
    try:
        lines = _text(root / DATABASE / "diversions").splitlines()
    except FileNotFoundError:
        return {}
    return {path: (to, owner) for path, to, owner in zip(lines[::3], lines[1::3], lines[2::3], strict=False)}


def _merged(root: Path) -> tuple[str, ...]:
    return tuple(f"/{name}/" for name in _ALIASES if (root / name).is_symlink())


def _text(path: Path) -> str:
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        return file.read()


def compare(one: str, other: str) -> int:
    """Negative, 0 or positive as version `one` is older than, equal to or newer than `other`, by deb-version(7)."""
    # Most packages have no update.
    if one == other:
        return 0
    for mine, theirs in zip(_split(one), _split(other), strict=True):
        for a, b in itertools.zip_longest(_weighed(mine), _weighed(theirs), fillvalue=_END):
            if a != b:
                return 1 if a > b else -1
    return 0


def _split(version: str) -> tuple[str, str, str]:
    epoch, colon, rest = version.partition(":")
    if not colon:
        epoch, rest = "0", version
    upstream, dash, revision = rest.rpartition("-")
    return (epoch, upstream, revision) if dash else (epoch, rest, "")


def _weighed(part: str) -> list[tuple[list[int], int]]:
    """Alternating text and numbers; the text ends with what is older than a letter, and newer than a tilde."""
    return [([*map(_weight, text), 0], int(number or 0)) for text, number in _PARTS.findall(part)]


def _weight(character: str) -> int:
    if character == "~":
        return -1
    return ord(character) if character.isalpha() else ord(character) + 256
