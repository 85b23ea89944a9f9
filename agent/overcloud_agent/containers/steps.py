"""Where the steps of an upgrade are written down, before and after each."""

from __future__ import annotations

import contextlib
import logging
import threading
from pathlib import Path
from typing import Protocol, Self

from overcloud_agent import errors, journal

log = logging.getLogger(__name__)


class Steps(Protocol):
    """A record of steps of one deployment."""

    def begin(self, container: str, step: str, detail: str = "", *, ends: int = 0) -> int:
        """Write down that a step is about to be done, and that the one of the token `ends` is done.

        `detail` is for who resumes it. Returns the token for end().
        """

    def end(self, token: int, *, ok: bool = True) -> None:
        """Write down that it is done, or that it failed."""

    def begun(self, container: str, step: str) -> str | None:
        """The detail of a step that was begun, done or not; None when it was not."""

    def done(self, container: str, step: str) -> str | None:
        """The detail of a step that is done, by this process or an earlier one; None when it is not."""

    def any(self, container: str) -> bool:
        """Whether any step of that container was begun."""

    def migrated(self, container: str, identifier: str) -> bool:
        """Whether the migration of that identifier was done, by whatever deployment."""

    def note_migrated(self, container: str, identifier: str) -> None:
        """Write down that it is done, for good."""


class Journalled:
    """The steps of one deployment in the agent's journal, for all threads that work on it. A context manager."""

    def __init__(self, state_dir: Path, deployment: str) -> None:
        self._book = journal.Journal.open(state_dir, shared=True)
        self._deployment = deployment
        self._one = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        with self._one:
            self._book.close()

    def begin(self, container: str, step: str, detail: str = "", *, ends: int = 0) -> int:
        log.info("%s: %s", container, step)
        with self._one:
            return self._book.begin_step(self._deployment, container, step, detail, ends=ends)

    def end(self, token: int, *, ok: bool = True) -> None:
        with self._one:
            self._book.end_step(token, ok=ok)

    def begun(self, container: str, step: str) -> str | None:
        with self._one:
            return self._book.step(self._deployment, container, step, done=False)

    def done(self, container: str, step: str) -> str | None:
        with self._one:
            return self._book.step(self._deployment, container, step, done=True)

    def any(self, container: str) -> bool:
        with self._one:
            return self._book.step(self._deployment, container, "", done=False) is not None

    def migrated(self, container: str, identifier: str) -> bool:
        with self._one:
            return self._book.migrated(container, identifier)

    def note_migrated(self, container: str, identifier: str) -> None:
        with self._one:
            self._book.note_migrated(container, identifier)


def close(state_dir: Path, deployment: str) -> None:
    """Put away the steps of a deployment that has its result: a later run of the same name does not go on from them."""
    book = journal.Journal.open(state_dir)
    try:
        book.close_steps(deployment)
    finally:
        book.close()


class Forgiving:
    """Steps on the way back: a journal that cannot be written must not keep a service down."""

    def __init__(self, record: Steps) -> None:
        self._record = record

    def begin(self, container: str, step: str, detail: str = "", *, ends: int = 0) -> int:
        try:
            return self._record.begin(container, step, detail, ends=ends)
        except errors.JournalError as error:
            log.error("%s: %s, which is not in the journal: %s", container, step, error)
            return 0

    def end(self, token: int, *, ok: bool = True) -> None:
        with contextlib.suppress(errors.JournalError):
            self._record.end(token, ok=ok)

    def begun(self, container: str, step: str) -> str | None:
        try:
            return self._record.begun(container, step)
        except errors.JournalError:
            return None

    def done(self, container: str, step: str) -> str | None:
        try:
            return self._record.done(container, step)
        except errors.JournalError:
            return None

    def any(self, container: str) -> bool:
        return self._record.any(container)

    def migrated(self, container: str, identifier: str) -> bool:
        return self._record.migrated(container, identifier)

    def note_migrated(self, container: str, identifier: str) -> None:
        self._record.note_migrated(container, identifier)
