"""The plan, tried out in a model of Podman that does what a step says."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator

import pytest

from overcloud_agent import failpoints
from overcloud_agent.containers import actions, plan

STEP = plan.Step

OLD = plan.Container(id="o", fingerprint="old", deployment="d1", running=True, started_at=1.0)

SERVICE = plan.Wanted(fingerprint="new", deployment="d2")
ONE_SHOT = dataclasses.replace(SERVICE, one_shot=True)
# Each kind of container with each set of the steps that not every one takes.
WANTED = [
    dataclasses.replace(SERVICE, prepares=prepares, drains=drains, migrates=migrates)
    for prepares, drains, migrates in itertools.product((False, True), repeat=3)
] + [
    dataclasses.replace(ONE_SHOT, removed=removed, migrates=migrates)
    for removed, migrates in itertools.product((False, True), repeat=2)
]
ALL = dataclasses.replace(SERVICE, prepares=True, drains=True, migrates=True)

# What the journal has of a step once it is done, and Podman has not.
REMEMBERED = {STEP.DRAIN: "drained", STEP.MIGRATE: "migrated", STEP.GATE: "gated"}


@dataclasses.dataclass(frozen=True)
class World:
    """What the next process finds: Podman's containers, and what is in the journal or in this process's head."""

    facts: plan.Facts = dataclasses.field(default_factory=plan.Facts)
    progress: plan.Progress = dataclasses.field(default_factory=plan.Progress)


def made(wanted: plan.Wanted, *, replaces: bool = True) -> plan.Container:
    return plan.Container(
        id="n",
        fingerprint=wanted.fingerprint,
        deployment=wanted.deployment,
        replaces=replaces,
        one_shot=wanted.one_shot,
    )


def running(container: plan.Container) -> plan.Container:
    return dataclasses.replace(container, running=True, prepared=False, started_at=1.0, finished_at=0.0)


def stopped(container: plan.Container) -> plan.Container:
    return dataclasses.replace(container, running=False)


def ended(container: plan.Container, exit_code: int = 0) -> plan.Container:
    return dataclasses.replace(container, running=False, started_at=1.0, finished_at=2.0, exit_code=exit_code)


NEW, FIRST = made(SERVICE), made(SERVICE, replaces=False)


def podman(facts: plan.Facts, step: plan.Step, wanted: plan.Wanted) -> plan.Facts:
    """What Podman has after a step; a gate passes, and a one-shot ends well meanwhile."""
    current = facts.current
    match step:
        case STEP.CREATE:
            return dataclasses.replace(facts, next=made(wanted, replaces=bool(current or facts.old)))
        case STEP.PREPARE:
            assert facts.next
            return dataclasses.replace(facts, next=dataclasses.replace(facts.next, prepared=True))
        case STEP.CLEAR:
            return dataclasses.replace(facts, next=None, failed=None)
        case STEP.DROP:
            return dataclasses.replace(facts, next=None)
        case STEP.RETIRE:
            assert facts.gone
            return dataclasses.replace(facts, gone=None)
        case STEP.DISCARD:
            return dataclasses.replace(facts, current=None)
        case STEP.DRAIN:
            assert current
            assert current.running, "what does not run cannot be drained"
            return facts
        case STEP.MIGRATE:
            assert not (current and current.running), "nothing may serve while the database moves"
            return facts
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
        case STEP.GATE:
            assert current
            return dataclasses.replace(facts, current=ended(current) if current.one_shot else current)
        case STEP.COMMIT:
            assert facts.gone is None
            return dataclasses.replace(facts, old=None, gone=facts.old)
        case STEP.MARK:
            assert facts.failed is None
            return dataclasses.replace(facts, failed=current, current=None)
        case STEP.STOP_FAILED:
            assert facts.failed
            return dataclasses.replace(facts, failed=stopped(facts.failed))
    raise AssertionError(f"{step} is no action")


def do(world: World, step: plan.Step, wanted: plan.Wanted) -> World:
    known = {**REMEMBERED, STEP.START: "started"}.get(step)
    progress = dataclasses.replace(world.progress, **{known: True}) if known else world.progress
    return World(podman(world.facts, step, wanted), progress)


def died(world: World, *, before_writing: plan.Step | None = None) -> World:
    """What the next process knows; `before_writing`: the step that was done and is not in the journal."""
    lost = {"started": False, **({REMEMBERED[before_writing]: False} if before_writing in REMEMBERED else {})}
    return World(world.facts, dataclasses.replace(world.progress, **lost))


def forward(world: World, wanted: plan.Wanted, most: int = 25) -> tuple[list[plan.Step], World]:
    """Follow the plan to its end."""
    steps: list[plan.Step] = []
    while len(steps) < most:
        step = plan.next_step(world.facts, wanted, world.progress)
        if step in (STEP.DONE, STEP.ROLL_BACK):
            return [*steps, step], world
        steps.append(step)
        world = do(world, step, wanted)
    raise AssertionError(f"no end: {steps}")


def back(facts: plan.Facts, wanted: plan.Wanted, most: int = 20) -> tuple[list[plan.Step], plan.Facts]:
    """Follow the plan of the way back to its end."""
    steps: list[plan.Step] = []
    while len(steps) < most:
        step = plan.next_step_back(facts, wanted, started=STEP.START in steps)
        if step is STEP.DONE:
            return steps, facts
        steps.append(step)
        facts = podman(facts, step, wanted)
    raise AssertionError(f"no end: {steps}")


def walk(world: World, steps: list[plan.Step], wanted: plan.Wanted) -> World:
    for step in steps:
        world = do(world, step, wanted)
    return world


def settled(facts: plan.Facts, wanted: plan.Wanted) -> bool:
    """Whether the wanted one is there as it shall be, and nothing else is."""
    one = facts.current
    if not one or one.fingerprint != wanted.fingerprint or facts != plan.Facts(current=one):
        return False
    return one.ended and one.exit_code == 0 if wanted.one_shot else one.running


def worlds(wanted: plan.Wanted) -> Iterator[plan.Facts]:
    """Everything that there may be: also what no upgrade leaves behind."""
    new = made(wanted)
    possible = [None, new, running(new), ended(new), OLD, stopped(OLD)]
    elsewhere = [None, dataclasses.replace(new, deployment="d1")]
    for current, following, old in itertools.product(possible, [None, new, OLD], possible):
        for gone, failed in itertools.product([None, stopped(OLD)], elsewhere):
            yield plan.Facts(current=current, next=following, old=old, gone=gone, failed=failed)


def test_replacing_takes_these_steps_in_this_order() -> None:
    steps, world = forward(World(plan.Facts(current=OLD)), ALL)
    assert steps == [
        STEP.CREATE,
        STEP.PREPARE,
        STEP.DRAIN,
        STEP.STOP,
        STEP.MIGRATE,
        STEP.SET_ASIDE,
        STEP.SWAP,
        STEP.START,
        STEP.GATE,
        STEP.COMMIT,
        STEP.RETIRE,
        STEP.DONE,
    ]
    assert world.facts == plan.Facts(current=running(NEW))
    fewer = [step for step in steps if step not in (STEP.PREPARE, STEP.DRAIN, STEP.MIGRATE)]
    assert forward(World(plan.Facts(current=OLD)), SERVICE)[0] == fewer, "what it does not need is left out"


def test_the_first_of_a_name_has_nothing_to_drain_or_to_stop_but_a_database_to_move() -> None:
    steps, world = forward(World(), ALL)
    assert steps == [STEP.CREATE, STEP.MIGRATE, STEP.SWAP, STEP.START, STEP.GATE, STEP.DONE]
    assert settled(world.facts, ALL)


def test_nothing_lies_between_stop_and_start_but_names() -> None:
    steps = forward(World(plan.Facts(current=OLD)), SERVICE)[0]
    between = steps[steps.index(STEP.STOP) + 1 : steps.index(STEP.START)]
    assert between == [STEP.SET_ASIDE, STEP.SWAP]
    assert set(between) < set(plan.FORESEEN)


def test_an_unchanged_container_is_not_touched() -> None:
    for wanted in WANTED[:8]:
        kept = World(plan.Facts(current=dataclasses.replace(running(NEW), deployment="d1")))
        assert forward(kept, wanted) == ([STEP.DONE], kept)


def test_an_unchanged_container_that_does_not_run_is_started_and_gated() -> None:
    steps, world = forward(World(plan.Facts(current=dataclasses.replace(NEW, deployment="d1"))), ALL)
    assert steps == [STEP.START, STEP.GATE, STEP.DONE]
    assert settled(world.facts, ALL)


def test_a_first_container_is_gated_even_if_the_process_died_before() -> None:
    assert forward(World(plan.Facts(current=running(FIRST))), SERVICE)[0] == [STEP.GATE, STEP.DONE]


def test_what_has_replaced_another_one_has_passed_its_gate() -> None:
    facts = plan.Facts(current=running(NEW))
    assert forward(World(facts), SERVICE)[0] == [STEP.DONE]
    assert back(facts, SERVICE) == ([], facts), "and is never taken away"


def test_a_container_that_ended_at_once_is_for_the_gate_to_judge() -> None:
    ended_at_once = plan.Facts(current=stopped(NEW), old=stopped(OLD))
    assert plan.next_step(ended_at_once, SERVICE, plan.Progress(started=True)) is STEP.GATE


@pytest.mark.parametrize(("exit_code", "again"), [(0, []), (1, [STEP.START, STEP.GATE])])
def test_only_a_one_shot_that_failed_is_run_again_later(exit_code: int, again: list[plan.Step]) -> None:
    before = dataclasses.replace(ended(made(ONE_SHOT), exit_code), deployment="d1")
    steps, world = forward(World(plan.Facts(current=before)), ONE_SHOT)
    assert steps == [*again, STEP.DONE]
    assert settled(world.facts, ONE_SHOT)


def test_a_one_shot_that_ended_while_nobody_looked_is_judged_and_not_run_again() -> None:
    for facts in (
        plan.Facts(current=ended(made(ONE_SHOT, replaces=False))),
        plan.Facts(current=ended(made(ONE_SHOT)), old=stopped(OLD)),
    ):
        assert plan.next_step(facts, ONE_SHOT, plan.Progress()) is STEP.GATE


def test_a_one_shot_that_is_removed_is_done_when_it_is_gone() -> None:
    wanted = dataclasses.replace(ONE_SHOT, removed=True)
    assert plan.next_step(plan.Facts(), wanted, plan.Progress(gated=True)) is STEP.DONE
    assert plan.next_step(plan.Facts(), wanted, plan.Progress()) is STEP.CREATE


def test_the_way_back_of_this_deployment_is_gone_on_with() -> None:
    for wanted in WANTED:
        assert forward(World(plan.Facts(failed=made(wanted), old=stopped(OLD))), wanted)[0] == [STEP.ROLL_BACK]


def test_a_leftover_of_another_way_back_is_cleared() -> None:
    facts = plan.Facts(current=OLD, failed=dataclasses.replace(NEW, deployment="d1"))
    steps, world = forward(World(facts), SERVICE)
    assert steps[0] is STEP.CLEAR
    assert world.facts == plan.Facts(current=running(NEW))


def test_what_never_passed_its_gate_is_not_the_way_back() -> None:
    unproven = plan.Container(id="x", fingerprint="other", deployment="d1", running=True)
    steps, world = forward(World(plan.Facts(current=unproven, old=stopped(OLD))), SERVICE)
    assert steps[:4] == [STEP.CREATE, STEP.DISCARD, STEP.SWAP, STEP.START], "it serves until the successor is there"
    assert STEP.COMMIT in steps, "and the proven one stays aside until then"
    assert world.facts == plan.Facts(current=running(NEW))


@pytest.mark.parametrize("wanted", WANTED, ids=str)
def test_whatever_is_there_the_wanted_one_is_in_the_end(wanted: plan.Wanted) -> None:
    for facts in worlds(wanted):
        steps, world = forward(World(facts), wanted)
        assert steps[-1] is STEP.DONE, facts
        assert settled(world.facts, wanted), (facts, steps, world)


@pytest.mark.parametrize("wanted", WANTED, ids=str)
def test_dying_after_any_step_and_starting_again_ends_the_same(wanted: plan.Wanted) -> None:
    for facts in worlds(wanted):
        steps, end = forward(World(facts), wanted)
        for count in range(1, len(steps)):
            there = walk(World(facts), steps[:count], wanted)
            for lost in (None, steps[count - 1]):
                again, after = forward(died(there, before_writing=lost), wanted)
                assert after.facts == end.facts, (facts, steps[:count], lost, again)


@pytest.mark.parametrize("wanted", WANTED, ids=str)
def test_what_is_in_the_journal_is_not_done_again(wanted: plan.Wanted) -> None:
    """Nor is a one-shot started twice, of which Podman tells that it ran."""
    once = {*REMEMBERED, STEP.START} if wanted.one_shot else set(REMEMBERED)
    for current in (None, OLD):
        world = World(plan.Facts(current=current))
        steps, _ = forward(world, wanted)
        for count in range(1, len(steps)):
            again, _ = forward(died(walk(world, steps[:count], wanted)), wanted)
            assert not once & set(steps[:count]) & set(again), (steps[:count], again)


def foreseeable(facts: plan.Facts) -> plan.Facts:
    """Facts without what nobody knows before Podman tells: ids, times, and when a one-shot ends."""
    found: dict[str, plan.Container | None] = {}
    for kind, one in vars(facts).items():
        silent = {"id": "", "started_at": 0.0, "finished_at": 0.0, "prepared": False}
        ends = {"running": False, "exit_code": 0} if one and one.one_shot else {}
        found[kind] = dataclasses.replace(one, **silent, **ends) if one else None
    return plan.Facts(**found)


@pytest.mark.parametrize("wanted", WANTED, ids=str)
def test_what_is_foreseen_is_what_podman_has(wanted: plan.Wanted) -> None:
    for facts in worlds(wanted):
        world = World(facts)
        for step in forward(world, wanted)[0][:-1]:
            after = do(world, step, wanted)
            foreseen = plan.foresee(step, world.facts, wanted)
            assert foreseeable(foreseen) == foreseeable(after.facts), (facts, step)
            assert foreseen == after.facts or step not in plan.FORESEEN, "where Podman is not asked it is exact"
            assert plan.advance(step, world.progress) == after.progress
            world = after


@pytest.mark.parametrize("wanted", WANTED, ids=str)
def test_the_steps_ahead_are_those_that_will_be_done(wanted: plan.Wanted) -> None:
    for facts in worlds(wanted):
        assert plan.ahead(facts, wanted) == forward(World(facts), wanted)[0][:-1], facts


@pytest.mark.parametrize("wanted", WANTED, ids=str)
def test_from_any_step_the_way_back_leads_to_what_was_there(wanted: plan.Wanted) -> None:
    for before in (OLD, dataclasses.replace(ended(OLD), one_shot=True)):
        start = World(plan.Facts(current=before))
        steps = forward(start, wanted)[0]
        for reached in range(steps.index(STEP.COMMIT) + 1):
            facts = walk(start, steps[:reached], wanted).facts
            way, after = back(facts, wanted)
            assert after.current == before
            assert (after.next, after.old, after.gone) == (None, None, None)
            assert not (after.failed and after.failed.running)
            # Dying anywhere on the way back changes nothing of where it leads.
            for count in range(len(way) + 1):
                again = facts
                for step in way[:count]:
                    again = podman(again, step, wanted)
                assert back(again, wanted)[1] == after


def test_from_behind_the_commit_no_way_leads_back() -> None:
    start = World(plan.Facts(current=OLD))
    for wanted in WANTED:
        steps, end = forward(start, wanted)
        for reached in range(steps.index(STEP.COMMIT) + 1, len(steps)):
            assert back(walk(start, steps[:reached], wanted).facts, wanted)[1].current == end.facts.current


def test_without_a_predecessor_the_way_back_leaves_nothing_running() -> None:
    _, after = back(plan.Facts(current=running(FIRST)), SERVICE)
    assert after.current is None
    assert after.failed == stopped(running(FIRST))


@pytest.mark.parametrize("current", [OLD, running(NEW)])
def test_the_agent_may_stop_where_something_serves(current: plan.Container) -> None:
    assert plan.may_stop_before(STEP.CREATE, plan.Facts(current=current))
    assert plan.may_stop_before(STEP.CREATE, plan.Facts()), "or where nothing ever did"


@pytest.mark.parametrize("step", STEP)
def test_the_agent_never_stops_while_a_service_is_down_for_it(step: plan.Step) -> None:
    assert not plan.may_stop_before(step, plan.Facts(old=stopped(OLD), next=NEW))
    assert not plan.may_stop_before(step, plan.Facts(current=stopped(OLD), next=NEW))


def test_there_are_fail_points_at_each_step_and_nowhere_else() -> None:
    """Of the way out those that a plan can ask for, and of the way back those that its plan can."""
    out = {step for wanted in WANTED for facts in worlds(wanted) for step in forward(World(facts), wanted)[0]}
    ways = {step for wanted in WANTED for facts in worlds(wanted) for step in back(facts, wanted)[0]}
    assert out | ways == set(STEP) - {STEP.ROLL_BACK}
    assert out - {STEP.DONE} | ways == set(actions._ACTIONS), "and each is an action"
    expected = {f"upgrade.{step.name}" for step in out - {STEP.DONE}} | {f"rollback.{step.name}" for step in ways}
    expected = {name.replace("_", "-").lower() for name in expected}
    named = {name.rpartition(".")[0] for name in failpoints.NAMES if name.endswith((".begun", ".done"))}
    assert named - {f"package.{step}" for step in failpoints.PACKAGE} == expected
    assert all(f"{name}.{end}" in failpoints.NAMES for name in expected for end in ("begun", "done"))
