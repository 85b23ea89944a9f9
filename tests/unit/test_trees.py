"""content_identifiers: what is in a tree and nothing else, read again only where something changed."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import socket
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import pytest
from hypothesis import strategies

from overcloud_agent import errors
from overcloud_agent.packages import tree_files, trees

LATER = 10_000_000_000
EMPTY = "sha256:" + hashlib.sha256().hexdigest()


def at_rest() -> int:
    """A moment at which what was written now has long been written."""
    return time.time_ns() + LATER


def identify(root: Path, state: Path, now: Callable[[], int] = at_rest) -> str:
    return trees.identify(root, state, now=now).identifier


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "modules"
    (root / "nova" / "manifests").mkdir(parents=True)
    (root / "nova" / "manifests" / "init.pp").write_text("class nova {}\n")
    (root / "nova" / "manifests" / "api.pp").write_text("class nova::api {}\n")
    (root / "nova" / "metadata.json").write_text("{}")
    (root / "link").symlink_to("nova/metadata.json")
    return root


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names whose content was read."""
    names: list[str] = []
    content = tree_files.Files.content

    def counted(self: tree_files.Files, name: str, seen: os.stat_result) -> str | None:
        names.append(name)
        return content(self, name, seen)

    monkeypatch.setattr(tree_files.Files, "content", counted)
    return names


def test_the_format(tmp_path: Path, state: Path) -> None:
    root = tmp_path / "tree"
    root.mkdir()
    (root / "d").mkdir()
    (root / "d").chmod(0o2750)
    (root / "d" / "f").write_bytes(b"x")
    (root / "d" / "f").chmod(0o640)
    (root / "d-e").symlink_to("nowhere")
    lines = [
        b"d 2750 d\0\0",
        b"l 0777 d-e\0nowhere\0",
        b"f 0640 d/f\0" + hashlib.sha256(b"x").hexdigest().encode() + b"\0",
    ]
    assert identify(root, state) == "sha256:" + hashlib.sha256(b"".join(lines)).hexdigest()


# Commands of a shell in the tree.
CHANGES = {
    "content": "printf '[]' > nova/metadata.json",
    "size": "printf '{ }' > nova/metadata.json",
    "mode": "chmod 600 nova/metadata.json",
    "directory's mode": "chmod 700 nova",
    "name": "mv nova/metadata.json nova/Metadata.json",
    "new": "touch nova/new",
    "new directory": "mkdir nova/new",
    "gone": "rm nova/metadata.json",
    "link's target": "ln -sfn nova/metadata.jsom link",
    "type": "cp --remove-destination nova/metadata.json link",
    "pipe": "rm link && mkfifo link",
}


def shell(directory: Path, command: str) -> None:
    subprocess.run(["sh", "-ec", command], cwd=directory, check=True, timeout=60)


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_noticed(tree: Path, state: Path, change: str) -> None:
    first = identify(tree, state)
    assert identify(tree, state) == first
    shell(tree, CHANGES[change])
    changed = identify(tree, state)
    assert changed != first
    assert identify(tree, state.with_name("other-node")) == changed


def test_owner_and_times_are_not_in_it(tree: Path, state: Path) -> None:
    first = identify(tree, state)
    os.utime(tree / "nova/metadata.json", (1, 1))
    os.utime(tree / "nova", (1, 1))
    if os.geteuid() == 0:
        os.chown(tree / "nova/metadata.json", 1, 1)
    assert identify(tree, state) == first
    copied = tree.with_name("copied")
    shutil.copytree(tree, copied, symlinks=True)
    assert identify(copied, state) == first


def test_only_what_changed_is_read_again(tree: Path, state: Path, read: list[str]) -> None:
    identify(tree, state)
    assert sorted(read) == ["link", "nova/manifests/api.pp", "nova/manifests/init.pp", "nova/metadata.json"]
    read.clear()
    identify(tree, state)
    assert read == []
    (tree / "nova/metadata.json").write_text("[]")
    (tree / "nova/manifests/new.pp").write_text("class nova::new {}\n")
    identify(tree, state)
    assert sorted(read) == ["nova/manifests/new.pp", "nova/metadata.json"]
    read.clear()
    (tree / "nova/manifests/new.pp").unlink()
    identify(tree, state)
    assert read == []


