"""The journal: every deployment, every step and every pending signal, in one SQLite database.

States of a deployment (docs/states.md has the picture, and a test compares the two):

    received    in the metadata, not run yet
    running     its hook runs, or ran when the process died
    finished    it has a result, which is not with Heat yet
    signalled   Heat has the result, or did not want one
    refused     Heat refused the result for good (the stack is gone, the URL is not valid any more)
    superseded  it left the metadata before it ran

The database is in WAL mode with synchronous=FULL, so a transition that returned survives a power cut. Each
transition is one transaction: the process dies either before it or after it.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from overcloud_agent import errors, failpoints, model

SCHEMA_VERSION = 1

TRANSITIONS: dict[str, tuple[str, ...]] = {
    "received": ("running", "superseded"),
    "running": ("received", "finished"),
    "finished": ("signalled", "refused"),
    "signalled": (),
    "refused": (),
    "superseded": (),
}

_WAY_OUT = "make room or mend the permissions; if it is damaged, move it away and start the agent again"

_SCHEMA = """
CREATE TABLE deployments (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    grp TEXT NOT NULL,
    source TEXT NOT NULL,
    position INTEGER NOT NULL,
    state TEXT NOT NULL,
    document TEXT,
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
    deployment TEXT NOT NULL REFERENCES deployments (id),
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


class Journal:
    """One connection to the journal. Not for sharing between threads: each opens its own."""

    def __init__(self, connection: sqlite3.Connection, clock: Callable[[], float]) -> None:
        self._db = connection
        self._clock = clock

    @classmethod
    def open(cls, directory: Path, *, clock: Callable[[], float] = time.time) -> Self:
        """Open the journal in `directory`, creating both (0700, 0600) where they are missing.

        Raises JournalError, with the way out, when it cannot be used.
        """
        path = directory / "journal.sqlite"
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            _create_private(path)
            connection = sqlite3.connect(path, timeout=30, isolation_level=None)
            connection.row_factory = sqlite3.Row
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            journal = cls(connection, clock)
            journal._prepare()
        except (OSError, sqlite3.Error) as error:
            raise errors.JournalError(
                f"cannot use the journal {path}: {error}",
                hint=_WAY_OUT,
            ) from error
        return journal

    def _prepare(self) -> None:
        if self._version() == SCHEMA_VERSION:
            return
        with self._transaction():
            version = self._version()
            if version not in (0, SCHEMA_VERSION):
                raise errors.JournalError(
                    f"the journal has version {version}, this agent writes version {SCHEMA_VERSION}",
                    hint="use the agent that wrote it, or move the journal away",
                )
            if version == 0:
                for statement in _SCHEMA.split(";"):
                    self._db.execute(statement)
                self._db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

    def _version(self) -> int:
        return int(self._db.execute("PRAGMA user_version").fetchone()[0])

    def close(self) -> None:
        self._db.close()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        # IMMEDIATE: the write lock is taken first, so two connections wait for each other instead of failing.
        try:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            raise errors.JournalError(f"cannot write the journal: {error}", hint="is the disk full?") from error

    def _read(self, query: str, *parameters: object) -> list[sqlite3.Row]:
        try:
            return self._db.execute(query, parameters).fetchall()
        except sqlite3.Error as error:
            raise errors.JournalError(f"cannot read the journal: {error}", hint=_WAY_OUT) from error

    def _move(self, deployment: str, state: str, **columns: object) -> None:
        """Change a deployment's state inside a transaction; raises JournalError where TRANSITIONS does not allow it."""
        row = self._db.execute("SELECT state FROM deployments WHERE id = ?", (deployment,)).fetchone()
        current = row["state"] if row else "absent"
        if state not in TRANSITIONS.get(current, ()):
            raise errors.JournalError(f"deployment {deployment} cannot become {state}: it is {current}")
        assignments = ", ".join(f"{name} = ?" for name in ("state", *columns))
        self._db.execute(
            f"UPDATE deployments SET {assignments} WHERE id = ?",  # noqa: S608  the names are ours
            (state, *columns.values(), deployment),
        )

    # Intake

    def receive(self, source: str, documents: Mapping[str, object]) -> tuple[list[str], list[str]]:
        """Take in the list that `source` serves now: documents by id, in list order.

        What is known is left alone, what is new becomes `received`, and what left the list before it ran becomes
        `superseded` (its document goes: it may hold secrets, and nobody will ask for it again). All in one
        transaction. Returns the new ids and the superseded ones.
        """
        now = self._clock()
        with self._transaction():
            rows = self._db.execute("SELECT id, source, state, started_at FROM deployments").fetchall()
            known = {row["id"] for row in rows}
            waiting = {row["id"] for row in rows if row["state"] == "received" and row["source"] == source}
            # One that had begun when the process died has to end, or a stopped container would stay stopped.
            begun = {row["id"] for row in rows if row["started_at"] is not None}
            gone = sorted(waiting - begun - documents.keys())
            for key in gone:
                self._move(key, "superseded", document=None)
            for position, (key, document) in enumerate(documents.items()):
                if key in waiting:
                    self._db.execute("UPDATE deployments SET position = ? WHERE id = ?", (position, key))
                elif key not in known:
                    name, group = model.describe(document)
                    self._db.execute(
                        "INSERT INTO deployments (id, name, grp, source, position, state, document, received_at)"
                        " VALUES (?, ?, ?, ?, ?, 'received', ?, ?)",
                        (key, name, group, source, position, json.dumps(document), now),
                    )
        # Dying here costs nothing: the deployments are in the journal and run at the next start.
        failpoints.reach("journal.received")
        return [key for key in documents if key not in known], gone

    # Running

    def next_received(self) -> tuple[str, Any] | None:
        """Id and document of the first deployment that waits to be run, in the order of the metadata."""
        rows = self._read(
            "SELECT id, document FROM deployments WHERE state = 'received' ORDER BY position, received_at LIMIT 1"
        )
        return (rows[0]["id"], json.loads(rows[0]["document"])) if rows else None

    def waits(self, deployment: str) -> bool:
        """Whether the deployment was received and has not begun."""
        query = "SELECT 1 FROM deployments WHERE id = ? AND state = 'received' AND started_at IS NULL"
        return bool(self._read(query, deployment))

    def start(self, deployment: str) -> None:
        """received -> running."""
        with self._transaction():
            self._move(deployment, "running", started_at=self._clock())
        # Dying from here on leaves it `running`: at the next start it is resumed, or answered as interrupted.
        failpoints.reach("journal.running")

    def running(self) -> list[tuple[str, Any]]:
        """Ids and documents of what ran when the last process died."""
        rows = self._read("SELECT id, document FROM deployments WHERE state = 'running' ORDER BY position")
        return [(row["id"], json.loads(row["document"])) for row in rows]

    def resume(self, deployment: str) -> None:
        """running -> received: its work can be repeated, so it runs again."""
        with self._transaction():
            self._move(deployment, "received")

    def finish(self, deployment: str, result: model.Result, targets: Sequence[model.Target]) -> None:
        """running -> finished, with the result and the signals that are due; -> signalled when nobody wants one."""
        body = model.encode_body(result)
        now = self._clock()
        with self._transaction():
            self._move(
                deployment,
                "finished",
                reason=result.reason,
                ok=int(result.ok),
                finished_at=now,
            )
            for target in targets:
                self._db.execute(
                    "INSERT INTO signals (deployment, transport, state, target, body, next_at)"
                    " VALUES (?, ?, 'pending', ?, ?, ?)",
                    (deployment, target.transport, json.dumps(_as_dict(target)), body, now),
                )
            if not targets:
                self._move(deployment, "signalled", document=None, signalled_at=now)
        # Dying here costs nothing: the stored result is sent at the next start.
        failpoints.reach("journal.finished")

    # Signals

    def due_signals(self) -> list[sqlite3.Row]:
        """The pending signals whose time has come: seq, deployment, transport, target, body, attempts."""
        return self._read("SELECT * FROM signals WHERE state = 'pending' AND next_at <= ? ORDER BY seq", self._clock())

    def next_signal_at(self) -> float | None:
        """When the next pending signal is due, in seconds since the epoch; None when none is pending."""
        (row,) = self._read("SELECT MIN(next_at) AS at FROM signals WHERE state = 'pending'")
        return None if row["at"] is None else float(row["at"])

    def hasten_signals(self) -> None:
        """Make every pending signal due now: after a start the reason for waiting may be gone."""
        with self._transaction():
            self._db.execute("UPDATE signals SET next_at = ? WHERE state = 'pending'", (self._clock(),))

    def postpone_signal(self, seq: int, error: str, delay: float) -> None:
        """Try again in `delay` seconds."""
        with self._transaction():
            self._db.execute(
                "UPDATE signals SET attempts = attempts + 1, last_error = ?, next_at = ? WHERE seq = ?",
                (error, self._clock() + delay, seq),
            )

    def settle_signal(self, seq: int, state: str, error: str = "") -> None:
        """Record that a signal is `delivered` or `refused`; the deployment follows when it was the last one.

        Its target and body are dropped here: a pre-signed URL is a credential, outputs may hold some.
        """
        assert state in ("delivered", "refused")
        with self._transaction():
            self._db.execute(
                "UPDATE signals SET state = ?, attempts = attempts + 1, last_error = ?, target = NULL, body = NULL"
                " WHERE seq = ?",
                (state, error, seq),
            )
            row = self._db.execute("SELECT deployment FROM signals WHERE seq = ?", (seq,)).fetchone()
            states = self._db.execute("SELECT state FROM signals WHERE deployment = ?", (row["deployment"],))
            left = {entry["state"] for entry in states}
            if "pending" not in left:
                final = "refused" if "refused" in left else "signalled"
                self._move(row["deployment"], final, document=None, signalled_at=self._clock())

    # Steps

    def begin_step(self, deployment: str, container: str, step: str, detail: str) -> int:
        """Write down that a step is about to be done; returns its number."""
        with self._transaction():
            cursor = self._db.execute(
                "INSERT INTO steps (deployment, container, step, started_at, detail) VALUES (?, ?, ?, ?, ?)",
                (deployment, container, step, self._clock(), detail),
            )
            return int(cursor.lastrowid or 0)

    def end_step(self, seq: int, *, ok: bool) -> None:
        """Write down that a step is done, or that it failed."""
        with self._transaction():
            self._db.execute("UPDATE steps SET ended_at = ?, ok = ? WHERE seq = ?", (self._clock(), int(ok), seq))

    def step(self, deployment: str, container: str, step: str, *, done: bool) -> str | None:
        """The detail of a step that was begun (or, with `done`, done well), also by an earlier process; else None."""
        rows = self._read(
            "SELECT detail FROM steps WHERE deployment = ? AND container = ? AND step = ?"
            " AND (ok = 1 OR NOT ?) ORDER BY seq DESC LIMIT 1",
            deployment,
            container,
            step,
            done,
        )
        return str(rows[0]["detail"]) if rows else None

    # What people ask for

    def record_source(self, name: str, *, error: str) -> None:
        """Keep how a source answered last; `error` is empty when it did."""
        now = self._clock()
        with self._transaction():
            self._db.execute(
                "INSERT INTO sources (name, ok, error, polled_at, answered_at) VALUES (?, ?, ?, ?, ?)"
                " ON CONFLICT (name) DO UPDATE SET ok = excluded.ok, error = excluded.error,"
                " polled_at = excluded.polled_at, answered_at = COALESCE(excluded.answered_at, answered_at)",
                (name, int(not error), error, now, None if error else now),
            )

    def rows(self, table: str) -> list[dict[str, Any]]:
        """Every row of `deployments`, `signals`, `steps` or `sources`, without what may hold secrets."""
        columns = {
            "deployments": "id, name, grp, source, state, ok, reason, received_at, started_at, finished_at,"
            " signalled_at FROM deployments ORDER BY received_at, position",
            "signals": "deployment, transport, state, attempts, next_at, last_error FROM signals ORDER BY seq",
            "steps": "deployment, container, step, started_at, ended_at, ok FROM steps ORDER BY seq",
            "sources": "name, ok, error, polled_at, answered_at FROM sources ORDER BY name",
        }[table]
        return [dict(row) for row in self._read(f"SELECT {columns}")]


def _as_dict(target: model.Target) -> dict[str, str]:
    return {"transport": target.transport, "url": target.url, "verb": target.verb}


def _create_private(path: Path) -> None:
    """Create an empty file that only its owner may read; SQLite would take the umask's mode.

    A file that exists is never opened here: closing it would drop the POSIX locks that other connections of this
    process hold on it, and the next process to close the journal would delete the write-ahead log under them
    (https://www.sqlite.org/howtocorrupt.html, section 2.2).
    """
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    os.chmod(path, 0o600)
