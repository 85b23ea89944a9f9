"""`content_identifiers`: what is in a tree of files, whether a package brought it or an rsync.

docs/identifiers.md has the exact format. Of a file that was read before and has the same stat, the content is not read
again; of a tree of such files nothing is. A program that keeps size and mtime (`rsync --times`) cannot keep ctime.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import stat
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from overcloud_agent import errors
from overcloud_agent.packages import cached, tree_files

# As find's -printf %y has them.
_TYPES = {
    stat.S_IFREG: "f",
    stat.S_IFDIR: "d",
    stat.S_IFLNK: "l",
    stat.S_IFIFO: "p",
    stat.S_IFSOCK: "s",
    stat.S_IFCHR: "c",
    stat.S_IFBLK: "b",
}
# How often a tree in which something changes is looked at again.
_ROUNDS = 10

# By name: the state (see _states), and what tree_files.Files.content said.
_Contents = dict[str, tuple[str, str]]


@dataclasses.dataclass(frozen=True)
class Tree:
    """What is known of a tree; one that is `missing` has the identifier of an empty one."""

    identifier: str
    missing: bool = False


def identify(root: Path, state_dir: Path, *, now: Callable[[], int] = time.time_ns) -> Tree:
    """Identify the content of `root`, a directory or a link to one. `now` tells ns since the epoch.

    Raises PackageError that names what cannot be read, or what changes again and again while it is read.
    """
    cache = _Cache(root, state_dir)
    known: _Contents | None = None
    changed = ""
    for _ in range(_ROUNDS):
        with tree_files.opened(root) as files:
            if files is None:
                return Tree(_identifier({}, {}), missing=True)
            seen_at = now()
            listing = files.listing()
            states = _states(listing)
            if known is None:
                if answer := cache.answer(_fingerprint(states)):
                    return Tree(answer)
                known = cache.contents()
            contents = _contents(files, listing, states, known)
        changed = _changed(root, listing, states, contents)
        known = {name: one for name, one in contents.items() if not cached.is_racy(listing[name], seen_at)}
        if not changed:
            identifier = _identifier(listing, contents)
            cache.keep(known, (_fingerprint(states), identifier) if len(known) == len(contents) else None)
            return Tree(identifier)
    raise errors.PackageError(
        f"{root} keeps changing: {tree_files.shown(changed)}",
        hint="is something still writing there? try again when it is done",
    )


def _states(listing: tree_files.Listing) -> dict[str, str]:
    """By name a text that differs when what has it is another one. Of directories times tell nothing."""
    return {
        name: f"{one.st_mode} {cached.stamp(one)}" if not stat.S_ISDIR(one.st_mode) else f"{one.st_mode}"
        for name, one in listing.items()
    }


def _fingerprint(states: Mapping[str, str]) -> str:
    """One text for all of them; of this node only."""
    lines = "\0".join([f"{name}\0{state}" for name, state in states.items()])
    return hashlib.sha256(os.fsencode(lines)).hexdigest()


def _contents(
    files: tree_files.Files, listing: tree_files.Listing, states: Mapping[str, str], known: _Contents
) -> _Contents:
    """The content of all that has one and did not change since it was listed; from `known` where that still holds."""
    contents: _Contents = {}
    for name, status in listing.items():
        if tree_files.has_content(status):
            before = known.get(name)
            value = before[1] if before and before[0] == states[name] else files.content(name, status)
            if value is not None:
                contents[name] = (states[name], value)
    return contents


def _changed(root: Path, listing: tree_files.Listing, states: Mapping[str, str], contents: _Contents) -> str:
    """The name of something that is not as it was listed; empty when all is, so that all was there at one moment."""
    with tree_files.opened(root) as files:
        after = _states(files.listing()) if files else {}
    if after != states:
        return next(name for name in (*states, *after) if states.get(name) != after.get(name))
    return next((name for name, one in listing.items() if tree_files.has_content(one) and name not in contents), "")


def _identifier(listing: tree_files.Listing, contents: _Contents) -> str:
    """The same on every node."""
    digest = hashlib.sha256()
    for encoded, name in sorted((os.fsencode(name), name) for name in listing):
        mode = listing[name].st_mode
        kind = _TYPES.get(stat.S_IFMT(mode), "?")
        value = os.fsencode(contents[name][1]) if name in contents else b""
        digest.update(b"%s %04o %s\0%s\0" % (kind.encode(), stat.S_IMODE(mode), encoded, value))
    return f"sha256:{digest.hexdigest()}"


class _Cache:
    """What is known of one tree from earlier: a small file with the answer, and one with what all files hold."""

    def __init__(self, root: Path, state_dir: Path) -> None:
        name = hashlib.sha256(os.fsencode(root)).hexdigest()[:16]
        self._root = root
        self._answer, self._contents = (state_dir / "content" / f"{name}-{kind}.json" for kind in ("tree", "files"))

    def answer(self, fingerprint: str) -> str:
        """The identifier, where the tree is as it was then; else empty."""
        known = cached.read(self._answer)
        return str(known["identifier"]) if known and known.get("fingerprint") == fingerprint else ""

    def contents(self) -> _Contents:
        known = cached.read(self._contents) or {}
        return {name: (stamp, value) for name, (stamp, value) in known.get("files", {}).items()}

    def keep(self, contents: Mapping[str, tuple[str, str]], answer: tuple[str, str] | None) -> None:
        """Dying between the two, the tree is hashed again from what its files hold."""
        cached.write(self._contents, {"root": str(self._root), "files": contents})
        if answer:
            fingerprint, identifier = answer
            cached.write(self._answer, {"root": str(self._root), "fingerprint": fingerprint, "identifier": identifier})