def test_a_change_that_keeps_size_and_mtime_is_noticed(tree: Path, state: Path) -> None:
    first = identify(tree, state)
    path = tree / "nova/metadata.json"
    before = path.stat()
    path.write_text("[]")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size
    assert identify(tree, state) != first


def test_what_was_just_written_is_not_relied_on(tree: Path, state: Path, read: list[str]) -> None:
    now = time.time_ns()
    first = identify(tree, state, lambda: now)
    assert identify(tree, state, lambda: now) == first
    assert len(read) == 8, "each of the four was read twice"
    assert identify(tree, state, lambda: now + LATER) == first
    read.clear()
    assert identify(tree, state, lambda: now + LATER) == first
    assert read == []


@pytest.mark.parametrize("name", [".git", ".svn", ".hg", ".bzr", "CVS", "init.pp.dpkg-new", "a.rpmsave", "b.dpkg-old"])
def test_what_is_no_content(tree: Path, state: Path, name: str) -> None:
    first = identify(tree, state)
    (tree / "nova" / name).mkdir()
    (tree / "nova" / name / "config").write_text("x")
    assert identify(tree, state) == first
    shutil.rmtree(tree / "nova" / name)
    (tree / "nova" / name).write_text("a file of that name is none either")
    assert identify(tree, state) == first


@pytest.mark.parametrize("name", [".gitignore", "dpkg-new", "x.dpkg-newer", "#x#", "x~", ".x.swp", "git", ".x.AbCdEf"])
def test_what_is_content(tree: Path, state: Path, name: str) -> None:
    first = identify(tree, state)
    (tree / "nova" / name).write_text("x")
    assert identify(tree, state) != first


def test_a_missing_tree_is_said_to_be_missing(tmp_path: Path, state: Path) -> None:
    assert trees.identify(tmp_path / "none", state) == trees.Tree(EMPTY, missing=True)
    (tmp_path / "dangling").symlink_to("none")
    assert trees.identify(tmp_path / "dangling", state).missing
    (tmp_path / "empty").mkdir()
    assert trees.identify(tmp_path / "empty", state) == trees.Tree(EMPTY)


def test_a_tree_that_is_a_file(tmp_path: Path, state: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(errors.PackageError, match="file: Not a directory") as caught:
        trees.identify(tmp_path / "file", state)
    assert caught.value.hint


def test_links_are_followed_at_the_root_only(tree: Path, state: Path) -> None:
    (tree / "loop").symlink_to(".")
    (tree / "up").symlink_to(tree.parent)
    first = identify(tree, state)
    tree.with_name("current").symlink_to("modules")
    assert identify(tree.with_name("current"), state) == first
    other = tree.with_name("other")
    (other / "nova").mkdir(parents=True)
    (tree.with_name("current")).unlink()
    tree.with_name("current").symlink_to("other")
    assert identify(tree.with_name("current"), state) == identify(other, state) != first


def test_special_files_are_of_their_type(tmp_path: Path, state: Path) -> None:
    root = tmp_path / "tree"
    root.mkdir()
    os.mkfifo(root / "pipe", 0o600)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(root / "socket"))
    mode = stat.S_IMODE((root / "socket").stat().st_mode)
    lines = b"p 0600 pipe\0\0" + b"s %04o socket\0\0" % mode
    assert identify(root, state) == "sha256:" + hashlib.sha256(lines).hexdigest()


NAMES = strategies.binary(min_size=1, max_size=8).filter(
    lambda name: name not in (b".", b"..") and not {0, ord("/")} & set(name)
)


@hypothesis.given(
    strategies.dictionaries(NAMES, strategies.one_of(strategies.binary(max_size=9), NAMES.map(os.fsdecode)))
)
@hypothesis.settings(
    max_examples=60, deadline=None, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture]
)
def test_names_and_targets_are_bytes(tmp_path: Path, entries: dict[bytes, bytes | str]) -> None:
    """A value that is text is a link's target."""
    root = tmp_path / "tree"
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()
    lines = []
    for name, value in entries.items():
        path = os.path.join(os.fsencode(root), name)
        if isinstance(value, str):
            os.symlink(value, path)
            lines.append((name, b"l 0777 %s\0%s\0" % (name, os.fsencode(value))))
        else:
            with open(path, "wb") as file:
                file.write(value)
            os.chmod(path, 0o644)
            digest = hashlib.sha256(value).hexdigest().encode()
            lines.append((name, b"f 0644 %s\0%s\0" % (name, digest)))
    wanted = "sha256:" + hashlib.sha256(b"".join(line for _, line in sorted(lines))).hexdigest()
    assert [identify(root, tmp_path / "state") for _ in range(2)] == [wanted, wanted]


