"""The signals in the journal: results on their way to Heat, each until it is delivered or given up."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sqlite3
import time
from collections.abc import Callable, Sequence
from typing import Any

from overcloud_agent import database, errors, failpoints, model, records

# Seconds. A signal that is due later than any pause reaches was written under a clock that has been set back since.
_CLOCK_WAS_WRONG = 3600.0

# Seconds.
_FORGET_EVERY = 1.0

# What becomes of a deployment with the last of its signals: by the worst of them.
_FINAL = {"refused": "refused", "expired": "expired", "withdrawn": "withdrawn", "delivered": "signalled"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pending:
    """A signal to be sent; `body` is JSON."""

    seq: int
    deployment: str
    target: model.Target = dataclasses.field(repr=False)
    body: bytes = dataclasses.field(repr=False)
    attempts: int


def post(db: sqlite3.Connection, deployment: str, target: model.Target, result: model.Result) -> None:
    """Add a signal, inside the transaction in which the deployment gets its result."""
    db.execute(
        "INSERT INTO signals (deployment, transport, state, endpoint, target, body, next_at)"
        # Due since ever, so it comes before what was tried.
        " VALUES (?, ?, 'pending', ?, ?, ?, 0)",
        (
            deployment,
            model.plain(target.transport),
            model.plain(target.endpoint),
            json.dumps(records.fields(target)),
            _encoded(result.body),
        ),
    )


def _encoded(body: dict[str, Any]) -> bytes:
    """The body as JSON, with `?` for half of a surrogate pair: Heat takes that, and then fails where nobody sees it."""
    text = json.dumps(body)
    if "\\ud" in text:
        text = json.dumps(json.loads(json.dumps(body, ensure_ascii=False).encode(errors="replace")))
    return text.encode()


class Mail:
    """The part of a journal that delivery works with; `move` changes a deployment's state inside a transaction."""

    def __init__(self, store: database.Database, clock: Callable[[], float], move: Callable[..., None]) -> None:
        self._store = store
        self._clock = clock
        self._move = move
        # A process that died may have left something to forget.
        self._dropped = True
        self._forget_again = 0.0

    def endpoints(self) -> list[tuple[str, float]]:
        """Who pending signals go to, and when the first for each is due, in seconds since the epoch (the past: now).

        Costs the same for one pending signal and for a hundred thousand.
        """
        rows = self._store.read(
            # One step down the index an endpoint, where DISTINCT would walk over every entry.
            "WITH RECURSIVE lane (endpoint) AS ("
            " SELECT (SELECT endpoint FROM signals WHERE state = 'pending' ORDER BY endpoint LIMIT 1)"
            " UNION ALL SELECT (SELECT endpoint FROM signals WHERE state = 'pending' AND endpoint > lane.endpoint"
            " ORDER BY endpoint LIMIT 1) FROM lane WHERE lane.endpoint IS NOT NULL)"
            " SELECT endpoint FROM lane WHERE endpoint IS NOT NULL"
        )
        found = [(str(row["endpoint"]), self.due_at(row["endpoint"])) for row in rows]
        return [(endpoint, due) for endpoint, due in found if due is not None]

    def due_at(self, endpoint: str) -> float | None:
        """When the first pending signal for `endpoint` is due (seconds since the epoch); None when none is pending."""
        where = "FROM signals WHERE state = 'pending' AND endpoint = ?"
        (row,) = self._store.read(
            f"SELECT (SELECT MIN(next_at) {where}) AS first, (SELECT MAX(next_at) {where}) AS last",
            endpoint,
            endpoint,
        )
        if row["first"] is None:
            return None
        now = self._clock()
        return now if row["last"] > now + _CLOCK_WAS_WRONG else max(float(row["first"]), now)

    def next(self, endpoint: str) -> Pending | None:
        """The first pending signal for `endpoint` that is due: what never was tried, then what is due longest."""
        now = self._clock()
        columns = "seq, deployment, target, body, attempts"
        query = f"SELECT {columns} FROM signals WHERE state = 'pending' AND endpoint = ? AND next_at"  # noqa: S608  ours
        rows = self._store.read(f"{query} <= ? ORDER BY next_at LIMIT 1", endpoint, now)
        rows = rows or self._store.read(f"{query} > ? ORDER BY next_at LIMIT 1", endpoint, now + _CLOCK_WAS_WRONG)
        return next((_pending(row) for row in rows), None)

    def untried(self, endpoint: str) -> bool:
        """Whether something for `endpoint` never was tried."""
        signal = self.next(endpoint)
        return signal is not None and signal.attempts == 0

    def next_at(self) -> float | None:
        """When the next pending signal is due, in seconds since the epoch; None when none is pending."""
        return min((due for _, due in self.endpoints()), default=None)

    def hasten(self, endpoint: str | None = None) -> float:
        """Make every pending signal (for `endpoint`) due now, because the reason for waiting may be gone; returns now.

        What never was tried is due at once anyway, and stays first.
        """
        now = self._clock()
        with self._store.transaction() as db:
            for name in [endpoint] if endpoint is not None else [name for name, _ in self.endpoints()]:
                db.execute(
                    "UPDATE signals SET next_at = MIN(next_at, ?), holds = 0"
                    " WHERE state = 'pending' AND endpoint = ? AND next_at > 0 AND (next_at > ? OR holds = 1)",
                    (now, name, now),
                )
        return now

    def postpone(self, seq: int, error: str, delay: float, *, lane: bool = False) -> None:
        """Try again in `delay` seconds; `lane` tells that everything for this endpoint waits for that."""
        with self._store.transaction() as db:
            db.execute(
                "UPDATE signals SET attempts = attempts + 1, last_error = ?, next_at = ?, holds = ?"
                " WHERE seq = ? AND state = 'pending'",
                (error, self._clock() + delay, int(lane), seq),
            )

    def settle(self, seq: int, state: str, error: str = "") -> None:
        """Record that a signal is `delivered`, `refused` or `expired`; with its last one, the deployment follows.

        Its target and body are dropped here: a pre-signed URL is a credential, outputs may hold some. Nothing happens
        when it was withdrawn while it was under way.
        """
        with self._store.transaction() as db:
            self._settle(db, "seq", seq, state, error=error, attempts=1)
        # Dying here leaves what was dropped in the write-ahead log, which the next start empties.
        failpoints.reach("signal.settled")
        self._dropped = True
        if time.monotonic() > self._forget_again:
            self.forget()

    def withdraw(self, deployment: str) -> None:
        """Give up what is pending of a deployment: Heat wants something else by now. The deployment follows."""
        with self._store.transaction() as db:
            self._settle(db, "deployment", deployment, "withdrawn", error="Heat asked for something later", attempts=0)
        self._dropped = True
        self.forget()

    def forget(self) -> None:
        """Have what was dropped linger nowhere, not in the write-ahead log either.

        It costs more than to settle a signal, so of many in a row not each is followed by it: who settles calls it
        when there is nothing more to do.
        """
        # Without room it stays to be done.
        with contextlib.suppress(errors.JournalBlocked):
            if self._dropped:
                self._store.forget()
                self._dropped, self._forget_again = False, time.monotonic() + _FORGET_EVERY

    def _settle(
        self, db: sqlite3.Connection, column: str, value: object, state: str, *, error: str, attempts: int
    ) -> None:
        assert state in _FINAL
        settled = db.execute(
            "UPDATE signals SET state = ?, attempts = attempts + ?, last_error = ?, target = NULL, body = NULL"  # noqa: S608  the names are ours
            f" WHERE {column} = ? AND state = 'pending' RETURNING deployment",
            (state, attempts, error, value),
        ).fetchall()
        for deployment in {row["deployment"] for row in settled}:
            states = db.execute("SELECT state FROM signals WHERE deployment = ?", (deployment,))
            left = {entry["state"] for entry in states}
            if "pending" not in left:
                final = next(_FINAL[state] for state in _FINAL if state in left)
                self._move(db, deployment, final, document=None, signalled_at=self._clock())

    # What people ask for

    def pending(self) -> list[int]:
        """The numbers of all pending signals."""
        return [row["seq"] for row in self._store.read("SELECT seq FROM signals WHERE state = 'pending' ORDER BY seq")]

    def untouched(self, since: float) -> bool:
        """Whether something that was due at `since` was not tried since, and waits for nothing that was."""
        held = {row["endpoint"] for row in self._holders() if row["next_at"] > since}
        query = "SELECT 1 FROM signals WHERE state = 'pending' AND endpoint = ? AND next_at <= ? LIMIT 1"
        return any(self._store.read(query, name, since) for name, _ in self.endpoints() if name not in held)

    def rows(self, numbers: Sequence[int] | None = None) -> list[dict[str, Any]]:
        """All signals, or those with the `numbers`, without what may hold secrets.

        What waits behind one that its endpoint did not answer has that reason, and the time until which all wait.
        """
        columns = "seq, deployment, transport, endpoint, state, attempts, next_at, last_error"
        wanted = None if numbers is None else set(numbers)
        holders = {row["endpoint"]: row for row in self._holders()}
        found = []
        for row in self._store.read(f"SELECT {columns} FROM signals ORDER BY seq"):  # noqa: S608  the names are ours
            if wanted is None or row["seq"] in wanted:
                holder = holders.get(row["endpoint"]) if row["state"] == "pending" else None
                found.append(_explained(dict(row), holder))
        return found

    def _holders(self) -> list[sqlite3.Row]:
        """For each endpoint that everything waits for, the signal that got no answer from it."""
        query = (
            "SELECT endpoint, next_at, last_error FROM signals WHERE state = 'pending' AND endpoint = ? AND next_at > 0"
            " AND holds = 1 ORDER BY next_at DESC LIMIT 1"
        )
        return [row for endpoint, _ in self.endpoints() for row in self._store.read(query, endpoint)]


def _explained(row: dict[str, Any], holder: sqlite3.Row | None) -> dict[str, Any]:
    if holder:
        row["next_at"] = max(row["next_at"], holder["next_at"])
        row["last_error"] = row["last_error"] or f"not tried yet, because {holder['last_error']}"
    del row["seq"]
    return {**row, "next_at": row["next_at"] or None}


def _pending(row: sqlite3.Row) -> Pending:
    return Pending(
        seq=row["seq"],
        deployment=row["deployment"],
        target=records.made_from(model.Target, json.loads(row["target"])),
        body=row["body"],
        attempts=row["attempts"],
    )
