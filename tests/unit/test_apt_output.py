"""What apt, dpkg and their files say, as they say it."""

from __future__ import annotations

from pathlib import Path

import pytest

from overcloud_agent import errors
from overcloud_agent.packages import apt_output, dpkg

# As apt 2.6.1 printed it.
SIMULATION = """\
Reading package lists...
Calculating upgrade...
The following packages will be REMOVED:
   auto (2)
The following packages have been kept back:
   held (1 => 2)
   libfoo:i386 (1:1.0-1 => 1:1.0-2)
The following packages will be upgraded:
   dae (1 => 2)
3 upgraded, 1 newly installed, 1 to remove and 1 not upgraded.
Remv auto [1]
Remv back [1] [front:amd64 ]
Inst libfoo [1] (2 Test:stable [amd64]) [dae:amd64 ]
Inst libfoo:i386 [1] (2 Test:stable, Debian:12.11/stable [i386])
Inst newdep (1:3~rc1-1 Debian-Security:12/stable-security [all])
Inst local [1] (2 [amd64])
Inst back (2 Two Words (c):1/x [all])
Conf libfoo (2 Test:stable [amd64])
"""


def test_a_simulation() -> None:
    found = {step.name: step for step in apt_output.steps(SIMULATION)}
    assert list(found) == ["auto", "back", "libfoo", "libfoo:i386", "newdep", "local"]
    assert found["auto"] == apt_output.Step(name="auto", old="1")
    assert found["back"] == apt_output.Step(
        name="back", old="1", new="2", architecture="all", repository="Two Words (c):1/x"
    )
    assert found["libfoo:i386"] == apt_output.Step(
        name="libfoo:i386", old="1", new="2", architecture="i386", repository="Test:stable, Debian:12.11/stable"
    )
    assert (found["newdep"].old, found["newdep"].new) == ("", "1:3~rc1-1")
    assert apt_output.is_security(found["newdep"].repository)
    assert apt_output.is_security(found["libfoo"].repository) is None
    assert (found["local"].repository, found["local"].architecture) == ("", "amd64")


def test_what_is_kept_back() -> None:
    assert apt_output.kept(SIMULATION) == {"held": ("1", "2"), "libfoo:i386": ("1:1.0-1", "1:1.0-2")}


POLICY = """\
phased:
  Installed: 1
  Candidate: 3
  Version table:
     3 500 (phased 10%)
        500 copy:/srv/repo ./ Packages
 *** 1 500
        500 copy:/srv/repo ./ Packages
        100 /var/lib/dpkg/status
pinned:i386:
  Installed: 1
  Candidate: 1
  Version table:
     2 500
        500 copy:/srv/repo ./ Packages
 *** 1 1001
        100 /var/lib/dpkg/status
banned:
  Installed: 1
  Candidate: (none)
  Version table:
     2 -1
        500 copy:/srv/repo ./ Packages
 *** 1 -1
        100 /var/lib/dpkg/status
backported:
  Installed: 1
  Candidate: 2
  Version table:
     3~bpo1 100
        100 copy:/srv/backports ./ Packages
     2 500
        500 copy:/srv/repo ./ Packages
 *** 1 100
        100 /var/lib/dpkg/status
current:
  Installed: 2
  Candidate: 2
  Version table:
     3~bpo1 100
        100 copy:/srv/backports ./ Packages
 *** 2 100
        100 /var/lib/dpkg/status
"""


def test_policies() -> None:
    found = apt_output.policies(POLICY)
    assert {name: apt_output.update(policy) for name, policy in found.items()} == {
        "phased": ("3", "phased"),
        "pinned:i386": ("2", "pinned"),
        "banned": ("2", "pinned"),
        "backported": ("2", ""),
        "current": ("", ""),
    }


def test_records() -> None:
    text = "Package: a\nVersion: 1\nArchitecture: all\nSize: 7\nDescription: x\n y: z\n\nPackage: a\nVersion: 1\n"
    found = apt_output.records(text + "Architecture: all\nSize: 8\n\n")
    assert found["a", "all", "1"]["Size"] == "7"


