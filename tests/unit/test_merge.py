"""The rules of merge.py, each from every state: what the journal knows and what the sources list -> what follows."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from overcloud_agent import deployed, intake, journal, merge, model

STATES = tuple(journal.TRANSITIONS)
TARGET = model.Target(transport="CFN_SIGNAL", url="http://heat/v1/signal/a?Signature=s3cr3t")


def known(
    state: str = "received", source: str = "cfn", *, begun: bool | None = None, created: str = "1"
) -> merge.Known:
    started = state not in ("received", "superseded") if begun is None else begun
    return merge.Known(state=state, source=source, begun=started, lineage="stack/a", created=created)


def listed(*keys: str, source: str = "cfn", created: str = "1", lineage: str = "stack/a") -> dict[str, merge.Listed]:
    return {key: merge.Listed(source, {"id": key, "from": source}, lineage, created) for key in keys}


def decide(entry: merge.Known, lists: merge.Lists, *, partial: bool = False) -> merge.Changes:
    return merge.decide([("a", entry)], lists, partial=partial)


NOTHING = merge.Changes(new=[], back=[], superseded=[], withdrawn=[], gone=[])


@pytest.mark.parametrize("state", STATES)
def test_what_is_listed_and_known_stays_as_it_is(state: str) -> None:
    back = ["a"] if state == "superseded" else []
    assert decide(known(state), {"cfn": listed("a")}) == merge.Changes([], back, [], [], [])


@pytest.mark.parametrize("state", STATES)
def test_what_left_the_list_before_it_began_is_superseded(state: str) -> None:
    superseded = ["a"] if state == "received" else []
    assert decide(known(state), {"cfn": {}}) == merge.Changes([], [], superseded, [], ["a"])


def test_what_began_once_is_never_superseded() -> None:
    """A container that was stopped for it has to be started again; it resumes after a crash."""
    assert decide(known("received", begun=True), {"cfn": {}}).superseded == []


@pytest.mark.parametrize("state", STATES)
def test_a_later_one_of_the_same_resource_withdraws_a_result_that_heat_lacks(state: str) -> None:
    changes = decide(known(state), {"cfn": listed("b", created="2")})
    assert changes.withdrawn == (["a"] if state == "finished" else [])
    assert changes.superseded == (["a"] if state == "received" else []), "an UPDATE replaces a queued CREATE"
    assert changes.new == ["b"]


def test_nothing_is_withdrawn_for_an_old_list_or_another_resource() -> None:
    """Heat bug 1731032 (defect 41): an older list may overwrite the newer one for a while."""
    finished = known("finished", created="2")
    assert decide(finished, {"cfn": listed("old", created="1")}).withdrawn == []
    assert decide(finished, {"cfn": listed("b", created="3", lineage="stack/b")}).withdrawn == []
    assert decide(finished, {"cfn": {}}).withdrawn == []
    nameless = merge.Known("finished", "cfn", True, "", "1")
    assert decide(nameless, {"cfn": listed("b", created="3", lineage="")}).withdrawn == []


def test_nothing_is_withdrawn_that_is_still_listed() -> None:
    both = {**listed("a"), **listed("b", created="2")}
    assert decide(known("finished"), {"cfn": both}).withdrawn == []


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("lists", [{"cfn": None}, {"cfn": None, "heat": listed("b", source="heat", created="2")}])
def test_nothing_is_concluded_from_a_source_that_never_answered(state: str, lists: merge.Lists) -> None:
    changes = decide(known(state), lists)
    assert (changes.superseded, changes.withdrawn, changes.gone, changes.back) == ([], [], [], [])


@pytest.mark.parametrize("state", STATES)
def test_a_source_that_is_not_asked_any_more_speaks_through_the_others(state: str) -> None:
    """What it listed is gone once every source that is left answered without it."""
    assert decide(known(state, source="old"), {"cfn": {}, "heat": None}) == NOTHING
    assert decide(known(state, source="old"), {"cfn": {}, "heat": {}}).gone == ["a"]
    back = ["a"] if state == "superseded" else []
    assert decide(known(state, source="old"), {"cfn": listed("a")}) == merge.Changes([], back, [], [], [])


@pytest.mark.parametrize("state", STATES)
def test_a_partial_list_says_nothing_of_what_is_not_in_it(state: str) -> None:
    changes = decide(known(state), {"heat-config": listed("b", source="heat-config", created="2")}, partial=True)
    # But that Heat wants something later of the same resource, it does say.
    assert changes == merge.Changes(["b"], [], [], ["a"] if state == "finished" else [], [])


def test_the_first_source_that_has_an_id_says_what_it_is() -> None:
    """Defect 19: the reference takes the list of the last source alone."""
    lists = {"cfn": listed("b", "a"), "heat": listed("c", "a", source="heat")}
    merged = merge.merged(lists)
    assert list(merged) == ["b", "a", "c"], "in the order of the sources, and of the list within one"
    assert merged["a"].source == "cfn"
    assert merge.decide([], lists).new == ["b", "a", "c"]


def test_a_deployment_stays_as_long_as_any_source_lists_it() -> None:
    assert decide(known(source="cfn"), {"cfn": {}, "heat": listed("a", source="heat")}) == NOTHING


# The same rules with a real journal: (journal, world) and an event -> (journal, world)


class World:
    """One node: its journal, its deployed directory, and what has run on it."""

    def __init__(self, directory: Path) -> None:
        self.book = journal.Journal.open(directory / "state")
        self.kept = deployed.Deployed(directory / "deployed")
        self.kept.prepare()
        self.told: list[str] = []
        self.ran: list[str] = []
        self.intake = intake.Intake(self.book, self.kept, lambda key, _: self.told.append(key))

    def take(self, *documents: object, **others: list[object] | None) -> list[str]:
        return list(self.intake.take({"cfn": list(documents), **others}))

    def run(self) -> None:
        """Run the next deployment, as the agent does; its result stays pending."""
        waiting = self.book.next_received()
        assert waiting
        key, document = waiting
        self.book.start(key)
        self.kept.write(key, document)
        self.book.finish(key, model.succeeded(""), [TARGET])
        self.ran.append(key)

    def deliver(self, key: str) -> None:
        for seq in self.book.mail.pending():
            if [row for row in self.book.mail.rows([seq]) if row["deployment"] == key]:
                self.book.mail.settle(seq, "delivered")

    def states(self) -> dict[str, str]:
        return {row["id"]: row["state"] for row in self.book.rows("deployments")}


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def entry(
    key: str, *, action: str = "CREATE", created: str = "2026-01-01T00:00:00Z", name: str = "a"
) -> dict[str, object]:
    """A derived config as Heat makes it; those of one `name` are one SoftwareDeployment's."""
    inputs = {"deploy_action": action, "deploy_stack_id": "stack/uuid", "deploy_resource_name": name}
    signal = {"deploy_signal_transport": "CFN_SIGNAL", "deploy_signal_id": f"http://heat/{key}?Signature=s3cr3t"}
    entries = [{"name": name, "type": "String", "value": value} for name, value in {**inputs, **signal}.items()]
    return {"id": key, "name": name, "group": "script", "creation_time": created, "config": "", "inputs": entries}


