"""What is an update and what an upgrade, by the rules that are shipped."""

from __future__ import annotations

import time
from typing import Any

import pytest

from overcloud_agent import errors
from overcloud_agent.packages import classes, model, plan, rule_files


@pytest.fixture(scope="module")
def rules() -> classes.Rules:
    return rule_files.services()


def change(name: str, old: str, new: str, source: str = "", kind: model.Kind | None = None) -> model.Change:
    found: model.Kind = kind or ("install" if not old else "remove" if not new else "upgrade")
    return model.Change(name=name, architecture="amd64", kind=found, old=old, new=new, source=source)


def classified(rules: classes.Rules, *changes: model.Change) -> dict[str, tuple[model.Class, str]]:
    return classes.classify(model.Pending(changes=changes), rules)


# Versions as Debian, Ubuntu, RDO and the projects' own repositories write them.
CASES: list[tuple[str, str, str, str, str]] = [
    ("nova-common", "2:26.2.2-1~deb12u5", "2:26.2.2-1~deb12u6", "nova", "update"),
    ("nova-common", "2:26.2.2-1~deb12u5", "2:27.0.0~rc1-1", "nova", "upgrade"),
    ("python3-nova", "1:25.0.0-1.el9", "1:26.0.0-1.el9", "openstack-nova", "upgrade"),
    ("python3-nova", "1:25.0.0-1.el9", "2:25.0.0-1.el9", "openstack-nova", "upgrade"),
    ("openstack-nova-compute", "1:25.0.0-1.el9", "1:25.3.0-1.el9", "", "update"),
    ("nova-doc", "2:26.2.2-1", "2:27.0.0-1", "nova", "update"),
    ("python3-novaclient", "2:18.1.0-2", "2:19.0.0-1", "python-novaclient", "update"),
    ("python3-neutron-lib", "3.1.0-1", "4.0.0-1", "python-neutron-lib", "update"),
    ("python3-neutron-vpnaas", "2:21.0.0-1", "2:22.0.0-1", "neutron-vpnaas", "upgrade"),
    ("keystone", "2:22.0.0-2", "2:23.0.0-1", "keystone", "upgrade"),
    ("swift-proxy", "2.30.0-2", "2.30.1-1", "swift", "update"),
    ("swift-proxy", "2.30.0-2", "2.31.0-1", "swift", "upgrade"),
    ("openstack-dashboard", "3:23.0.0-5", "3:24.0.0-1", "horizon", "update"),
    ("mariadb-server", "1:10.11.18-0+deb12u1", "1:10.11.19-0+deb12u1", "mariadb", "update"),
    ("mariadb-server-core", "1:10.11.18-0+deb12u1", "1:11.4.2-1", "mariadb", "upgrade"),
    ("libmariadb3", "1:10.11.18-0+deb12u1", "1:11.4.2-1", "mariadb", "update"),
    ("postgresql", "15+248", "17+270", "postgresql-common", "upgrade"),
    ("postgresql-15", "15.6-0+deb12u1", "15.7-0+deb12u1", "postgresql-15", "update"),
    ("postgresql-15-cron", "1.4.2-1", "2.0-1", "pg-cron", "update"),
    ("rabbitmq-server", "3.10.8-1.1+deb12u1", "3.10.9-1", "", "update"),
    ("rabbitmq-server", "3.10.8-1.1+deb12u1", "3.12.1-1", "rabbitmq-server", "upgrade"),
    ("openvswitch-switch", "3.1.0-2", "3.2.0-1", "openvswitch", "upgrade"),
    ("ovn-host", "23.03.1-1", "23.09.0-1", "ovn", "upgrade"),
    ("ceph-osd", "16.2.15+ds-0", "17.2.0-1", "ceph", "upgrade"),
    ("ceph-common", "16.2.15+ds-0", "17.2.0-1", "ceph", "update"),
    ("libvirt0", "9.0.0-4", "10.0.0-1", "libvirt", "upgrade"),
    ("qemu-system-x86", "1:7.2+dfsg-7", "1:8.0.0-1", "qemu", "upgrade"),
    ("haproxy", "2.6.12-1", "3.0.0-1", "haproxy", "update"),
    ("pacemaker", "2.1.5-1", "3.0.0-1", "pacemaker", "upgrade"),
    ("libtrove-java", "3.0.3-1", "4.0.0-1", "trove", "update"),
    ("libc6", "2.36-9", "3.0-1", "glibc", "update"),
    ("keystone", "main-1", "next-1", "keystone", "upgrade"),
]


@pytest.mark.parametrize(("name", "old", "new", "source", "expected"), CASES)
def test_class(rules: classes.Rules, name: str, old: str, new: str, source: str, expected: str) -> None:
    assert classified(rules, change(name, old, new, source))[name][0] == expected