@pytest.mark.parametrize("damage", [b"", b"{}", b"\xff\xfe", b"00000000\n{}"])
def test_damaged_caches_are_made_anew(tree: Path, state: Path, read: list[str], damage: bytes) -> None:
    first = identify(tree, state)
    read.clear()
    for path in (state / "content").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        path.write_bytes(damage)
    assert identify(tree, state) == first
    assert len(read) == 4
    assert identify(tree, state) == first
    assert len(read) == 4


def meddle(monkeypatch: pytest.MonkeyPatch, directory: Path, commands: list[str]) -> None:
    """Run one of these commands of a shell each time before init.pp is read, until all have been."""
    content = tree_files.Files.content
    left = list(commands)

    def meddled(files: tree_files.Files, name: str, seen: os.stat_result) -> str | None:
        if left and name.endswith("init.pp"):
            shell(directory, left.pop(0))
        return content(files, name, seen)

    monkeypatch.setattr(tree_files.Files, "content", meddled)


MEDDLING = {
    "written": ["echo x >> nova/manifests/init.pp"],
    "written again": ["echo x >> nova/manifests/init.pp"] * 5,
    "gone": ["rm nova/manifests/init.pp"],
    "replaced": ["cp nova/metadata.json new && mv new nova/manifests/init.pp"],
    "a pipe": ["rm nova/manifests/init.pp && mkfifo nova/manifests/init.pp"],
    "a link": ["ln -sf api.pp nova/manifests/init.pp"],
    "a link to nothing": ["ln -sf nothing nova/manifests/init.pp", "ln -sf api.pp nova/manifests/init.pp"],
    "a directory": ["rm nova/manifests/init.pp && mkdir nova/manifests/init.pp"],
    "its directory is a link": ["mv nova/manifests old && ln -s ../old nova/manifests"],
    "its directory is a file": ["mv nova/manifests old && touch nova/manifests"],
    "all gone": ["rm -r nova"],
    "elsewhere": ["rm link"],
}


@pytest.mark.parametrize("meddling", MEDDLING)
def test_what_changes_while_it_is_read_is_read_again(
    tree: Path, state: Path, monkeypatch: pytest.MonkeyPatch, meddling: str
) -> None:
    meddle(monkeypatch, tree, MEDDLING[meddling])
    found = identify(tree, state)
    monkeypatch.undo()
    assert identify(tree, state) == found
    assert identify(tree, state.with_name("other-node")) == found


def test_a_root_that_is_replaced_meanwhile(tree: Path, state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tree.with_name("other")
    shutil.copytree(tree, other, symlinks=True)
    (other / "more").touch()
    wanted = identify(other, state)
    meddle(monkeypatch, tree.parent, ["rm -r modules && mv other modules"])
    assert identify(tree, state) == wanted


def test_a_root_that_goes_meanwhile(tree: Path, state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    meddle(monkeypatch, tree.parent, ["rm -r modules"])
    assert trees.identify(tree, state, now=at_rest) == trees.Tree(EMPTY, missing=True)


def test_what_never_rests_is_named(tree: Path, state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    meddle(monkeypatch, tree, ["echo x >> nova/manifests/init.pp"] * 100)
    with pytest.raises(errors.PackageError, match=r"modules keeps changing: nova/manifests/init\.pp"):
        identify(tree, state)


@pytest.mark.parametrize("name", ["nova/metadata.json", "nova/manifests"])
def test_what_cannot_be_read_is_named(name: str) -> None:
    # pytest's own directories are root's alone.
    with tempfile.TemporaryDirectory() as directory, as_nobody(Path(directory)):
        root = Path(directory) / "modules"
        (root / "nova/manifests").mkdir(parents=True)
        (root / "nova/metadata.json").touch()
        (root / name).chmod(0)
        with pytest.raises(errors.PackageError, match=f"cannot read {root}/{name}: Permission denied") as caught:
            identify(root, Path(directory) / "state")
        assert caught.value.hint
        (root / name).chmod(0o700)


@contextlib.contextmanager
def as_nobody(directory: Path) -> Iterator[None]:
    """Root reads everything."""
    before = os.geteuid()
    if before == 0:
        os.chown(directory, 65534, -1)
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(before)