LATER = "2026-01-01T00:10:00Z"


def test_one_that_leaves_before_it_ran_never_runs_and_loses_its_secrets(world: World, tmp_path: Path) -> None:
    world.take(entry("a"), entry("b", name="b"))
    world.take(entry("b", name="b"))
    world.run()
    assert world.book.next_received() is None
    assert (world.ran, world.states()) == (["b"], {"a": "superseded", "b": "finished"})


def test_an_update_replaces_a_queued_create(world: World) -> None:
    world.take(entry("create"))
    world.take(entry("update", action="UPDATE", created=LATER))
    world.run()
    assert world.book.next_received() is None
    assert (world.ran, world.states()) == (["update"], {"create": "superseded", "update": "finished"})


def test_an_update_withdraws_the_pending_result_of_the_create(world: World) -> None:
    """Heat takes any signal for the resource as the UPDATE's: a late one of the CREATE would complete it too early."""
    world.take(entry("create"))
    world.run()
    world.take(entry("update", action="UPDATE", created=LATER))
    assert world.states() == {"create": "withdrawn", "update": "received"}
    assert world.book.next_signal_at() is None, "nothing of it is sent any more"
    world.run()
    world.deliver("update")
    assert world.states() == {"create": "withdrawn", "update": "signalled"}


def test_an_old_list_that_comes_back_runs_nothing_twice_and_loses_nothing(world: World) -> None:
    """Heat bug 1731032 (defect 41): CREATE's list overwrites UPDATE's, and then UPDATE's comes back."""
    create, update = entry("create"), entry("update", action="UPDATE", created=LATER)
    world.take(create)
    world.run()
    world.deliver("create")
    world.take(update)
    world.take(create)
    assert world.states() == {"create": "signalled", "update": "superseded"}
    assert world.book.next_received() is None
    world.take(update)
    world.run()
    world.take(create)
    assert world.states()["update"] == "finished", "an older one withdraws nothing"
    world.take(update)
    world.deliver("update")
    world.take(create)
    world.take(update)
    assert world.ran == ["create", "update"]
    assert world.states() == {"create": "signalled", "update": "signalled"}


