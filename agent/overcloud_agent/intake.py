"""From what the sources list to what the journal knows: each entry is taken in once, and answered in any case."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence

from overcloud_agent import deployed, errors, journal, merge, model

log = logging.getLogger(__name__)

# Seconds after which the journal forgets what has come to its end and left the metadata. Until then it still knows a
# deployment that an old list brings back for a while.
_KEPT = 7 * 86400.0

# Every entry of a list by its id, and those that had to share one.
Clashes = dict[str, list[object]]


class Intake:
    """Takes lists into the journal. `told` is called with the result of what is answered without having been run."""

    def __init__(
        self, book: journal.Journal, kept: deployed.Deployed, told: Callable[[str, model.Result], None]
    ) -> None:
        self._book = book
        self._kept = kept
        self._told = told

    def take(self, lists: Mapping[str, Sequence[object] | None], *, partial: bool = False) -> dict[str, merge.Listed]:
        """Take in what each source lists now (None: it never answered); returns the merged list.

        A `partial` list says nothing of what is not in it. Raises JournalError, and AgentError when the files that
        heat-config keeps cannot be read: without them, what has run would run again.
        """
        shared: dict[str, Clashes] = {source: {} for source in lists}
        listed = {
            source: None if documents is None else _by_id(source, documents, shared[source])
            for source, documents in lists.items()
        }
        merged = merge.merged(listed)
        try:
            ran = self._ran(merged)
        except OSError as error:
            raise errors.AgentError(f"cannot read {self._kept.directory}: {error.strerror}") from None
        changes = self._book.receive(listed, ran, partial=partial)
        self._tell(changes, merged)
        for source, clashes in shared.items():
            for key, sharers in clashes.items():
                # Also one that a process received which died before it could reject it. What another source says that
                # counts more is not in doubt.
                if merged[key].source == source and self._book.waits(key):
                    self._reject(key, sharers)
        if not partial:
            try:
                self._tidy(changes.gone, merged)
            # Nothing hangs on it now, and the next change tries again.
            except OSError as error:
                log.error("cannot write into %s: %s", self._kept.directory, error.strerror)
        return merged

    def _ran(self, merged: Mapping[str, merge.Listed]) -> dict[str, journal.Ran]:
        """Those that the journal does not know but somebody has run: by another agent, or before it was lost."""
        ran: dict[str, journal.Ran] = {}
        for key in self._book.unknown(merged):
            earlier = self._kept.earlier(key, merged[key].document)
            if earlier:
                ran[key] = earlier
                log.info("%s ran before this agent knew of it", key)
                if not earlier[0].ok:
                    self._told(key, earlier[0])
        return ran

    def _tell(self, changes: merge.Changes, merged: Mapping[str, merge.Listed]) -> None:
        for key in changes.superseded:
            log.info("%s left the metadata before it ran", key)
        for key in changes.withdrawn:
            log.warning("%s: Heat wants something later of it by now, so its result is not sent any more", key)
        for key in (*changes.new, *changes.back):
            name, group = model.describe(merged[key].document)
            log.info("received %s %s %s from %s", key, name, group, merged[key].source)

    def _reject(self, key: str, documents: list[object]) -> None:
        """Answer each of several deployments that share one id: nobody can tell which of them is meant."""
        names = ", ".join(repr(model.describe(document)[0]) for document in documents)
        error = errors.BadInput(
            f"{len(documents)} deployments have the id {key!r}: {names}", path="$.id", hint="ids must be unique"
        )
        targets = [target for target in map(model.target_of, documents) if target]
        self._book.reject(key, model.failed_by(error), targets)
        self._told(key, model.failed_by(error))

    def _tidy(self, gone: Sequence[str], merged: Mapping[str, merge.Listed]) -> None:
        """Let go of what left the metadata, and see that what is in it has its file."""
        left = set(gone)
        for state in (journal.FILED, journal.SCRUBBED):
            removed = [key for key in self._book.filed(state) if key in left]
            for key in removed:
                self._kept.remove(key)
            self._book.set_filed(removed, journal.UNFILED)
        back = [key for key in self._book.filed(journal.UNFILED) if key in merged]
        for key in back:
            self._kept.touch(key)
        self._book.set_filed(back, journal.SCRUBBED)
        self._book.purge(gone, older=_KEPT)

    def scrub(self) -> None:
        """Take the credentials of what Heat has the result of out of the files that are kept."""
        keys = self._book.unscrubbed()
        for key in keys:
            self._kept.scrub(key)
        if keys:
            self._book.set_filed(keys, journal.SCRUBBED)


def _by_id(source: str, documents: Sequence[object], clashes: Clashes) -> dict[str, merge.Listed]:
    found: dict[str, merge.Listed] = {}
    for document in documents:
        key = model.identify(document)
        if key in found and found[key].document != document:
            clashes.setdefault(key, [found[key].document]).append(document)
        found.setdefault(key, _listed(source, document))
    return found


def _listed(source: str, document: object) -> merge.Listed:
    created = document.get("creation_time") if isinstance(document, dict) else None
    return merge.Listed(
        source=source,
        document=document,
        lineage=model.lineage(document),
        created=model.plain(created) if isinstance(created, str) else "",
    )
