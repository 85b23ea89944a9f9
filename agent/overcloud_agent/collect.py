"""Where deployments come from: os-collect-config's collectors, used as a library.

A source that fails keeps its last good content, and nothing is ever concluded from its silence. Each answer is
checked before it is used: an answer that is not metadata is an error of that source and of no other.
"""

from __future__ import annotations

import dataclasses
import importlib
import logging
import random
from collections.abc import Callable
from typing import Any

from overcloud_agent import errors, redact, settings

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Poll:
    """How one source answered: its documents by list position when it did, else why not."""

    source: str
    deployments: tuple[object, ...] | None
    """None when the source failed; the last good list stays in force."""
    error: str = ""
    changed: bool = False


class Sources:
    """The configured collectors. Their objects live between polls, so connections and validators are kept."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self._collectors: dict[str, Any] = {}
        self._last: dict[str, tuple[object, ...]] = {}
        self._names = names

    def poll(self) -> list[Poll]:
        """Ask every source once, in configured order."""
        return [self._poll_one(name) for name in self._names]

    def _poll_one(self, name: str) -> Poll:
        try:
            deployments = self._ask(name)
        except errors.SourceError as error:
            return Poll(source=name, deployments=None, error=str(error))
        changed = self._last.get(name) != deployments
        self._last[name] = deployments
        return Poll(source=name, deployments=deployments, changed=changed)

    def _ask(self, name: str) -> tuple[object, ...]:
        """The deployment list of one source. Raises SourceError."""
        from os_collect_config import exc

        collector = self._collector(name)
        with _Complaints() as complaints:
            try:
                content = collector.collect()
            except (exc.SourceNotConfigured, exc.RequestMetadataNotConfigured):
                raise errors.SourceError("not configured") from None
            except exc.SourceNotAvailable:
                raise errors.SourceError(complaints.text() or "not available") from None
            # The collectors leak whatever lxml, json, requests and their own slips raise (a truncated answer, a list
            # where an object was due). For the agent all of that is one thing: no metadata from this source now.
            except Exception as error:
                message = f"{type(error).__name__}: {redact.text(error)}"
                raise errors.SourceError(f"its answer is not metadata: {message}") from None
        return _deployments(content)

    def _collector(self, name: str) -> Any:
        if name not in self._collectors:
            try:
                module = importlib.import_module(f"os_collect_config.{name}")
                self._collectors[name] = module.Collector()
            except (ImportError, AttributeError):
                raise errors.SourceError(
                    "there is no such collector", hint="collectors = cfn heat request zaqar local heat_local ec2"
                ) from None
        return self._collectors[name]


def _deployments(content: object) -> tuple[object, ...]:
    """The `deployments` list out of what a collector returns: (key, content) pairs, its own key first."""
    if not isinstance(content, list) or not all(isinstance(pair, tuple) and len(pair) == 2 for pair in content):
        raise errors.SourceError("its answer is not metadata")
    found: list[object] = []
    for _, metadata in content:
        if not isinstance(metadata, dict):
            raise errors.SourceError(f"metadata is {type(metadata).__name__}, expected an object")
        listed = metadata.get("deployments")
        if listed is None:
            continue
        if not isinstance(listed, list):
            raise errors.SourceError(f"$.deployments is {type(listed).__name__}, expected a list")
        found += listed
    return tuple(found)


class _Complaints(logging.Handler):
    """What the collectors log while they fail: the only place where they say why."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._lines: list[str] = []
        self._logger = logging.getLogger("os_collect_config")

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.append(redact.text(record.getMessage()))

    def text(self) -> str:
        return "; ".join(self._lines)

    def __enter__(self) -> _Complaints:
        self._logger.addHandler(self)
        return self

    def __exit__(self, *exc: object) -> None:
        self._logger.removeHandler(self)


class Pace:
    """How long to wait for the next poll: short after a change, then doubling up to the configured interval.

    Every pause is jittered, so nodes that were started together do not ask together.
    """

    def __init__(self, polling: settings.Polling, *, uniform: Callable[[float, float], float] = random.uniform) -> None:
        self._min = min(polling.min_interval, polling.max_interval)
        self._max = polling.max_interval
        self._uniform = uniform
        self._next = self._min

    def hurry(self) -> None:
        """Something changed, or is about to: start again with the shortest pause."""
        self._next = self._min

    def pause(self) -> float:
        """Seconds until the next poll, 10 % more or less."""
        pause = self._next
        self._next = min(self._next * 2, self._max)
        return pause * self._uniform(0.9, 1.1)
