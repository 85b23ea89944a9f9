"""What the agent needs of a package manager; apt.py and dnf.py have it, each for one root."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Protocol

from overcloud_agent.packages import model


class Backend(Protocol):
    """One package manager on one root. Methods raise PackageError with a hint, and BadInput for a bad selection.

    `alive` is called often while something takes long; it raises to have it left (Interrupted). `wait` is how many
    seconds a foreign lock is waited for; past that PackageError names who holds it.
    """

    @property
    def name(self) -> str:
        """apt, dnf or dnf5."""

    def database(self) -> Sequence[Path]:
        """Files and directories whose stat tells that the set of installed packages may have changed."""

    def installed(self) -> tuple[model.Installed, ...]:
        """What is installed, sorted."""

    def files(self, names: Collection[str]) -> dict[str, tuple[str, ...]]:
        """The paths, in the root, of the files of installed packages; of a changed one those that it has now."""

    def refresh(self, *, wait: float, alive: Callable[[], None]) -> None:
        """Ask the repositories what they have; every one must answer, with a signature where the host wants one."""

    def pending(self, selection: model.Selection) -> model.Pending:
        """What an update would do, by what the last `refresh` found."""

    def missing(self, pending: model.Pending) -> int:
        """Bytes that `download` would fetch: of what an earlier one has fetched nothing is."""

    def download(self, pending: model.Pending, *, wait: float, alive: Callable[[], None]) -> None:
        """Fetch and verify all packages to come, so that the transaction needs no network."""

    def transaction(self, pending: model.Pending) -> model.Command:
        """The command that makes exactly these changes of what was downloaded, without asking anything.

        Nothing but `pending` may come about: exact versions are named, and the command fails where they do not fit.
        """

    def interrupted(self) -> str:
        """What an interrupted transaction left, in words; empty when nothing did."""

    def repair(self) -> model.Command:
        """The command that ends an interrupted transaction."""

    def lock_holder(self) -> str:
        """Who holds the package manager's lock, as `apt-get (pid 42)`; empty when nobody does."""
