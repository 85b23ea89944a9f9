"""A plan (preview.py) as people read it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich import console

_STYLES = {"create": "green", "replace": "yellow", "start": "yellow", "run": "cyan", "remove": "red"}
_MARKS = {True: "~", False: " "}


def show(document: dict[str, Any], out: console.Console | None = None) -> None:
    """Print the plan on stdout, or on `out`."""
    # rich takes longer to load than a plan to make.
    from rich import console, table, text

    out = out or console.Console()
    grid = table.Table("container", "action", "image", "pull", "downtime", "steps")
    for entry in document["containers"]:
        grid.add_row(
            text.Text(entry["name"]),
            text.Text(_action(entry), style=_STYLES.get(entry["action"], "")),
            text.Text(_digests(entry)),
            _size(entry["bytes_to_pull"]),
            _downtime(entry),
            text.Text(", ".join(entry["steps"])),
        )
    if document["containers"]:
        out.print(grid)
    for line in _details(document):
        # What comes from a config is no markup.
        out.print(text.Text(line))
    out.print(text.Text(_summary(document)))


def text(document: dict[str, Any]) -> str:
    """The plan as show() prints it, for a deployment's stdout."""
    import io

    from rich import console

    out = io.StringIO()
    show(document, console.Console(file=out, width=160))
    return out.getvalue()


def _action(entry: dict[str, Any]) -> str:
    return str(entry["action"]) + ("" if entry["certain"] else " (?)")


def _digests(entry: dict[str, Any]) -> str:
    old, new = (_short(entry[key]) for key in ("old_digest", "new_digest"))
    if entry["action"] == "remove":
        return old
    return new if old in ("", new) else f"{old} -> {new}"


def _short(digest: str | None) -> str:
    return (digest or "").removeprefix("sha256:")[:12]


def _size(count: int | None) -> str:
    if count is None:
        return "?"
    if count == 0:
        return "-"
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count} B"


def _downtime(entry: dict[str, Any]) -> str:
    if entry["expected_downtime"] is None:
        return "?" if entry["action"] == "replace" else "-"
    return f"{entry['expected_downtime']:.2f} s ({entry['expected_downtime_from']}, {entry['expected_downtime_count']})"


def _details(document: dict[str, Any]) -> list[str]:
    lines = []
    for entry in document["containers"]:
        found = [f"  found as {entry['found_as']}"] if entry["found_as"] else []
        told = [f"  {_MARKS[one['replaces']]} {one['key']}: {_change(one)}" for one in entry["differences"]]
        details = [*found, *told, *(f"  {note}" for note in entry["notes"])]
        lines += [f"{entry['name']}:", *details] if details else []
    return [*lines, *document["notes"]]


def _change(difference: dict[str, Any]) -> str:
    """Old and new; of two lists only what is not in both, unless they differ in order alone."""
    old, new = difference["old"], difference["new"]
    if isinstance(old, list) and isinstance(new, list):
        gone, come = [one for one in old if one not in new], [one for one in new if one not in old]
        old, new = (gone, come) if gone or come else (old, new)
    return f"{_value(old)} -> {_value(new)}"


def _value(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(str(one) for one in value) + "]"
    return "(none)" if value is None else str(value)


def _summary(document: dict[str, Any]) -> str:
    totals = document["totals"]
    if not document["changes"]:
        return "nothing would change"
    counted = ", ".join(f"{count} to {action}" for action, count in totals["actions"].items())
    downtime = "?" if totals["expected_downtime"] is None else f"{totals['expected_downtime']:.2f} s"
    return f"{counted}; to pull: {_size(totals['bytes_to_pull'])}; downtimes together: {downtime}"
