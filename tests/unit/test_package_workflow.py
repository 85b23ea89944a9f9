"""Batches: what orders them, and in which precedence; and drop-ins, right and wrong."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable
from pathlib import Path

import hypothesis
import pytest
from hypothesis import strategies as st

from overcloud_agent import errors
from overcloud_agent.packages import model, rule_files, tiers, workflow

STEADY = hypothesis.settings(derandomize=True, deadline=None, max_examples=200, database=None)
AGENT = "overcloud-agent.service"


@pytest.fixture(scope="module")
def shipped() -> tiers.Rules:
    return rule_files.workflow(Path("/nonexistent"))


def one(name: str, action: str = "restart") -> model.Affected:
    container = name.removeprefix("container:")
    kind = "unit" if container == name else "container"
    return model.Affected(kind=kind, name=container, action=action)  # type: ignore[arg-type] # literals, by the tests


def names(found: model.Workflow) -> list[list[str]]:
    return [[tiers.label(each) for each in batch] for batch in found.batches]


def ordered(
    rules: tiers.Rules, affected: Iterable[str], edges: Iterable[tuple[str, str]] = (), **more: str
) -> list[list[str]]:
    affliction = model.Affliction(affected=tuple(one(name) for name in affected))
    return names(workflow.build(affliction, edges=set(edges), rules=rules, **more))  # type: ignore[arg-type] # as above


def dropped(tmp_path: Path, *texts: str) -> tiers.Rules:
    for index, text in enumerate(texts):
        (tmp_path / f"{index}.yaml").write_text(text)
    return rule_files.workflow(tmp_path)


# The shipped tiers


def test_a_controller_s_services_restart_in_the_order_of_the_tiers(shipped: tiers.Rules) -> None:
    units = [
        "apache2.service",
        "chrony.service",
        "cinder-api.service",
        "cinder-volume.service",
        "glance-api.service",
        "grafana-server.service",
        "haproxy.service",
        "heat-engine.service",
        "keystone.service",
        "libvirtd.service",
        "mariadb.service",
        "memcached.service",
        "my-own.service",
        "neutron-l3-agent.service",
        "neutron-server.service",
        "nova-api.service",
        "nova-compute.service",
        "nova-conductor.service",
        "openvswitch-switch.service",
        "ovn-controller.service",
        "placement-api.service",
        "rabbitmq-server.service",
        "swift-object.service",
    ]
    assert ordered(shipped, units) == [
        ["chrony.service"],
        ["openvswitch-switch.service"],
        ["mariadb.service"],
        ["rabbitmq-server.service"],
        ["memcached.service"],
        ["haproxy.service"],
        ["apache2.service", "keystone.service"],
        ["glance-api.service"],
        ["placement-api.service"],
        ["neutron-server.service"],
        ["neutron-l3-agent.service", "ovn-controller.service"],
        ["nova-api.service", "nova-conductor.service"],
        ["libvirtd.service"],
        ["nova-compute.service"],
        ["cinder-api.service"],
        ["cinder-volume.service", "swift-object.service"],
        ["heat-engine.service"],
        ["my-own.service"],
        ["grafana-server.service"],
    ]


@pytest.mark.parametrize(
    ("name", "tier"),
    [
        ("openstack-nova-compute.service", "compute-nodes"),
        ("openstack-nova-novncproxy.service", "compute-control"),
        ("container:nova_api", "compute-control"),
        ("container:nova_vnc_proxy", "compute-control"),
        ("container:nova_virtlogd", "virtualization"),
        ("tripleo_nova_compute.service", "compute-nodes"),
        ("tripleo_horizon.service", "dashboards"),
        ("virtqemud.service", "virtualization"),
        ("mariadb@bootstrap.service", "database"),
        ("ceph-osd@3.service", "ceph-storage"),
        ("ceph-9f0a@mon.host.service", "ceph-monitors"),
        ("container:ceph-9f0a-osd-3", "ceph-storage"),
        ("container:ovn_controller", "network-agents"),
        ("container:ovn_cluster_north_db_server", "database"),
        ("neutron-rpc-server.service", "network"),
        ("container:swift_proxy", "storage-control"),
        ("anything.service", "other"),
    ],
)
def test_tiers(shipped: tiers.Rules, name: str, tier: str) -> None:
    assert shipped.tiers[tiers.tier(one(name), shipped)] == tier


def test_every_tier_of_the_file_is_of_use(shipped: tiers.Rules) -> None:
    assert {name for _, name in shipped.placed} == set(shipped.tiers)
    assert shipped.tiers[-1] == "dashboards"


def test_a_cluster_manager_is_left_to_the_operator(shipped: tiers.Rules) -> None:
    affected = tuple(one(name) for name in ("pacemaker.service", "container:galera-bundle-podman-0", "a.service"))
    found = workflow.build(model.Affliction(affected=affected), rules=shipped)
    assert names(found) == [["a.service"]]
    assert [tiers.label(each) for each in found.report] == ["container:galera-bundle-podman-0", "pacemaker.service"]


# systemd


def test_systemd_orders_within_a_tier(shipped: tiers.Rules) -> None:
    assert ordered(shipped, ["b.service", "a.service", "c.service"], [("b.service", "a.service")]) == [
        ["b.service", "c.service"],
        ["a.service"],
    ]


def test_systemd_comes_before_the_tiers_and_the_rest_keeps_its_order(shipped: tiers.Rules) -> None:
    units = ["mariadb.service", "my-disk.service", "keystone.service", "other.service"]
    assert ordered(shipped, units, [("my-disk.service", "mariadb.service")]) == [
        ["my-disk.service"],
        ["mariadb.service"],
        ["keystone.service"],
        ["other.service"],
    ]


def test_order_goes_by_way_of_what_is_not_affected(shipped: tiers.Rules) -> None:
    edges = [("a.service", "network.target"), ("network.target", "online.target"), ("online.target", "mariadb.service")]
    assert ordered(shipped, ["a.service", "mariadb.service"], edges) == [["a.service"], ["mariadb.service"]]


def test_containers_are_ordered_by_their_units(shipped: tiers.Rules) -> None:
    found = ordered(shipped, ["container:b", "container:a", "x.service"], [("tripleo_b.service", "tripleo_a.service")])
    assert found == [["container:b", "x.service"], ["container:a"]]


def test_the_agent_is_last_and_alone(shipped: tiers.Rules) -> None:
    assert ordered(shipped, [AGENT, "horizon.service"], [(AGENT, "horizon.service")]) == [["horizon.service"], [AGENT]]


# Drop-ins


def test_a_drop_in_orders_moves_and_changes(tmp_path: Path) -> None:
    rules = dropped(
        tmp_path,
        """
