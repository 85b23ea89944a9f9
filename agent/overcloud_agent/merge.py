"""What follows from the lists that the sources serve now, and from what the journal knows. Pure: no I/O.

The rules (docs/merging.md has them for people; tests try them from every state):

- A deployment is its id. The same id in several sources is one deployment; the first source in configured order that
  lists it says what it is. They run in the order of the sources, and of the list within one.
- What the journal knows is never taken in again, whatever a source says of it now.
- What is in no list any more, and has not begun, is superseded: Heat wants something else by now. It may come back.
- Nothing is concluded from a source that did not answer: its last good list counts. From one that never answered,
  nothing at all is concluded.
- A result that Heat does not have yet is withdrawn when its deployment is in no list any more and a later one of the
  same SoftwareDeployment is: Heat, waiting for the later one, would take it for the later one's.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping


@dataclasses.dataclass(frozen=True, slots=True)
class Known:
    """What the journal says of one deployment."""

    state: str
    source: str
    begun: bool
    lineage: str
    """See model.lineage; empty when it is not known."""
    created: str
    """creation_time as Heat gave it: ISO 8601, so text order is time order."""


@dataclasses.dataclass(frozen=True, slots=True)
class Listed:
    """What the merged list says of one deployment."""

    source: str
    document: object
    lineage: str
    created: str


@dataclasses.dataclass(frozen=True)
class Changes:
    """Ids, in the order of the list where they are in it."""

    new: list[str]
    back: list[str]
    superseded: list[str]
    withdrawn: list[str]
    gone: list[str]
    """Everything that the journal knows and no list has any more."""


# Source -> its documents by id, in list order; None when it has never answered.
Lists = Mapping[str, Mapping[str, Listed] | None]


def merged(lists: Lists) -> dict[str, Listed]:
    """One list out of all: the first source that has an id says what it is."""
    found: dict[str, Listed] = {}
    for documents in lists.values():
        for key, listed in (documents or {}).items():
            found.setdefault(key, listed)
    return found


def decide(known: Iterable[tuple[str, Known]], lists: Lists, *, partial: bool = False) -> Changes:
    """What has to be done, by the rules above; of what a `partial` list has not, only what it has something later of.

    `known` is gone through once, so it may be longer than what should be in memory.
    """
    listed = merged(lists)
    latest = _latest(listed)
    seen: set[str] = set()
    back: set[str] = set()
    changes = Changes(new=[], back=[], superseded=[], withdrawn=[], gone=[])
    for key, entry in known:
        if key in listed:
            seen.add(key)
            if entry.state == "superseded":
                back.add(key)
            continue
        gone = not partial and _is_gone(entry, lists)
        if gone:
            changes.gone.append(key)
        if gone and entry.state == "received" and not entry.begun:
            changes.superseded.append(key)
        # That Heat wants something later is in what a partial list has, and not in what it has not.
        elif (gone or partial) and entry.state == "finished" and _is_succeeded(entry, latest):
            changes.withdrawn.append(key)
    changes.new.extend(key for key in listed if key not in seen)
    changes.back.extend(key for key in listed if key in back)
    return changes


def _latest(listed: Mapping[str, Listed]) -> dict[str, str]:
    """When the latest deployment of each lineage was made."""
    latest: dict[str, str] = {}
    for entry in listed.values():
        if entry.lineage:
            latest[entry.lineage] = max(entry.created, latest.get(entry.lineage, ""))
    return latest


def _is_gone(entry: Known, lists: Lists) -> bool:
    """Whether its absence means anything: its source answered, or is not asked any more and all others answered."""
    if entry.source in lists:
        return lists[entry.source] is not None
    return all(documents is not None for documents in lists.values())


def _is_succeeded(entry: Known, latest: Mapping[str, str]) -> bool:
    """Whether a later deployment of the same lineage is listed; an old list that came back (bug 1731032) has none."""
    return entry.lineage in latest and latest[entry.lineage] >= entry.created