def test_last_words() -> None:
    stderr = (
        "W: GPG error: http://u:secret@example.com x InRelease: NO_PUBKEY 10F9A9ABB7F6F2A4\nW: else\n"
        "E: Failed to fetch http://u:secret@example.com/x\nE: Some index files failed to download.\n"
    )
    words = apt_output.last_words(stderr, "")
    assert "secret" not in words
    assert "NO_PUBKEY" in words
    assert "else" not in words
    assert "Signed-By" in apt_output.hint(words)
    assert apt_output.last_words("", "a\nb\n\n") == "a; b"
    assert apt_output.hint("never heard of") == ""
    assert apt_output.is_locked("E: Could not get lock /var/lib/apt/lists/lock. It is held by process 1 (x)")


# From dpkg's own tests and deb-version(7), older first.
@pytest.mark.parametrize(
    ("older", "newer"),
    [
        ("1.0~rc1-1", "1.0-1"),
        ("1.0~~", "1.0~"),
        ("1.0", "1.0a"),
        ("1.0a", "1.0+"),
        ("1.2.3", "1.10"),
        ("9.0", "1:0.1"),
        ("1.0-1", "1.0-1+b1"),
        ("1.0-1~bpo1", "1.0-1"),
        ("0-0~.00", "00"),
        ("2:25.0.0-1", "2:26.0.0-1"),
        ("1-2-3", "1-2.1-1"),
    ],
)
def test_versions(older: str, newer: str) -> None:
    assert dpkg.compare(older, newer) < 0 < dpkg.compare(newer, older)
    assert apt_output.kind(older, newer) == "upgrade"
    assert apt_output.kind(newer, older) == "downgrade"


@pytest.mark.parametrize(("one", "other"), [("1.0", "1.0-0"), ("4.", "0:4.0"), ("1.01", "1.1"), ("0", "00")])
def test_equal_versions(one: str, other: str) -> None:
    assert dpkg.compare(one, other) == 0


STATUS = """\
Package: dpkg
Status: install ok installed
Installed-Size: 10
Architecture: amd64
Version: 1

Package: one
Status: hold ok installed
Architecture: all
Source: origin (3)
Version: 2
Description: x
 Version: 9

Package: gone
Status: deinstall ok config-files
Architecture: all
Version: 1

Package: half
Status: install reinstreq half-installed
Architecture: i386
Version: 1
"""


def test_a_database_with_a_journal(tmp_path: Path) -> None:
    directory = tmp_path / "var/lib/dpkg"
    (directory / "updates").mkdir(parents=True)
    (directory / "status").write_text(STATUS)
    known = dpkg.read(tmp_path)
    assert [one.name for one in dpkg.installed(tmp_path)] == ["dpkg", "one"]
    assert known.native == "amd64"
    assert (known.entries["one", "all"].source, known.entries["one", "all"].want) == ("origin", "hold")
    assert known.entries["dpkg", "amd64"].size == 10240
    half = known.find("half:i386")
    assert half
    assert known.find("half") is None
    assert known.printed("half", "i386") == "half:i386"
    assert dpkg.unsettled(known) == {"half-installed": ["half"]}
    for number, state in (("0000", "half-configured"), ("0001", "installed")):
        stanza = f"Package: one\nStatus: install ok {state}\nArchitecture: all\nVersion: 3\n"
        (directory / "updates" / number).write_text(stanza)
    (directory / "updates/tmp.i").write_text("not yet a part of it")
    assert dpkg.journal(tmp_path) == ["0000", "0001"]
    assert [one.version for one in dpkg.installed(tmp_path) if one.name == "one"] == ["3"]


def test_a_database_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(errors.PackageError, match="status: No such file"):
        dpkg.read(tmp_path)
    with pytest.raises(errors.PackageError, match="lists of files"):
        dpkg.files(tmp_path, ["a"])
