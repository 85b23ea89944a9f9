"""What happens to one container, as Podman tells it while it happens."""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import http.client
import json
import queue
import threading
import time
from types import TracebackType
from typing import Any, Self
from urllib import parse

from overcloud_agent import errors
from overcloud_agent.containers import direct, engine

# Seconds for Podman to begin its answer; after that the stream may be silent for ever.
_TIMEOUT = 60.0

# Seconds of one call to a Podman that can only be waited for.
_SLICE = 1.0


@dataclasses.dataclass(frozen=True)
class Event:
    """`status` is Podman's word (`died`, `start`, `health_status`, ...), `time` in seconds since the epoch."""

    status: str
    time: float = 0.0
    health: str = ""
    """With `health_status`: what Podman holds the container for, such as `healthy`."""
    exit_code: int | None = None
    """With `died`."""


class Broken(errors.EngineAway):
    """The stream of events has ended: what happens from now on is not seen by this watch."""


class Watch:
    """Tells of everything that happens to one container from the moment on that it is made, until `close`.

    What was inspected after that cannot have missed anything. Events of the last second before may come as well, and
    each may be old when it comes, so an event says that it is time to inspect, and the inspection says what is.
    """

    def __init__(self, podman: engine.Engine, container: str) -> None:
        """`container` is an id. Raises EngineError."""
        self._podman = podman
        self._container = container
        self._queue: queue.SimpleQueue[Event | _Sign] = queue.SimpleQueue()
        self._connection: direct.Connection | None = None
        if direct.reaches(podman.url):
            self._connection = direct.Connection(podman.url, _TIMEOUT)
            self._listen(self._connection)

    def _listen(self, connection: direct.Connection) -> None:
        # Podman answers before it listens itself. What happens in between is seen because of `since`, in seconds.
        filters = json.dumps({"container": [self._container]})
        query = parse.urlencode({"stream": "true", "since": int(time.time()), "filters": filters})

        def ask() -> http.client.HTTPResponse:
            # What an earlier try left of it is of no use.
            connection.close()
            return connection.ask("GET", f"/events?{query}", f"watch {self._container[:12]}")

        try:
            answer = self._podman.persistently(ask)
        except errors.EngineError:
            connection.close()
            raise
        connection.limit(None)
        self._answer = answer
        self._reader = threading.Thread(target=self._read, args=(answer,), name="events", daemon=True)
        self._reader.start()

    def _read(self, answer: http.client.HTTPResponse) -> None:
        # Every end is one to whoever waits: a restart of Podman, `close`, or an error told instead of an event.
        try:
            with contextlib.suppress(OSError, http.client.HTTPException, ValueError, LookupError, TypeError):
                for line in answer:
                    if line.strip():
                        self._queue.put(_event(json.loads(line)))
        finally:
            self._queue.put(_Sign.ENDED)

    def next(self, seconds: float) -> Event | None:
        """The next event, as soon as there is one; None after `seconds`, or when it was woken.

        Raises Broken when there will be no more.
        """
        if not self._connection:
            return self._wait(seconds)
        try:
            found = self._queue.get(timeout=max(seconds, 0))
        except queue.Empty:
            return None
        if found is _Sign.ENDED:
            # For the next caller, too.
            self._queue.put(found)
            raise Broken("Podman's events have ended", hint="has Podman been restarted?")
        return found if isinstance(found, Event) else None

    def _wait(self, seconds: float) -> Event | None:
        """In place of events, where they cannot be had: only an end is told, and waking takes effect a little late."""
        if not self._queue.empty():
            self._queue.get()
            return None
        return Event("died") if self._podman.wait_exit(self._container, min(seconds, _SLICE)) else None

    def wake(self) -> None:
        """Let whoever waits in `next`, or is about to, go on. For other threads."""
        self._queue.put(_Sign.WOKEN)

    def close(self) -> None:
        """Stop listening; the thread has ended when this returns."""
        if self._connection:
            self._connection.cut()
            self._reader.join()
            self._answer.close()
            self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Sign(enum.Enum):
    """What else is in the queue."""

    ENDED = "ended"
    WOKEN = "woken"


def _event(document: dict[str, Any]) -> Event:
    """One line of the stream. Raises LookupError, ValueError or TypeError for what is none, such as an error."""
    # Every event of a container has one, which says nothing while it runs.
    code = document["Actor"]["Attributes"].get("containerExitCode") if document["status"] == "died" else None
    return Event(
        status=document["status"],
        time=document["timeNano"] / 1e9,
        health=document.get("HealthStatus", ""),
        exit_code=int(code) if code else None,
    )