def test_why(rules: classes.Rules) -> None:
    found = classified(
        rules,
        change("nova-common", "2:26.2-1", "2:27.0-1", "nova"),
        change("neutron-common", "2:21.1-1", "2:21.0-1", "neutron", "downgrade"),
        change("glance-common", "2:25.1-1", "", "glance"),
        change("cinder-common", "", "2:25.1-1", "cinder"),
        change("heat-common", "1:19.0-1", "1:19.1-1", "heat"),
        change("haproxy", "2.6-1", "2.8-1"),
        change("bash", "5.1-1", "5.2-1"),
    )
    assert found == {
        "nova-common": ("upgrade", "nova moves from 2:26 to 2:27, which may change its schema and its RPC interface"),
        "neutron-common": ("upgrade", "neutron goes back, which may not fit its schema and its RPC interface"),
        "glance-common": ("upgrade", "glance is removed, which may end its schema"),
        "cinder-common": ("update", "cinder is new here"),
        "heat-common": ("update", "heat stays at 1:19"),
        "haproxy": ("update", "haproxy carries no schema, RPC interface or data"),
        "bash": ("update", "no service's"),
    }


def test_a_downgrade_of_what_carries_nothing_is_an_update(rules: classes.Rules) -> None:
    found = classified(rules, change("haproxy", "2.8-1", "2.6-1", kind="downgrade"), change("memcached", "1.6", ""))
    assert {kind for kind, _ in found.values()} == {"update"}


def test_of_several_changes_of_a_name_the_most_counts(rules: classes.Rules) -> None:
    one = change("ceph-osd", "16.2-1", "16.3-1")
    other = model.Change(name="ceph-osd", architecture="i386", kind="upgrade", old="16.2-1", new="17.0-1")
    assert classified(rules, one, other)["ceph-osd"][0] == "upgrade"


@pytest.mark.parametrize(
    ("version", "numbers", "expected", "written"),
    [
        ("2:27.1.0~rc1-0ubuntu1", 1, ("2", "27"), "2:27"),
        ("10.11.19-0+deb12u1", 2, ("0", "10", "11"), "10.11"),
        ("23.03.1-1~deb12u2", 2, ("0", "23", "03"), "23.03"),
        ("1.0", 3, ("0", "1", "0"), "1.0"),
        ("0:5-1", 1, ("0", "5"), "5"),
        ("main", 1, ("0", "main"), "main"),
        ("", 1, ("0", ""), ""),
    ],
)
def test_major(version: str, numbers: int, expected: tuple[str, ...], written: str) -> None:
    assert classes.major(version, numbers) == expected
    assert classes.shown(expected) == written


def test_a_refusal_names_the_packages_and_why(rules: classes.Rules) -> None:
    changes = [change(f"nova-{name}", "2:26.2-1", "2:27.0-1", "nova") for name in "abcdefg"]
    changes += [change("rabbitmq-server", "3.10.8-1", ""), change("bash", "1", "2")]
    found = plan.build(model.Pending(changes=tuple(changes)), rules, model.Workflow())
    assert found.change == "upgrade"
    assert classes.refuse(found, "upgrade") == ""
    assert classes.refuse(found, "update") == (
        "this is an upgrade, and the deployment allows updates only: nova moves from 2:26 to 2:27, which may change"
        " its schema and its RPC interface: nova-a 2:26.2-1 -> 2:27.0-1, nova-b 2:26.2-1 -> 2:27.0-1, nova-c 2:26.2-1"
        " -> 2:27.0-1, nova-d 2:26.2-1 -> 2:27.0-1, nova-e 2:26.2-1 -> 2:27.0-1 and 2 more; rabbitmq is removed, which"
        " may end its data and its RPC interface: rabbitmq-server 3.10.8-1 -> removed (give the input allow: upgrade,"
        " or exclude these packages)"
    )


def test_an_update_is_not_refused(rules: classes.Rules) -> None:
    found = plan.build(model.Pending(changes=(change("bash", "1", "2"),)), rules, model.Workflow())
    assert classes.refuse(found, "update") == ""
    assert classes.refuse(plan.build(model.Pending(), rules, model.Workflow()), "update") == ""


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({}, "services.yaml: $: Expected `array`, got `object`"),
        ([{"services": ["a"], "major": 1}], "services.yaml: $[0]: Object missing required field `carries`"),
        ([{"services": ["a"], "major": 1, "carries": ["x"]}], "services.yaml: $[0].carries[0]: Invalid enum value 'x'"),
    ],
)
def test_rules_that_make_no_sense(document: Any, message: str) -> None:
    with pytest.raises(errors.SettingsError) as caught:
        classes.read(document)
    assert str(caught.value) == message


def test_every_shipped_service_has_names(rules: classes.Rules) -> None:
    assert len({one.name for one in rules.services}) > 50
    assert rules.service("", "") is None


def test_five_thousand_packages_take_no_time(rules: classes.Rules) -> None:
    changes = tuple(change(f"lib{number}-perl", "1", "2", f"lib{number}") for number in range(5000))
    begun = time.perf_counter()
    classes.classify(model.Pending(changes=changes), rules)
    assert time.perf_counter() - begun < 2
