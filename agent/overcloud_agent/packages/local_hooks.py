"""The node's own executables that are run before and after an update of packages, in lexical order.

Exit status 0 is done, 75 (EX_TEMPFAIL) is "later", and anything else is a failure.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

from overcloud_agent import model, run
from overcloud_agent.containers import steps

log = logging.getLogger(__name__)

Phase = Literal["pre-update", "post-update"]
LATER = 75

# Seconds until one that said "later" is asked again: at first, and at most.
FIRST_PAUSE, LONGEST_PAUSE = 2.0, 60.0
# Seconds that hooks after an update have, even if the deployment's own time is over: a node is not left out for that.
LEAST_AFTER = 300.0
# Seconds in which it is noticed that the agent is to stop: there is no event for that.
_STOP_NOTICED = 0.5
# Bytes kept of what a hook prints; all of it goes to the log.
_LIMIT = 16384

# What editors and package managers leave beside the files that are meant.
_LEFT = ("~", ".bak", ".dpkg-old", ".dpkg-new", ".dpkg-dist", ".rpmnew", ".rpmsave", ".rpmorig")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Site:
    """What hooks are run with."""

    directory: Path
    """Where pre-update.d and post-update.d are."""
    record: steps.Steps
    place: str
    """What the steps belong to in the journal."""
    deadline: float
    """Of time.monotonic."""
    alive: Callable[[], None]
    began: Callable[[model.Process], None]


def find(directory: Path, phase: Phase) -> list[Path]:
    """The executables of a phase, in the order in which they are run."""
    place = directory / f"{phase}.d"
    if not place.is_dir():
        return []
    found = [path for path in place.iterdir() if not path.name.startswith(".") and not path.name.endswith(_LEFT)]
    files = sorted(path for path in found if path.is_file())
    for path in files:
        if not os.access(path, os.X_OK):
            log.warning("%s is not executable, so it is not run", path)
    return [path for path in files if os.access(path, os.X_OK)]


def run_all(site: Site, phase: Phase, variables: Mapping[str, str]) -> list[str]:
    """Run the hooks of a phase that have not been run for this deployment; what failed, in words.

    Before an update the first that fails is the last that is run; after it all are run. Raises JournalError, and what
    `alive` raises between two hooks and while one of them is to be asked later.
    """
    failures: list[str] = []
    for path in find(site.directory, phase):
        site.alive()
        step = f"{phase}/{path.name}"
        if site.record.done(site.place, step) is not None:
            continue
        # Dying in a hook has it run again: the agent has ended the one that went on without it.
        token = site.record.begin(site.place, step)
        said = _until_done(site, phase, path, variables)
        site.record.end(token, ok=not said)
        if said:
            failures.append(said)
            if phase == "pre-update":
                break
    return failures


def _until_done(site: Site, phase: Phase, path: Path, variables: Mapping[str, str]) -> str:
    """Run one hook until it says something else than "later"; why it failed, empty when it did not."""
    deadline = site.deadline
    if phase == "post-update":
        deadline = max(deadline, time.monotonic() + LEAST_AFTER)
    pause = FIRST_PAUSE
    while True:
        status, said = _run(site, path, variables, max(deadline - time.monotonic(), 1.0))
        if status == 0:
            return ""
        where = f"the {phase} hook {path.name}"
        if status != LATER:
            return f"{where} {said}"
        if time.monotonic() + pause > deadline:
            return f"{where} still said that it is to be asked later (status {LATER}) when the time was over"
        log.info("%s asks for patience; it is asked again in %g seconds", where, pause)
        _wait(pause, site.alive)
        pause = min(pause * 2, LONGEST_PAUSE)


def _run(site: Site, path: Path, variables: Mapping[str, str], timeout: float) -> tuple[int, str]:
    """Run a hook once: its status, and how it ended, in words."""
    name = path.name
    try:
        done = run.hook(
            [str(path)],
            b"",
            timeout=timeout,
            limit=_LIMIT,
            began=site.began,
            cwd="/",
            variables={key.encode(): _encoded(value) for key, value in variables.items()},
            live=lambda line: log.info("%s: %s", name, line.decode(errors="replace")),
        )
    except OSError as error:
        return 127, f"cannot be started: {error.strerror}"
    if done.timed_out:
        return 124, f"was ended after {timeout:.0f} seconds"
    last = (done.stderr or done.stdout).decode(errors="replace").strip()[-400:]
    return done.returncode, f"ended with status {done.returncode}" + (f": {last}" if last else "")


def _encoded(value: str) -> bytes:
    """What an environment can have of it: a reason quotes what programs say, and an identifier may be any text."""
    return value.replace("\0", "").encode(errors="backslashreplace")


def _wait(seconds: float, alive: Callable[[], None]) -> None:
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        alive()
        time.sleep(min(left, _STOP_NOTICED))
