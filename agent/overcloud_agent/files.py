"""Writing files so that a reader, and a start after a power cut, finds the old content or the new one, never half."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def write(path: Path, content: bytes, *, mode: int = 0o600, uid: int = -1, gid: int = -1, synced: bool = True) -> None:
    """Replace `path` with `content`; `mode` holds from the first byte on. Raises OSError.

    One that is not `synced` may be found damaged after a power cut, which its reader must notice.
    """
    new = path.with_name(f".{path.name}.{os.getpid()}.new")
    # Left by a process that had this number and died here.
    with contextlib.suppress(FileNotFoundError):
        new.unlink()
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fchown(descriptor, uid, gid)
            os.fchmod(descriptor, mode)
            if synced:
                os.fsync(descriptor)
        os.rename(new, path)
    except BaseException:
        with contextlib.suppress(OSError):
            new.unlink()
        raise
    if synced:
        _sync_directory(path.parent)


def _sync_directory(path: Path) -> None:
    # The name is in the directory, so the directory has to reach the disk as well.
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def private_directory(path: Path) -> None:
    """Make `path` (0700) and what is missing above it; one that exists is left as it is. Raises OSError."""
    if not path.is_dir():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(mode=0o700, exist_ok=True)
