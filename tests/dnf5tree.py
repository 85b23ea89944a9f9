"""dnf5, which Debian 12 does not have, from a newer suite: a tree made by mmdebstrap, and commands that run in it."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import places
import suites
from podmanbox import errors

SUITE = "forky"
PACKAGES = ("dnf5", "rpm", "ca-certificates")
# Where the roots are that the commands work on; it has the same path in the tree.
WORK = places.SCRATCH / "rpm-roots"
_TREE = places.SHARED / "dnf5"
_WRAPPER = """\
#!/bin/sh
exec unshare --mount sh -c '
mount --rbind "$0" "$1$0" && mount --rbind /proc "$1/proc" && mount --rbind /dev "$1/dev" || exit 125
tree=$1
shift
PATH=/usr/sbin:/usr/bin:/sbin:/bin exec chroot "$tree" "$@"
' {work} {tree} /usr/bin/{command} "$@"
"""


def wrappers(directory: Path) -> Path:
    """Write commands `dnf5` and `rpm` that run in the tree, and return their directory."""
    tree = _made()
    found = directory / "bin"
    found.mkdir()
    for command in ("dnf5", "rpm"):
        path = found / command
        path.write_text(_WRAPPER.format(work=WORK, tree=tree, command=command))
        path.chmod(0o755)
    return found


@functools.cache
def _made() -> Path:
    """The tree, made at first need; the test is skipped where it cannot be."""
    if shutil.which("dnf5"):
        pytest.skip("this system has a dnf5 of its own, for which these tests have no root")
    tree, done = _TREE / "tree", _TREE / "done"
    with _exclusive():
        if not done.exists():
            shutil.rmtree(tree, ignore_errors=True)
            _make(tree)
            done.touch()
    (tree / str(WORK).lstrip("/")).mkdir(parents=True, exist_ok=True)
    return tree


def _make(tree: Path) -> None:
    try:
        suites.make(tree, SUITE, PACKAGES)
    except errors.BoxError as error:
        pytest.skip(f"Debian {SUITE}, which has dnf5, cannot be had: {error}")


@contextlib.contextmanager
def _exclusive() -> Iterator[None]:
    _TREE.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (_TREE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
