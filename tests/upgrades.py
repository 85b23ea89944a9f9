"""What tests of container upgrades have in common: configs, deployments that Heat serves, and what Podman says then."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import heatlike
import nodes
from podmanbox import box

QUICK = {"stable_for": 0.3, "healthy_within": 2}


def service(podman: box.PodmanBox, tag: str, upgrade: dict[str, Any] | None = None, **keys: Any) -> dict[str, Any]:
    """A container of an image of images.py, with a gate that does not take long."""
    image = f"{podman.registry}/service:{tag}"
    return {"image": image, "net": "host", "upgrade": {"gate": QUICK, **(upgrade or {})}, **keys}


def storyteller(podman: box.PodmanBox, tag: str, out: Path, **keys: Any) -> dict[str, Any]:
    """A service that writes to OUT/story when it starts, and when it is asked to stop, with its image's version."""
    version = "$(cat /etc/service-version)"
    script = (
        f"trap 'echo stopped {version} >> /out/story; exit 0' TERM;"
        f" echo started {version} >> /out/story; while :; do sleep 0.1; done"
    )
    return service(podman, tag, command=["sh", "-c", script], volumes=[f"{out}:/out"], **keys)


def one_shot(podman: box.PodmanBox, script: str, out: Path, **keys: Any) -> dict[str, Any]:
    """A container that is to run to its end: a shell script that may write to /out."""
    return service(podman, "1", detach=False, command=["sh", "-c", script], volumes=[f"{out}:/out"], **keys)


def execution(name: str, script: str, **keys: Any) -> dict[str, Any]:
    """A shell script that is run in the container `name`."""
    return {"action": "exec", "command": [name, "sh", "-c", script], **keys}


def deployment(heat: heatlike.HeatLike, key: str, config: object, **inputs: object) -> dict[str, Any]:
    given = [{"name": name, "type": "String", "value": value} for name, value in inputs.items()]
    return heat.deployment(key, "container-upgrade", config, inputs=given)


def apply(node: nodes.Node, heat: heatlike.HeatLike, key: str, config: object, **inputs: object) -> dict[str, Any]:
    """Have the node do one deployment; returns what Heat is told."""
    heat.serve(deployment(heat, key, config, **inputs))
    done = node.run("apply")
    assert "Traceback" not in done.stderr, done.stderr
    return dict(heat.signal(key))


def succeed(node: nodes.Node, heat: heatlike.HeatLike, key: str, config: object, **inputs: object) -> dict[str, Any]:
    body = apply(node, heat, key, config, **inputs)
    assert body["deploy_status_code"] == 0, body["deploy_stderr"]
    return body


def results(body: dict[str, Any]) -> dict[str, str]:
    """What became of each container."""
    return {report["name"]: report["result"] for report in body["containers"]}


def story(out: Path) -> list[str]:
    return (out / "story").read_text().splitlines()


def identity(podman: box.PodmanBox, name: str) -> str:
    """The container's id and when it was started: what changes when it is touched."""
    return podman.podman("inspect", name, "--format", "{{.Id}} {{.State.StartedAt}} {{.State.Running}}").strip()


def labels(podman: box.PodmanBox, name: str) -> dict[str, str]:
    return dict(json.loads(podman.podman("inspect", name))[0]["Config"]["Labels"])


def names(podman: box.PodmanBox) -> list[str]:
    """The names of all containers, running or not."""
    return sorted(podman.podman("ps", "--all", "--format", "{{.Names}}").split())


def spans(node: nodes.Node) -> dict[tuple[str, str], tuple[float, float]]:
    """Begin and end of each container's work by deployment and container, in seconds since the epoch."""
    found: dict[tuple[str, str], tuple[float, float]] = {}
    for row in node.status()["steps"]:
        begin, end = (datetime.fromisoformat(row[key]).timestamp() for key in ("started_at", "ended_at"))
        key = (row["deployment"], row["container"])
        known = found.get(key, (begin, end))
        found[key] = (min(known[0], begin), max(known[1], end))
    return found


def overlap(one: tuple[float, float], other: tuple[float, float]) -> bool:
    return one[0] < other[1] and other[0] < one[1]


def moment() -> str:
    """Now, as Podman's `--since` takes it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")
