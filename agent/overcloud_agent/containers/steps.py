"""Where the steps of an upgrade are written down, before and after each."""

from __future__ import annotations

import contextlib
import logging
from typing import Protocol

from overcloud_agent import errors, journal

log = logging.getLogger(__name__)


class Steps(Protocol):
    """A record of steps of one deployment."""

    def begin(self, container: str, step: str, detail: str = "") -> int:
        """Write down that a step is about to be done; `detail` is for who resumes it."""

    def end(self, token: int, *, ok: bool = True) -> None:
        """Write down that it is done, or that it failed."""

    def begun(self, container: str, step: str) -> str | None:
        """The detail of a step that was begun, done or not; None when it was not."""

    def done(self, container: str, step: str) -> str | None:
        """The detail of a step that is done, by this process or an earlier one; None when it is not."""


class Journalled:
    """Steps in the agent's journal."""

    def __init__(self, book: journal.Journal, deployment: str) -> None:
        self._book = book
        self._deployment = deployment

    def begin(self, container: str, step: str, detail: str = "") -> int:
        log.info("%s: %s", container, step)
        return self._book.begin_step(self._deployment, container, step, detail)

    def end(self, token: int, *, ok: bool = True) -> None:
        self._book.end_step(token, ok=ok)

    def begun(self, container: str, step: str) -> str | None:
        return self._book.step(self._deployment, container, step, done=False)

    def done(self, container: str, step: str) -> str | None:
        return self._book.step(self._deployment, container, step, done=True)


class Told:
    """Steps told on stderr only, for a hook that another agent starts: what Podman has is all it remembers."""

    def begin(self, container: str, step: str, detail: str = "") -> int:
        del detail
        log.info("%s: %s", container, step)
        return 0

    def end(self, token: int, *, ok: bool = True) -> None:
        del token, ok

    def begun(self, container: str, step: str) -> str | None:
        del container, step
        return None

    def done(self, container: str, step: str) -> str | None:
        del container, step
        return None


class Forgiving:
    """Steps on the way back: a journal that cannot be written must not keep a service down."""

    def __init__(self, record: Steps) -> None:
        self._record = record

    def begin(self, container: str, step: str, detail: str = "") -> int:
        try:
            return self._record.begin(container, step, detail)
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
