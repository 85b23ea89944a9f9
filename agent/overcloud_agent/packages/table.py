"""A plan (plan.py) as people read it: packages, restarts, containers and identifiers, on one page."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from overcloud_agent.packages import plan, space

if TYPE_CHECKING:
    from rich import console

# A page has so many rows of packages, and so many of restarts.
LIMIT = 40
# So many lines of what is said one by one below the tables, and so many names in one row.
_LINES, _NAMES = 10, 6

_STYLES = {"install": "green", "upgrade": "yellow", "downgrade": "red", "remove": "red", "reinstall": "cyan"}


def show(
    document: Mapping[str, Any], identifiers: Mapping[str, str] | None = None, out: console.Console | None = None
) -> None:
    """Print the plan of a document on stdout, or on `out`; `identifiers` are shown by their names below it."""
    # rich takes longer to load than a plan to make.
    from rich import console, table, text

    # What is no terminal has room enough.
    out = out or console.Console(width=None if sys.stdout.isatty() else 160)
    rows = _packages(document["packages"])
    if rows:
        grid = table.Table("package", "change", "class", "from -> to", "repository", "download")
        for name, kind, change_class, versions, repository, size, _ in rows[:LIMIT]:
            style = "bold red" if change_class == "upgrade" else ""
            cells = [text.Text(name), text.Text(kind, style=_STYLES.get(kind.split()[0], ""))]
            cells += [text.Text(change_class, style=style), text.Text(versions), text.Text(repository)]
            # What comes from a repository is no markup.
            grid.add_row(*cells, text.Text(size))
        out.print(grid)
    for line in _below_packages(document, rows):
        out.print(text.Text(line))
    if any(document["workflow"]["batches"]):
        grid = table.Table("batch", "action", "unit or container", "because of")
        for cells_of_row in _restarts(document["workflow"]["batches"]):
            grid.add_row(*(text.Text(cell) for cell in cells_of_row))
        out.print(grid)
    for line in (*_below_restarts(document["workflow"]), *_identifiers(identifiers or {}), _summary(document)):
        out.print(text.Text(line))


def text(document: Mapping[str, Any], identifiers: Mapping[str, str] | None = None) -> str:
    """The plan as show() prints it, for a deployment's stdout."""
    import io

    from rich import console

    out = io.StringIO()
    show(document, identifiers, console.Console(file=out, width=160))
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


# Packages


_Row = tuple[str, str, str, str, str, str, int]
"""The cells, and of how many packages they are."""


def _packages(packages: Sequence[dict[str, Any]]) -> list[_Row]:
    """A row for each package; for each source package where that is too many for a page. Upgrades come first."""
    ordered = sorted(packages, key=plan.interest)
    if len(ordered) <= LIMIT:
        return [_row(f"{one['name']} ({one['architecture']})", [one]) for one in ordered]
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for one in ordered:
        key = (one["source"] or one["name"], one["kind"], one["class"], one["from"] or "", one["to"] or "")
        groups.setdefault((*key, one["repository"]), []).append(one)
    return [_row(_named(key[0], group), group) for key, group in groups.items()]


def _named(source: str, group: Sequence[dict[str, Any]]) -> str:
    names = sorted({one["name"] for one in group})
    return names[0] if len(names) == 1 else f"{source}: {len(names)} packages"


def _row(name: str, group: Sequence[dict[str, Any]]) -> _Row:
    one = group[0]
    versions = " -> ".join(version for version in (one["from"], one["to"]) if version)
    security = " (security)" if any(each["security"] for each in group) else ""
    size = sum(each["download"] for each in group)
    download = space.shown(size) if size else "-"
    return (name, one["kind"] + security, one["class"], versions, one["repository"], download, len(group))


def _below_packages(document: Mapping[str, Any], rows: Sequence[_Row]) -> list[str]:
    more = sum(row[-1] for row in rows[LIMIT:]) + document["left_out"]
    lines = [f"and {_count(more, 'more package')} (--json has all)"] if more else []
    reasons: dict[str, list[str]] = {}
    for one in document["packages"]:
        if one["class"] == "upgrade":
            reasons.setdefault(one["reason"], []).append(one["name"])
    lines += _capped([f"upgrade: {reason}: {_some(sorted({*names}))}" for reason, names in reasons.items()])
    kept = [f"kept: {one['name']} {one['from']}, not {one['to']}: {one['reason']}" for one in document["kept"]]
    return lines + _capped(kept)


# Restarts


def _restarts(batches: Sequence[Sequence[dict[str, Any]]]) -> list[tuple[str, ...]]:
    """A row for each unit and container; for each batch where that is too many for a page."""
    if sum(len(batch) for batch in batches) <= LIMIT:
        return [
            (str(number) if place == 0 else "", one["action"], _label(one), _some(one["packages"]))
            for number, batch in enumerate(batches, 1)
            for place, one in enumerate(batch)
        ]
    rows = [
        (
            str(number),
            " or ".join(sorted({one["action"] for one in batch})),
            _some([_label(one) for one in batch]),
            _some(sorted({name for one in batch for name in one["packages"]})),
        )
        for number, batch in enumerate(batches, 1)
    ]
    more = len(rows) - LIMIT
    return [*rows[:LIMIT], *([("...", "", f"and {more} more batches", "")] if more > 0 else [])]


def _label(one: Mapping[str, Any]) -> str:
    return str(one["name"]) if one["kind"] == "unit" else f"{one['kind']} {one['name']}"


def _below_restarts(workflow: Mapping[str, Any]) -> list[str]:
    report = [
        f"left to you: {_label(one)}" + (f" ({_some(one['reasons'])})" if one["reasons"] else "")
        for one in workflow["report"]
    ]
    return _capped(report) + _capped([f"reboot: {reason}" for reason in workflow["reboot"]])


def _identifiers(identifiers: Mapping[str, str]) -> list[str]:
    width = max((len(name) for name in identifiers), default=0)
    return [f"{name:{width}}  {value}" for name, value in identifiers.items()]


def _summary(document: Mapping[str, Any]) -> str:
    totals, workflow = document["totals"], document["workflow"]
    if not totals["packages"]:
        kept = f"; {totals['kept']} kept" if totals["kept"] else ""
        return f"no package would change{kept}"
    kinds = ", ".join(f"{count} to {kind}" for kind, count in totals["kinds"].items())
    counted = [f"{_count(totals['packages'], 'package')}: {kinds}"]
    counted += [f"{totals['upgrades']} make this an upgrade"] if totals["upgrades"] else ["an update"]
    counted += [f"{totals['security']} for security"] if totals["security"] else []
    counted += [f"{totals['kept']} kept"] if totals["kept"] else []
    counted += [f"to download: {space.shown(totals['download'])}", f"on disk: {_signed(totals['growth'])}"]
    counted += [f"{totals['restarts']} to restart in {_count(len(workflow['batches']), 'batch')}"]
    return "; ".join([*counted, "a reboot is required" if workflow["reboot"] else "no reboot"])


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}{'es' if noun.endswith('ch') else 's'}"


def _signed(size: int) -> str:
    return space.shown(size) if size < 0 else f"+{space.shown(size)}"


def _some(names: Sequence[str]) -> str:
    more = len(names) - _NAMES
    return ", ".join(names[:_NAMES]) + (f" and {more} more" if more > 0 else "")


def _capped(lines: list[str]) -> list[str]:
    more = len(lines) - _LINES
    return [*lines[:_LINES], *([f"and {more} more of these"] if more > 0 else [])]
