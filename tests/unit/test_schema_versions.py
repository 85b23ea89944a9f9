"""The journal's schema: forward from any version, and back to an agent of before."""

from __future__ import annotations

import contextlib
import json
import re
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click import testing

import oldjournals
from overcloud_agent import cli, database, errors, journal, merge, model

TARGET = model.Target(transport="CFN_SIGNAL", url="http://heat/?Signature=secret")
CURRENT = database.SCHEMA_VERSION

# What a migration may say, so that agents of before can still use the journal. SQLite itself insists on defaults.
ADDITIONS = re.compile(
    r"(ALTER TABLE \w+ ADD COLUMN (?!.*(CHECK|REFERENCES|GENERATED|UNIQUE))|CREATE TABLE |CREATE INDEX )", re.DOTALL
)

# What a later version adds: a column to every table that this one writes to, and a table and an index of its own.
LATER = """
ALTER TABLE deployments ADD COLUMN note TEXT NOT NULL DEFAULT 'none';
ALTER TABLE signals ADD COLUMN note TEXT NOT NULL DEFAULT 'none';
ALTER TABLE steps ADD COLUMN note TEXT NOT NULL DEFAULT 'none';
ALTER TABLE migrations ADD COLUMN note TEXT NOT NULL DEFAULT 'none';
ALTER TABLE updates ADD COLUMN note TEXT NOT NULL DEFAULT 'none';
ALTER TABLE sources ADD COLUMN note TEXT;
CREATE TABLE notes (deployment TEXT PRIMARY KEY, note TEXT NOT NULL) STRICT;
CREATE INDEX deployments_by_note ON deployments (note)
"""

TABLES = ("deployments", "signals", "steps", "migrations", "updates")


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[..., contextlib.AbstractContextManager[None]]:
    """A context in which the code is that of the next version; `usable_by` as it says then."""

    @contextlib.contextmanager
    def as_later(usable_by: int = database.USABLE_BY) -> Iterator[None]:
        with monkeypatch.context() as patch:
            patch.setattr(database, "SCHEMA_VERSION", CURRENT + 1)
            patch.setattr(database, "USABLE_BY", usable_by)
            patch.setitem(database._MIGRATIONS, CURRENT, LATER)
            yield

    return as_later


def use(book: journal.Journal, key: str) -> None:
    """Everything that writes to the journal, once."""
    document = {"id": key, "name": key, "group": "script", "config": ""}
    book.receive({"cfn": {key: merge.Listed("cfn", document, "", "")}}, partial=True)
    assert book.next_received() == (key, document)
    book.start(key)
    book.began(key, model.Process(pid=1, created=1.0))
    assert book.running() == [(key, document, model.Process(pid=1, created=1.0))]
    book.end_step(book.begin_step(key, "web", "commit", "detail"), ok=True)
    book.finish(key, model.succeeded(""), [TARGET])
    book.record_source("cfn", error="")
    book.note_migrated("web", "1")
    book.note_updated("1", {"by": key})
    found = book.mail.next(TARGET.endpoint)
    assert found is not None
    assert found.target == TARGET
    book.mail.settle(found.seq, "delivered")
    assert book.state(key) == "signalled"


def rows(path: Path, query: str, *parameters: str) -> list[tuple[object, ...]]:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        found = connection.execute(query, parameters).fetchall()
        connection.commit()
        return found


def notes(path: Path, table: str) -> list[tuple[object, ...]]:
    return rows(path, f"SELECT note FROM {table} ORDER BY rowid")  # noqa: S608  the names are ours


@pytest.mark.parametrize("version", range(1, CURRENT))
def test_a_journal_of_any_version_becomes_what_a_new_one_is(tmp_path: Path, version: int) -> None:
    old = oldjournals.make(tmp_path / "old", version)
    database.check(tmp_path / "old")
    assert oldjournals.look(old)[0] == version, "to check changes nothing"
    book = journal.Journal.open(tmp_path / "old")
    assert book.state("old") == "signalled"
    use(book, "a")
    book.close()
    journal.Journal.open(tmp_path / "new").close()
    assert oldjournals.look(old) == oldjournals.look(tmp_path / "new" / "journal.sqlite")
    assert rows(old, "SELECT usable_by FROM schema") == [(database.USABLE_BY,)]


def test_migrations_only_add_since_agents_can_go_back() -> None:
    for number in range(database.USABLE_BY - 1, CURRENT):
        for statement in database._MIGRATIONS[number].split(";"):
            assert ADDITIONS.match(statement.strip()), f"raise USABLE_BY to {number + 1}, or add only: {statement}"


@pytest.mark.parametrize(
    "statement",
    [
        *database._MIGRATIONS[1].split(";")[6:7],
        "ALTER TABLE deployments RENAME COLUMN note TO remark",
        "ALTER TABLE deployments ADD COLUMN note TEXT CHECK (note <> '')",
        "CREATE UNIQUE INDEX notes_by_note ON notes (note)",
        "UPDATE deployments SET state = 'paused'",
        "DROP TABLE notes",
    ],
)
def test_what_does_not_only_add_is_recognised(statement: str) -> None:
    assert not ADDITIONS.match(statement.strip())


