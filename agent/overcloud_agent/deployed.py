"""The files that heat-config keeps of each deployment: `<id>.json` before its hook runs, `<id>.notify.json` after.

They are what a node's other agents go by: to 55-heat-config of heat-agents a deployment has run when `<id>.json`
exists, whatever is in it; TripleO's config-download reads the result from `<id>.notify.json`. The agent's own truth is
the journal; the files are kept along, so that a node can be moved to the agent and away from it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import time
from pathlib import Path
from typing import Any

from overcloud_agent import errors, failpoints, files, model, runner

log = logging.getLogger(__name__)

# Seconds. A stack has timed out by then (Heat's own default is one hour), so nobody waits for an answer any more.
_STILL_AWAITED = 86400.0

_RAN_BEFORE = "it ran before this agent knew of it"

# What of an entry is a credential: gone from the file once Heat has the result.
_CREDENTIALS = frozenset({"deploy_signal_id", "deploy_password"})


class Deployed:
    """The directory of these files. All methods raise OSError when it cannot be used."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def prepare(self, old: Path | None = None) -> None:
        """Make the directory, or move the one that older versions of heat-config kept elsewhere to its place."""
        if not self.directory.is_dir() and old and old.is_dir() and old != self.directory:
            _move(old, self.directory)
        files.private_directory(self.directory)

    def has(self, key: str) -> bool:
        """Whether somebody has run the deployment, or has said that it is not to be run."""
        return model.is_id(key) and self._document(key).exists()

    def path(self, key: str) -> Path:
        """Where the entry's file is."""
        return self._document(key)

    def begin(self, key: str, document: object) -> None:
        """Write the entry's file before its hook runs: from now on other agents leave it alone. Raises AgentError."""
        try:
            self.prepare()
            self.write(key, document)
        except OSError as error:
            raise errors.AgentError(
                f"cannot write into {self.directory}: {error.strerror}", hint="is the disk full?"
            ) from None
        # Dying here leaves it begun: the journal says so, too.
        failpoints.reach("deployed.written")

    def end(self, key: str, body: object) -> None:
        """Write the result's file, for people and for TripleO; the journal has the result already."""
        try:
            self.prepare()
            self.touch(key)
            self.write_result(key, body)
        except OSError as error:
            log.error("cannot write into %s: %s", self.directory, error.strerror)
        failpoints.reach("deployed.told")

    def write(self, key: str, document: object) -> None:
        """Write the entry as its hook gets it; an id that is no file name has no file."""
        if model.is_id(key):
            files.write(self._document(key), _text(document))

    def write_result(self, key: str, body: object) -> None:
        """Write what the hook answered."""
        if model.is_id(key):
            files.write(self._result(key), _text(body))

    def touch(self, key: str) -> None:
        """Say that the deployment is not to be run (again)."""
        if model.is_id(key) and not self._document(key).exists():
            files.write(self._document(key), b"")

    def scrub(self, key: str) -> None:
        """Take the credentials out of the entry's file; that it is there is what matters from now on."""
        document = _read(self._document(key)) if model.is_id(key) else None
        inputs = document.get("inputs") if isinstance(document, dict) else None
        if isinstance(inputs, list):
            for entry in inputs:
                # Another agent may have written the file, and of an entry that makes no sense.
                if isinstance(entry, dict) and str(entry.get("name")) in _CREDENTIALS:
                    entry["value"] = ""
            # In place: whoever removes the file meanwhile wants the deployment to run again, so it must not come back.
            with contextlib.suppress(FileNotFoundError), open(self._document(key), "r+b") as file:
                file.write(_text(document))
                file.truncate()

    def remove(self, key: str) -> None:
        """Remove both files."""
        if model.is_id(key):
            for path in (self._document(key), self._result(key)):
                path.unlink(missing_ok=True)

    def earlier(self, key: str, document: object) -> tuple[model.Result, list[model.Target]] | None:
        """What is to be told of a deployment that the journal does not know but somebody ran; None if nobody did.

        One that was answered not long ago is answered again: the other agent may have lost the signal, and Heat
        ignores one that it has. One that was begun and never answered is answered as interrupted. Neither is told by
        way of a queue, in which it would lie until Heat takes it for the answer to something later. A container
        upgrade that was begun is resumed instead: a service may be down because of it.
        """
        if not self.has(key):
            return None
        written = self._document(key).stat()
        target = model.target_of(document)
        awaited = time.time() - written.st_mtime < _STILL_AWAITED and target is not None
        targets = [target] if target and awaited and target.transport != "ZAQAR_SIGNAL" else []
        body = _read(self._result(key))
        if isinstance(body, dict):
            return model.Result(body=body, ok=model.claims_success(body), reason=_RAN_BEFORE), targets
        if not written.st_size or not awaited:
            return model.Result(body={}, ok=True, reason=_RAN_BEFORE), []
        if model.describe(document)[1] in runner.OUR_OWN:
            return None
        return model.failed(runner.INTERRUPTED), targets

    def _document(self, key: str) -> Path:
        return self.directory / f"{key}.json"

    def _result(self, key: str) -> Path:
        return self.directory / f"{key}.notify.json"


def _move(old: Path, new: Path) -> None:
    """Move a directory, maybe to another disk: it is at its new place as a whole or not at all."""
    import shutil

    new.parent.mkdir(parents=True, exist_ok=True)
    parent = os.open(new.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # Of two processes that find the old place at once, one moves it.
        fcntl.flock(parent, fcntl.LOCK_EX)
        if new.is_dir() or not old.is_dir():
            return
        whole = new.with_name(f".{new.name}.new")
        # Left by a process that died here; the old place has all of it.
        shutil.rmtree(whole, ignore_errors=True)
        shutil.copytree(old, whole, symlinks=True)
        # A power cut must not leave files that are there but empty: what they say is the result.
        os.sync()
        os.rename(whole, new)
        os.fsync(parent)
        # Dying from here on leaves the old place as well, which nobody looks at any more.
        shutil.rmtree(old)
    finally:
        os.close(parent)


def _text(document: object) -> bytes:
    return json.dumps(document, indent=2, separators=(",", ": ")).encode()


def _read(path: Path) -> Any:
    """The JSON in a file; None when there is none."""
    with contextlib.suppress(OSError, ValueError):
        return json.loads(path.read_bytes())
    return None
