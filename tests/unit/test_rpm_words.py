"""rpm's names and versions, the files of transactions, and what dnf5 prints."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from overcloud_agent import errors
from overcloud_agent.packages import dnf5_output, dnf_tool, model, nevras, replay, rpm


@pytest.mark.parametrize(
    "ascending",
    [
        ["1.0~rc1-1", "1.0-1", "1.0^git1-1", "1.0.1-1", "1.1-1", "1.10-1", "2-1", "1:0.1-1"],
        ["1a-1", "1b-1", "1.1-1"],
        ["5.5p1-1", "5.5p2-1", "5.5p10-1"],
        ["10xyz-1", "10.1xyz-1"],
        ["2.0-1", "2.0-1.el9", "2.0-2", "2.0-10"],
        ["1.0~rc1-1", "1.0~rc1^git1-1", "1.0-1"],
    ],
)
def test_versions_have_rpm_s_order(ascending: list[str]) -> None:
    for before, after in itertools.pairwise(ascending):
        assert nevras.compare(before, after) < 0 < nevras.compare(after, before), (before, after)
    assert sorted(set(ascending), key=nevras.key) == ascending


@pytest.mark.parametrize(("one", "other"), [("1.0-1", "1_0-1"), ("0:1-1", "1-1"), ("1.001-1", "1.1-1")])
def test_versions_that_rpm_calls_equal(one: str, other: str) -> None:
    assert nevras.compare(one, other) == 0


def test_a_nevra_is_taken_apart_and_put_together() -> None:
    text = "python3-nova-api-1:25.0.0-0.1.el9.noarch"
    found = nevras.parse(text)
    assert (found.name, found.version, found.architecture) == ("python3-nova-api", "1:25.0.0-0.1.el9", "noarch")
    assert str(found) == text
    assert str(nevras.parse("lib-0:1-1.x86_64")) == "lib-1-1.x86_64"
    with pytest.raises(ValueError, match="is no name"):
        nevras.parse("lib")


def test_a_line_of_rpm() -> None:
    assert rpm.parse_package("lib\tnoarch\t0:1-1") == model.Installed(name="lib", architecture="noarch", version="1-1")
    with pytest.raises(errors.PackageError, match="rpm told of a package"):
        rpm.parse_package("error: what")


def change(**fields: Any) -> model.Change:
    return model.Change(**{"name": "lib", "architecture": "x86_64", "kind": "upgrade", **fields})


def entries(document: bytes) -> list[tuple[str, str, str, str]]:
    told = json.loads(document)["rpms"]
    return [(one["action"], one["nevra"], one["reason"], one["repo_id"]) for one in told]


def test_the_file_of_a_transaction_names_all_that_comes_and_goes() -> None:
    changes = [
        change(old="1-1", new="1:2-1", repository="updates"),
        change(name="new", kind="install", new="1-1", repository="updates"),
        change(name="needed", kind="install", new="1-1", repository="updates", cause="dependency"),
        change(name="gone", kind="remove", old="1-1"),
    ]
    document = replay.document(
        changes,
        replay.dnf4("0.0"),
        # The installed one is of another architecture than the one that comes for it.
        installed=[model.Installed(name="lib", architecture="noarch", version="1-1")],
    )
    assert json.loads(document)["version"] == "0.0"
    assert entries(document) == [
        ("Upgrade", "lib-1:2-1.x86_64", "user", "updates"),
        ("Upgraded", "lib-1-1.noarch", "user", "@System"),
        ("Install", "new-1-1.x86_64", "user", "updates"),
        ("Install", "needed-1-1.x86_64", "dependency", "updates"),
        ("Removed", "gone-1-1.x86_64", "user", "@System"),
    ]
    told = entries(replay.document(changes, replay.dnf5(), installed=[]))
    assert [action for action, *_ in told] == ["Upgrade", "Replaced", "Install", "Install", "Remove"]


def test_of_duplicates_the_newest_stays_and_what_can_be_had_comes_again() -> None:
    leftover = replay.Leftover(
        transaction="7",
        done=(nevras.parse("alone-3-1.noarch"), nevras.parse("lib-10-1.noarch")),
        duplicates=(nevras.parse("lib-9-1.noarch"), nevras.parse("lib-10-1.noarch")),
        repositories={"lib-10-1.noarch": "updates"},
    )
    assert entries(replay.repair(leftover, replay.dnf5())) == [
        ("Remove", "lib-9-1.noarch", "User", "@System"),
        ("Reinstall", "lib-10-1.noarch", "User", "updates"),
        ("Replaced", "lib-10-1.noarch", "User", "@System"),
    ]
    assert replay.describe(leftover) == (
        "transaction 7 was interrupted: two versions are installed of lib; "
        "scripts may not have run of alone-3-1.noarch, lib-10-1.noarch"
    )
    assert replay.describe(replay.Leftover(transaction="7")) == "", "nothing of it had come"


TABLE = """\
Updating and loading repositories:
Repositories loaded.
Package          Arch   Version Repository      Size
Upgrading:
 bar             noarch 0:2-1   u            0.0   B
   replacing bar noarch 0:1-1   t            0.0   B