def test_an_agent_of_before_works_on_and_the_later_one_goes_on_from_there(
    tmp_path: Path, later: Callable[..., contextlib.AbstractContextManager[None]]
) -> None:
    path = tmp_path / "journal.sqlite"
    journal.Journal.open(tmp_path).close()
    with later():
        book = journal.Journal.open(tmp_path)
        use(book, "a")
        book.close()
        for table in TABLES:
            rows(path, f"UPDATE {table} SET note = 'of a later version'")  # noqa: S608  the names are ours
    shape = oldjournals.look(path)
    assert shape[0] == CURRENT + 1
    database.check(tmp_path)
    book = journal.Journal.open(tmp_path)
    assert book.state("a") == "signalled"
    use(book, "b")
    assert {row["id"] for row in book.rows("deployments")} == {"a", "b"}
    book.close()
    assert oldjournals.look(path) == shape
    with later():
        book = journal.Journal.open(tmp_path)
        use(book, "c")
        book.close()
    assert oldjournals.look(path) == shape
    kept, new = ("of a later version",), ("none",)
    for table in ("deployments", "signals", "steps"):
        assert notes(path, table) == [kept, new, new]
    for table in ("migrations", "updates"):
        assert notes(path, table) == [kept], "what was there before is not replaced"


def test_there_is_no_way_back_past_what_did_not_only_add(
    tmp_path: Path, later: Callable[..., contextlib.AbstractContextManager[None]]
) -> None:
    path = tmp_path / "journal.sqlite"
    with later(usable_by=CURRENT + 1):
        book = journal.Journal.open(tmp_path)
        use(book, "a")
        book.close()
    rows(path, "UPDATE schema SET made_by = '7.1'")
    before = rows(path, "SELECT * FROM deployments")
    for refused in (database.check, journal.Journal.open):
        with pytest.raises(errors.JournalError) as caught:
            refused(tmp_path)
        assert f"for agents of schema {CURRENT + 1} and later" in caught.value.message
        assert "use overcloud-agent 7.1 or a later one" in caught.value.hint
    assert rows(path, "SELECT * FROM deployments") == before
    assert oldjournals.look(path)[0] == CURRENT + 1


def test_a_journal_that_says_nothing_of_who_may_use_it_is_for_its_own_version(tmp_path: Path) -> None:
    rows(oldjournals.make(tmp_path, 4), f"PRAGMA user_version = {CURRENT + 1}")
    with pytest.raises(errors.JournalError, match="use the agent that wrote it"):
        journal.Journal.open(tmp_path)


def test_fields_that_a_later_version_added_are_left_alone(tmp_path: Path) -> None:
    book = journal.Journal.open(tmp_path)
    use(book, "a")
    document = {"id": "b", "name": "b", "group": "script", "config": ""}
    book.receive({"cfn": {"b": merge.Listed("cfn", document, "", "")}}, partial=True)
    book.start("b")
    book.finish("b", model.succeeded(""), [TARGET])
    ((kept,),) = rows(tmp_path / "journal.sqlite", "SELECT target FROM signals WHERE deployment = 'b'")
    target = json.dumps({**json.loads(str(kept)), "priority": 7})
    rows(tmp_path / "journal.sqlite", "UPDATE signals SET target = ? WHERE deployment = 'b'", target)
    found = book.mail.next(TARGET.endpoint)
    assert found is not None
    assert found.target == TARGET


def test_a_deployment_in_a_state_of_a_later_version_is_left_alone(tmp_path: Path) -> None:
    book = journal.Journal.open(tmp_path)
    document = {"id": "a", "name": "a", "group": "script", "config": ""}
    lists = {"cfn": {"a": merge.Listed("cfn", document, "", "")}}
    book.receive(lists)
    rows(tmp_path / "journal.sqlite", "UPDATE deployments SET state = 'paused'")
    assert book.receive(lists).new == []
    assert book.next_received() is None
    assert book.running() == []
    assert [row["state"] for row in book.rows("deployments")] == ["paused"]
    with pytest.raises(errors.JournalError, match="it is paused"):
        book.start("a")


def check(tmp_path: Path, state: Path) -> testing.Result:
    config = tmp_path / "agent.conf"
    config.write_text(f"[DEFAULT]\nstate_dir = {state}\nos_collect_config_file = {tmp_path}/occ.conf\n")
    return testing.CliRunner().invoke(cli.main, ["--config-file", str(config), "check"])


def test_the_verb_check_changes_nothing(tmp_path: Path) -> None:
    assert check(tmp_path, tmp_path / "none").exit_code == 0
    assert not (tmp_path / "none").exists()
    path = oldjournals.make(tmp_path / "old", 2)
    assert check(tmp_path, path.parent).exit_code == 0
    assert oldjournals.look(path)[0] == 2
    path.write_bytes(b"garbage" * 1000)
    assert check(tmp_path, path.parent).exit_code == 0, "it is set aside at the start"
    rows(oldjournals.make(tmp_path / "foreign", 3), "PRAGMA user_version = 99")
    refused = check(tmp_path, tmp_path / "foreign")
    assert refused.exit_code == 1
    assert "the journal has schema 99" in refused.stderr
