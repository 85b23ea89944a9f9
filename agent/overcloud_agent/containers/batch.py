"""Deployments that are worked on side by side."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

# How often who waits for the others looks whether the agent is to stop, in seconds.
_LOOK = 1.0


class Batch:
    """Deployments that are worked on side by side: none of them moves a container before all have pulled.

    With one worker, none moves one before all deployments before it are done.
    """

    def __init__(self, parties: int, workers: int) -> None:
        self.workers = workers
        self._width = threading.BoundedSemaphore(workers)
        self._waiting = parties
        self._left: set[int] = set()
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def taking_part(self, place: int) -> Iterator[Part]:
        """For one of the deployments, `place` of them being before it.

        Whatever becomes of it, the others do not wait for it for ever.
        """
        part = Part(self, place)
        try:
            yield part
        finally:
            part.arrive()
            with self._changed:
                self._left.add(place)
                self._changed.notify_all()

    def arrive(self) -> None:
        with self._changed:
            self._waiting -= 1
            self._changed.notify_all()

    def await_others(self, place: int, alive: Callable[[], None]) -> None:
        before = range(place if self.workers == 1 else 0)
        with self._changed:
            while self._waiting > 0 or not self._left.issuperset(before):
                alive()
                self._changed.wait(_LOOK)

    @contextlib.contextmanager
    def turn(self) -> Iterator[None]:
        """One of the workers, while the block lasts."""
        with self._width:
            yield


class Part:
    """One deployment's part in a Batch."""

    def __init__(self, together: Batch, place: int = 0) -> None:
        self.together = together
        self._place = place
        self._arrived = False

    def arrive(self) -> None:
        """It has pulled, or will not."""
        if not self._arrived:
            self._arrived = True
            self.together.arrive()

    def prepared(self, alive: Callable[[], None]) -> None:
        """It has pulled: wait for the others. Raises what `alive` raises."""
        self.arrive()
        self.together.await_others(self._place, alive)
