"""A real Heat drives updates of packages on a node: Puppet is applied again when its modules change, and only then."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import packagenode
import places
import stacks
from reference import install, sources
from undercloud import box as clouds

MODULES = "/usr/share/openstack-puppet/modules"
OUTPUTS = (
    "change",
    "plan_identifier",
    "packages_identifier",
    "content_identifiers",
    "restarted",
    "update_managed_packages",
)
# Puppet appends a line each time it is applied.
MANIFEST = """
include sample
exec { 'count': command => '/bin/sh -c "echo applied >> /root/applied"' }
"""


@pytest.fixture
def node() -> Iterator[packagenode.PackageNode]:
    made = packagenode.PackageNode(places.SCRATCH / "puppet", more=("puppet",))
    try:
        made.up()
        hook = install.install().agents / "heat-config-puppet/install.d/hook-puppet.py"
        path = made.box.root / "usr/libexec/heat-config/hooks/puppet"
        path.parent.mkdir(parents=True)
        shutil.copy(hook, path)
        path.chmod(0o755)
        yield made
    finally:
        made.down()


def resources(server: str, identifier: str) -> dict[str, Any]:
    """An update of packages, and Puppet, which is given the identifier of its modules."""
    outputs = [{"name": name} for name in OUTPUTS]
    update = stacks.deployment(server, "package-update", "", inputs={"update_identifier": identifier}, outputs=outputs)
    modules = {"get_attr": ["update", "content_identifiers", MODULES]}
    puppet = stacks.deployment(
        server,
        "puppet",
        MANIFEST,
        inputs={"modules_identifier": modules},
        options={"modulepath": MODULES},
    )
    return stacks.together(update=update, puppet=puppet)


def applied(node: packagenode.PackageNode) -> int:
    path = node.box.root / "root/applied"
    return len(path.read_text().splitlines()) if path.exists() else 0


def test_puppet_follows_its_modules(undercloud: clouds.Undercloud, node: packagenode.PackageNode) -> None:
    heat = stacks.Stacks(undercloud)
    server, cfn = heat.server("package-node")
    node.start_agent(sources.text({"collectors": ["cfn"], "polling_interval": 2, "cfn": cfn}))

    def update(identifier: str) -> dict[str, Any]:
        heat.update("packages", resources(server, identifier))
        found = heat.await_stack("packages", within=300)
        assert found.stack_status == "UPDATE_COMPLETE", found.stack_status_reason
        return heat.answer("packages", "update")

    heat.create("packages", resources(server, "1"))
    found = heat.await_stack("packages", within=300)
    assert found.stack_status == "CREATE_COMPLETE", heat.answer("packages", "puppet")
    assert applied(node) == 1

    # An update that has nothing to do with Puppet.
    node.publish("solo-daemon")
    answer = update("2")
    assert answer["restarted"] == ["solo-daemon.service"]
    assert node.installed("solo-daemon") == "2.0-1"
    assert applied(node) == 1

    # The modules come as a package.
    node.publish("puppet-module-sample")
    assert update("3")["change"] == "update"
    assert node.installed("puppet-module-sample") == "2.0-1"
    assert applied(node) == 2

    # The modules come by rsync.
    manifest = node.box.root / MODULES.lstrip("/") / "sample/manifests/init.pp"
    manifest.write_text(manifest.read_text() + "# synced\n")
    assert update("4")["change"] == "none"
    assert applied(node) == 3

    # Nothing changed at all.
    update("5")
    assert applied(node) == 3

    # The agent dies in the middle of a transaction, which goes on, and its successor answers for it.
    node.install_slow()
    heat.update("packages", resources(server, "6"))
    await_that(lambda: node.slow_began() == 1, "the transaction began")
    node.box.run(["systemctl", "kill", "--signal=KILL", "--kill-whom=main", packagenode.AGENT])
    found = heat.await_stack("packages", within=300)
    assert found.stack_status == "UPDATE_COMPLETE", found.stack_status_reason
    assert [node.installed("slow-sample"), node.slow_began(), applied(node)] == ["2", 1, 3]
    heat.close()


def await_that(there: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 120
    while not there():
        assert time.monotonic() < deadline, f"{what}: not in time"
        time.sleep(0.2)
