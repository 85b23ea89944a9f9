"""The plan as a document, its identifier, what differs between two, the room it needs, and its table."""

from __future__ import annotations

import dataclasses
import json
import random
from pathlib import Path
from typing import Any

import hypothesis
import jsonschema
import pytest
from hypothesis import strategies as st

import places
from overcloud_agent import errors
from overcloud_agent.packages import approval, classes, model, plan, rule_files, space, table, workflow

STEADY = hypothesis.settings(derandomize=True, deadline=None, max_examples=200, database=None)
GOLDEN = Path(__file__).parent / "golden" / "packages"
RULES: classes.Rules = rule_files.services()
ORDER = rule_files.workflow(Path("/nonexistent"))


def change(name: str, old: str, new: str, **more: Any) -> model.Change:
    kind: model.Kind = "install" if not old else "remove" if not new else "upgrade"
    values: dict[str, Any] = {"architecture": "amd64", "kind": kind, "repository": "stable" if new else "", **more}
    return model.Change(name=name, old=old, new=new, **values)


def unit(name: str, *packages: str, **more: Any) -> model.Affected:
    return model.Affected(kind=more.pop("kind", "unit"), name=name, packages=packages, **more)


def built(
    changes: tuple[model.Change, ...] = (),
    affected: tuple[model.Affected, ...] = (),
    kept: tuple[model.Kept, ...] = (),
    reboot: tuple[str, ...] = (),
) -> model.Plan:
    affliction = model.Affliction(affected=affected, reboot=reboot)
    return plan.build(model.Pending(changes=changes, kept=kept), RULES, workflow.build(affliction, rules=ORDER))


def controller() -> model.Plan:
    return built(
        changes=(
            change("nova-common", "2:26.2.2-1", "2:27.0.1-1", source="nova", download=310_000, growth=42_000),
            change("nova-api", "2:26.2.2-1", "2:27.0.1-1", source="nova", download=21_000),
            change("openssl", "3.0.11-1", "3.0.13-1", source="openssl", download=1_430_000, growth=-3, security=True),
            change("libssl3", "3.0.11-1", "3.0.13-1", source="openssl", download=2_000_000, security=True),
            change(
                "linux-image-6.1.0-21-amd64", "", "6.1.90-1", source="linux", download=68_000_000, growth=399_000_000
            ),
            change("python-old", "1-1", "", growth=-9000),
        ),
        affected=(
            unit("nova-api.service", "nova-common", "libssl3", reasons=("loaded nova from /usr/lib/python3",)),
            unit("mariadb.service", "libssl3", reasons=("maps /usr/lib/libssl.so.3",)),
            unit("keystone", "libssl3", kind="container"),
            unit("haproxy.service", "libssl3", action="reload"),
            unit("pacemaker.service", "libssl3", reasons=("maps /usr/lib/libssl.so.3",)),
            unit("overcloud-agent.service", "libssl3"),
        ),
        kept=(model.Kept(name="ceph-osd", architecture="amd64", old="16.2-1", new="17.2-1", reason="held"),),
        reboot=("the kernel linux-image-6.1.0-21-amd64 is new",),
    )


IDENTIFIERS = {"plan_identifier": "sha256:" + "1" * 64, "packages_identifier": "sha256:" + "2" * 64}


# The document


def test_a_plan_is_valid_by_its_schema_and_can_be_read_back() -> None:
    found = plan.document(controller())
    jsonschema.validate(found, plan.schema(), cls=jsonschema.Draft202012Validator)
    assert plan.read(json.loads(json.dumps(found))) == controller()
    assert plan.document(plan.read(found)) == found


def test_the_schema_that_is_shipped_is_the_code_s() -> None:
    shipped = (places.ROOT / "docs" / "package-plan.schema.json").read_text()
    assert shipped == json.dumps(plan.schema(), indent=2) + "\n", "`make describe` writes it"


def test_totals() -> None:
    assert plan.document(controller())["totals"] == {
        "packages": 6,
        "kinds": {"install": 1, "remove": 1, "upgrade": 4},
        "upgrades": 2,
        "security": 2,
        "kept": 1,
        "download": 71_761_000,
        "growth": 399_032_997,
        "restarts": 5,
    }


def test_a_plan_of_nothing() -> None:
    found = plan.document(built())
    assert (found["change"], found["packages"], found["workflow"]["batches"]) == ("none", [], [])
    assert plan.read(found) == built()


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (None, "$: Expected `object`, got `null`"),
        ({}, "$: Object missing required field `change`"),
        ({"change": "update", "packages": [{"name": 3}]}, "$.packages[0].name: Expected `str`, got `int`"),
    ],
)
def test_what_is_no_plan(document: Any, message: str) -> None:
    with pytest.raises(errors.BadInput) as caught:
        plan.read(document)
    assert message in str(caught.value)


