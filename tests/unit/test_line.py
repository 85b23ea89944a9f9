"""Order and width, without containers: what waits for what."""

from __future__ import annotations

import threading
import time
from concurrent import futures

import pytest

from overcloud_agent import errors
from overcloud_agent.containers import batch, line, target

PLENTY = 60.0


def fine(name: str) -> target.Outcome:
    return target.Outcome(name=name, result="created")


def bad(name: str) -> target.Outcome:
    return target.Outcome(name=name, result="failed", error="no")


def go_on() -> None:
    """Nobody asks anything to stop."""


def stop() -> None:
    raise errors.Interrupted("asked to stop")


def names(outcomes: list[target.Outcome]) -> list[str]:
    return [outcome.name for outcome in outcomes]


def test_a_wave_is_side_by_side_and_the_next_one_after_it() -> None:
    meeting = threading.Barrier(2)
    seen: list[str] = []

    def work(name: str) -> target.Outcome:
        if name != "c":
            meeting.wait(10)
        seen.append(name)
        return fine(name)

    outcomes = line.run([["a", "b"], ["c"]], work, batch.Batch(1, 2), seconds=PLENTY)
    assert names(outcomes) == ["a", "b", "c"]
    assert seen[-1] == "c"


def test_not_more_at_once_than_there_are_workers() -> None:
    together = batch.Batch(2, 3)
    lock = threading.Lock()
    now = most = 0

    def work(name: str) -> target.Outcome:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.02)
        with lock:
            now -= 1
        return fine(name)

    with futures.ThreadPoolExecutor(2) as pool:
        runs = [pool.submit(line.run, [list("abcdef")], work, together, seconds=PLENTY) for _ in range(2)]
        assert [names(run.result()) for run in runs] == [list("abcdef")] * 2
    assert most == 3


def test_the_first_failure_stops_the_line() -> None:
    def work(name: str) -> target.Outcome:
        return bad(name) if name == "b" else fine(name)

    outcomes = line.run([["a"], ["b", "c"], ["d"]], work, batch.Batch(1, 1), seconds=PLENTY)
    assert names(outcomes) == ["a", "b"]


def test_a_mistake_comes_before_an_interruption() -> None:
    meeting = threading.Barrier(2)

    def work(name: str) -> target.Outcome:
        meeting.wait(10)
        raise errors.Interrupted("stop") if name == "a" else ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        line.run([["a", "b"]], work, batch.Batch(1, 2), seconds=PLENTY)


def test_an_interruption_is_raised_when_the_others_are_done() -> None:
    meeting = threading.Barrier(2)
    done: list[str] = []

    def work(name: str) -> target.Outcome:
        meeting.wait(10)
        if name == "a":
            raise errors.Interrupted("stop")
        time.sleep(0.05)
        done.append(name)
        return fine(name)

    with pytest.raises(errors.Interrupted):
        line.run([["a", "b"], ["c"]], work, batch.Batch(1, 2), seconds=PLENTY)
    assert done == ["b"]


def test_past_its_time_nothing_is_begun() -> None:
    def work(name: str) -> target.Outcome:
        time.sleep(0.06)
        return fine(name)

    outcomes = line.run([["a"], ["b"], ["c"]], work, batch.Batch(1, 4), seconds=0.05)
    assert [(one.name, one.error) for one in outcomes] == [("a", ""), ("b", "the deployment ran out of time")]


def test_what_is_waited_for_others_costs_no_time() -> None:
    together = batch.Batch(1, 1)
    with futures.ThreadPoolExecutor(1) as pool, together.turn():
        run = pool.submit(line.run, [["a"]], fine, together, seconds=0.05)
        time.sleep(0.15)
    assert run.result() == [fine("a")]


def deploy(together: batch.Batch, place: int, story: list[str], *, pulls: threading.Event) -> None:
    with together.taking_part(place) as part:
        pulls.wait(10)
        story.append(f"{place} pulled")
        part.prepared(go_on)
        story.append(f"{place} moves")


def test_nothing_moves_before_all_have_pulled() -> None:
    together = batch.Batch(3, 4)
    story: list[str] = []
    slow, quick = threading.Event(), threading.Event()
    quick.set()
    with futures.ThreadPoolExecutor(3) as pool:
        runs = [pool.submit(deploy, together, place, story, pulls=slow if place == 0 else quick) for place in range(2)]
        # One that fails before it has pulled is not waited for.
        with pytest.raises(errors.EngineError), together.taking_part(2):
            raise errors.EngineError("cannot pull")
        time.sleep(0.05)
        assert "1 moves" not in story
        slow.set()
        for run in runs:
            run.result()
    assert [words.split()[1] for words in story] == ["pulled", "pulled", "moves", "moves"]


def test_with_one_worker_deployments_keep_their_order() -> None:
    together = batch.Batch(3, 1)
    story: list[str] = []
    ready = threading.Event()
    ready.set()
    with futures.ThreadPoolExecutor(3) as pool:
        runs = [pool.submit(deploy, together, place, story, pulls=ready) for place in (2, 1, 0)]
        for run in runs:
            run.result()
    assert [words for words in story if "moves" in words] == ["0 moves", "1 moves", "2 moves"]


def test_who_waits_can_be_stopped() -> None:
    together = batch.Batch(2, 1)
    with pytest.raises(errors.Interrupted), together.taking_part(1) as part:
        part.prepared(stop)
