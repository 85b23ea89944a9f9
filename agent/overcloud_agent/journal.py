"""The journal: every deployment, every step and every pending signal, in one SQLite database.

States of a deployment (docs/states.md has the picture, and a test compares the two):

    received    in the metadata, not run yet
    running     its hook runs, or ran when the process died
    finished    it has a result, which is not with Heat yet
    signalled   Heat has the result, or did not want one
    refused     Heat refused the result for good (the stack is gone)
    expired     its pre-signed URL is no longer valid, and the node has no other way to tell Heat
    withdrawn   Heat asked for something later of the same resource before it had the result, which would now be wrong
    superseded  it left the metadata before it ran; when it comes back, it is received again

The database is in WAL mode with synchronous=FULL, so a transition that returned survives a power cut. Each
transition is one transaction: the process dies either before it or after it.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from overcloud_agent import database, errors, failpoints, mail, merge, model

TRANSITIONS: dict[str, tuple[str, ...]] = {
    "received": ("running", "superseded"),
    "running": ("received", "finished"),
    "finished": ("signalled", "refused", "expired", "withdrawn"),
    "signalled": (),
    "refused": (),
    "expired": (),
    "withdrawn": (),
    "superseded": ("received",),
}

# What is known of the files ID.json and ID.notify.json: they are not there, they have all that heat-config writes, they
# hold no credentials any more.
UNFILED, FILED, SCRUBBED = range(3)

Ran = tuple[model.Result, Sequence[model.Target]]
_NONE_RAN: Mapping[str, Ran] = {}

_KNOWN = "SELECT id, state, source, started_at, lineage, created, position FROM deployments"


class Journal:
    """One connection to the journal. Not for sharing between threads: each opens its own."""

    def __init__(self, store: database.Database, clock: Callable[[], float]) -> None:
        self._store = store
        self._clock = clock
        self.mail = mail.Mail(store, clock, self._move)

    @classmethod
    def open(cls, directory: Path, *, clock: Callable[[], float] = time.time, shared: bool = False) -> Self:
        """Open the journal in `directory`, creating both (0700, 0600) where they are missing.

        `shared` as for Database. Raises JournalError, with the way out, when it cannot be used.
        """
        return cls(database.Database(directory, shared=shared), clock)

    def close(self) -> None:
        """Close the connection."""
        self._store.close()

    def _move(self, db: sqlite3.Connection, deployment: str, state: str, **columns: object) -> None:
        """Change a deployment's state inside a transaction; raises JournalError where TRANSITIONS does not allow it."""
        row = db.execute("SELECT state FROM deployments WHERE id = ?", (deployment,)).fetchone()
        current = row["state"] if row else "absent"
        if state not in TRANSITIONS.get(current, ()):
            raise errors.JournalError(f"deployment {deployment} cannot become {state}: it is {current}")
        assignments = ", ".join(f"{name} = ?" for name in ("state", *columns))
        db.execute(
            f"UPDATE deployments SET {assignments} WHERE id = ?",  # noqa: S608  the names are ours
            (state, *columns.values(), deployment),
        )

    # Intake

    def unknown(self, keys: Iterable[str]) -> list[str]:
        """Those of `keys` that the journal does not know."""
        query = "SELECT value FROM json_each(?) WHERE value NOT IN (SELECT id FROM deployments)"
        return [row["value"] for row in self._store.read(query, json.dumps(list(keys)))]

    def receive(
        self, lists: merge.Lists, ran: Mapping[str, Ran] = _NONE_RAN, *, partial: bool = False
    ) -> merge.Changes:
        """Take in what the sources list now, by the rules of merge.py, all in one transaction.

        `ran` has those of the new deployments that ran before the journal knew of them, with what is to be told of
        them; they are finished at once. What is superseded loses its document: it may hold secrets, and nobody will
        ask for it again.
        """
        now = self._clock()
        listed = merge.merged(lists)
        positions = {key: position for position, key in enumerate(listed)}
        moved: list[tuple[int, str]] = []

        def known(db: sqlite3.Connection) -> Iterator[tuple[str, merge.Known]]:
            for row in db.execute(_KNOWN):
                if positions.get(row["id"], row["position"]) != row["position"]:
                    moved.append((positions[row["id"]], row["id"]))
                yield row["id"], _known(row)

        with self._store.transaction() as db:
            changes = merge.decide(known(db), lists, partial=partial)
            for key in changes.superseded:
                self._move(db, key, "superseded", document=None)
            for key in changes.new:
                self._insert(db, key, listed[key], positions[key], now)
                if key in ran:
                    self._move(db, key, "running", started_at=now, filed=FILED)
                    self._finish(db, key, *ran[key])
            for key in changes.back:
                document = json.dumps(listed[key].document)
                self._move(db, key, "received", document=document, source=listed[key].source)
            db.executemany("UPDATE deployments SET position = ? WHERE id = ?", moved)
        # Dying here costs nothing: the deployments are in the journal and run at the next start.
        failpoints.reach("journal.received")
        for key in changes.withdrawn:
            self.withdraw(key)
        return changes

    def _insert(self, db: sqlite3.Connection, key: str, listed: merge.Listed, position: int, now: float) -> None:
        name, group = model.describe(listed.document)
        db.execute(
            "INSERT INTO deployments (id, name, grp, source, position, state, document, received_at, lineage, created)"
            " VALUES (?, ?, ?, ?, ?, 'received', ?, ?, ?, ?)",
            (
                key,
                name,
                group,
                listed.source,
                position,
                json.dumps(listed.document),
                now,
                listed.lineage,
                listed.created,
            ),
        )

    def forget(self, keys: Iterable[str]) -> None:
        """Drop all that is known of deployments, whatever their state: somebody wants them to run anew."""
        with self._store.transaction() as db:
            for table, column in (("signals", "deployment"), ("steps", "deployment"), ("deployments", "id")):
                db.executemany(f"DELETE FROM {table} WHERE {column} = ?", [(key,) for key in keys])  # noqa: S608  ours

    def purge(self, gone: Iterable[str], *, older: float) -> None:
        """Forget those of `gone` (see merge.Changes) that came to their end more than `older` seconds ago."""
        rows = self._store.read(
            "SELECT id FROM deployments WHERE COALESCE(signalled_at, received_at) < ? AND state NOT IN"
            " ('received', 'running', 'finished')",
            self._clock() - older,
        )
        self.forget({row["id"] for row in rows}.intersection(gone))

    # The files that heat-config keeps of each deployment

    def filed(self, value: int) -> list[str]:
        """Ids of the deployments that came to their end, and whose files are in the state `value` (UNFILED ...)."""
        query = "SELECT id FROM deployments WHERE filed = ? AND state NOT IN ('received', 'running', 'finished')"
        return [row["id"] for row in self._store.read(query, value)]

    def unscrubbed(self) -> list[str]:
        """Ids of those whose result Heat has, and whose files still have the credentials to tell it with."""
        query = "SELECT id FROM deployments WHERE filed = ? AND state = 'signalled'"
        return [row["id"] for row in self._store.read(query, FILED)]

    def set_filed(self, keys: Iterable[str], value: int) -> None:
        """Write down what is in the files of deployments now."""
        with self._store.transaction() as db:
            db.executemany("UPDATE deployments SET filed = ? WHERE id = ?", [(value, key) for key in keys])

    # Running

    def next_received(
        self, among: str | None = None, *, heard: Collection[str] | None = None, without: Collection[str] = ()
    ) -> tuple[str, Any] | None:
        """Id and document of the first deployment that waits to be run, in the order of the metadata.

        Of the one called `among`, if that is given; of one of the sources `heard`, if that is given; of no group in
        `without`.
        """
        rows = self._store.read(
            "SELECT id, document FROM deployments WHERE state = 'received' AND id = COALESCE(?, id)"
            " AND (? OR source IN (SELECT value FROM json_each(?))) AND grp NOT IN (SELECT value FROM json_each(?))"
            " ORDER BY position, received_at LIMIT 1",
            among,
            heard is None,
            json.dumps(sorted(heard or ())),
            json.dumps(sorted(without)),
        )
        return (rows[0]["id"], json.loads(rows[0]["document"])) if rows else None

    def waits(self, deployment: str) -> bool:
        """Whether the deployment was received and has not begun."""
        query = "SELECT 1 FROM deployments WHERE id = ? AND state = 'received' AND started_at IS NULL"
        return bool(self._store.read(query, deployment))

    def state(self, deployment: str) -> str:
        """The state of a deployment; empty when the journal does not know it."""
        rows = self._store.read("SELECT state FROM deployments WHERE id = ?", deployment)
        return str(rows[0]["state"]) if rows else ""

    def start(self, deployment: str) -> None:
        """received -> running."""
        with self._store.transaction() as db:
            self._move(db, deployment, "running", started_at=self._clock(), filed=FILED)
        # Dying from here on leaves it `running`: at the next start it is resumed, or answered as interrupted.
        failpoints.reach("journal.running")

    def began(self, deployment: str, process: model.Process) -> None:
        """Keep which process runs a deployment, for the case that it outlives the agent."""
        with self._store.transaction() as db:
            db.execute(
                "UPDATE deployments SET pid = ?, pid_created = ? WHERE id = ?",
                (process.pid, process.created, deployment),
            )

    def running(self) -> list[tuple[str, Any, model.Process | None]]:
        """Ids, documents and processes of what ran when the last process died."""
        rows = self._store.read(
            "SELECT id, document, pid, pid_created FROM deployments WHERE state = 'running' ORDER BY position"
        )
        return [
            (
                row["id"],
                json.loads(row["document"]),
                model.Process(pid=row["pid"], created=row["pid_created"]) if row["pid"] else None,
            )
            for row in rows
        ]

    def resume(self, deployment: str) -> None:
        """running -> received: its work can be repeated, so it runs again."""
        with self._store.transaction() as db:
            self._move(db, deployment, "received")

    def finish(self, deployment: str, result: model.Result, targets: Sequence[model.Target]) -> None:
        """running -> finished, with the result and the signals that are due; -> signalled when nobody wants one."""
        with self._store.transaction() as db:
            self._finish(db, deployment, result, targets)
        # Dying here costs nothing: the stored result is sent at the next start.
        failpoints.reach("journal.finished")

    def reject(self, deployment: str, result: model.Result, targets: Sequence[model.Target]) -> None:
        """received -> running -> finished at once: it is answered without being run."""
        with self._store.transaction() as db:
            self._move(db, deployment, "running", started_at=self._clock())
            self._finish(db, deployment, result, targets)

    def _finish(
        self, db: sqlite3.Connection, deployment: str, result: model.Result, targets: Sequence[model.Target]
    ) -> None:
        now = self._clock()
        reason = model.plain(result.reason)
        self._move(db, deployment, "finished", reason=reason, ok=int(result.ok), finished_at=now, pid=None)
        for target in targets:
            mail.post(db, deployment, target, result)
        if not targets:
            self._move(db, deployment, "signalled", document=None, signalled_at=now)

    # Signals: `mail` has what their delivery needs

    def next_signal_at(self) -> float | None:
        """When the next pending signal is due, in seconds since the epoch; None when none is pending."""
        return self.mail.next_at()

    def withdraw(self, deployment: str) -> None:
        """Give up what is pending of a deployment: Heat wants something else by now. The deployment follows."""
        self.mail.withdraw(deployment)

    # Steps

    def begin_step(self, deployment: str, container: str, step: str, detail: str, *, ends: int = 0) -> int:
        """Write down that a step is about to be done, and that the one numbered `ends` is; returns its number."""
        with self._store.transaction() as db:
            if ends:
                db.execute("UPDATE steps SET ended_at = ?, ok = 1 WHERE seq = ?", (self._clock(), ends))
            cursor = db.execute(
                "INSERT INTO steps (deployment, container, step, started_at, detail) VALUES (?, ?, ?, ?, ?)",
                (deployment, container, step, self._clock(), detail),
            )
            return int(cursor.lastrowid or 0)

    def end_step(self, seq: int, *, ok: bool) -> None:
        """Write down that a step is done, or that it failed."""
        with self._store.transaction() as db:
            db.execute("UPDATE steps SET ended_at = ?, ok = ? WHERE seq = ?", (self._clock(), int(ok), seq))

    def step(self, deployment: str, container: str, step: str, *, done: bool) -> str | None:
        """The detail of a step that was begun (or, with `done`, done well), also by an earlier process; else None.

        An empty `step` stands for any.
        """
        rows = self._store.read(
            "SELECT detail FROM steps WHERE deployment = ?1 AND container = ?2 AND (step = ?3 OR ?3 = '')"
            " AND (ok = 1 OR NOT ?4) ORDER BY seq DESC LIMIT 1",
            deployment,
            container,
            step,
            done,
        )
        return str(rows[0]["detail"]) if rows else None

    def close_steps(self, deployment: str) -> None:
        """Keep the steps of a deployment under another name, for the node's history."""
        with self._store.transaction() as db:
            name = f"{deployment} until {self._clock():.3f}"
            db.execute("UPDATE steps SET deployment = ? WHERE deployment = ?", (name, deployment))

    def migrated(self, container: str, identifier: str) -> bool:
        """Whether a container's migration of that identifier was ever done."""
        query = "SELECT 1 FROM migrations WHERE container = ? AND identifier = ?"
        return bool(self._store.read(query, container, identifier))

    def note_migrated(self, container: str, identifier: str) -> None:
        """Write down that a migration is done; this outlives its deployment."""
        with self._store.transaction() as db:
            # Not OR REPLACE, which would take along what a later version keeps in columns of its own.
            db.execute(
                "INSERT INTO migrations (container, identifier, done_at) VALUES (?, ?, ?)"
                " ON CONFLICT (container, identifier) DO UPDATE SET done_at = excluded.done_at",
                (container, identifier, self._clock()),
            )

    # Updates of packages

    def updated(self, identifier: str) -> dict[str, Any] | None:
        """The outputs of the update of that identifier, if it was ever done to its end; else None."""
        rows = self._store.read("SELECT outputs FROM updates WHERE identifier = ?", identifier)
        return dict(json.loads(rows[0]["outputs"])) if rows else None

    def note_updated(self, identifier: str, outputs: Mapping[str, Any]) -> None:
        """Write down that all of an update is done; this outlives its deployment."""
        row = (identifier, self._clock(), json.dumps(outputs))
        with self._store.transaction() as db:
            db.execute(
                "INSERT INTO updates (identifier, done_at, outputs) VALUES (?, ?, ?) ON CONFLICT (identifier)"
                " DO UPDATE SET done_at = excluded.done_at, outputs = excluded.outputs",
                row,
            )

    def downtimes(self) -> dict[str, list[float]]:
        """Seconds from stop to start of each upgrade that is known, by container, oldest first."""
        query = (
            "SELECT stopped.container AS container, min(started.ended_at) - stopped.started_at AS seconds"
            " FROM steps stopped JOIN steps started ON started.deployment = stopped.deployment"
            " AND started.container = stopped.container AND started.step = 'start' AND started.ok = 1"
            " AND started.seq > stopped.seq WHERE stopped.step = 'stop' AND stopped.ok = 1"
            " GROUP BY stopped.seq ORDER BY stopped.seq"
        )
        found: dict[str, list[float]] = {}
        for row in self._store.read(query):
            found.setdefault(row["container"], []).append(round(row["seconds"], 3))
        return found

    # What people ask for

    def record_source(self, name: str, *, error: str) -> None:
        """Keep how a source answered last; `error` is empty when it did."""
        now = self._clock()
        with self._store.transaction() as db:
            db.execute(
                "INSERT INTO sources (name, ok, error, polled_at, answered_at) VALUES (?, ?, ?, ?, ?)"
                " ON CONFLICT (name) DO UPDATE SET ok = excluded.ok, error = excluded.error,"
                " polled_at = excluded.polled_at, answered_at = COALESCE(excluded.answered_at, answered_at)",
                (name, int(not error), error, now, None if error else now),
            )

    def rows(self, table: str) -> list[dict[str, Any]]:
        """Every row of `deployments`, `signals`, `steps` or `sources`, without what may hold secrets."""
        if table == "signals":
            return self.mail.rows()
        columns = {
            "deployments": "id, name, grp, source, state, ok, reason, received_at, started_at, finished_at,"
            " signalled_at FROM deployments ORDER BY received_at, position",
            "steps": "deployment, container, step, started_at, ended_at, ok FROM steps ORDER BY seq",
            "sources": "name, ok, error, polled_at, answered_at FROM sources ORDER BY name",
        }[table]
        return [dict(row) for row in self._store.read(f"SELECT {columns}")]


def _known(row: sqlite3.Row) -> merge.Known:
    return merge.Known(
        state=row["state"],
        source=row["source"],
        # One that had begun when the process died has to end, or a stopped container would stay stopped.
        begun=row["started_at"] is not None,
        lineage=row["lineage"],
        created=row["created"],
    )