def test_a_plan_that_is_too_long_for_heat_is_shortened_to_what_matters() -> None:
    many = tuple(change(f"lib{number:04}", "1-1", "2-1") for number in range(5000))
    whole = plan.document(built((*many, *controller().pending.changes)))
    short = plan.shortened(whole, 4)
    jsonschema.validate(short, plan.schema())
    assert [one["name"] for one in short["packages"]] == ["nova-api", "nova-common", "python-old", "libssl3"]
    assert short["left_out"] == 5002
    assert short["totals"] == whole["totals"]
    assert plan.shortened(whole, 6000) == whole
    assert len(json.dumps(plan.shortened(whole, 2500))) < 800_000
    with pytest.raises(errors.BadInput, match="5002 packages are left out"):
        plan.read(short)


# The identifier


def test_what_does_not_change_what_is_done_does_not_change_the_identifier() -> None:
    before = controller()
    changes = tuple(dataclasses.replace(one, download=0, security=None) for one in before.pending.changes)
    batches = tuple(
        tuple(dataclasses.replace(one, reasons=("x",)) for one in batch) for batch in before.workflow.batches
    )
    after = dataclasses.replace(
        before,
        pending=model.Pending(changes=changes),
        workflow=model.Workflow(batches=batches, reboot=("another word",)),
        classes={},
    )
    assert plan.plan_identifier(after) == plan.plan_identifier(before)
    assert approval.difference(plan.document(before), plan.document(after)) == []


def test_the_identifier_stays_the_same_in_every_version() -> None:
    # Heat keeps it in stacks: a change of the form makes every approval void.
    found = built((change("a", "1", "2"),), (unit("a.service", "a"),))
    assert plan.plan_identifier(found) == "sha256:fe0f3a78f317004b3945c3fd42098335f8ac301e7de205d60a829759ac466d23"


VERSIONS = st.sampled_from(["1", "2", "3"])
CHANGES = st.lists(
    st.builds(change, st.sampled_from("abc"), st.just("") | VERSIONS, VERSIONS)
    | st.builds(change, st.sampled_from("abc"), VERSIONS, st.just("")),
    max_size=4,
    unique_by=lambda one: one.name,
)
NAMES = ["mariadb.service", "keystone.service", "a.service", "b.service"]
AFFECTED = st.lists(
    st.builds(unit, st.sampled_from(NAMES), action=st.sampled_from(["restart", "reload", "report"])),
    max_size=4,
    unique_by=lambda one: one.name,
)
EDGES = st.sets(st.sampled_from([(NAMES[0], NAMES[2]), (NAMES[2], NAMES[3]), (NAMES[3], NAMES[1])]))
PARTS = st.tuples(CHANGES, AFFECTED, EDGES, st.sampled_from([(), ("kernel",), ("libc",)]))
Parts = tuple[list[model.Change], list[model.Affected], set[tuple[str, str]], tuple[str, ...]]


def planned(parts: Parts) -> model.Plan:
    changes, affected, edges, reboot = parts
    found = workflow.build(model.Affliction(affected=tuple(affected), reboot=reboot), edges=edges, rules=ORDER)
    return plan.build(model.Pending(changes=tuple(changes)), RULES, found)


@STEADY
@hypothesis.given(PARTS, st.randoms(use_true_random=False))
def test_the_identifier_does_not_depend_on_the_order_of_what_is_found(parts: Parts, shuffled: random.Random) -> None:
    changes, affected, edges, reboot = [*parts[0]], [*parts[1]], parts[2], parts[3]
    shuffled.shuffle(changes)
    shuffled.shuffle(affected)
    one, other = planned(parts), planned((changes, affected, edges, reboot))
    assert plan.document(one) == plan.document(other)
    assert plan.plan_identifier(one) == plan.plan_identifier(other)
    assert plan.plan_identifier(plan.read(plan.document(one))) == plan.plan_identifier(one)


@STEADY
@hypothesis.given(PARTS, PARTS)
def test_there_are_differences_exactly_where_identifiers_differ(one: Parts, other: Parts) -> None:
    for changed in (other, (one[0], *other[1:]), (*one[:2], other[2], one[3])):
        before, after = planned(one), planned(changed)
        same = plan.plan_identifier(before) == plan.plan_identifier(after)
        told = approval.difference(plan.document(before), plan.document(after))
        assert (told == []) is same
        assert (approval.refusal(plan.plan_identifier(before), after) == "") is same


# Differences


def test_differences_in_words() -> None:
    before = controller()
    changes = [
        change("nova-common", "2:26.2.2-1", "2:27.0.2-1", source="nova"),
        *(one for one in before.pending.changes if one.name not in ("nova-common", "openssl")),
        change("curl", "7.88-1", "7.89-1", repository="security"),
    ]
    affected = [
        unit("nova-api.service"),
        unit("mariadb.service"),
        unit("haproxy.service"),
        unit("pacemaker.service"),
        unit("sshd.service"),
        unit("sleep (pid 42)", kind="process"),
        unit("overcloud-agent.service"),
    ]
    found = workflow.build(
        model.Affliction(affected=tuple(affected)), edges={("nova-api.service", "mariadb.service")}, rules=ORDER
    )
    after = plan.build(model.Pending(changes=tuple(changes)), RULES, found)
    assert approval.difference(plan.document(before), plan.document(after)) == [
        "package curl (amd64) came: upgrade 7.88-1 -> 7.89-1 from security",
        "package nova-common (amd64) changed: upgrade 2:26.2.2-1 -> 2:27.0.1-1 from stable was approved,"
        " upgrade 2:26.2.2-1 -> 2:27.0.2-1 from stable is found",
        "package openssl (amd64) went: upgrade 3.0.11-1 -> 3.0.13-1 from stable",
        "container keystone went: restart",
        "unit haproxy.service changed: reload was approved, restart is found",
        "unit sshd.service came: restart",
        "the order changed: unit mariadb.service, then unit haproxy.service, then unit nova-api.service was approved,"
        " unit nova-api.service, then unit mariadb.service, then unit haproxy.service is found",
        "a reboot is no longer required",
    ]