Installing:
 new             noarch 1:1-1   u            5.0 KiB
   replacing old noarch 0:1-1   t            0.0   B
Installing dependencies:
 dep             noarch 0:1-1   u            0.0   B
Removing:
 gone            noarch 0:1-1   t            0.0   B
Skipping packages with broken dependencies:
 stuck           noarch 2-1     u            0.0   B

Transaction Summary:
 Installing:         2 packages
 Upgrading:          1 package
 Replacing:          2 packages
 Removing:           1 package
 Skipping:           1 package

Total size of inbound packages is 22 KiB. Need to download 22 KiB.
Problem: cannot install the best update candidate for package stuck-1-1.noarch
  - nothing provides nothing needed by stuck-2-1.noarch from u
Operation aborted by the user.
"""


def test_dnf5_s_table() -> None:
    table = dnf5_output.table(TABLE)
    assert [(row.kind, str(row.nevra), row.repository, row.dependency, len(row.replaces)) for row in table.rows] == [
        ("upgrade", "bar-2-1.noarch", "u", False, 1),
        ("install", "new-1:1-1.noarch", "u", False, 1),
        ("install", "dep-1-1.noarch", "u", True, 0),
        ("remove", "gone-1-1.noarch", "t", False, 0),
    ]
    assert "- nothing provides nothing needed by stuck-2-1.noarch from u" in table.problems
    assert dnf5_output.table("Nothing to do.\n") == dnf5_output.Table()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (" dep             noarch 0:1-1   u            0.0   B\n", ""),
        ("Removing:\n gone", "Frobnicating:\n gone"),
        (" Upgrading:          1 package\n", ""),
        (" dep             noarch 0:1-1 ", " dep\n"),
    ],
)
def test_a_table_that_is_not_understood_is_no_answer(old: str, new: str) -> None:
    assert old in TABLE
    with pytest.raises(errors.PackageError, match="dnf5"):
        dnf5_output.table(TABLE.replace(old, new))


def test_dnf5_s_answers_to_queries() -> None:
    line = "lib\tnoarch\t0:2-1\tupdates\t6049\t1\tlib-source\n"
    (found,) = dnf5_output.packages(line + "\n")
    assert (str(found.nevra), found.repository, found.download, found.size) == ("lib-2-1.noarch", "updates", 6049, 1)
    older = dnf5_output.packages(line.replace("0:2-1", "1-1"))
    assert dnf5_output.newest([*older, found, *older]) == {("lib", "noarch"): found}
    assert dnf5_output.document("") == []
    with pytest.raises(errors.PackageError, match="no JSON"):
        dnf5_output.document("Error")


@pytest.mark.parametrize(
    ("said", "hint"),
    [
        ("Curl error (23): Failed writing received data to disk", "make room"),
        ("Error: [Errno 28] No space left on device", "make room"),
        ("installing package x needs 10MB more space on the / filesystem", "make room"),
        ("Error: Failed to download metadata for repo 'x': repomd.xml GPG signature verification error", "key"),
        ("Package lib-2-1.noarch.rpm is not signed\nError: GPG check FAILED", "key"),
        ("Curl error (7): Couldn't connect to server for http://10.0.0.1/x", "reaches the addresses"),
        ("Error: rpmdb open failed", "rebuilddb"),
        ("- nothing provides x needed by y", "exclude"),
        ("Error: no idea", "see /srv/root/var/log"),
    ],
)
def test_a_failure_has_the_tool_s_last_words_and_a_hint(said: str, hint: str) -> None:
    failure = dnf_tool.failure("dnf", Path("/srv/root"), said, 1)
    assert said.splitlines()[-1] in failure.message
    assert hint in failure.hint


def test_a_failure_has_no_password_in_it() -> None:
    said = "Cannot download https://user:secret@mirror.example/x: All mirrors were tried"
    assert "secret" not in str(dnf_tool.failure("dnf", Path("/"), said, 1))
