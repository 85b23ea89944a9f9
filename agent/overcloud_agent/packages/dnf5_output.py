"""What dnf5 prints, taken apart. Pure: no I/O.

`dnf5 repoquery`, `advisory` and `history` have formats for programs. What a transaction would be, dnf5 (5.4) tells only
people, in a table; so the table is taken apart here, and has to add up with its own summary. What is made of it is
handed to `dnf5 replay`, which fails when anything is not as it says.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterable
from typing import Any

from overcloud_agent import errors
from overcloud_agent.packages import model, nevras

_TAGS = ("name", "arch", "evr", "repoid", "downloadsize", "installsize", "source_name")
# A line about a package. Of the escapes dnf5 knows only that of the end of a line.
QUERY = "\t".join(f"%{{{tag}}}" for tag in _TAGS) + "\\n"
# With it dnf5 says that it did not do what it was not to do.
ABORTED = "Operation aborted by the user."

_HEADER = re.compile(r"(\S.*):$")
_SUMMARY = re.compile(r" (Installing|Upgrading|Reinstalling|Downgrading|Replacing|Removing|Skipping): +(\d+) package")
_KINDS: dict[str, model.Kind] = {
    "Installing": "install",
    "Upgrading": "upgrade",
    "Reinstalling": "reinstall",
    "Downgrading": "downgrade",
    "Removing": "remove",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Available:
    """A package as a query describes it."""

    nevra: nevras.Nevra
    repository: str
    download: int
    size: int
    source: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """A package of the table, and what comes in the place of which installed ones."""

    kind: model.Kind
    nevra: nevras.Nevra
    repository: str
    dependency: bool = False
    """Whether it comes only because another needs it."""
    replaces: tuple[nevras.Nevra, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Table:
    """A transaction."""

    rows: tuple[Row, ...] = ()
    problems: str = ""
    """Why some packages are skipped, in dnf5's words."""


def packages(text: str) -> list[Available]:
    """The answer to a query with QUERY."""
    found = []
    for line in text.splitlines():
        fields = line.split("\t")
        if len(fields) == len(_TAGS):
            name, architecture, version, repository, download, size, source = fields
            package = nevras.Nevra(name=name, architecture=architecture, version=nevras.plain(version))
            found.append(
                Available(
                    nevra=package,
                    repository=repository,
                    download=int(download or 0),
                    size=int(size or 0),
                    source=source,
                )
            )
    return found


def document(text: str) -> Any:
    """An answer in JSON; of nothing, dnf5 says nothing. Raises PackageError."""
    try:
        return json.loads(text) if text.strip() else []
    except ValueError as error:
        raise errors.PackageError(f"dnf5 answered with what is no JSON: {text[:200]!r}") from error


def table(text: str) -> Table:
    """The table of a transaction. Raises PackageError when it cannot be what it seems to be."""
    rows: list[Row] = []
    kind: model.Kind | None = None
    dependency = False
    skipping = False
    lines = iter(text.splitlines())
    for line in lines:
        header = _HEADER.match(line)
        if line.startswith("Transaction Summary"):
            break
        if header:
            first = header[1].split()[0]
            kind, skipping, dependency = _KINDS.get(first), first == "Skipping", "dependencies" in header[1]
        elif line.startswith("   replacing ") and rows:
            rows[-1] = dataclasses.replace(rows[-1], replaces=(*rows[-1].replaces, _package(line.split()[1:])))
        elif line.startswith(" ") and line.strip() and kind:
            fields = line.split()
            rows.append(Row(kind=kind, nevra=_package(fields), repository=_field(fields, 3), dependency=dependency))
        elif line.startswith(" ") and line.strip() and not skipping and rows:
            raise errors.PackageError(f"dnf5 told of a transaction what is not understood: {line.strip()!r}")
    _add_up(rows, "\n".join(lines))
    return Table(rows=tuple(rows), problems=_problems(text))


def _add_up(rows: Iterable[Row], summary: str) -> None:
    """A line that was overlooked must not pass for one that is not there."""
    told = {word: int(count) for word, count in _SUMMARY.findall(summary) if word != "Skipping"}
    found: dict[str, int] = {}
    for row in rows:
        word = next(word for word, kind in _KINDS.items() if kind == row.kind)
        found[word] = found.get(word, 0) + 1
        if row.replaces:
            found["Replacing"] = found.get("Replacing", 0) + len(row.replaces)
    if told != found:
        raise errors.PackageError(f"dnf5's transaction does not add up: it says {told}, and lists {found}")


def _package(fields: list[str]) -> nevras.Nevra:
    return nevras.Nevra(name=_field(fields, 0), architecture=_field(fields, 1), version=nevras.plain(_field(fields, 2)))


def _field(fields: list[str], number: int) -> str:
    if len(fields) < 4:
        raise errors.PackageError(f"dnf5 told of a package what is not understood: {' '.join(fields)!r}")
    return fields[number]


def _problems(text: str) -> str:
    """The paragraphs that begin with `Problem`."""
    found = []
    inside = False
    for line in text.splitlines():
        inside = line.startswith("Problem") or (inside and line.startswith(" "))
        if inside:
            found.append(line.strip())
    return "\n".join(found)


def newest(available: Iterable[Available]) -> dict[tuple[str, str], Available]:
    """Of each name and architecture the newest."""
    found: dict[tuple[str, str], Available] = {}
    for package in available:
        at = (package.nevra.name, package.nevra.architecture)
        if at not in found or nevras.compare(package.nevra.version, found[at].nevra.version) > 0:
            found[at] = package
    return found
