"""Containers that share the namespaces of another one, which is replaced: they must not be left without."""

from __future__ import annotations

from typing import Any

import pytest

import heatlike
import nodes
import upgrades
from podmanbox import box

# It serves on the network of `a`.
SIDECAR = "trap 'exit 0' TERM; while :; do sleep 0.2; done"


def main(podman: box.PodmanBox, tag: str, **keys: Any) -> dict[str, Any]:
    return {**upgrades.service(podman, tag), "net": "bridge", **keys}


def sidecar(podman: box.PodmanBox, **keys: Any) -> dict[str, Any]:
    return {
        "image": f"{podman.registry}/service:1",
        "net": "container:a",
        "command": ["/bin/sh", "-c", SIDECAR],
        "upgrade": {"gate": {"stable_for": 0.3}},
        **keys,
    }


def interfaces(podman: box.PodmanBox, name: str) -> list[str]:
    """The lines of the container's addresses: what shares a network has the same ones, with the same traffic."""
    return podman.podman("exec", name, "/bin/sh", "-c", "cat /proc/net/fib_trie /proc/net/route").splitlines()


@pytest.fixture
def both(container_node: nodes.Node, heat: heatlike.HeatLike, podman: box.PodmanBox) -> nodes.Node:
    # Without it, a plan cannot ask the registry.
    container_node.env["CONTAINERS_REGISTRIES_CONF"] = podman.env["CONTAINERS_REGISTRIES_CONF"]
    upgrades.succeed(container_node, heat, "one", {"a": main(podman, "1"), "b": sidecar(podman)})
    assert any("eth0" in line for line in interfaces(podman, "b"))
    return container_node


def test_it_is_replaced_after_the_one_it_shares_with(
    both: nodes.Node, heat: heatlike.HeatLike, podman: box.PodmanBox
) -> None:
    """Its own config is the same, but Podman knows by its id whom it shares with."""
    body = upgrades.succeed(both, heat, "two", {"a": main(podman, "2"), "b": sidecar(podman)})
    assert upgrades.results(body) == {"a": "upgraded", "b": "upgraded"}
    assert interfaces(podman, "b") == interfaces(podman, "a")
    assert upgrades.names(podman) == ["a", "b"], "nothing is left of the old ones"
    assert "still there" not in body["deploy_stdout"]
    body = upgrades.succeed(both, heat, "three", {"a": main(podman, "2"), "b": sidecar(podman)})
    assert body["changed"] is False


def test_the_plan_tells(both: nodes.Node, heat: heatlike.HeatLike, podman: box.PodmanBox) -> None:
    config = {"a": main(podman, "2"), "b": sidecar(podman)}
    body = upgrades.succeed(both, heat, "two", config, mode="plan")
    assert [entry["action"] for entry in body["plan"]["containers"]] == ["replace", "replace"]
    assert body["plan"]["containers"][1]["notes"] == ["it shares namespaces of a, which is replaced"]


def test_it_is_started_again_when_the_old_one_is_put_back(
    both: nodes.Node, heat: heatlike.HeatLike, podman: box.PodmanBox
) -> None:
    before = upgrades.identity(podman, "b")
    body = upgrades.apply(both, heat, "two", {"a": main(podman, "broken"), "b": sidecar(podman)})
    assert body["deploy_status_code"] == 3
    assert upgrades.results(body) == {"a": "rolled back"}
    assert upgrades.identity(podman, "b").split()[0] == before.split()[0], "the same container"
    assert any("eth0" in line for line in interfaces(podman, "b"))
    assert interfaces(podman, "b") == interfaces(podman, "a")


def test_one_that_nobody_would_replace_is_told_before_anything_moves(
    both: nodes.Node, heat: heatlike.HeatLike, podman: box.PodmanBox
) -> None:
    before = upgrades.identity(podman, "a")
    body = upgrades.apply(both, heat, "two", {"a": main(podman, "2")})
    assert body["deploy_status_code"] == 2
    assert "$.config.a: b shares namespaces of a" in body["deploy_stderr"]
    assert upgrades.identity(podman, "a") == before
    assert any("eth0" in line for line in interfaces(podman, "b"))


def test_a_rollback_by_hand_cuts_nothing_off(both: nodes.Node, heat: heatlike.HeatLike, podman: box.PodmanBox) -> None:
    both.configure(keep_previous=1)
    config = {"a": main(podman, "2"), "b": sidecar(podman)}
    body = upgrades.succeed(both, heat, "two", config)
    assert upgrades.results(body) == {"a": "upgraded", "b": "upgraded"}, "also where the old one is kept"
    before = upgrades.identity(podman, "a")
    done = both.run("rollback", "a")
    assert done.returncode == 2, done.stderr
    assert "b shares namespaces of a" in done.stderr
    assert upgrades.identity(podman, "a") == before
    done = both.run("rollback", "b")
    assert done.returncode == 2, done.stderr
    assert "it cannot serve again" in done.stderr


def test_what_cannot_come_back_is_not_brought_back(
    both: nodes.Node, heat: heatlike.HeatLike, podman: box.PodmanBox
) -> None:
    """To start the predecessor, Podman would start the replaced one that it shares with, beside its successor."""
    broken = sidecar(podman, image=f"{podman.registry}/service:broken", command=["/bin/false"])
    body = upgrades.apply(both, heat, "two", {"a": main(podman, "2"), "b": broken})
    assert upgrades.results(body) == {"a": "upgraded", "b": "failed"}
    assert "its predecessor cannot come back" in body["deploy_stderr"]
    running = podman.podman("ps", "--format", "{{.Names}}").split()
    assert running == ["a"]
    body = upgrades.succeed(both, heat, "three", {"a": main(podman, "2"), "b": sidecar(podman)})
    assert upgrades.names(podman) == ["a", "b"]
    assert interfaces(podman, "b") == interfaces(podman, "a")
