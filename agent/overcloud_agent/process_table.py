"""What `overcloud-agent processes` tells: which processes an update of packages concerns, before it and after it."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from typing import Any

from overcloud_agent import settings
from overcloud_agent.packages import model, planning, restarts, select


def collect(config: settings.Settings) -> list[dict[str, Any]]:
    """The rows, by pid: `state` is old code, or new code for what runs what is on disk. Raises PackageError."""
    manager = select.backend(config.packages_root)
    changes = manager.pending(model.Selection()).changes
    files = manager.files(sorted({change.name for change in changes if change.old})) if changes else {}
    return [dataclasses.asdict(row) for row in restarts.running(planning.host(config), files)]


def show(rows: Sequence[dict[str, Any]]) -> None:
    """Print them for people."""
    from rich import console, table, text

    # What is no terminal has room enough.
    out = console.Console(width=None if sys.stdout.isatty() else 160)
    if not rows:
        out.print("no process runs code that changes, or has changed")
        return
    grid = table.Table("pid", "program", "unit or container", "packages that change", "runs", "because it")
    for row in rows:
        where = row["container"] or row["unit"] or "-"
        runs = "old code" if row["state"] == "old code" else "code that changes"
        cells = [str(row["pid"]), row["program"], where, ", ".join(row["packages"]), runs]
        # Names of files are no markup.
        grid.add_row(*(text.Text(cell) for cell in (*cells, "; ".join(row["reasons"]))))
    out.print(grid)
