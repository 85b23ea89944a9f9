"""The journal's SQLite database: opening it safely, transactions, and its schema.

A node goes back to an earlier version of the agent while the journal stays, so the schema only grows: a migration adds
tables, columns with defaults, and indices. An agent uses a journal of a later schema as long as that says that it may
(`schema.usable_by`), and leaves the number and what it does not know as they are. docs/states.md has the rules.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from overcloud_agent import errors, failpoints

SCHEMA_VERSION = 5

# The oldest schema whose agents can use what this one makes. All migrations from there on only add something, which a
# test checks; one that does something else comes with its own number here, and then there is no way back past it.
USABLE_BY = 5

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
    pid INTEGER,
    pid_created REAL,
    reason TEXT NOT NULL DEFAULT '',
    ok INTEGER,
    received_at REAL NOT NULL,
    started_at REAL,
    finished_at REAL,
    signalled_at REAL,
    lineage TEXT NOT NULL DEFAULT '',
    created TEXT NOT NULL DEFAULT '',
    filed INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX deployments_by_state ON deployments (state, position);
CREATE INDEX deployments_by_filed ON deployments (filed, state);
CREATE TABLE signals (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    deployment TEXT NOT NULL,
    transport TEXT NOT NULL,
    state TEXT NOT NULL,
    target TEXT,
    body BLOB,
    attempts INTEGER NOT NULL DEFAULT 0,
    next_at REAL NOT NULL,
    last_error TEXT NOT NULL DEFAULT '',
    endpoint TEXT NOT NULL DEFAULT '',
    holds INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX signals_by_endpoint ON signals (state, endpoint, next_at);
CREATE INDEX signals_by_deployment ON signals (deployment);
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
CREATE TABLE migrations (
    container TEXT NOT NULL,
    identifier TEXT NOT NULL,
    done_at REAL NOT NULL,
    PRIMARY KEY (container, identifier)
) STRICT;
CREATE TABLE updates (
    identifier TEXT PRIMARY KEY,
    done_at REAL NOT NULL,
    outputs TEXT NOT NULL
) STRICT;
CREATE TABLE sources (
    name TEXT PRIMARY KEY,
    ok INTEGER NOT NULL,
    error TEXT NOT NULL,
    polled_at REAL NOT NULL,
    answered_at REAL
) STRICT;
CREATE TABLE schema (
    usable_by INTEGER NOT NULL,
    made_by TEXT NOT NULL
) STRICT
"""

# What makes a journal of a version one of the next. A new journal is made by _SCHEMA at once.
_MIGRATIONS = {
    1: """
ALTER TABLE deployments ADD COLUMN lineage TEXT NOT NULL DEFAULT '';
ALTER TABLE deployments ADD COLUMN created TEXT NOT NULL DEFAULT '';
ALTER TABLE deployments ADD COLUMN filed INTEGER NOT NULL DEFAULT 0;
CREATE INDEX deployments_by_filed ON deployments (filed, state);
ALTER TABLE signals ADD COLUMN endpoint TEXT NOT NULL DEFAULT '';
ALTER TABLE signals ADD COLUMN holds INTEGER NOT NULL DEFAULT 0;
DROP INDEX signals_by_state;
CREATE INDEX signals_by_endpoint ON signals (state, endpoint, next_at);
CREATE INDEX signals_by_deployment ON signals (deployment)
""",
    2: """
CREATE TABLE migrations (
    container TEXT NOT NULL,
    identifier TEXT NOT NULL,
    done_at REAL NOT NULL,
    PRIMARY KEY (container, identifier)
) STRICT
""",
    3: """
CREATE TABLE updates (
    identifier TEXT PRIMARY KEY,
    done_at REAL NOT NULL,
    outputs TEXT NOT NULL
) STRICT
""",
    4: """
CREATE TABLE schema (
    usable_by INTEGER NOT NULL,
    made_by TEXT NOT NULL
) STRICT
""",
}


# What passes when the disk is in order again: SQLite's primary result codes.
_BLOCKED = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN})


def set_aside(directory: Path, *, clock: Callable[[], float] = time.time) -> Path | None:
    """Move a journal that is damaged out of the way, with all that belongs to it; returns what it is called now.

    None when there is nothing to move. What is merely out of reach (a full disk, a lock) is not damaged. Only for who
    holds the directory's lock.
    """
    path = directory / "journal.sqlite"
    if not path.exists() or not _is_damaged(path):
        return None
    aside = directory / f"journal.sqlite.damaged-{time.strftime('%Y%m%dT%H%M%S', time.gmtime(clock()))}"
    # The database goes last: dying before that leaves it to be found damaged again.
    for suffix in ("-shm", "-wal", ""):
        with contextlib.suppress(FileNotFoundError):
            Path(f"{path}{suffix}").rename(f"{aside}{suffix}")
    return aside


