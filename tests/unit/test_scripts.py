"""The pure parts of the group script: what is masked in a log, the journal's datagrams, deadlines, places."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest

from overcloud_agent import deadlines, errors, journald, model, redact, scripts


@pytest.mark.parametrize(
    ("value", "forms"),
    [
        ("password", {"password"}),
        ("abc", set()),
        ("True", set()),
        ("null", set()),
        (12345, set()),
        (None, set()),
        ({"a": ["deep-one", {"key": "deep-two"}], "n": 12345}, {"deep-one", "deep-two"}),
        (
            "line one\nxy\n  line two\n",
            {"line one\nxy\n  line two\n", "line one\\nxy\\n  line two\\n", "line one", "line two"},
        ),
        ("don't-say", {"don't-say", "t-say"}),
        ("http://x/y?Signature=1", {"http://x/y?Signature=1", "http://x/y", "Signature=1"}),
        ('say "this"', {'say "this"', 'say \\"this\\"'}),
        ("käse", {"käse", "k\\u00e4se"}),
        ("\ud800abc", {"\ufffd\ufffd\ufffdabc", "\\ufffd\\ufffd\\ufffdabc"}),
    ],
)
def test_what_gives_a_value_away(value: object, forms: set[str]) -> None:
    assert set(redact.secrets([value])) == forms


def test_nesting_without_an_end_is_no_trouble() -> None:
    value: object = "deep-secret"
    for _ in range(100_000):
        value = [value]
    assert redact.secrets([value]) == ("deep-secret",)


@pytest.mark.parametrize(
    ("line", "masked"),
    [
        ("nothing here", "nothing here"),
        ("password", "***"),
        ("the password, the password", "the ***, the ***"),
        ("a passwordpassword b", "a *** b"),
        ("password1 and word1234", "*** and ***"),
        ("xxpassword1234xx", "xx***xx"),
        ("ababababa", "***a"),
        ("", ""),
    ],
)
def test_what_is_hidden_is_masked_wherever_it_overlaps(line: str, masked: str) -> None:
    assert redact.mask(line, ["password", "password1", "word1234", "abab"]) == masked


def test_an_entry_of_the_journal() -> None:
    assert journald.entry({"MESSAGE": "héllo", "PRIORITY": "6"}) == "MESSAGE=héllo\nPRIORITY=6\n".encode()
    binary = b"MESSAGE\n" + struct.pack("<Q", 3) + b"a\nb\nID=1\n"
    assert journald.entry({"MESSAGE": "a\nb", "ID": "1"}) == binary
    assert journald.entry({"MESSAGE": "\ud800"}) == b"MESSAGE=?\n"


def test_without_a_journal_nothing_happens(tmp_path: Path) -> None:
    for path in (str(tmp_path / "none"), "", "x" * 200, "a\0b"):
        with journald.Journal(path) as journal:
            journal.send({"MESSAGE": "lost"})


@pytest.mark.parametrize(("value", "seconds"), [(None, 7.0), ("", 7.0), (3, 3.0), ("2.5", 2.5)])
def test_a_timeout_is_the_option_or_the_default(value: object, seconds: float) -> None:
    assert deadlines.timeout(model.Deployment(id="d", options={"timeout": value}), 7.0) == seconds
    assert deadlines.timeout(model.Deployment(id="d"), 7.0) == 7.0


@pytest.mark.parametrize("value", [0, -1, "soon", [], "nan", 1e9, 10**400])
def test_what_is_no_timeout_is_told(value: object) -> None:
    with pytest.raises(errors.BadInput, match=r"\$.options.timeout"):
        deadlines.timeout(model.Deployment(id="d", options={"timeout": value}), 7.0)


def test_past_its_deadline_a_deployment_has_the_status_of_timeout() -> None:
    result = deadlines.overdue("script", 59.999, stdout="so far", stderr="story")
    assert json.dumps(result.body) == json.dumps(
        {
            "deploy_stdout": "so far",
            "deploy_stderr": "the script was ended: it ran longer than its deadline of 60 seconds\nstory",
            "deploy_status_code": 124,
        }
    )


def test_the_places_are_those_of_heat_agents_unless_the_environment_says_otherwise() -> None:
    assert scripts.places({}) == scripts.Places(
        working="/var/lib/heat-config/heat-config-script", outputs="/var/run/heat-config/heat-config-script"
    )
    named = scripts.places({"HEAT_SCRIPT_WORKING": "/w", "HEAT_SCRIPT_OUTPUTS": "o"})
    assert named == scripts.Places(working="/w", outputs=str(Path.cwd() / "o"))
