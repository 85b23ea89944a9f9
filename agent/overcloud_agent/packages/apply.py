"""Have the packages of a node be what was planned: one transaction that is done once, whoever dies in the middle."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

from overcloud_agent import errors, failpoints
from overcloud_agent.containers import steps
from overcloud_agent.packages import backend, model, transaction

log = logging.getLogger(__name__)

# What the steps belong to in the journal.
PLACE = "packages"

# How often a transaction that was cut off is begun again.
TRIES = 3
# Seconds between two looks at who holds the package manager's lock, for whose release there is no event.
_LOOK_EVERY = 1.0
# Seconds that a transaction has at least.
_LEAST = 60.0
# How many packages a message names.
_NAMED = 5


class Config(Protocol):
    """What of the settings counts here."""

    @property
    def state_dir(self) -> Path:
        """Where the transactions' files are."""

    @property
    def package_lock_wait(self) -> float:
        """Seconds that a foreign lock is waited for."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Site:
    """Whom the packages are changed with."""

    manager: backend.Backend
    record: steps.Steps
    config: Config
    deadline: float
    """Of time.monotonic."""
    alive: Callable[[], None]


@contextlib.contextmanager
def step(record: steps.Steps, name: str, detail: str = "") -> Iterator[None]:
    """Write down that a step is about to be done, and how it ended, with a fail point at each end."""
    token = record.begin(PLACE, name, detail)
    failpoints.reach(f"package.{name}.begun")
    try:
        yield
    except BaseException:
        record.end(token, ok=False)
        raise
    failpoints.reach(f"package.{name}.done")
    record.end(token)


def repair(site: Site) -> str:
    """End a transaction that was cut off, if there is one; what was found, in words, and empty when nothing was.

    One that still runs is waited for. Raises PackageError when it cannot be repaired, and what `alive` raises.
    """
    _settle(site, "")
    found = site.manager.interrupted()
    if not found:
        return ""
    log.warning("an interrupted transaction is repaired first: %s", found)
    identifier = transaction.new_identifier()
    # Dying in here leaves it to be found again, until there is nothing to repair.
    with step(site.record, "repair", identifier):
        ended = _run(site, site.manager.repair(), identifier)
        if ended is None or ended.status != 0:
            raise errors.PackageError(
                f"an interrupted transaction ({found}) could not be repaired: {_how(ended)}",
                hint="mend it by hand with the package manager, and update again",
            )
    left = site.manager.interrupted()
    if left:
        # What is in no repository any more cannot be installed again.
        return f"what could be was repaired, and the rest is to be mended by hand: {left}"
    return f"an interrupted transaction was repaired: {found}"


def apply(site: Site, pending: model.Pending) -> list[str]:
    """Carry the transaction out, unless this deployment has; returns what people should know.

    Raises PackageError when the packages are not what was planned after it, and what `alive` raises while it goes on
    without us.
    """
    notes: list[str] = []
    identifier = site.record.begun(PLACE, "transaction")
    if identifier and _is_over(site, pending, _settle(site, identifier), notes):
        return notes
    for _ in range(TRIES):
        identifier = transaction.new_identifier()
        with step(site.record, "transaction", identifier):
            ended = _run(site, site.manager.transaction(pending), identifier)
        if _is_over(site, pending, ended, notes):
            return notes
    raise errors.PackageError(f"the transaction was cut off {TRIES} times")


def _is_over(site: Site, pending: model.Pending, ended: transaction.Ended | None, notes: list[str]) -> bool:
    """Whether the packages are as planned; False when the transaction was cut off, and is to be begun again."""
    if ended and ended.timed_out:
        raise errors.PackageError(f"{_how(ended)}; {site.manager.interrupted() or 'nothing is half done'}")
    repaired = repair(site)
    notes += [repaired] if repaired else []
    lacking = missing(site.manager, pending)
    if not lacking:
        if ended and ended.status != 0 and not repaired:
            notes.append(f"all packages are as planned, but {_how(ended)}")
        return True
    if ended and not repaired:
        raise errors.PackageError(f"{_how(ended)}; {lacking}")
    return False


def missing(manager: backend.Backend, pending: model.Pending) -> str:
    """What of the plan is not installed, in words; empty when all is as planned."""
    installed: dict[tuple[str, str], set[str]] = {}
    for package in manager.installed():
        installed.setdefault((package.name, package.architecture), set()).add(package.version)
    wrong = [change for change in pending.changes if not _is_done(change, installed)]
    if not wrong:
        return ""
    named = ", ".join(
        f"{change.name} is {' and '.join(sorted(installed.get((change.name, change.architecture), ()))) or 'absent'}"
        f" and not {change.new or 'removed'}"
        for change in wrong[:_NAMED]
    )
    more = f", and {len(wrong) - _NAMED} more" if len(wrong) > _NAMED else ""
    return f"{len(wrong)} of {len(pending.changes)} packages are not as planned: {named}{more}"


def _is_done(change: model.Change, installed: dict[tuple[str, str], set[str]]) -> bool:
    there = installed.get((change.name, change.architecture), set())
    # Of several of one name (kernels), only the one that goes counts.
    return change.old not in there if change.kind == "remove" else change.new in there


def _run(site: Site, command: model.Command, identifier: str) -> transaction.Ended | None:
    """Start a command that is written down under `identifier`, and wait for its end; None when it was cut off."""
    _await_lock(site)
    timeout = max(site.deadline - time.monotonic(), _LEAST)
    try:
        transaction.start(site.config.state_dir, command, identifier, timeout=timeout, systemd=transaction.is_booted())
    except errors.PackageError:
        # What came too late for systemd's answer may have begun all the same.
        ended = _settle(site, identifier)
        if ended is None:
            raise
        return ended
    # Dying here costs nothing: it goes on, and the next process waits for it.
    failpoints.reach("package.transaction.started")
    return _settle(site, identifier)


def _settle(site: Site, identifier: str) -> transaction.Ended | None:
    deadline = max(site.deadline, time.monotonic() + _LEAST)
    return transaction.settle(site.config.state_dir, identifier, deadline=deadline, alive=site.alive)


def _await_lock(site: Site) -> None:
    """Wait until nobody else works with the packages."""
    until = min(time.monotonic() + site.config.package_lock_wait, site.deadline)
    while holder := site.manager.lock_holder():
        site.alive()
        if time.monotonic() > until:
            raise errors.PackageError(
                f"{holder} holds the package manager's lock", hint="wait for it, or see the option package_lock_wait"
            )
        time.sleep(_LOOK_EVERY)


def _how(ended: transaction.Ended | None) -> str:
    if ended is None:
        return "it was cut off"
    how = f"was ended by signal {-ended.status}" if ended.status < 0 else f"ended with status {ended.status}"
    if ended.timed_out:
        how = "was ended because the deployment's time was over"
    lines = [line.strip() for line in ended.log.splitlines() if line.strip()]
    # What went wrong is often above the last lines, which say that something did.
    told = [*[line for line in lines if "error" in line.lower()][-3:], *lines[-3:]]
    last = "; ".join(dict.fromkeys(told))
    return f"the package manager {how}" + (f": {last}" if last else "")
