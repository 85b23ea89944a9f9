"""What is in a tree of files now, while others may write there: a listing of it, and the content of single files.

Names are text in which each byte that the file system's encoding does not have is half of a surrogate pair (PEP 383).
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import operator
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from overcloud_agent import errors
from overcloud_agent.packages import cached

# What is no content of a tree: what version control keeps for itself, what dpkg and rpm leave beside a configuration
# file that somebody changed, and what they have while they unpack.
VERSION_CONTROL = frozenset({".git", ".hg", ".svn", ".bzr", "CVS"})
LEFTOVERS = (".dpkg-new", ".dpkg-tmp", ".dpkg-old", ".dpkg-dist", ".rpmnew", ".rpmsave", ".rpmorig")

_CHUNK = 1024 * 1024
# What says that something was taken away, or replaced by something of another type, since it was seen.
_MOVED = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO, errno.ESTALE, errno.EINVAL}

Listing = dict[str, os.stat_result]
"""By name, relative to the root. Of equal trees in equal order."""


class Files:
    """The tree at one directory, held open: a link to it that is flipped meanwhile does not matter."""

    def __init__(self, root: Path, descriptor: int) -> None:
        self._root = root
        self._descriptor = descriptor

    def listing(self) -> Listing:
        """Everything there but what is no content. Raises PackageError that names what cannot be read."""
        found: Listing = {}
        waiting = [""]
        while waiting:
            directory = waiting.pop()
            try:
                waiting += self._list(directory, found)
            except OSError as error:
                # What has vanished is left out: the next listing tells the difference.
                if error.errno not in _MOVED:
                    raise _unreadable(self._root, directory, error) from None
        return found

    def _list(self, directory: str, found: Listing) -> list[str]:
        """Add what is in one directory, and return the directories among it: never a link, so that it has an end."""
        # Few instructions for each file: this is most of what an unchanged tree costs.
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(directory or ".", flags, dir_fd=self._descriptor)
        prefix = f"{directory}/" if directory else ""
        below = []
        try:
            with os.scandir(descriptor) as entries:
                # A directory that did not change may still be told in another order.
                for entry in sorted(entries, key=operator.attrgetter("name")):
                    if entry.name in VERSION_CONTROL or entry.name.endswith(LEFTOVERS):
                        continue
                    try:
                        status = entry.stat(follow_symlinks=False)
                    except FileNotFoundError:
                        continue
                    name = prefix + entry.name
                    found[name] = status
                    if stat.S_ISDIR(status.st_mode):
                        below.append(name)
        finally:
            os.close(descriptor)
        return below

    def content(self, name: str, seen: os.stat_result) -> str | None:
        """The SHA-256 (hex) of a file, or the target of a link; None when it is not any more what was `seen`.

        Raises PackageError when it cannot be read.
        """
        try:
            return self._target(name, seen) if stat.S_ISLNK(seen.st_mode) else self._digest(name, seen)
        except OSError as error:
            if error.errno in _MOVED:
                return None
            raise _unreadable(self._root, name, error) from None

    def _target(self, name: str, seen: os.stat_result) -> str | None:
        target = os.readlink(name, dir_fd=self._descriptor)
        return target if _same(os.stat(name, dir_fd=self._descriptor, follow_symlinks=False), seen) else None

    def _digest(self, name: str, seen: os.stat_result) -> str | None:
        # Where a pipe has taken the place of the file, nobody must wait for its other end.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        descriptor = os.open(name, flags, dir_fd=self._descriptor)
        try:
            if not _same(os.fstat(descriptor), seen):
                return None
            digest, left = hashlib.sha256(), seen.st_size
            # No further than it was long: a file may grow faster than it is read.
            while left and (data := os.read(descriptor, min(left, _CHUNK))):
                digest.update(data)
                left -= len(data)
            return digest.hexdigest() if not left and _same(os.fstat(descriptor), seen) else None
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def opened(root: Path) -> Iterator[Files | None]:
    """The tree at `root`, a directory or a link to one; None when there is none. Raises PackageError."""
    try:
        descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        yield None
        return
    except OSError as error:
        raise _unreadable(root, "", error) from None
    try:
        yield Files(root, descriptor)
    finally:
        os.close(descriptor)


def has_content(status: os.stat_result) -> bool:
    """Whether there is more to it than its type and mode: files and links."""
    return stat.S_IFMT(status.st_mode) in (stat.S_IFREG, stat.S_IFLNK)


def shown(name: str) -> str:
    """A name for people."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _same(now: os.stat_result, seen: os.stat_result) -> bool:
    return now.st_mode == seen.st_mode and cached.stamp(now) == cached.stamp(seen)


def _unreadable(root: Path, name: str, error: OSError) -> errors.PackageError:
    where = shown(str(root / name))
    hint = "a content tree is a directory" if isinstance(error, NotADirectoryError) else "the agent must read all of it"
    return errors.PackageError(f"cannot read {where}: {error.strerror}", hint=hint)
