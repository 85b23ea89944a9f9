"""Order and width: what is worked on after what, and what side by side, with real Podman."""

from __future__ import annotations

import itertools
import secrets
from pathlib import Path
from typing import Any

import heatlike
import nodes
import upgrades
from podmanbox import box, image


def slow(podman: box.PodmanBox, tag: str, **keys: Any) -> dict[str, Any]:
    """A container whose gate takes a second and a half, so that it is seen what goes on meanwhile."""
    return {**upgrades.service(podman, tag, **keys), "upgrade": {"gate": {"stable_for": 1.5}}}


def events(podman: box.PodmanBox, since: str) -> list[tuple[str, str]]:
    """What happened to images and containers, in order: what, and the name."""
    rows = podman.podman("events", "--stream=false", "--since", since, "--format", "{{.Status}} {{.Name}}").splitlines()
    return [(words[0], words[-1]) for words in (row.split() for row in rows)]


def test_start_order_comes_first_then_what_depends_on_what(
    container_node: nodes.Node, heat: heatlike.HeatLike, podman: box.PodmanBox
) -> None:
    config = {
        "a": upgrades.service(podman, "1", depends_on=["c.service", "tripleo_b.service"]),
        "b": upgrades.service(podman, "1", depends_on=["c"]),
        "c": upgrades.service(podman, "1"),
        "d": upgrades.service(podman, "1", start_order=-1),
        "e": upgrades.service(podman, "1", start_order=10),
        "f": upgrades.service(podman, "1", start_order=9),
    }
    upgrades.succeed(container_node, heat, "one", config)
    spans = upgrades.spans(container_node)
    chain = [spans["one", name] for name in ("d", "c", "b", "a", "f", "e")]
    for earlier, later in itertools.pairwise(chain):
        assert earlier[1] <= later[0], spans


def test_what_does_not_depend_on_each_other_is_worked_on_side_by_side(
    container_node: nodes.Node, heat: heatlike.HeatLike, podman: box.PodmanBox
) -> None:
    config = {"a": slow(podman, "1"), "b": slow(podman, "1"), "c": slow(podman, "1", start_order=1)}
    upgrades.succeed(container_node, heat, "one", config)
    spans = upgrades.spans(container_node)
    assert upgrades.overlap(spans["one", "a"], spans["one", "b"])
    assert max(spans["one", "a"][1], spans["one", "b"][1]) <= spans["one", "c"][0]


def test_one_worker_does_one_after_the_other(
    container_node: nodes.Node, heat: heatlike.HeatLike, podman: box.PodmanBox
) -> None:
    """Of all deployments of a batch, in their order."""
    container_node.configure(workers=1)
    large = large_image(podman)
    heat.serve(
        upgrades.deployment(heat, "one", {"b": {**upgrades.service(podman, "1"), "image": large}}),
        upgrades.deployment(heat, "two", {"a": upgrades.service(podman, "1"), "c": upgrades.service(podman, "1")}),
        upgrades.deployment(heat, "three", {"d": upgrades.service(podman, "1")}),
    )
    container_node.run("apply")
    assert [heat.signal(key)["deploy_status_code"] for key in ("one", "two", "three")] == [0, 0, 0]
    spans = upgrades.spans(container_node)
    chain = [spans[key] for key in (("one", "b"), ("two", "a"), ("two", "c"), ("three", "d"))]
    for earlier, later in itertools.pairwise(chain):
        assert earlier[1] <= later[0], spans


def large_image(podman: box.PodmanBox) -> str:
    """An image that takes longer to pull than a small container to be upgraded. Always a new one."""
    name = f"large:{secrets.token_hex(4)}"
    text = secrets.token_hex(24_000_000)
    command = ("/bin/sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.2; done")
    podman.build(name, {"large": text}, image.ImageConfig(command=command, stop_signal="SIGTERM"))
    return f"{podman.registry}/{name}"


def test_deployments_that_follow_each_other_are_pulled_before_any_of_them_stops_anything(
    container_node: nodes.Node, heat: heatlike.HeatLike, podman: box.PodmanBox
) -> None:
    large = large_image(podman)
    first = {"a": slow(podman, "1"), "b": slow(podman, "1")}
    upgrades.succeed(container_node, heat, "zero", first)
    since = upgrades.moment()
    heat.serve(
        upgrades.deployment(heat, "one", {"a": slow(podman, "2")}),
        upgrades.deployment(heat, "two", {"b": {**slow(podman, "1"), "image": large}}),
    )
    container_node.run("apply")
    bodies = [heat.signal("one"), heat.signal("two")]
    assert [upgrades.results(body) for body in bodies] == [{"a": "upgraded"}, {"b": "upgraded"}]
    happened = events(podman, since)
    pulls = [index for index, (what, name) in enumerate(happened) if what == "pull"]
    ends = [index for index, (what, name) in enumerate(happened) if what == "died" and name in ("a", "b")]
    assert len(pulls) == 2 and len(ends) == 2, happened
    assert max(pulls) < min(ends), happened
    spans = upgrades.spans(container_node)
    assert upgrades.overlap(spans["one", "a"], spans["two", "b"])