order:
  - names: [a.service]
    after: ["*z.service"]
tiers:
  database: [my-db.service]
actions:
  reload: [haproxy.service]
  report: ["container:fragile"]
""",
        "tiers: {dashboards: [my-db.service]}\nactions: {restart: [pacemaker.service]}\n",
        "",
    )
    affected = ["a.service", "z.service", "my-db.service", "haproxy.service", "container:fragile", "pacemaker.service"]
    found = workflow.build(model.Affliction(affected=tuple(one(name) for name in affected)), rules=rules)
    assert names(found) == [["haproxy.service"], ["pacemaker.service", "z.service"], ["a.service"], ["my-db.service"]]
    assert found.batches[0][0].action == "reload"
    assert [each.name for each in found.report] == ["fragile"]


def test_what_must_not_be_together_is_apart(tmp_path: Path) -> None:
    rules = dropped(tmp_path, "apart:\n  - [a.service, 'b*.service', 'container:c']\n")
    assert ordered(rules, ["a.service", "b1.service", "b2.service", "container:c", "d.service"]) == [
        ["a.service", "d.service"],
        ["b1.service"],
        ["b2.service"],
        ["container:c"],
    ]


def test_a_drop_in_that_contradicts_systemd_is_a_cycle(tmp_path: Path) -> None:
    rules = dropped(tmp_path, "order:\n  - names: [a.service]\n    before: [c.service]\n")
    edges = [("b.service", "a.service"), ("c.service", "some.target"), ("some.target", "b.service")]
    with pytest.raises(errors.PackageError) as caught:
        ordered(rules, ["b.service", "c.service", "a.service", "d.service"], edges)
    assert caught.value.message == (
        "restarts are ordered in a circle: a.service -> c.service -> b.service -> a.service"
        f" (a.service before c.service: {tmp_path}/0.yaml: $.order[0].before;"
        " c.service before b.service: systemd, by way of some.target; b.service before a.service: systemd)"
    )
    # Where nothing of it is affected, nothing has to be ordered.
    assert ordered(rules, ["b.service", "d.service"], edges) == [["b.service", "d.service"]]


BAD: list[tuple[str, str]] = [
    ("- a", "$: Expected `object`, got `array`"),
    ("ordr: []", "$: Object contains unknown field `ordr` (nearest: order)"),
    ("order: [{nmaes: [a.service]}]", "$.order[0]: Object contains unknown field `nmaes` (nearest: names)"),
    ("order: [{after: [b.service]}]", "$.order[0]: Object missing required field `names`"),
    ("order: [{names: [a.service], befor: [b.service]}]", "$.order[0]: Object contains unknown field `befor`"),
    ("order: [{names: [a.service]}]", "$.order[0]: this orders nothing"),
    ("order: [{names: [], after: [a.service]}]", "$.order[0]: this orders nothing"),
    ("order: [{names: [a.service], after: b.service}]", "$.order[0].after: Expected `array`, got `str`"),
    ("order: [{names: [a], after: [b.service]}]", "$.order[0].names[0]: 'a' is no name (a unit has its suffix"),
    ("order: [{names: [a.service], after: ['container:/x']}]", "$.order[0].after[0]: 'container:/x' is no name"),
    ("order: [{names: [a.service], after: [a.service]}]", "$.order[0].after: a.service cannot restart after itself"),
    ("order: [{names: [overcloud-agent.service], before: [a.service]}]", "overcloud-agent.service restarts last"),
    ("order: [{names: [a.service], after: [overcloud-agent.service]}]", "overcloud-agent.service restarts last"),
    ("tiers: {databse: [a.service]}", "$.tiers: there is no tier 'databse' (the tiers are host, switching, database"),
    ("actions: {restrat: [a.service]}", "Invalid enum value 'restrat'"),
    ("actions: {reload: [3]}", "$.actions[...][0]: Expected `str`, got `int`"),
    ("apart: [[]]", "$.apart[0]: the list is empty"),
    ("apart: [a.service]", "$.apart[0]: Expected `array`, got `str`"),
    ("order: [", "this is no YAML at line "),
    ("apart: []\napart: []", "apart is there twice"),
    ("{a: 1}: 2", "unhashable key"),
]


@pytest.mark.parametrize(("text", "message"), BAD)
def test_a_drop_in_with_a_mistake(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(errors.SettingsError) as caught:
        dropped(tmp_path, text)
    assert str(tmp_path / "0.yaml") in str(caught.value)
    assert message in str(caught.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(b"\xff")
    with pytest.raises(errors.SettingsError, match=r"a\.yaml: the file is not UTF-8"):
        rule_files.workflow(tmp_path)
    (tmp_path / "a.yaml").unlink()
    (tmp_path / "b.yaml").mkdir()
    with pytest.raises(errors.SettingsError, match=r"b\.yaml: Is a directory"):
        rule_files.workflow(tmp_path)
    with pytest.raises(errors.SettingsError, match="Not a directory"):
        rule_files.workflow(Path("/etc/passwd"))


def test_other_files_are_no_drop_ins(tmp_path: Path, shipped: tiers.Rules) -> None:
    (tmp_path / "README").write_text("- nothing")
    assert rule_files.workflow(tmp_path) == shipped


# What restarts at all


def test_restart_report_and_none(shipped: tiers.Rules) -> None:
    affliction = model.Affliction(affected=(one("b.service"), one("a.service", "reload")), reboot=("kernel", "dbus"))
    auto = workflow.build(affliction, rules=shipped)
    assert [[each.action for each in batch] for batch in auto.batches] == [["reload", "restart"]]
    report = workflow.build(affliction, rules=shipped, restart="report")
    assert report.batches == ()
    assert [(each.name, each.action) for each in report.report] == [("a.service", "report"), ("b.service", "report")]
    none = workflow.build(affliction, rules=shipped, restart="none")
    assert (none.batches, none.report, none.reboot) == ((), (), ("dbus", "kernel"))


def test_what_is_found_twice_is_one(shipped: tiers.Rules) -> None:
    before = model.Affected(kind="unit", name="a.service", packages=("b",), reasons=("maps x",))
    after = model.Affected(kind="unit", name="a.service", action="report", packages=("a",), reasons=("maps x",))
    for affected in ((before, after), (after, before)):
        found = workflow.build(model.Affliction(affected=affected), rules=shipped)
        assert found.report == (
            model.Affected(kind="unit", name="a.service", action="report", packages=("a", "b"), reasons=("maps x",)),
        )


# Any units, any order

SHIPPED = tiers.read_shipped(rule_files._shipped("tiers.yaml"), file="tiers.yaml")

UNITS = [
    "mariadb.service", "rabbitmq-server.service", "keystone.service", "nova-api.service", "nova-compute.service",
    "horizon.service", "a.service", "b.service", "container:keystone", "container:nova_api", "x.target", AGENT,
]  # fmt: skip
CASE = st.tuples(
    st.sets(st.sampled_from(UNITS), min_size=1),
    # An order of all, of which some is known: there is no cycle.
    st.permutations([name.removeprefix("container:") for name in UNITS]),
    st.sets(st.tuples(st.integers(0, 11), st.integers(0, 11)), max_size=14),
    st.lists(st.sets(st.sampled_from(UNITS), min_size=1, max_size=4), max_size=2),
    st.randoms(use_true_random=False),
)


def unit(name: str) -> str:
    return name if "." in name else f"tripleo_{name}.service"


@STEADY
@hypothesis.given(CASE)
def test_every_order_is_respected(
    case: tuple[set[str], list[str], set[tuple[int, int]], list[set[str]], random.Random],
) -> None:
    affected, permutation, pairs, groups, shuffled = case
    apart = [("test.yaml", tiers.DropIn(apart=[sorted(group) for group in groups]))]
    rules = tiers.merge(SHIPPED, apart)
    edges = {(unit(permutation[min(pair)]), unit(permutation[max(pair)])) for pair in pairs if pair[0] != pair[1]}
    batches = ordered(rules, affected, edges)
    place = {name: number for number, batch in enumerate(batches) for name in batch}
    # All of them, each once; the agent at last and alone.
    assert sorted(name for batch in batches for name in batch) == sorted(affected)
    if AGENT in affected:
        assert batches[-1] == [AGENT]
    # systemd's order, by whatever way.
    before = reachable(edges)
    for first in place:
        for then in place:
            if unit_name(then) in before.get(unit_name(first), set()) and AGENT not in (first, then):
                assert place[first] < place[then]
    for group in rules.apart:
        together = [[name for name in batch if tiers.fits(group, one(name))] for batch in batches]
        assert all(len(batch) <= 1 for batch in together)
    # The tiers' order, unless something of an earlier tier waits for it.
    tier = {name: tiers.tier(one(name), rules) for name in place}
    for first in place:
        for then in place:
            waited = {tier[name] for name in place if unit_name(name) in before.get(unit_name(then), set())}
            if (
                AGENT not in (first, then)
                and tier[first] < tier[then]
                and not any(early <= tier[first] for early in waited)
            ):
                assert place[first] < place[then], (first, then, batches)
    # The same, however it is asked.
    mixed = sorted(affected)
    shuffled.shuffle(mixed)
    assert ordered(rules, mixed, edges) == batches


def unit_name(name: str) -> str:
    return unit(name.removeprefix("container:"))


def reachable(edges: set[tuple[str, str]]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for first, then in edges:
        found.setdefault(first, set()).add(then)
    for _ in found:
        for first, after in found.items():
            found[first] = after | {far for near in after for far in found.get(near, ())}
    return found


@STEADY
@hypothesis.given(st.sets(st.tuples(st.sampled_from("abcdef"), st.sampled_from("abcdef")), max_size=12))
def test_a_cycle_is_named_whole_or_there_is_none(pairs: set[tuple[str, str]]) -> None:
    rules = tiers.Rules(tiers=("only",), default="only")
    edges = {(f"{first}.service", f"{then}.service") for first, then in pairs}
    affected = [f"{name}.service" for name in "abcdef"]
    try:
        ordered(rules, affected, edges)
    except errors.PackageError as error:
        told = error.message.removeprefix("restarts are ordered in a circle: ").partition(" (")[0].split(" -> ")
        assert told[0] == told[-1]
        assert all(pair in edges for pair in itertools.pairwise(told))
    else:
        after = reachable(edges)
        assert not any(name in after.get(name, ()) for name in affected)