def test_what_is_reported_instead_of_restarted_is_told() -> None:
    before, after = built(affected=(unit("a.service"),)), built(affected=(unit("a.service", action="report"),))
    told = approval.difference(plan.document(before), plan.document(after))
    assert told == ["unit a.service changed: restart was approved, report is found"]


def test_a_process_of_nobody_s_is_only_reported() -> None:
    found = built(affected=(unit("sleep (pid 42)", kind="process"),))
    assert found.workflow.batches == ()
    assert "left to you: process sleep (pid 42)" in table.text(plan.document(found))
    assert plan.read(plan.document(found)) == found


def test_a_refusal_says_what_differs() -> None:
    approved, found = built((change("a", "1", "2"),)), built((change("a", "1", "3"),))
    identifier = plan.plan_identifier(approved)
    assert approval.refusal(identifier, approved) == ""
    told = approval.refusal(identifier, found, plan.document(approved))
    assert told == (
        f"what would be done now is the plan {plan.plan_identifier(found)}, and the plan {identifier} was approved:"
        " package a (amd64) changed: upgrade 1 -> 2 from stable was approved, upgrade 1 -> 3 from stable is found"
    )


@pytest.mark.parametrize("stored", [None, {}, plan.document(built((change("b", "1", "2"),)))])
def test_a_plan_of_another_node_is_refused_as_such(stored: Any) -> None:
    told = approval.refusal("sha256:" + "0" * 64, built(), stored)
    assert "this node does not have that plan" in told
    assert "it was made on another node" in told


def test_of_thousands_of_differences_some_are_told() -> None:
    approved = built(tuple(change(f"p{number}", "1", "2") for number in range(5000)))
    told = approval.refusal(plan.plan_identifier(approved), built(), plan.document(approved))
    assert told.endswith("; and 4950 more differences")
    assert len(told) < 6000


# Room

NEEDS = "and the update needs"


@pytest.mark.parametrize(
    ("free", "expected"),
    [
        ({"/": 10**12}, []),
        ({}, []),
        ({"/": 470_800_000}, [f"/ has 470.8 MB free, {NEEDS} 71.8 MB to download and 399.0 MB to unpack there"]),
        ({"/": 400_000_000, "/var": 71_761_000}, []),
        ({"/": 1, "/usr": 10**9, "/var/cache": 0}, [f"/var/cache has 0 B free, {NEEDS} 71.8 MB to download there"]),
        ({"/": 10**9, "/va": 0, "/usr": 5}, [f"/usr has 5 B free, {NEEDS} 399.0 MB to unpack there"]),
    ],
)
def test_room(free: dict[str, int], expected: list[str]) -> None:
    assert space.room(controller(), free, download=plan.document(controller())["totals"]["download"]) == expected


def test_what_shrinks_needs_no_room() -> None:
    assert space.room(built((change("a", "1", "", growth=-5),)), {"/": 0}, download=0) == []


# The table


def golden(name: str, found: str) -> None:
    path = GOLDEN / f"{name}.txt"
    assert found == path.read_text(), f"what it is now:\n{found}"


def test_the_table_of_a_controller() -> None:
    golden("controller", table.text(plan.document(controller()), IDENTIFIERS))


def test_the_table_of_nothing() -> None:
    golden("nothing", table.text(plan.document(built())))


def test_five_thousand_packages_are_one_page() -> None:
    many = tuple(
        change(f"lib{source:04}-{part}", "1-1", "2-1", source=f"src{source:04}", download=1000)
        for source in range(1000)
        for part in ("a", "b", "c", "d", "e")
    )
    nova = tuple(change(f"nova-{part}", "2:26.2-1", "2:27.0-1", source="nova") for part in "abcdefgh")
    kept = tuple(model.Kept(name=f"k{n:02}", architecture="all", old="1", new="2", reason="held") for n in range(30))
    affected = tuple(unit(f"s{number:03}.service", f"lib{number:04}-a") for number in range(200))
    found = table.text(plan.document(built((*many, *nova), (*affected, unit("mariadb.service", "libc6")), kept)))
    golden("many", found)
    assert len(found.splitlines()) < 80


def test_names_of_packages_are_no_markup() -> None:
    assert "[red]x" in table.text(plan.document(built((change("[red]x", "1", "[/]2"),))))
