"""packages_identifier: over real dpkg databases, kept for as long as they stay as they are, and no longer."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import dpkglike
import places
from overcloud_agent import errors, identify
from overcloud_agent.packages import inventory, model, select

LATER = 10_000_000_000


@pytest.fixture
def dpkg(tmp_path: Path) -> dpkglike.Dpkg:
    """A database of its own, with the content of this machine's."""
    (tmp_path / "dpkg" / "updates").mkdir(parents=True)
    shutil.copyfile("/var/lib/dpkg/status", tmp_path / "dpkg" / "status")
    return dpkglike.Dpkg(tmp_path / "dpkg")


def at_rest() -> int:
    """A moment at which what was written now has long been written."""
    return time.time_ns() + LATER


def answer(dpkg: dpkglike.Dpkg, state: Path, now: Callable[[], int] = at_rest) -> str:
    return inventory.identifier(dpkg, state, now=now)


def test_it_is_over_the_canonical_list(dpkg: dpkglike.Dpkg, tmp_path: Path) -> None:
    listed = sorted([one.name, one.architecture, one.version] for one in dpkg.installed())
    assert len(listed) > 100
    encoded = json.dumps(listed, separators=(",", ":"), ensure_ascii=False).encode()
    assert answer(dpkg, tmp_path / "state") == "sha256:" + hashlib.sha256(encoded).hexdigest()


def test_unchanged_nothing_is_started(dpkg: dpkglike.Dpkg, tmp_path: Path) -> None:
    first = answer(dpkg, tmp_path / "state")
    assert [answer(dpkg, tmp_path / "state") for _ in range(3)] == [first] * 3
    assert dpkg.asked == 1


def test_another_version_is_another_identifier(dpkg: dpkglike.Dpkg, tmp_path: Path) -> None:
    first = answer(dpkg, tmp_path / "state")
    status = dpkg.admindir / "status"
    text = status.read_text().replace("\nVersion: ", "\nVersion: 9:", 1)
    # As dpkg does it.
    (dpkg.admindir / "status-new").write_text(text)
    (dpkg.admindir / "status-new").rename(status)
    changed = answer(dpkg, tmp_path / "state")
    assert changed != first
    assert dpkg.asked == 2
    assert answer(dpkg, tmp_path / "other-node") == changed


def test_a_database_that_was_just_written_is_not_relied_on(dpkg: dpkglike.Dpkg, tmp_path: Path) -> None:
    first = answer(dpkg, tmp_path / "state", time.time_ns)
    status = dpkg.admindir / "status"
    before = status.stat()
    # Within one tick of a coarse clock: the same file, size and times, another content.
    with status.open("r+b") as file:
        content = file.read()
        at = content.index(b"\nVersion: ") + len(b"\nVersion: ")
        file.seek(at)
        file.write(b"8" if content[at : at + 1] != b"8" else b"7")
    os.utime(status, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert answer(dpkg, tmp_path / "state", time.time_ns) != first
    assert dpkg.asked == 2
    assert not (tmp_path / "state").exists()


def test_a_database_that_changes_meanwhile_is_not_relied_on(dpkg: dpkglike.Dpkg, tmp_path: Path) -> None:
    class Busy(dpkglike.Dpkg):
        def installed(self) -> tuple[model.Installed, ...]:
            found = super().installed()
            (self.admindir / "updates" / f"000{self.asked}").touch()
            return found

    busy = Busy(dpkg.admindir)
    assert answer(busy, tmp_path / "state") == answer(busy, tmp_path / "state")
    assert busy.asked == 2


def test_an_empty_log_is_as_good_as_none(dpkg: dpkglike.Dpkg, tmp_path: Path) -> None:
    """Whoever reads rpm's database makes SQLite's log, or sets its owner."""

    class WithLog(dpkglike.Dpkg):
        def database(self) -> list[Path]:
            return [self.admindir / "status", self.admindir / "log"]

        def installed(self) -> tuple[model.Installed, ...]:
            (self.admindir / "log").touch()
            return super().installed()

    reader = WithLog(dpkg.admindir)
    first = answer(reader, tmp_path / "state")
    (reader.admindir / "log").chmod(0o600)
    assert answer(reader, tmp_path / "state") == first
    assert reader.asked == 1
    (reader.admindir / "log").write_text("something that was installed")
    answer(reader, tmp_path / "state")
    assert reader.asked == 2


@pytest.mark.parametrize("damage", [b"", b"{}", b"\xff\xfe", b"00000000\n{}", b"[" * 100_000])
def test_a_damaged_cache_is_made_anew(dpkg: dpkglike.Dpkg, tmp_path: Path, damage: bytes) -> None:
    first = answer(dpkg, tmp_path / "state")
    (cache,) = (tmp_path / "state").iterdir()
    cache.write_bytes(damage)
    assert answer(dpkg, tmp_path / "state") == first
    assert answer(dpkg, tmp_path / "state") == first
    assert dpkg.asked == 2


def test_a_single_wrong_character_is_damage(dpkg: dpkglike.Dpkg, tmp_path: Path) -> None:
    first = answer(dpkg, tmp_path / "state")
    (cache,) = (tmp_path / "state").iterdir()
    cache.write_bytes(cache.read_bytes().replace(b"sha256:", b"sha255:"))
    assert answer(dpkg, tmp_path / "state") == first


def test_the_cache_is_private(dpkg: dpkglike.Dpkg, tmp_path: Path) -> None:
    answer(dpkg, tmp_path / "state")
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "state").iterdir()} == {0o600}


