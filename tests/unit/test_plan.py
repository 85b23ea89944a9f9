"""The plan, tried out in a model of Podman that does what a step says."""

from __future__ import annotations

import dataclasses
import itertools

import pytest

from overcloud_agent.containers import plan

WANTED = plan.Wanted(fingerprint="new", deployment="d2")
NEW = plan.Container(id="n", fingerprint="new", deployment="d2", replaces=True)
FIRST = dataclasses.replace(NEW, replaces=False)
OLD = plan.Container(id="o", fingerprint="old", deployment="d1", running=True)
STEP = plan.Step


def stopped(container: plan.Container) -> plan.Container:
    return dataclasses.replace(container, running=False)


def running(container: plan.Container) -> plan.Container:
    return dataclasses.replace(container, running=True)


def apply(facts: plan.Facts, step: plan.Step) -> plan.Facts:
    """What Podman has after a step."""
    current = facts.current
    match step:
        case STEP.CREATE:
            return dataclasses.replace(facts, next=dataclasses.replace(NEW, replaces=bool(current or facts.old)))
        case STEP.CLEAR:
            return dataclasses.replace(facts, next=None, failed=None)
        case STEP.DROP:
            return dataclasses.replace(facts, next=None)
        case STEP.REMOVE:
            return dataclasses.replace(facts, gone=None)
        case STEP.DISCARD:
            return dataclasses.replace(facts, current=None)
        case STEP.STOP:
            assert current
            return dataclasses.replace(facts, current=stopped(current))
        case STEP.SET_ASIDE:
            assert facts.old is None
            return dataclasses.replace(facts, current=None, old=current)
        case STEP.SWAP:
            assert current is None
            return dataclasses.replace(facts, current=facts.next, next=None)
        case STEP.PUT_BACK:
            assert current is None
            return dataclasses.replace(facts, current=facts.old, old=None)
        case STEP.START:
            assert current
            return dataclasses.replace(facts, current=running(current))
        case STEP.COMMIT:
            assert facts.gone is None
            return dataclasses.replace(facts, old=None, gone=facts.old)
        case STEP.MARK:
            assert facts.failed is None
            return dataclasses.replace(facts, failed=current, current=None)
        case STEP.STOP_FAILED:
            assert facts.failed
            return dataclasses.replace(facts, failed=stopped(facts.failed))
        case _:
            return facts


def forward(facts: plan.Facts, most: int = 20) -> tuple[list[plan.Step], plan.Facts]:
    """Follow the plan to its end."""
    steps: list[plan.Step] = []
    while len(steps) < most:
        gated = STEP.GATE in steps
        step = plan.next_step(facts, WANTED, started=STEP.START in steps, gated=gated)
        if step in (STEP.DONE, STEP.ROLL_BACK):
            return [*steps, step], facts
        steps.append(step)
        facts = apply(facts, step)
    raise AssertionError(f"no end: {steps}")


def back(facts: plan.Facts, most: int = 20) -> tuple[list[plan.Step], plan.Facts]:
    steps: list[plan.Step] = []
    while len(steps) < most:
        step = plan.next_step_back(facts, WANTED, started=STEP.START in steps)
        if step is STEP.DONE:
            return steps, facts
        steps.append(step)
        facts = apply(facts, step)
    raise AssertionError(f"no end: {steps}")


def test_replacing_takes_these_steps_in_this_order() -> None:
    steps, facts = forward(plan.Facts(current=OLD))
    assert steps == [
        STEP.CREATE,
        STEP.STOP,
        STEP.SET_ASIDE,
        STEP.SWAP,
        STEP.START,
        STEP.GATE,
        STEP.COMMIT,
        STEP.REMOVE,
        STEP.DONE,
    ]
    assert facts == plan.Facts(current=running(NEW))


def test_nothing_lies_between_stop_and_start_but_names() -> None:
    steps, _ = forward(plan.Facts(current=OLD))
    between = steps[steps.index(STEP.STOP) + 1 : steps.index(STEP.START)]
    assert between == [STEP.SET_ASIDE, STEP.SWAP]


def test_an_unchanged_container_is_not_touched() -> None:
    kept = dataclasses.replace(running(NEW), deployment="d1")
    assert forward(plan.Facts(current=kept)) == ([STEP.DONE], plan.Facts(current=kept))


def test_an_unchanged_container_that_does_not_run_is_started_and_gated() -> None:
    kept = dataclasses.replace(NEW, deployment="d1")
    steps, facts = forward(plan.Facts(current=kept))
    assert steps == [STEP.START, STEP.GATE, STEP.DONE]
    assert facts.current == running(kept)


