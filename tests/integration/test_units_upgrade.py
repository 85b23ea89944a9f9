"""Upgrades where systemd runs the containers: the hook's executable on a node with systemd and a real Podman."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

import places
from nodebox import box as nodeboxes
from podmanbox import box

UNIT = "tripleo_web.service"
DROP_IN = "etc/systemd/system"


@pytest.fixture(scope="module")
def node(podman: box.PodmanBox) -> Iterator[nodeboxes.NodeBox]:
    made = nodeboxes.NodeBox(places.SCRATCH / "units-node", registry=podman.registry)
    with made:
        yield made


class Upgrades:
    """Runs deployments on the node, one after the other."""

    def __init__(self, node: nodeboxes.NodeBox, podman: box.PodmanBox) -> None:
        self._node = node
        self._podman = podman
        self._count = 0

    def run(self, tag: str, status: int = 0, **keys: Any) -> dict[str, Any]:
        """Bring `web` to an image of a tag; the answer."""
        self._count += 1
        gate = {"stable_for": 1, "healthy_within": 3}
        web = {
            "image": f"{self._podman.registry}/service:{tag}",
            "net": "host",
            "restart": "always",
            "upgrade": {"gate": gate},
            **keys,
        }
        document = {"id": f"d{self._count}", "group": "container-upgrade", "config": {"web": web}}
        asked = self._node.root / "root" / "deployment.json"
        asked.write_text(json.dumps(document))
        hook = f"{places.BIN}/container-upgrade < /root/deployment.json"
        done = self._node.run(["/bin/sh", "-c", f"CONTAINER_HOST=unix:///run/podman/podman.sock {hook}"])
        answer = dict(json.loads(done.stdout))
        assert answer["deploy_status_code"] == status, answer
        return answer

    def shown(self, prop: str) -> str:
        return self._node.run(["systemctl", "show", f"--property={prop}", "--value", UNIT]).stdout.strip()

    def inspected(self, field: str) -> str:
        return self._node.podman("inspect", "web", "--format", f"{{{{{field}}}}}").strip()

    def names(self) -> list[str]:
        return sorted(self._node.podman("ps", "--all", "--format", "{{.Names}}").split())


def test_an_upgrade_goes_through_the_unit_and_so_does_the_way_back(
    node: nodeboxes.NodeBox, podman: box.PodmanBox
) -> None:
    upgrades = Upgrades(node, podman)
    assert upgrades.run("1")["containers"][0]["result"] == "created"
    assert upgrades.shown("ActiveState") == "active"
    assert upgrades.shown("UnitFileState") == "enabled"
    assert upgrades.inspected(".HostConfig.RestartPolicy.Name") == "no", "systemd does it"
    assert upgrades.run("2", stop_grace_period=7)["containers"][0]["result"] == "upgraded"
    second, unit = upgrades.inspected(".Id"), (node.root / DROP_IN / UNIT).read_text()
    assert "stop --ignore -t 7" in unit
    assert upgrades.shown("ActiveState") == "active"
    assert upgrades.shown("MainPID") == upgrades.inspected(".State.ConmonPid")
    answer = upgrades.run("broken", status=3, stop_grace_period=9)
    assert "the old container is back and running" in answer["deploy_stderr"]
    assert upgrades.inspected(".Id") == second
    assert upgrades.shown("ActiveState") == "active"
    assert (node.root / DROP_IN / UNIT).read_text() == unit, "the unit is the old container's again"
    assert upgrades.names() == ["web"]
    started = upgrades.inspected(".State.StartedAt")
    assert upgrades.run("2", stop_grace_period=7)["changed"] is False
    assert upgrades.inspected(".State.StartedAt") == started
    node.reboot()
    node.run(["systemctl", "is-active", "--wait", UNIT], check=False)
    assert upgrades.inspected(".State.Running") == "true", "it is there again after a reboot"
    assert upgrades.inspected(".Id") == second


def test_a_container_that_is_no_service_any_more_loses_its_unit(node: nodeboxes.NodeBox, podman: box.PodmanBox) -> None:
    upgrades = Upgrades(node, podman)
    upgrades.run("1", hostname="a")
    assert (node.root / DROP_IN / UNIT).exists()
    assert upgrades.run("1", hostname="b", restart="no")["containers"][0]["result"] == "upgraded"
    assert not (node.root / DROP_IN / UNIT).exists()
    assert upgrades.inspected(".State.Running") == "true"
    assert upgrades.names() == ["web"]
