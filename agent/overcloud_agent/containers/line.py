"""Order and width: the containers of a deployment wave by wave, those of a wave side by side."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent import futures

from overcloud_agent import errors
from overcloud_agent.containers import batch, target

Work = Callable[[str], target.Outcome]


class _Clock:
    """The time of one deployment, which begins with the first turn of its containers."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._end: float | None = None
        self._one = threading.Lock()

    def is_over(self) -> bool:
        with self._one:
            if self._end is None:
                self._end = time.monotonic() + self._seconds
            return time.monotonic() > self._end


def run(waves: list[list[str]], work: Work, together: batch.Batch, *, seconds: float) -> list[target.Outcome]:
    """Work on the containers of each wave side by side. The first failure stops the line, and so does the time.

    The `seconds` are counted from the first turn: that other deployments go first costs this one nothing. What has
    begun comes to its end. Raises errors.Interrupted when that stopped one of them.
    """
    outcomes: list[target.Outcome] = []
    stop = threading.Event()
    clock = _Clock(seconds)
    for wave in waves:
        outcomes += _run_wave(wave, work, together, clock, stop)
        if stop.is_set():
            break
    return outcomes


def _run_wave(
    wave: list[str], work: Work, together: batch.Batch, clock: _Clock, stop: threading.Event
) -> list[target.Outcome]:
    def one(name: str) -> target.Outcome | None:
        with together.turn():
            if stop.is_set():
                return None
            if clock.is_over():
                stop.set()
                return target.Outcome(name=name, result="failed", error="the deployment ran out of time")
            try:
                outcome = work(name)
            except BaseException:
                stop.set()
                raise
            if outcome.failed:
                stop.set()
            return outcome

    if len(wave) == 1:
        outcomes = [one(wave[0])]
    else:
        with futures.ThreadPoolExecutor(min(together.workers, len(wave))) as pool:
            done = [pool.submit(one, name) for name in wave]
        outcomes = _results(done)
    return [outcome for outcome in outcomes if outcome]


def _results(done: list[futures.Future[target.Outcome | None]]) -> list[target.Outcome | None]:
    """All results. A mistake comes before an interruption, which is nothing to report."""
    failures = [failure for future in done if (failure := future.exception())]
    for failure in sorted(failures, key=lambda one: isinstance(one, errors.Interrupted)):
        raise failure
    return [future.result() for future in done]