def test_a_first_container_is_gated_even_if_the_process_died_before() -> None:
    steps, _ = forward(plan.Facts(current=running(FIRST)))
    assert steps == [STEP.GATE, STEP.DONE]


def test_what_has_replaced_another_one_has_passed_its_gate() -> None:
    assert forward(plan.Facts(current=running(NEW))) == ([STEP.DONE], plan.Facts(current=running(NEW)))
    assert back(plan.Facts(current=running(NEW))) == ([], plan.Facts(current=running(NEW))), "and is never taken away"


def test_a_container_that_ended_at_once_is_for_the_gate_to_judge() -> None:
    facts = plan.Facts(current=stopped(NEW), old=stopped(OLD))
    assert plan.next_step(facts, WANTED, started=True, gated=False) is STEP.GATE


def test_the_way_back_of_this_deployment_is_gone_on_with() -> None:
    steps, _ = forward(plan.Facts(failed=NEW, old=stopped(OLD)))
    assert steps == [STEP.ROLL_BACK]


def test_a_leftover_of_another_way_back_is_cleared() -> None:
    left = dataclasses.replace(NEW, deployment="d1")
    steps, facts = forward(plan.Facts(current=OLD, failed=left))
    assert steps[0] is STEP.CLEAR
    assert facts == plan.Facts(current=running(NEW))


def test_what_never_passed_its_gate_is_not_the_way_back() -> None:
    unproven = plan.Container(id="x", fingerprint="other", deployment="d1", running=True)
    steps, facts = forward(plan.Facts(current=unproven, old=stopped(OLD)))
    assert steps[:4] == [STEP.CREATE, STEP.DISCARD, STEP.SWAP, STEP.START], "it serves until the successor is there"
    assert STEP.COMMIT in steps, "and the proven one stays aside until then"
    assert facts == plan.Facts(current=running(NEW))


POSSIBLE = (None, NEW, running(NEW), OLD, stopped(OLD))


def same(one: plan.Container | None, other: plan.Container) -> bool:
    """The same but for whether it was the first."""
    return one is not None and dataclasses.replace(one, replaces=True) == other


@pytest.mark.parametrize(
    "facts", [plan.Facts(current=a, next=b, old=c) for a, b, c in itertools.product(*[POSSIBLE] * 3)]
)
def test_whatever_is_there_the_wanted_one_runs_in_the_end(facts: plan.Facts) -> None:
    steps, after = forward(facts)
    assert steps[-1] is STEP.DONE
    assert same(after.current, running(NEW))
    assert (after.next, after.old, after.gone, after.failed) == (None, None, None, None)


@pytest.mark.parametrize("died_after", range(9))
def test_dying_after_any_step_and_starting_again_ends_the_same(died_after: int) -> None:
    facts = plan.Facts(current=OLD)
    for step in forward(facts)[0][:died_after]:
        facts = apply(facts, step)
    assert forward(facts)[1] == plan.Facts(current=running(NEW))


@pytest.mark.parametrize("reached", range(8))
def test_from_any_step_the_way_back_leads_to_the_old_one_running(reached: int) -> None:
    facts = plan.Facts(current=OLD)
    for step in forward(facts)[0][:reached]:
        if step is STEP.COMMIT:
            break
        facts = apply(facts, step)
    steps, after = back(facts)
    assert after.current == OLD
    assert (after.next, after.old) == (None, None)
    # Dying anywhere on the way back changes nothing of where it leads.
    for count in range(len(steps) + 1):
        again = facts
        for step in steps[:count]:
            again = apply(again, step)
        assert back(again)[1].current == OLD


def test_without_a_predecessor_the_way_back_leaves_nothing_running() -> None:
    _, after = back(plan.Facts(current=running(FIRST)))
    assert after.current is None
    assert after.failed == stopped(FIRST)


@pytest.mark.parametrize("current", [OLD, running(NEW)])
def test_the_agent_may_stop_where_something_serves(current: plan.Container) -> None:
    assert plan.may_stop_before(STEP.CREATE, plan.Facts(current=current))
    assert plan.may_stop_before(STEP.CREATE, plan.Facts()), "or where nothing ever did"


@pytest.mark.parametrize("step", STEP)
def test_the_agent_never_stops_while_a_service_is_down_for_it(step: plan.Step) -> None:
    assert not plan.may_stop_before(step, plan.Facts(old=stopped(OLD), next=NEW))
    assert not plan.may_stop_before(step, plan.Facts(current=stopped(OLD), next=NEW))
