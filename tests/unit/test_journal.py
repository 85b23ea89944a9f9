from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from overcloud_agent import errors, journal, mail, merge, model

STATES_PAGE = Path(__file__).resolve().parents[2] / "docs" / "states.md"
TARGET = model.Target(transport="CFN_SIGNAL", url="http://heat/?Signature=secret")


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def book(tmp_path: Path, clock: Clock) -> journal.Journal:
    return journal.Journal.open(tmp_path / "state", clock=clock)


def documents(*keys: str) -> dict[str, object]:
    return {key: {"id": key, "name": key, "group": "script", "config": "password"} for key in keys}


def receive(book: journal.Journal, source: str, listed: Mapping[str, object]) -> tuple[list[str], list[str]]:
    """Take in the list of one source, the only one that is configured; returns what is to run and what is not."""
    entries = {key: merge.Listed(source, document, "", "") for key, document in listed.items()}
    changes = book.receive({source: entries})
    return [*changes.new, *changes.back], changes.superseded


def pending(book: journal.Journal) -> mail.Pending:
    """The signal that would be sent now."""
    found = book.mail.next(TARGET.endpoint)
    assert found
    return found


def state(book: journal.Journal, key: str) -> str:
    return next(str(row["state"]) for row in book.rows("deployments") if row["id"] == key)


def bring_to(book: journal.Journal, key: str, wanted: str) -> None:
    receive(book, "cfn", documents(key))
    if wanted == "superseded":
        receive(book, "cfn", {})
    settled = {"signalled": "delivered", "refused": "refused", "expired": "expired", "withdrawn": "withdrawn"}
    if wanted in ("running", "finished", *settled):
        book.start(key)
    if wanted in ("finished", *settled):
        book.finish(key, model.succeeded(""), [TARGET])
    if wanted in settled:
        book.mail.settle(pending(book).seq, settled[wanted])
    assert state(book, key) == wanted


def test_only_its_owner_reads_it(tmp_path: Path) -> None:
    os.umask(0o000)
    try:
        book = journal.Journal.open(tmp_path / "state")
        receive(book, "cfn", documents("a"))
    finally:
        os.umask(0o022)
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "state").iterdir()}
    assert modes == {"journal.sqlite": 0o600, "journal.sqlite-wal": 0o600, "journal.sqlite-shm": 0o600}


@pytest.mark.parametrize("current", journal.TRANSITIONS)
def test_only_the_transitions_of_the_table_are_taken(book: journal.Journal, current: str) -> None:
    bring_to(book, "a", current)
    taken: dict[str, Callable[[], None]] = {
        "running": lambda: book.start("a"),
        "received": lambda: book.resume("a"),
        "finished": lambda: book.finish("a", model.succeeded(""), [TARGET]),
    }
    for wanted, take in taken.items():
        if wanted not in journal.TRANSITIONS[current]:
            with pytest.raises(errors.JournalError, match=f"cannot become {wanted}"):
                take()
            assert state(book, "a") == current


def test_the_picture_in_the_docs_is_the_table() -> None:
    drawn = set(re.findall(r"^ *(\w+) --> (\w+)", STATES_PAGE.read_text(), re.MULTILINE))
    assert drawn == {(source, target) for source, targets in journal.TRANSITIONS.items() for target in targets}


def test_deployments_run_in_the_order_of_the_list(book: journal.Journal) -> None:
    receive(book, "cfn", documents("b", "c"))
    receive(book, "cfn", documents("a", "b", "c"))
    order = []
    while waiting := book.next_received():
        order.append(waiting[0])
        book.start(waiting[0])
    assert order == ["a", "b", "c"]


def test_what_is_known_is_never_taken_in_again(book: journal.Journal) -> None:
    assert receive(book, "cfn", documents("a")) == (["a"], [])
    book.start("a")
    book.finish("a", model.succeeded(""), [])
    assert receive(book, "cfn", documents("a")) == ([], [])
    assert book.next_received() is None


def test_what_left_the_metadata_before_it_ran_is_superseded(book: journal.Journal) -> None:
    receive(book, "cfn", documents("a", "b"))
    assert receive(book, "cfn", documents("b")) == ([], ["a"])
    assert state(book, "a") == "superseded"


def test_what_comes_back_into_the_metadata_is_received_again(book: journal.Journal) -> None:
    """Heat may serve an old list for a moment (bug 1731032)."""
    receive(book, "cfn", documents("a", "b"))
    receive(book, "cfn", documents("b"))
    assert receive(book, "cfn", documents("a", "b")) == (["a"], [])
    waiting = book.next_received()
    assert waiting is not None
    assert waiting == ("a", documents("a")["a"])


def test_signals_written_under_a_clock_that_was_set_back_are_due(book: journal.Journal, clock: Clock) -> None:
    bring_to(book, "a", "finished")
    book.mail.postpone(pending(book).seq, "heat answered 503", 30.0)
    assert book.mail.next(TARGET.endpoint) is None
    clock.now -= 10 * 86400
    assert pending(book).attempts == 1
    assert book.next_signal_at() == clock.now