def test_where_nothing_can_be_kept_the_answer_is_the_same(dpkg: dpkglike.Dpkg, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert answer(dpkg, tmp_path / "file" / "state") == answer(dpkg, tmp_path / "state")


def test_nothing_slow_is_loaded_for_an_unchanged_node(dpkg: dpkglike.Dpkg, tmp_path: Path) -> None:
    first = answer(dpkg, tmp_path / "state")
    program = f"""
import sys
before = set(sys.modules)
from overcloud_agent.packages import inventory
class Same:
    name = "apt"
    def database(self): return {[str(path) for path in dpkg.database()]!r}
print(inventory.identifier(Same(), {str(tmp_path / "state")!r}))
print(*sorted(set(sys.modules) - before))
"""
    done = subprocess.run(
        [sys.executable, "-S", "-c", program],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(places.ROOT / "agent")},
        check=True,
    )
    printed, loaded = done.stdout.splitlines()
    assert printed == first
    assert not {"dataclasses", "hashlib", "logging", "pathlib", "subprocess", "typing"} & set(loaded.split())


@pytest.mark.parametrize(
    ("database", "program"), [("var/lib/dpkg/status", "apt-get"), ("usr/lib/sysimage/rpm/rpmdb.sqlite", "dnf")]
)
def test_a_host_without_the_root_s_package_manager(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, database: str, program: str
) -> None:
    (tmp_path / database).parent.mkdir(parents=True)
    (tmp_path / database).write_text("something")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(errors.PackageError, match=f"there is no {program}") as caught:
        select.backend(tmp_path)
    assert caught.value.hint == f"install {program}"


def test_a_root_without_packages(tmp_path: Path) -> None:
    with pytest.raises(errors.PackageError, match="has no package database") as caught:
        select.backend(tmp_path)
    assert "packages_root" in caught.value.hint


@pytest.mark.parametrize(
    ("value", "where"),
    [("/etc", r"\$\.x"), (["/etc", "etc"], r"\$\.x\[1\]"), ([7], r"\$\.x\[0\]"), (["/\0"], r"\[0\]")],
)
def test_trees_of_an_input_are_absolute_paths(value: object, where: str) -> None:
    with pytest.raises(errors.BadInput, match=where):
        identify.trees_in(value, "$.x")


def test_trees_of_an_input() -> None:
    assert identify.trees_in(["/b", "/a", "/b"], "$.x") == (Path("/b"), Path("/a"))
