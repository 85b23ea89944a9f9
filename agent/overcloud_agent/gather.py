"""What the sources said becomes the node's own: cache, journal, files, configuration."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from overcloud_agent import (
    collect,
    configuration,
    deployed,
    errors,
    failpoints,
    intake,
    journal,
    merge,
    metadata,
    model,
    settings,
)

log = logging.getLogger(__name__)

# Seconds. How old what `status` shows of a source may be.
_RECORD_EVERY = 60.0

# Without their metadata a node's configuration would be made of half of what Heat says.
_REMOTE = frozenset({"cfn", "heat", "request", "zaqar"})


class Gatherer:
    """The sources of one configuration, and where their answers go. `arrived` is called when there is an answer."""

    def __init__(
        self,
        config: settings.Settings,
        polling: settings.Polling,
        book: journal.Journal,
        *,
        arrived: Callable[[], None],
        told: Callable[[str, model.Result], None],
    ) -> None:
        self.sources = collect.Sources(polling, arrived)
        self.kept = deployed.Deployed(config.deployed_dir)
        self.intake = intake.Intake(book, self.kept, told)
        self.configuration = configuration.Configuration(config)
        self._polling = polling
        self._book = book
        self._metadata = metadata.Metadata(
            polling.cachedir, config.state_dir, polling.collectors, polling.deployment_keys, polling.identities
        )
        self._complaints: dict[str, str] = {}
        self._recorded: dict[str, float] = {}
        self._unconfigured: set[str] = set()
        self._unsafe: set[str] = set()
        self._kept_once: set[str] = set()

    @property
    def heard(self) -> bool:
        """Whether any source answered when it was last asked."""
        return "" in self._complaints.values()

    def take_in(self) -> tuple[bool, bool]:
        """Take in what came since the last call: whether that was anything new, and whether Heat says to ask elsewhere.

        Raises JournalError; then it is all news once more.
        """
        if self.sources.failure:
            raise self.sources.failure
        news = [answer for answer in self.sources.answers() if self._is_news(answer)]
        if not news:
            return False, False
        # Dying here costs nothing: at the next start all that the sources say is news, and what is in a queue is there.
        failpoints.reach("metadata.kept")
        try:
            merged = self.intake.take(self._metadata.lists())
        except errors.JournalError:
            for answer in news:
                self.sources.forget(answer.source)
            raise
        # Dying before this costs nothing: a message that was not acknowledged comes again.
        for answer in news:
            self.sources.taken(answer)
        return True, self._configure_node(merged)

    def _is_news(self, answer: collect.Answer) -> bool:
        """Keep what a source answered; False when it said nothing new, or could not be understood or kept."""
        error = answer.error
        if answer.content is not None:
            try:
                self._metadata.update(answer.source, answer.content)
                self._unsafe.discard(answer.source)
                self._kept_once.add(answer.source)
            except errors.SourceError as trouble:
                error = str(trouble)
                self._unsafe.add(answer.source)
                self.sources.forget(answer.source)
        elif answer.source not in self._unsafe:
            self.sources.taken(answer)
            if answer.source in self._kept_once and not self._metadata.has(answer.source):
                # Somebody has emptied the cache: what is nothing new to the source is not there any more.
                self.sources.forget(answer.source)
        (self._unconfigured.discard if answer.configured else self._unconfigured.add)(answer.source)
        self._record(answer.source, error)
        return answer.content is not None and answer.source not in self._unsafe

    def _record(self, source: str, error: str) -> None:
        """Log what is wrong with a source when it changes, not at every poll; `status` has it all the time."""
        news = error != self._complaints.get(source)
        if news and error:
            log.warning("source %s: %s", source, error)
        elif self._complaints.get(source):
            log.info("source %s answers again", source)
        self._complaints[source] = error
        if news or time.monotonic() - self._recorded.get(source, 0) > _RECORD_EVERY:
            self._recorded[source] = time.monotonic()
            self._book.record_source(source, error=error)

    def _configure_node(self, listed: dict[str, merge.Listed]) -> bool:
        """Render the node's configuration, unless a source that belongs to it has never been heard of.

        True when it says now that metadata comes from elsewhere.
        """
        try:
            paths = self._metadata.publish(listed)
        except errors.SourceError as error:
            log.error("%s", error)
            return False
        needed = [name for name in self._polling.collectors if name in _REMOTE - self._unconfigured]
        return all(self._metadata.heard(name) for name in needed) and self.configuration.apply(paths, listed)
