"""The backend for rpm with dnf 4 or dnf5, on one root. What differs between the two is in dnf4.py and dnf5.py.

A transaction is a file that names every package that comes and goes. `dnf history replay` and `dnf5 replay` carry
it out, and fail when anything else would have to come about.
"""

from __future__ import annotations

import fnmatch
import hashlib
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Literal

from overcloud_agent import errors, files
from overcloud_agent.packages import dnf4, dnf5, dnf_locks, dnf_tool, model, replay, rpm

_FILE = "transaction.json"
# Where the files of transactions are in a root: a cache, since what makes them can make them again.
_SCRATCH = "var/cache/overcloud-agent"
# Where dnf 4 and dnf5 keep packages.
_CACHED = ("var/cache/dnf/*/packages/*.rpm", "var/cache/libdnf5/*/packages/*.rpm")


class Dnf:
    """A `backend.Backend`. `scratch` is where transactions are written down; a directory in the root by itself."""

    def __init__(self, root: Path, program: Literal["dnf", "dnf5"], *, scratch: Path | None = None) -> None:
        self.name: str = program
        self._root = root
        self._tool = dnf_tool.Tool(root, program)
        self._dnf: dnf4.Dnf4 | dnf5.Dnf5 = dnf4.Dnf4(self._tool) if program == "dnf" else dnf5.Dnf5(self._tool)
        self._scratch = scratch or root / _SCRATCH

    def database(self) -> Sequence[Path]:
        """rpm's database; with sqlite a file and its log."""
        return rpm.database(self._root)

    def installed(self) -> tuple[model.Installed, ...]:
        """What is installed, sorted."""
        return rpm.installed(self._root)

    def files(self, names: Collection[str]) -> dict[str, tuple[str, ...]]:
        """The paths, in the root, of the files of installed packages."""
        return rpm.files(self._root, names)

    def refresh(self, *, wait: float, alive: Callable[[], None]) -> None:
        """Fetch the metadata of all enabled repositories, signed where the host wants it."""
        self._tool.fetch([dnf_tool.ALL_MUST_ANSWER, *self._dnf.refreshing], wait=wait, alive=alive)

    def pending(self, selection: model.Selection) -> model.Pending:
        """What `dnf upgrade` would do by the metadata at hand; `removals` is dnf's own decision."""
        if selection.packages:
            _check(selection, self.installed())
        return self._dnf.pending(selection)

    def missing(self, pending: model.Pending) -> int:
        """Bytes of the packages that are not in dnf's cache; where that is elsewhere, all are missing."""
        there = {path.name for pattern in _CACHED for path in self._root.glob(pattern)}
        names = {one: replay.file_name(one) for one in pending.changes if one.new}
        return sum(one.download for one, name in names.items() if name not in there)

    def download(self, pending: model.Pending, *, wait: float, alive: Callable[[], None]) -> None:
        """Fetch the packages, check their signatures, and have rpm try whether they fit, disk space included."""
        # rpm's test does what --downloadonly leaves out: dnf5 checks signatures only with it.
        trial = ("--setopt=keepcache=1", "--setopt=tsflags=test", self._dnf.lasting)
        self._tool.fetch([*trial, *self._dnf.replaying, self._write(pending)], wait=wait, alive=alive)

    def transaction(self, pending: model.Pending) -> model.Command:
        """The replay of exactly these changes, from the cache."""
        # keepcache: should the transaction be interrupted, its end needs the packages again.
        argv = self._tool.argv("--cacheonly", "--setopt=keepcache=1", *self._dnf.replaying, self._write(pending))
        return model.Command(argv=argv, environment=dict(dnf_tool.ENVIRONMENT))

    def interrupted(self) -> str:
        """Duplicates, and packages whose scripts may not have run; nothing while another holds the lock."""
        return "" if self.lock_holder() else replay.describe(self._dnf.leftover())

    def repair(self) -> model.Command:
        """A replay that removes the older duplicates and installs again what came, so that its scripts run."""
        document = replay.repair(self._dnf.leftover(), self._dnf.dialect())
        # What is not in the cache may be fetched, as long as it is of the metadata at hand.
        how = ("--setopt=keepcache=1", dnf_tool.SOME_MAY_BE_AWAY, self._dnf.lasting)
        argv = self._tool.argv(*how, *self._dnf.replaying, self._keep(document))
        return model.Command(argv=argv, environment=dict(dnf_tool.ENVIRONMENT))

    def lock_holder(self) -> str:
        """Who holds a lock of rpm or dnf, as `dnf (pid 42)`."""
        return dnf_locks.holder(self._root)

    def _write(self, pending: model.Pending) -> str:
        return self._keep(replay.document(pending.changes, self._dnf.dialect(), installed=self.installed()))

    def _keep(self, document: bytes) -> str:
        """Write a transaction down; return what `replay` takes for it.

        Its directory has a name made of its content: a command that is run later finds what it was made with.
        """
        directory = self._scratch / hashlib.sha256(document).hexdigest()[:16]
        try:
            directory.mkdir(parents=True, exist_ok=True)
            files.write(directory / _FILE, document)
        except OSError as error:
            raise errors.PackageError(
                f"the transaction cannot be written down: {error}", hint=f"make room in {self._scratch}"
            ) from error
        return self._dnf.document(directory / _FILE)


def _check(selection: model.Selection, installed: Collection[model.Installed]) -> None:
    """Raises BadInput for a name that no installed package has: an update of it would be about nothing."""
    names = sorted({package.name for package in installed})
    for pattern in selection.packages:
        if not fnmatch.filter(names, pattern):
            raise errors.BadInput(
                f"no installed package is called {pattern!r}",
                path="$.packages",
                hint="name installed packages, without versions; wildcards as in a shell",
            )
