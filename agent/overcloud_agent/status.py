"""What `overcloud-agent status` tells: the journal's content, without secrets."""

from __future__ import annotations

import fcntl
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from overcloud_agent import journal

_TIMES = ("received_at", "started_at", "finished_at", "signalled_at", "ended_at", "polled_at", "answered_at", "next_at")


def collect(state_dir: Path) -> dict[str, Any]:
    """The facts, as `--json` prints them: agent, sources, deployments, steps, signals. Times are UTC, ISO 8601."""
    facts: dict[str, Any] = {"agent": agent(state_dir), "sources": [], "deployments": [], "steps": [], "signals": []}
    if not (state_dir / "journal.sqlite").exists():
        return facts
    book = journal.Journal.open(state_dir)
    try:
        for table in ("sources", "deployments", "steps", "signals"):
            facts[table] = [presentable(row) for row in book.rows(table)]
    finally:
        book.close()
    return facts


def agent(state_dir: Path) -> dict[str, Any]:
    """Whether an agent works with the directory: the lock tells, a pid file alone could be stale."""
    try:
        descriptor = os.open(state_dir / "lock", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return {"running": False, "pid": None, "state_dir": str(state_dir)}
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return {"running": False, "pid": None, "state_dir": str(state_dir)}
    except OSError:
        pid = os.read(descriptor, 32).decode().strip()
        return {"running": True, "pid": int(pid) if pid else None, "state_dir": str(state_dir)}
    finally:
        os.close(descriptor)


def presentable(row: dict[str, Any]) -> dict[str, Any]:
    """A row of the journal as it is shown: times in UTC, ISO 8601."""
    shown: dict[str, Any] = {}
    for key, value in row.items():
        if key in _TIMES and value is not None:
            value = datetime.fromtimestamp(value, UTC).isoformat(timespec="milliseconds")
        elif key == "ok" and value is not None:
            value = bool(value)
        shown["group" if key == "grp" else key] = value
    return shown


def show(facts: dict[str, Any]) -> None:
    """Print the facts as tables."""
    # rich takes longer to load than all the rest of `status --json`.
    from rich import console, table

    out = console.Console()
    running = facts["agent"]["running"]
    out.print(f"agent: {'running, pid ' + str(facts['agent']['pid']) if running else 'not running'}")
    columns = {
        "sources": ("name", "ok", "answered_at", "error"),
        "deployments": ("id", "name", "group", "state", "ok", "reason"),
        "signals": ("deployment", "transport", "state", "attempts", "next_at", "last_error"),
    }
    for title, keys in columns.items():
        grid = table.Table(*keys, title=title, title_justify="left")
        rows = [row for row in facts[title] if title != "signals" or row["state"] != "delivered"]
        for row in rows:
            grid.add_row(*("" if row[key] is None else str(row[key]) for key in keys))
        out.print(grid if rows else f"{title}: none")
