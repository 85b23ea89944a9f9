"""`overcloud-agent signals flush`: have everything pending tried now, and tell how that went."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path
from typing import Any

from overcloud_agent import errors, journal, lock, settings, status
from overcloud_agent.signals import access, outbox

# Seconds between looks into the journal. Another process does the work, and SQLite wakes nobody for its commits.
_LOOK = 0.1

# Seconds that an attempt under way may still take when the time is up. One that takes longer is repeated later.
_GRACE = 2.0


def flush(config: settings.Settings, *, deliver_within: float) -> dict[str, Any]:
    """Try everything pending once, `deliver_within` seconds long at most.

    Returns `pending`, `delivered` and `given_up` (refused, expired, withdrawn): lists of signals as in `status`, of
    those that were pending. A resident agent is told to do it; without one, this process does. Raises Busy when
    neither is possible.
    """
    if not (config.state_dir / "journal.sqlite").exists():
        return _report([])
    deadline = time.monotonic() + deliver_within
    book = journal.Journal.open(config.state_dir)
    try:
        asked = book.mail.pending()
        if asked:
            _try_all(config, book, deadline)
        return _report(book.mail.rows(asked))
    finally:
        book.close()


def _try_all(config: settings.Settings, book: journal.Journal, deadline: float) -> None:
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(lock.exclusive(config.state_dir))
        except errors.Busy:
            since = book.mail.hasten()
            _tell_resident(config.state_dir)
            _watch(book, since, deadline)
            return
        own = outbox.Outbox(config.state_dir, timeout=config.signal_timeout, retry_max=config.signal_retry_max)
        own.access = access.of(config, settings.load_collectors(config, collecting=False))
        since = book.mail.hasten()
        own.start()
        try:
            _watch(book, since, deadline)
        finally:
            own.stop(max(deadline - time.monotonic(), _GRACE))
        if own.failure:
            raise own.failure


def _tell_resident(state_dir: Path) -> None:
    pid = status.agent(state_dir)["pid"]
    # The lock file's number may be that of a process before: it is only believed of one that has the lock file open.
    if not pid or not lock.is_open(pid, state_dir):
        raise errors.Busy(f"an agent works with {state_dir} and cannot be told", hint="try again")
    os.kill(pid, signal.SIGUSR1)


def _watch(book: journal.Journal, since: float, deadline: float) -> None:
    """Wait until everything that was due at `since` was tried, or waits behind something that was."""
    while time.monotonic() < deadline:
        if not book.mail.untouched(since):
            return
        time.sleep(_LOOK)


def _report(signals: list[dict[str, Any]]) -> dict[str, Any]:
    report: dict[str, Any] = {"pending": [], "delivered": [], "given_up": []}
    for row in signals:
        place = row["state"] if row["state"] in report else "given_up"
        report[place].append(status.presentable(row))
    return report


def show(report: dict[str, Any]) -> None:
    """Print a report for people."""
    # rich takes longer to load than all the rest.
    from rich import console, table

    out = console.Console()
    grid = table.Table("deployment", "transport", "state", "attempts", "why", title_justify="left")
    for rows in report.values():
        for row in rows:
            grid.add_row(*(str(row[key]) for key in ("deployment", "transport", "state", "attempts", "last_error")))
    out.print(grid if grid.row_count else "nothing is pending")