def _is_damaged(path: Path) -> bool:
    if not path.stat().st_size and not Path(f"{path}-wal").exists():
        # Nothing was ever written but its name, or all of it was cut away.
        return True
    try:
        connection = sqlite3.connect(path, timeout=30)
        try:
            return [row[0] for row in connection.execute("PRAGMA quick_check(1)")] != ["ok"]
        finally:
            connection.close()
    except sqlite3.Error as error:
        return getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def check(directory: Path) -> None:
    """Raise JournalError if this agent cannot use the journal in `directory`. Nothing is changed.

    One that is missing or damaged is no obstacle: it is made, or set aside, when an agent starts.
    """
    path = directory / "journal.sqlite"
    try:
        if not path.exists() or _is_damaged(path):
            return
        with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=30)) as db:
            _refuse_later(db)
    except (OSError, sqlite3.Error) as error:
        raise errors.JournalError(f"cannot read the journal {path}: {error}", hint=_WAY_OUT) from error


def _refuse_later(db: sqlite3.Connection) -> int:
    """The schema of a journal; raises JournalError when it is a later one than this agent can use."""
    version = int(db.execute("PRAGMA user_version").fetchone()[0])
    if version > SCHEMA_VERSION:
        known = db.execute("SELECT 1 FROM sqlite_schema WHERE name = 'schema'").fetchone()
        usable_by, made_by = db.execute("SELECT usable_by, made_by FROM schema").fetchone() if known else (version, "")
        if usable_by > SCHEMA_VERSION:
            raise errors.JournalError(
                f"the journal has schema {version}, for agents of schema {usable_by} and later; this one has schema"
                f" {SCHEMA_VERSION}",
                hint=f"use {f'overcloud-agent {made_by}' if made_by else 'the agent that wrote it'} or a later one;"
                " nothing was changed",
            )
    return version


class Database:
    """One connection. All methods raise JournalError.

    Not for sharing between threads: each opens its own. With `shared` the caller sees to it that only one uses it at
    a time.
    """

    def __init__(self, directory: Path, *, shared: bool = False) -> None:
        path = directory / "journal.sqlite"
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            _create_private(path)
            self._db = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=not shared)
            self._db.row_factory = sqlite3.Row
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            # What is dropped is overwritten: documents and targets hold secrets.
            self._db.execute("PRAGMA secure_delete=ON")
            self._prepare()
        except (OSError, sqlite3.Error) as error:
            raise errors.JournalError(f"cannot use the journal {path}: {error}", hint=_WAY_OUT) from error

    def _prepare(self) -> None:
        if _refuse_later(self._db) >= SCHEMA_VERSION:
            return
        # One transaction: a process that dies here leaves the journal as it was.
        with self.transaction():
            version = _refuse_later(self._db)
            # Another process may have been at it meanwhile.
            if version >= SCHEMA_VERSION:
                return
            scripts = [_MIGRATIONS[number] for number in range(version, SCHEMA_VERSION)] if version else [_SCHEMA]
            for statement in ";".join(scripts).split(";"):
                self._db.execute(statement)
            self._db.execute("DELETE FROM schema")
            self._db.execute("INSERT INTO schema (usable_by, made_by) VALUES (?, ?)", (USABLE_BY, _own_version()))
            self._db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            failpoints.reach("journal.migrated")

    def close(self) -> None:
        """Close the connection."""
        self._db.close()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Everything in the block, or nothing of it."""
        # IMMEDIATE: the write lock is taken first, so two connections wait for each other instead of failing.
        try:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
            except BaseException:
                # SQLite has rolled back by itself when the disk is full.
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            raise _unwritten(error) from error

    def read(self, query: str, *parameters: object) -> list[sqlite3.Row]:
        """The rows of one query."""
        try:
            return self._db.execute(query, parameters).fetchall()
        except sqlite3.Error as error:
            raise errors.JournalError(f"cannot read the journal: {error}", hint=_WAY_OUT) from error

    def forget(self) -> None:
        """Empty the write-ahead log, so that what was dropped does not linger in it."""
        try:
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        except sqlite3.Error as error:
            raise _unwritten(error) from error


def _unwritten(error: sqlite3.Error) -> errors.JournalError:
    blocked = getattr(error, "sqlite_errorcode", 0) & 0xFF in _BLOCKED
    kind = errors.JournalBlocked if blocked else errors.JournalError
    return kind(f"cannot write the journal: {error}", hint="is the disk full?")


def _own_version() -> str:
    # It takes a while to load, and is only needed when a journal is made or migrated.
    from importlib import metadata

    try:
        return metadata.version("overcloud-agent")
    except metadata.PackageNotFoundError:
        return ""


def _create_private(path: Path) -> None:
    """Create an empty file that only its owner may read; SQLite would take the umask's mode.

    A file that exists is never opened here: closing it would drop the POSIX locks that other connections of this
    process hold on it, and the next process to close the journal would delete the write-ahead log under them
    (https://www.sqlite.org/howtocorrupt.html, section 2.2).
    """
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    os.chmod(path, 0o600)
