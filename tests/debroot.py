"""A Debian root of its own for a test, with real dpkg and apt: an overlay on a tree that is made once."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

import debs
import places
from nodebox import base
from overcloud_agent.packages import model

_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
# apt is there anyway.
_PACKAGES = ("ca-certificates",)


class DebRoot:
    """`path` is the root, as this machine sees it; its only repository is what a test gives it."""

    def __init__(self, path: Path, scratch: Path) -> None:
        self.path = path
        self.scratch = scratch
        self.key = debs.key(scratch / "gnupg")

    def run(self, *argv: str, check: bool = True) -> str:
        """Run a program in the root; returns all that it printed."""
        done = subprocess.run(
            self.argv(argv),
            env=_ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
        )
        assert not check or done.returncode == 0, f"{argv}: {done.stdout}"
        return done.stdout

    def argv(self, argv: Sequence[str]) -> list[str]:
        return ["chroot", str(self.path), *argv]

    def repository(self, *packages: Path, name: str = "test", suite: str = "stable", uri: str = "") -> debs.Repository:
        """A signed repository in the root, which it uses."""
        made = debs.repository(
            self.path / "srv" / name,
            packages,
            signed_by=self.key,
            root=self.path,
            name=name,
            suite=suite,
            uri=uri,
        )
        made.install(self.path)
        return made

    def install(self, *packages: str) -> None:
        """As an administrator would, from what the repositories have now."""
        self.run("apt-get", "-qq", "update")
        self.run("apt-get", "-qq", "-y", "-oDpkg::Use-Pty=0", "install", *packages)

    def status(self, package: str) -> str:
        """`installed 1`: state and version."""
        return self.run("dpkg-query", "-W", "-f", "${db:Status-Status} ${Version}", package, check=False)


def nothing() -> None:
    """For a backend's `alive`: go on."""


def carry_out(command: model.Command) -> subprocess.CompletedProcess[str]:
    """As the agent does: nobody is there to answer a question."""
    return subprocess.run(
        command.argv,
        env={**os.environ, **command.environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )


@pytest.fixture
def root() -> Iterator[DebRoot]:
    """A fixture for test modules."""
    with made() as used:
        yield used


@contextlib.contextmanager
def made() -> Iterator[DebRoot]:
    """A root for one test."""
    tree = base.make(places.SHARED / "debian-base", _PACKAGES)
    places.SCRATCH.mkdir(mode=0o700, parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix="deb-", dir=places.SCRATCH))
    # apt's unprivileged user reads the repositories in it.
    scratch.chmod(0o755)
    root = scratch / "root"
    for name in ("upper", "work", "root"):
        (scratch / name).mkdir()
    layers = f"lowerdir={tree},upperdir={scratch}/upper,workdir={scratch}/work"
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", layers, str(root)], check=True)
    try:
        _forget_sources(root)
        yield DebRoot(root, scratch)
    finally:
        subprocess.run(["umount", "--recursive", str(root)], check=True)
        shutil.rmtree(scratch)


def _forget_sources(root: Path) -> None:
    for path in (root / "etc/apt/sources.list", *(root / "etc/apt/sources.list.d").iterdir()):
        path.unlink(missing_ok=True)
    for path in (root / "var/lib/apt/lists").iterdir():
        if path.is_file():
            os.unlink(path)
