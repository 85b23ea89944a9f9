"""Small documents in the state directory that spare work: one that is damaged or cannot be written costs only time.

This and inventory.py load nothing that is slow to load: an unchanged node answers faster than Python loads `pathlib`.
"""

from __future__ import annotations

import binascii
import json
import os

# A type checker takes this name for true; see records.py.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

# Goes up with every change of what is in the documents; one of another format is as good as none.
_FORMAT = 1


def read(path: str | os.PathLike[str]) -> dict[str, Any] | None:
    """The document that `write` left at `path`; None when there is none, or when anything is wrong with it."""
    try:
        with open(path, "rb") as file:
            checksum, _, content = file.read().partition(b"\n")
        # Half a sector that went wrong may still be JSON, of another identifier.
        if checksum != _checksum(content):
            return None
        document = json.loads(content)
    except (OSError, ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) and document.pop("format", None) == _FORMAT else None


def write(path: Path, document: dict[str, Any]) -> None:
    """Replace the document at `path`, readable for its owner only. What goes wrong is logged, and nothing else."""
    import logging

    from overcloud_agent import files

    # ASCII, because a name that is no UTF-8 has halves of surrogate pairs here, which no encoding of Unicode has.
    content = json.dumps({"format": _FORMAT, **document}, separators=(",", ":"), ensure_ascii=True).encode("ascii")
    try:
        files.private_directory(path.parent)
        # Waiting for the disk would take longer than most of the work that is spared; the checksum tells.
        files.write(path, _checksum(content) + b"\n" + content, synced=False)
    except OSError as error:
        logging.getLogger(__name__).warning("cannot keep %s, so that the work is done again: %s", path, error.strerror)


def stamp(found: os.stat_result) -> str:
    """What differs when a file is another one, or has another content. The device may be another one after a boot."""
    return f"{found.st_ino} {found.st_size} {found.st_mtime_ns} {found.st_ctime_ns}"


# Nanoseconds: two seconds are the coarsest times that a file system has; clocks of files also lag by a tick (10 ms).
_GRANULARITY = 2_000_000_000


def is_racy(found: os.stat_result, read_at: int) -> bool:
    """Whether content that was read at `read_at` (ns since the epoch, taken before the stat) may not be relied on.

    A file may be written, read by us, and written again, all within one tick of the clock that its times come from:
    then its stat is the same for two contents (git calls such an entry of its index "racily clean"). So what is known
    of a file counts only if the file was at rest, by its times, when it was read. One from the future, left by a
    clock that was wrong, is never relied on, and read every time.
    """
    return max(found.st_mtime_ns, found.st_ctime_ns) >= read_at - _GRANULARITY


def _checksum(content: bytes) -> bytes:
    return b"%08x" % binascii.crc32(content)
