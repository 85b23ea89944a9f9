"""The group package-update on a node with systemd, real apt and a signed repository: the hook and the command line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest

import packagenode
import places


@pytest.fixture
def node() -> Iterator[packagenode.PackageNode]:
    made = packagenode.PackageNode(places.SCRATCH / "update")
    try:
        made.up()
        yield made
    finally:
        made.down()


def batches(answer: dict[str, Any]) -> list[list[str]]:
    return [[one["name"] for one in batch] for batch in answer["workflow"]["batches"]]


def test_a_plan_is_approved_and_exactly_that_is_done(node: packagenode.PackageNode) -> None:
    node.publish()
    before = node.main_pids()
    planned = node.hook("plan", mode="plan")
    assert planned["deploy_status_code"] == 0, planned["deploy_stderr"]
    assert planned["change"] == "upgrade"
    assert {one["name"] for one in planned["pending_updates"]} == {
        "libsample1",
        "alpha-daemon",
        "beta-daemon",
        "solo-daemon",
        "puppet-module-sample",
        "nova-sample",
        "linux-image-sample",
    }
    nova = next(one for one in planned["pending_updates"] if one["name"] == "nova-sample")
    assert [nova["from"], nova["to"], nova["class"]] == ["2:25.0.0-1", "2:26.0.0-1", "upgrade"]
    restarted = {name for batch in batches(planned) for name in batch}
    assert restarted == {f"{name}.service" for name in packagenode.SERVICES}
    assert planned["reboot_required"] is True
    assert node.main_pids() == before
    assert node.installed("solo-daemon") == "1.0-1"

    refused = node.hook("no-upgrade", plan_identifier=planned["plan_identifier"], allow="update")
    assert refused["deploy_status_code"] == 1
    assert "nova-sample" in refused["deploy_stderr"]
    done = node.hook("apply", plan_identifier=planned["plan_identifier"])
    assert done["deploy_status_code"] == 0, done["deploy_stderr"] + done["deploy_stdout"]
    assert done["pending_updates"] == []
    assert {one["name"] for one in done["updated"]} == {one["name"] for one in planned["pending_updates"]}
    assert set(done["restarted"]) == restarted
    assert done["packages_identifier"] != planned["packages_identifier"]
    assert done["content_identifiers"] != planned["content_identifiers"]
    after = node.main_pids()
    assert all(after[name] not in ("0", before[name]) for name in packagenode.SERVICES)
    assert [node.said(name)[-1].split()[-1] for name in packagenode.SERVICES] == [
        "2.0-1",
        "2.0-1",
        "2.0-1",
        "2:26.0.0-1",
    ]
    assert node.hook("again", mode="plan")["change"] == "none"


def test_what_changed_since_it_was_approved_is_refused_with_the_difference(node: packagenode.PackageNode) -> None:
    node.publish("solo-daemon")
    planned = node.hook("plan", mode="plan")
    node.publish("libsample1")
    refused = node.hook("apply", plan_identifier=planned["plan_identifier"])
    assert refused["deploy_status_code"] == 1
    assert "package libsample1" in refused["deploy_stderr"]
    assert "unit alpha-daemon.service came" in refused["deploy_stderr"]
    assert node.installed("solo-daemon") == "1.0-1"
    assert refused["plan_identifier"] != planned["plan_identifier"]
    other = node.hook("elsewhere", plan_identifier="sha256:" + "0" * 64)
    assert "it was made on another node" in other["deploy_stderr"]


def test_an_identifier_is_done_once(node: packagenode.PackageNode) -> None:
    node.publish("solo-daemon")
    identifier = "2026-11-24 17:05/a b"
    first = node.hook("first", update_identifier=identifier)
    assert first["deploy_status_code"] == 0, first["deploy_stderr"]
    assert [one["name"] for one in first["updated"]] == ["solo-daemon"]
    node.publish("nova-sample")
    second = node.hook("second", update_identifier=identifier)
    assert second["deploy_status_code"] == 0
    assert second["packages_identifier"] == first["packages_identifier"]
    assert node.installed("nova-sample") == "2:25.0.0-1"
    assert node.hook("third", update_identifier="another")["restarted"] == ["nova-sample.service"]
    nothing = node.hook("unset", update_identifier="")
    assert nothing["deploy_status_code"] == 0
    assert "nothing was changed" in nothing["deploy_stdout"]


def test_a_failed_update_is_not_done_and_its_hooks_after_it_ran(node: packagenode.PackageNode) -> None:
    """Defect 39: a failed update leaves the node out of its cluster, and its identifier is refused."""
    hooks = node.box.root / "etc/overcloud-agent/hooks.d"
    for phase, word in (("pre-update", "out"), ("post-update", "in")):
        script = hooks / f"{phase}.d/50-cluster"
        script.parent.mkdir(parents=True)
        script.write_text(f"#!/bin/sh\necho {word} >> /root/cluster\n")
        script.chmod(0o755)
    broken = node.box.root / "usr/sbin/policy"
    node.publish("solo-daemon")
    postinst = node.box.root / "var/lib/dpkg/info/solo-daemon.prerm"
    postinst.write_text("#!/bin/sh\nexit 1\n")
    postinst.chmod(0o755)
    failed = node.hook("failing", update_identifier="one")
    assert failed["deploy_status_code"] == 1
    assert (node.box.root / "root/cluster").read_text().split() == ["out", "in"]
    assert not broken.exists()
    postinst.write_text("#!/bin/sh\nexit 0\n")
    again = node.hook("mended", update_identifier="one")
    assert again["deploy_status_code"] == 0, again["deploy_stderr"]
    assert node.installed("solo-daemon") == "2.0-1"
    assert (node.box.root / "root/cluster").read_text().split() == ["out", "in"] * 2


def test_a_unit_that_does_not_come_back_stops_the_line(node: packagenode.PackageNode) -> None:
    node.publish()
    order = node.box.root / "etc/overcloud-agent/workflow.d/first.yaml"
    order.parent.mkdir(parents=True)
    order.write_text(
        "order:\n- names: [alpha-daemon.service]\n  before: ['beta-*.service', 'solo-*.service', 'nova-*.service']\n"
    )
    drop_in = node.box.root / "etc/systemd/system/alpha-daemon.service.d/broken.conf"
    drop_in.parent.mkdir(parents=True)
    drop_in.write_text("[Service]\nExecStart=\nExecStart=/bin/false\n")
    node.box.run(["systemctl", "daemon-reload"])
    before = node.main_pids()
    answer = node.hook("broken", update_identifier="one")
    assert answer["deploy_status_code"] == 1
    assert "alpha-daemon.service" in answer["failed"]
    assert set(answer["still_old"]) == {"beta-daemon.service", "solo-daemon.service", "nova-sample.service"}
    after = node.main_pids()
    assert {name: after[name] for name in after if name != "alpha-daemon"} == {
        name: before[name] for name in before if name != "alpha-daemon"
    }


def test_the_command_line_shows_one_page_and_json(node: packagenode.PackageNode) -> None:
    node.publish("libsample1", "nova-sample")
    page = node.agent("plan")
    for words in ("nova-sample", "upgrade", "2:25.0.0-1", "alpha-daemon.service", "beta-daemon.service", "sha256:"):
        assert words in page, page
    found = json.loads(node.agent("packages", "--json"))
    schema = json.loads((places.ROOT / "docs/package-plan.schema.json").read_text())
    jsonschema.validate({key: value for key, value in found.items() if key != "identifiers"}, schema)
    assert found["identifiers"]["plan"] == json.loads(node.agent("plan", "--json"))["identifiers"]["plan"]
    assert json.loads(node.agent("identifiers", "--json"))["packages_identifier"] == found["identifiers"]["packages"]
    (node.box.root / "root/web.yaml").write_text('web: {image: "127.0.0.1:1/none:1", net: host}\n')
    both = node.agent("plan", "/root/web.yaml", "--packages")
    assert all(words in both for words in ("1 to create", "nova-sample", "alpha-daemon.service", "sha256:")), both
    rows = {row["unit"]: row for row in json.loads(node.agent("processes", "--json"))}
    assert rows["alpha-daemon.service"]["packages"] == ["libsample1"]
    assert rows["alpha-daemon.service"]["pid"] == int(node.main_pid("alpha-daemon"))
    assert "solo-daemon.service" not in rows


def test_a_tree_that_cannot_be_identified_hides_nothing(node: packagenode.PackageNode) -> None:
    tree = node.box.root / "srv/tree"
    tree.write_text("no directory")
    node.publish("solo-daemon")
    refused = node.hook("one", update_identifier="one", content_trees=["/srv/tree"])
    assert refused["deploy_status_code"] == 1
    assert "/srv/tree" in refused["deploy_stderr"]
    assert node.installed("solo-daemon") == "1.0-1", "it was told before anything moved"
    # This one is spoilt by the update.
    tree.unlink()
    hook = node.box.root / "etc/overcloud-agent/hooks.d/post-update.d/50-spoil"
    hook.parent.mkdir(parents=True)
    hook.write_text("#!/bin/sh\necho > /srv/tree\n")
    hook.chmod(0o755)
    done = node.hook("two", update_identifier="one", content_trees=["/srv/tree"])
    assert done["deploy_status_code"] == 1
    assert "cannot be identified: cannot read /srv/tree" in done["deploy_stderr"]
    assert [one["name"] for one in done["updated"]] == ["solo-daemon"]
    assert done["restarted"] == ["solo-daemon.service"]
    tree.unlink()
    again = node.hook("three", update_identifier="one", content_trees=["/srv/tree"])
    assert again["deploy_status_code"] == 0, again["deploy_stderr"]
    assert (again["restarted"], list(again["content_identifiers"])) == (["solo-daemon.service"], ["/srv/tree"])


def test_bad_days_have_words(node: packagenode.PackageNode) -> None:
    node.publish("solo-daemon")
    hidden = node.repository.directory.with_name("away")
    node.repository.directory.rename(hidden)
    gone = node.hook("gone", update_identifier="one")
    assert gone["deploy_status_code"] == 1
    assert "srv/packages" in gone["deploy_stderr"]
    hidden.rename(node.repository.directory)
    node.repository.publish(signed=False)
    unsigned = node.hook("unsigned", update_identifier="one")
    assert unsigned["deploy_status_code"] == 1
    assert "signed" in unsigned["deploy_stderr"].lower()
    assert node.installed("solo-daemon") == "1.0-1"
    node.repository.publish()
    wrong = node.hook("wrong", mode="aply")
    assert wrong["deploy_status_code"] == 2
    assert "$.inputs[mode]" in wrong["deploy_stderr"]
    assert node.hook("well", update_identifier="one")["deploy_status_code"] == 0


def test_what_an_earlier_update_left_is_made_good(node: packagenode.PackageNode) -> None:
    """The library was updated by hand, and its daemons were not restarted."""
    node.publish("libsample1")
    node.box.run(["apt-get", "-qq", "update"])
    node.box.run(["apt-get", "-qq", "-y", "install", "libsample1"], env={"NEEDRESTART_SUSPEND": "1"})
    before = node.main_pids()
    answer = node.hook("later", update_identifier="one")
    assert answer["change"] == "none"
    assert set(answer["restarted"]) == {"alpha-daemon.service", "beta-daemon.service"}
    after = node.main_pids()
    assert {name for name in after if after[name] != before[name]} == {"alpha-daemon", "beta-daemon"}
    assert "there is nothing to do" in node.hook("again", update_identifier="two")["deploy_stdout"]
    assert node.main_pids() == after
