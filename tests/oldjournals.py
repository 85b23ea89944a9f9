"""Journals as earlier versions of the agent made them."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

from overcloud_agent import database

FIRST = """
CREATE TABLE deployments (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    grp TEXT NOT NULL,
    source TEXT NOT NULL,
    position INTEGER NOT NULL,
    state TEXT NOT NULL,
    document TEXT,
    pid INTEGER,
    pid_created REAL,
    reason TEXT NOT NULL DEFAULT '',
    ok INTEGER,
    received_at REAL NOT NULL,
    started_at REAL,
    finished_at REAL,
    signalled_at REAL
) STRICT;
CREATE INDEX deployments_by_state ON deployments (state, position);
CREATE TABLE signals (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    deployment TEXT NOT NULL,
    transport TEXT NOT NULL,
    state TEXT NOT NULL,
    target TEXT,
    body BLOB,
    attempts INTEGER NOT NULL DEFAULT 0,
    next_at REAL NOT NULL,
    last_error TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX signals_by_state ON signals (state, next_at);
CREATE TABLE steps (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    deployment TEXT NOT NULL,
    container TEXT NOT NULL,
    step TEXT NOT NULL,
    started_at REAL NOT NULL,
    ended_at REAL,
    ok INTEGER,
    detail TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX steps_by_deployment ON steps (deployment, container, step);
CREATE TABLE sources (
    name TEXT PRIMARY KEY,
    ok INTEGER NOT NULL,
    error TEXT NOT NULL,
    polled_at REAL NOT NULL,
    answered_at REAL
) STRICT;
"""


def make(directory: Path, version: int) -> Path:
    """A journal of a schema, with the deployment `old`, which Heat has the result of; returns its path."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "journal.sqlite"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.executescript(FIRST)
        for number in range(1, version):
            connection.executescript(database._MIGRATIONS[number])
        connection.execute(
            "INSERT INTO deployments (id, name, grp, source, position, state, received_at)"
            " VALUES ('old', 'old', 'script', 'cfn', 0, 'signalled', unixepoch())"
        )
        connection.execute(f"PRAGMA user_version = {version}")
        connection.commit()
    return path


def look(path: Path) -> tuple[int, dict[str, list[tuple[object, ...]]]]:
    """The number of a journal's schema, and the columns of its tables and indices by name."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        names = connection.execute("SELECT type, name FROM sqlite_schema WHERE name NOT LIKE 'sqlite_%'").fetchall()
        pragma = {"table": "table_xinfo", "index": "index_xinfo"}
        shape = {name: connection.execute(f"PRAGMA {pragma[kind]}({name})").fetchall() for kind, name in names}
        return connection.execute("PRAGMA user_version").fetchone()[0], shape
