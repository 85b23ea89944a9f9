"""What rpm has installed, and in which files, on one root. Asks rpm's command line."""

from __future__ import annotations

import stat
from collections.abc import Collection, Sequence
from pathlib import Path

from overcloud_agent import errors, run
from overcloud_agent.packages import model, nevras

TIMEOUT = 300.0
# Bytes: the file list of 5,000 packages has about 30 million.
LIMIT = 512 * 1024 * 1024
# Names in one question: the kernel takes two million bytes of arguments.
_BATCH = 2000

_PACKAGE = r"%{NAME}\t%{ARCH}\t%|EPOCH?{%{EPOCH}:}:{}|%{VERSION}-%{RELEASE}\n"
_FILES = r"[%{=NAME}\t%{FILEMODES:octal}\t%{FILENAMES}\n]"

# Where rpm's database is: since Fedora 36 and RHEL 10, and before.
_DIRECTORIES = ("usr/lib/sysimage/rpm", "var/lib/rpm")
# By backend (sqlite, ndb, bdb), what writers write.
_FILES_OF_BACKENDS = (("rpmdb.sqlite", "rpmdb.sqlite-wal"), ("Packages.db",), ("Packages",))
# The keys by which rpm knows who signed packages are in its database, too.
_KEYS = "gpg-pubkey"


def directories(root: Path) -> list[Path]:
    """Where rpm's database is in `root`, or would be."""
    found = [root / name for name in _DIRECTORIES]
    return [path for path in found if path.is_dir()] or found


def database(root: Path) -> tuple[Path, ...]:
    """Files that change when the set of installed packages does; the second of sqlite's need not exist."""
    for directory in directories(root):
        for names in _FILES_OF_BACKENDS:
            if (directory / names[0]).exists():
                return tuple(directory / name for name in names)
    return tuple(directories(root))


def installed(root: Path) -> tuple[model.Installed, ...]:
    """All packages, sorted. Raises PackageError."""
    lines = _ask(root, ["-qa", "--qf", _PACKAGE])
    packages = {parse_package(line) for line in lines}
    return tuple(sorted(package for package in packages if package.name != _KEYS))


def parse_package(line: str) -> model.Installed:
    """One line of what `installed` asks for. Raises PackageError."""
    try:
        name, architecture, version = line.split("\t")
    except ValueError as error:
        raise errors.PackageError(f"rpm told of a package as {line!r}", hint="does `rpm -qa` work?") from error
    return model.Installed(name=name, architecture=architecture, version=nevras.plain(version))


def files(root: Path, names: Collection[str]) -> dict[str, tuple[str, ...]]:
    """The paths of the files, without directories, of the installed packages of these names. Raises PackageError."""
    found: dict[str, set[str]] = {}
    ordered = sorted(names)
    for begin in range(0, len(ordered), _BATCH):
        batch = ordered[begin : begin + _BATCH]
        for line in _ask(root, ["-q", "--qf", _FILES, "--", *batch], some_missing=True):
            # rpm says on a line without tabs that a package is not installed.
            name, mode, path = [*line.split("\t", 2), "", ""][:3]
            # rpm takes "name-version" for a name as well.
            if name in names and path and not stat.S_ISDIR(int(mode, 8)):
                found.setdefault(name, set()).add(path)
    return {name: tuple(sorted(paths)) for name, paths in found.items()}


def _ask(root: Path, words: Sequence[str], *, some_missing: bool = False) -> list[str]:
    argv = ["rpm", *(["--root", str(root)] if root != Path("/") else []), *words]
    variables = {b"LC_ALL": b"C.UTF-8", b"LANGUAGE": b""}
    try:
        ended = run.hook(argv, b"", timeout=TIMEOUT, limit=LIMIT, variables=variables)
    except OSError as error:
        raise errors.PackageError(f"rpm cannot be started: {error}", hint="is it installed?") from error
    complaint = ended.stderr.decode(errors="replace").strip()
    failed = ended.returncode != 0 and not (some_missing and ended.returncode > 0 and not complaint)
    if failed or ended.timed_out:
        last = " / ".join(complaint.splitlines()[-3:]) or f"it ended with {ended.returncode}"
        raise errors.PackageError(
            f"rpm cannot read its database: {last}", hint="`rpm --rebuilddb` makes a damaged one anew"
        )
    return ended.stdout.decode(errors="surrogateescape").splitlines()
