"""rpm's names of packages (NEVRA) and the order of its versions. Pure: no I/O.

The order is that of rpm's lib/rpmvercmp.c, by its documentation ("Version comparison" of rpm-version(7)).
"""

from __future__ import annotations

import dataclasses
import functools
import re

_SEGMENTS = re.compile(r"[0-9]+|[a-zA-Z]+|~|\^")


@dataclasses.dataclass(frozen=True, kw_only=True, order=True)
class Nevra:
    """A package by all that tells it from others; `version` is `[epoch:]version-release`, without an epoch of 0."""

    name: str
    architecture: str
    version: str

    def __str__(self) -> str:
        return f"{self.name}-{self.version}.{self.architecture}"


def parse(text: str) -> Nevra:
    """`name-[epoch:]version-release.architecture`. Raises ValueError."""
    rest, dot, architecture = text.rpartition(".")
    name, *version = rest.rsplit("-", 2)
    if not dot or len(version) != 2:
        raise ValueError(f"{text!r} is no name-version-release.architecture")
    return Nevra(name=name, architecture=architecture, version=plain("-".join(version)))


def plain(version: str) -> str:
    """`version` without an epoch of 0, which some tools print and some packages have."""
    return version.removeprefix("0:")


def compare(one: str, other: str) -> int:
    """Below zero when version `one` is older than `other`, zero when they are equal, else above zero."""
    return _compare_parts(_parts(one), _parts(other))


key = functools.cmp_to_key(compare)
"""For `sorted` and `max`."""


def _parts(whole: str) -> tuple[str, str, str]:
    epoch, colon, rest = whole.rpartition(":")
    version, _, release = rest.partition("-")
    return epoch if colon else "0", version, release


def _compare_parts(one: tuple[str, str, str], other: tuple[str, str, str]) -> int:
    return next((result for pair in zip(one, other, strict=True) if (result := _compare_texts(*pair))), 0)


def _compare_texts(one: str, other: str) -> int:
    ours, theirs = _SEGMENTS.findall(one), _SEGMENTS.findall(other)
    for mine, its in zip(ours, theirs, strict=False):
        if mine != its and (result := _compare_segments(mine, its)):
            return result
    if len(ours) == len(theirs):
        return 0
    # What is longer is newer, except where it goes on with a tilde: 1.0~rc1 comes before 1.0.
    longer = 1 if len(ours) > len(theirs) else -1
    following = max(ours, theirs, key=len)[min(len(ours), len(theirs))]
    return -longer if following == "~" else longer


def _compare_segments(one: str, other: str) -> int:
    # ~ is before everything, ^ after the end and before everything else, a number after letters.
    ranks = [
        (0,) if segment == "~" else (1,) if segment == "^" else (3, int(segment)) if segment.isdigit() else (2, segment)
        for segment in (one, other)
    ]
    return (ranks[0] > ranks[1]) - (ranks[0] < ranks[1])