@pytest.mark.parametrize("action", ["CREATE", "UPDATE", "DELETE", "SUSPEND", "RESUME"])
def test_every_action_is_run(world: World, action: str) -> None:
    world.take(entry("before"))
    world.run()
    world.deliver("before")
    world.take(entry("now", action=action, created=LATER))
    world.run()
    world.deliver("now")
    assert world.states()["now"] == "signalled"


def test_one_id_in_two_sources_runs_once(world: World) -> None:
    """Defect 19."""
    assert world.take(entry("a"), heat=[entry("b", name="b"), entry("a")]) == ["a", "b"]
    world.run()
    world.run()
    assert world.book.next_received() is None
    assert world.ran == ["a", "b"]


def test_a_source_that_is_removed_from_the_configuration(world: World) -> None:
    world.intake.take({"heat": [entry("a"), entry("b", name="b")], "cfn": None})
    world.intake.take({"cfn": None})
    assert set(world.states().values()) == {"received"}, "nobody has answered in its place yet"
    world.intake.take({"cfn": [entry("b", name="b")]})
    assert world.states() == {"a": "superseded", "b": "received"}


def test_two_of_one_source_with_one_id_are_both_answered(world: World) -> None:
    world.take(entry("a"), entry("a", name="other"))
    assert world.told == ["a"]
    assert world.states() == {"a": "finished"}
    assert len(world.book.mail.pending()) == 2


def test_a_source_that_counts_less_spoils_nothing(world: World) -> None:
    """Two with one id in the second source, where the first says which is meant."""
    world.take(entry("a"), heat=[entry("a", name="x"), entry("a", name="y")])
    world.run()
    assert (world.told, world.ran) == ([], ["a"])


def test_what_left_the_metadata_is_forgotten_a_week_later(tmp_path: Path) -> None:
    """Defect 26: the files go at once, so that the directory does not grow without bound."""
    world = World(tmp_path)
    world.take(entry("a"))
    world.run()
    world.deliver("a")
    world.intake.scrub()
    assert "s3cr3t" not in (tmp_path / "deployed" / "a.json").read_text(), "defect 25"
    world.take()
    assert list((tmp_path / "deployed").iterdir()) == []
    assert world.states() == {"a": "signalled"}
    world.take(entry("a"))
    assert (tmp_path / "deployed" / "a.json").exists(), "who else looks at the files must not run it again"
    world.take()
    late = journal.Journal.open(tmp_path / "state", clock=lambda: time.time() + 8 * 86400)
    late.purge(["a"], older=7 * 86400.0)
    assert late.rows("deployments") == []


def test_five_thousand_in_one_list(world: World) -> None:
    keys = [f"{number:x}-{number}" for number in range(5000, 0, -1)]
    documents = [entry(key, name=key) for key in keys]
    began = time.monotonic()
    assert world.take(*documents) == keys
    assert world.take(*documents) == keys, "and again, with nothing new"
    assert time.monotonic() - began < 20
    for key in keys[:20]:
        world.run()
        world.take(*documents[1:])
        assert world.ran[-1] == key
    assert world.ran == keys[:20]


@pytest.mark.parametrize(("answered", "told"), [(True, []), (False, ["a"])])
def test_what_another_agent_ran_is_not_run_again(world: World, answered: bool, told: list[str]) -> None:
    """A node moves from the reference stack: its result is told again, or that it was interrupted (defect 5)."""
    world.kept.write("a", entry("a"))
    if answered:
        world.kept.write_result("a", {"deploy_status_code": 0})
    world.take(entry("a"))
    assert world.book.next_received() is None
    assert world.told == told
    assert world.states() == {"a": "finished"}
    assert len(world.book.mail.pending()) == 1
