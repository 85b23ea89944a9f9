"""What left the config, and what is kept of what was replaced, with real Podman."""

from __future__ import annotations

from typing import Any

import heatlike
import nodes
import upgrades
from podmanbox import box


def services(podman: box.PodmanBox, *names: str, tag: str = "1") -> dict[str, Any]:
    return {name: upgrades.service(podman, tag) for name in names}


def test_what_left_a_complete_config_is_removed_last(
    container_node: nodes.Node, heat: heatlike.HeatLike, podman: box.PodmanBox
) -> None:
    asked: dict[str, object] = {"config_id": "apis", "complete": True}
    upgrades.succeed(container_node, heat, "other", services(podman, "x"), config_id="others")
    upgrades.succeed(container_node, heat, "one", services(podman, "a", "b", "c"), **asked)
    assert upgrades.labels(podman, "a")["config_id"] == "apis"
    podman.podman("run", "--detach", "--name=d", "--label=config_id=apis", "--label=managed_by=paunch",
                  "--label=container_name=d", f"{podman.registry}/service:1")  # fmt: skip
    podman.podman("run", "--detach", "--name=e", "--label=config_id=apis", f"{podman.registry}/service:1")
    body = upgrades.succeed(container_node, heat, "two", services(podman, "b", tag="2"), **asked)
    assert upgrades.results(body) == {"b": "upgraded", "a": "removed", "c": "removed", "d": "removed"}
    assert body["changed"] is True
    assert body["deploy_stdout"].splitlines() == ["b: upgraded", "a: removed", "c: removed", "d: removed"]
    assert upgrades.names(podman) == ["b", "e", "x"], "what nobody says to manage stays"
    spans = upgrades.spans(container_node)
    assert all(spans["two", "b"][1] <= spans["two", name][0] for name in "acd")


def test_without_being_complete_a_config_removes_nothing(
    container_node: nodes.Node, heat: heatlike.HeatLike, podman: box.PodmanBox
) -> None:
    upgrades.succeed(container_node, heat, "one", services(podman, "a", "b"), config_id="apis")
    for key, inputs in {"two": {"config_id": "apis"}, "three": {"config_id": "apis", "complete": "false"}}.items():
        body = upgrades.succeed(container_node, heat, key, services(podman, "b"), **inputs)
        assert upgrades.results(body) == {"b": "unchanged"}
    assert upgrades.names(podman) == ["a", "b"]


def test_nothing_is_removed_after_a_failure(
    container_node: nodes.Node, heat: heatlike.HeatLike, podman: box.PodmanBox
) -> None:
    asked: dict[str, object] = {"config_id": "apis", "complete": True}
    upgrades.succeed(container_node, heat, "one", services(podman, "a", "b"), **asked)
    body = upgrades.apply(container_node, heat, "two", services(podman, "b", tag="broken"), **asked)
    assert upgrades.results(body) == {"b": "rolled back"}
    assert upgrades.names(podman) == ["a", "b"]


def test_of_steps_only_those_that_are_there_are_complete(
    container_node: nodes.Node, heat: heatlike.HeatLike, podman: box.PodmanBox
) -> None:
    """As paunch does it, which is called once for each step."""
    upgrades.succeed(
        container_node, heat, "one", {"step_1": services(podman, "a", "b"), "step_2": services(podman, "c")}
    )
    body = upgrades.succeed(container_node, heat, "two", {"step_1": services(podman, "b")}, complete=True)
    assert upgrades.results(body) == {"b": "unchanged", "a": "removed"}
    assert upgrades.names(podman) == ["b", "c"]


def test_what_complete_and_bootstrap_may_be(
    container_node: nodes.Node, heat: heatlike.HeatLike, podman: box.PodmanBox
) -> None:
    body = upgrades.apply(container_node, heat, "one", services(podman, "a"), complete=True)
    assert body["deploy_status_code"] == 2
    assert (
        "complete says that the config has all containers of its config_id, which is missing" in body["deploy_stderr"]
    )
    body = upgrades.apply(container_node, heat, "two", services(podman, "a"), bootstrap="maybe")
    assert body["deploy_status_code"] == 2
    assert "the input bootstrap is 'maybe'" in body["deploy_stderr"]
    assert upgrades.names(podman) == []


def versions(podman: box.PodmanBox) -> list[str]:
    """Name (without what is of an id in it), image and state of each container."""
    rows = podman.podman("ps", "--all", "--format", "{{.Names}} {{.Image}} {{.State}}").splitlines()
    return sorted(
        " ".join([row.split()[0].split("kept-")[0], row.split()[1].rpartition(":")[2], row.split()[2]]) for row in rows
    )


def test_as_many_predecessors_are_kept_as_the_config_says(
    container_node: nodes.Node, heat: heatlike.HeatLike, podman: box.PodmanBox
) -> None:
    """Those that ended last. They are not what left the config."""
    ids = []
    for number, (tag, keep) in enumerate([("1", 2), ("2", 2), ("checked", 2), ("1", 1)]):
        config = {"web": upgrades.service(podman, tag, upgrade={"keep": keep}, healthcheck={"test": "true"})}
        upgrades.succeed(container_node, heat, f"d{number}", config, config_id="apis", complete=True)
        ids.append(upgrades.identity(podman, "web").split()[0])
        expected = ids[-min(keep, number) - 1 : -1]
        assert set(upgrades.names(podman)) == {"web", *(f"web.kept-{one[:12]}" for one in expected)}
    assert versions(podman) == ["web 1 Up", "web. checked Exited"]
    body = upgrades.succeed(container_node, heat, "end", services(podman, "a"), config_id="apis", complete=True)
    assert upgrades.names(podman) == ["a"], "and leave with the container that they were"
    assert upgrades.results(body)["web"] == "removed"


def test_the_agent_s_own_setting_says_it_for_all(
    container_node: nodes.Node, heat: heatlike.HeatLike, podman: box.PodmanBox
) -> None:
    container_node.configure(keep_previous=1)
    upgrades.succeed(container_node, heat, "one", services(podman, "a", "b"))
    config = services(podman, "a", "b", tag="2")
    config["b"]["upgrade"] = {"gate": upgrades.QUICK, "keep": 0}
    upgrades.succeed(container_node, heat, "two", config)
    assert versions(podman) == ["a 2 Up", "a. 1 Exited", "b 2 Up"]