def test_one_of_a_batch_that_fails_does_not_fail_the_other(
    container_node: nodes.Node, heat: heatlike.HeatLike, podman: box.PodmanBox
) -> None:
    heat.serve(
        upgrades.deployment(heat, "misspelt", {"a": {"imgae": "x"}}),
        upgrades.deployment(heat, "one", {"a": upgrades.service(podman, "1")}),
        upgrades.deployment(heat, "two", {"b": upgrades.service(podman, "broken")}),
        upgrades.deployment(heat, "three", {"c": upgrades.service(podman, "nothing")}),
        upgrades.deployment(heat, "four", {"d": upgrades.service(podman, "1")}),
    )
    container_node.run("apply")
    codes = [heat.signal(key)["deploy_status_code"] for key in ("misspelt", "one", "two", "three", "four")]
    assert codes == [2, 0, 1, 1, 0]
    assert "cannot read /etc/service.conf" in heat.signal("two")["deploy_stderr"]
    assert "cannot pull" in heat.signal("three")["deploy_stderr"]
    assert upgrades.names(podman) == ["a", "d"]
    assert len(heat.signals) == 5


def test_deployments_of_the_same_container_are_not_worked_on_together(
    container_node: nodes.Node, heat: heatlike.HeatLike, podman: box.PodmanBox
) -> None:
    heat.serve(*(upgrades.deployment(heat, f"d{tag}", {"a": upgrades.service(podman, tag)}) for tag in ("1", "2")))
    heat.metadata["deployments"].append(  # type: ignore[index]
        upgrades.deployment(heat, "d3", {"a": upgrades.service(podman, "1", hostname="x", uts="private")})
    )
    container_node.run("apply")
    assert [upgrades.results(heat.signal(key)) for key in ("d1", "d2", "d3")] == [
        {"a": "created"},
        {"a": "upgraded"},
        {"a": "upgraded"},
    ]
    spans = upgrades.spans(container_node)
    assert spans["d1", "a"][1] <= spans["d2", "a"][0]
    assert spans["d2", "a"][1] <= spans["d3", "a"][0]


def test_a_batch_that_was_interrupted_goes_on_at_the_next_start(
    container_node: nodes.Node, heat: heatlike.HeatLike, podman: box.PodmanBox
) -> None:
    config = {name: {name: upgrades.service(podman, "1")} for name in ("a", "b")}
    heat.serve(*(upgrades.deployment(heat, f"{name}1", config[name]) for name in config))
    container_node.run("apply")
    for one in config.values():
        for container in one.values():
            container.update(image=f"{podman.registry}/service:2", upgrade={"gate": {"stable_for": 4}})
    heat.serve(*(upgrades.deployment(heat, f"{name}2", config[name]) for name in config))
    container_node.start()
    for name in config:
        container_node.await_step("gate", f"{name}2")
    assert container_node.stop() == 0
    states = {row["id"]: row["state"] for row in container_node.status()["deployments"]}
    assert (states["a2"], states["b2"]) == ("running", "running")
    before = [upgrades.identity(podman, name) for name in config]
    container_node.start()
    assert [upgrades.results(heat.signal(f"{name}2")) for name in config] == [{"a": "upgraded"}, {"b": "upgraded"}]
    assert [upgrades.identity(podman, name) for name in config] == before, "they served all the time"
    assert upgrades.names(podman) == ["a", "b"]


def test_the_first_failure_stops_the_line_but_not_what_is_under_way(
    container_node: nodes.Node, heat: heatlike.HeatLike, podman: box.PodmanBox
) -> None:
    config = {
        "a": upgrades.service(podman, "broken"),
        "b": slow(podman, "1"),
        "c": upgrades.service(podman, "1", start_order=1),
    }
    body = upgrades.apply(container_node, heat, "one", config)
    assert body["deploy_status_code"] == 1
    assert body["deploy_stdout"].splitlines() == ["a: failed", "b: created", "c: not touched"]
    assert upgrades.names(podman) == ["b"]


def test_the_last_fifty_lines_of_what_failed_are_told(
    container_node: nodes.Node, heat: heatlike.HeatLike, podman: box.PodmanBox
) -> None:
    talk = ["sh", "-c", "for i in $(seq 60); do echo line $i; done; exit 7"]
    upgrades.succeed(container_node, heat, "one", {"web": upgrades.service(podman, "1")})
    body = upgrades.apply(container_node, heat, "two", {"web": upgrades.service(podman, "2", command=talk)})
    assert body["deploy_status_code"] == 3
    lines = [line for line in body["deploy_stderr"].splitlines() if line.startswith("line ")]
    assert lines == [f"line {number}" for number in range(11, 61)]


def test_what_does_not_change_what_runs_touches_nothing(
    container_node: nodes.Node, heat: heatlike.HeatLike, podman: box.PodmanBox, tmp_path: Path
) -> None:
    config = {
        "web": upgrades.service(podman, "1"),
        "init": upgrades.one_shot(podman, "echo ran >> /out/story", tmp_path),
    }
    upgrades.succeed(container_node, heat, "one", config)
    before = [upgrades.identity(podman, name) for name in config]
    since = upgrades.moment()
    for container in config.values():
        container.update(
            exit_codes=[0, 9],
            start_order=7,
            pre_stop_exec="true",
            stop_grace_period=3,
            upgrade={"gate": {"stable_for": 1, "tcp": "127.0.0.1:1"}, "drain": [["false"]], "migrate": [["false"]]},
        )
    config["web"]["depends_on"] = ["init"]
    body = upgrades.succeed(container_node, heat, "two", config, bootstrap=True)
    assert upgrades.results(body) == {"web": "unchanged", "init": "unchanged"}
    assert body["changed"] is False
    assert [upgrades.identity(podman, name) for name in config] == before
    touched = [one for one in events(podman, since) if one[0] not in ("pull", "health_status")]
    assert touched == [], "no container was created, started, stopped, executed in or removed"
