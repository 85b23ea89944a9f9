"""Which package manager a root has."""

from __future__ import annotations

import shutil
from pathlib import Path

from overcloud_agent import errors
from overcloud_agent.packages import backend as backends

_DPKG = "var/lib/dpkg/status"
# By rpm's %_dbpath in the distributions, and its database formats (SQLite, ndb, BerkeleyDB).
_RPM = tuple(
    f"{directory}/{name}"
    for directory in ("var/lib/rpm", "usr/lib/sysimage/rpm")
    for name in ("rpmdb.sqlite", "Packages.db", "Packages")
)


def backend(root: Path) -> backends.Backend:
    """The package manager whose database the root has, from the host's programs. Raises PackageError."""
    manager: backends.Backend
    # Where dpkg is only a tool to make packages with, its database is there, and empty.
    if _size(root / _DPKG):
        _program(root, "apt-get")
        from overcloud_agent.packages import apt

        manager = apt.Apt(root)
    elif any(_size(root / name) for name in _RPM):
        program = _program(root, "dnf5", "dnf")
        from overcloud_agent.packages import dnf

        manager = dnf.Dnf(root, "dnf5" if program == "dnf5" else "dnf")
    else:
        raise errors.PackageError(
            f"{root} has no package database",
            hint=f"there is neither {_DPKG} nor {_RPM[0]} in it; the option packages_root says where packages are",
        )
    return manager


def _program(root: Path, *names: str) -> str:
    """The first of these programs that the host has."""
    found = next((name for name in names if shutil.which(name)), None)
    if found is None:
        raise errors.PackageError(
            f"there is no {names[-1]} to look after the packages of {root}", hint=f"install {names[-1]}"
        )
    return found


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