def test_text_that_is_no_unicode_is_no_trouble(book: journal.Journal) -> None:
    document = {"id": "a\ud800", "name": "\udfff\n", "group": "\ud800"}
    key = model.identify(document)
    assert receive(book, "cfn", {key: document}) == ([key], [])
    book.reject(key, model.failed("\ud800\n"), [TARGET])
    assert state(book, key) == "finished"


def test_what_another_source_lists_is_left_alone(book: journal.Journal) -> None:
    receive(book, "heat", documents("a"))
    assert book.receive({"cfn": {}, "heat": None}).superseded == [], "heat has not answered since the start"
    assert receive(book, "cfn", {}) == ([], ["a"]), "heat is not asked any more"


def test_what_had_begun_when_the_process_died_is_not_superseded(book: journal.Journal) -> None:
    receive(book, "cfn", documents("a"))
    book.start("a")
    book.resume("a")
    assert receive(book, "cfn", {}) == ([], [])
    waiting = book.next_received()
    assert waiting is not None
    assert waiting[0] == "a"


def test_secrets_go_when_the_signal_is_settled(book: journal.Journal, tmp_path: Path) -> None:
    bring_to(book, "a", "signalled")
    raw = b"".join(path.read_bytes() for path in (tmp_path / "state").iterdir())
    assert b"Signature=secret" not in raw, "not even in the write-ahead log"
    assert b"password" not in raw
    book.close()
    assert b"Signature=secret" not in journal_content(tmp_path)
    assert b"password" not in journal_content(tmp_path)


def journal_content(tmp_path: Path) -> bytes:
    import sqlite3

    with sqlite3.connect(tmp_path / "state" / "journal.sqlite") as connection:
        return "\n".join(connection.iterdump()).encode()


def test_no_target_means_nobody_waits(book: journal.Journal) -> None:
    receive(book, "cfn", documents("a"))
    book.start("a")
    book.finish("a", model.succeeded(""), [])
    assert state(book, "a") == "signalled"
    assert book.next_signal_at() is None


def test_a_deployment_is_signalled_when_all_its_signals_are(book: journal.Journal) -> None:
    receive(book, "cfn", documents("a"))
    book.start("a")
    book.finish("a", model.succeeded(""), [TARGET, TARGET])
    book.mail.settle(pending(book).seq, "delivered")
    assert state(book, "a") == "finished"
    book.mail.settle(pending(book).seq, "delivered")
    assert state(book, "a") == "signalled"


def test_a_postponed_signal_waits_and_is_hastened_by_a_restart(book: journal.Journal, clock: Clock) -> None:
    bring_to(book, "a", "finished")
    book.mail.postpone(pending(book).seq, "heat answered 503", 30.0)
    assert book.mail.next(TARGET.endpoint) is None
    assert book.next_signal_at() == clock.now + 30
    book.mail.hasten()
    assert pending(book).attempts == 1


def test_a_damaged_journal_is_an_error_with_a_way_out(tmp_path: Path) -> None:
    (tmp_path / "journal.sqlite").write_bytes(b"not a database, " * 100)
    with pytest.raises(errors.JournalError) as caught:
        journal.Journal.open(tmp_path)
    assert "move it away" in caught.value.hint


def test_steps_are_remembered(book: journal.Journal) -> None:
    seq = book.begin_step("a", "web", "commit", "detail")
    assert book.step("a", "web", "commit", done=False) == "detail"
    assert book.step("a", "web", "commit", done=True) is None
    book.end_step(seq, ok=True)
    assert book.step("a", "web", "commit", done=True) == "detail"
    assert book.step("b", "web", "commit", done=False) is None


def test_an_update_is_remembered_with_its_outputs(book: journal.Journal) -> None:
    identifier = "an identifier/with spaces"
    assert book.updated(identifier) is None
    book.note_updated(identifier, {"change": "update"})
    book.forget([identifier])
    assert book.updated(identifier) == {"change": "update"}


def test_other_processes_do_not_delete_the_log_under_two_connections(tmp_path: Path) -> None:
    """SQLite's locks are the process's: opening the file a second time must not drop them (howtocorrupt, 2.2)."""
    first = journal.Journal.open(tmp_path)
    second = journal.Journal.open(tmp_path)
    receive(first, "cfn", documents("a"))
    script = (
        "import sys, pathlib; from overcloud_agent import journal;"
        "journal.Journal.open(pathlib.Path(sys.argv[1])).close()"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True)
    receive(first, "cfn", documents("a", "b"))
    query = "import sqlite3, sys; print(sqlite3.connect(sys.argv[1]).execute('SELECT id FROM deployments').fetchall())"
    seen = subprocess.run(
        [sys.executable, "-c", query, str(tmp_path / "journal.sqlite")], capture_output=True, text=True
    )
    assert seen.stdout == "[('a',), ('b',)]\n"
    second.close()
    first.close()
