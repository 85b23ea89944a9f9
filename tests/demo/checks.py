"""What the demo checks, and the facts that it checks against: Podman's and the agent's own."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

import nodes
from demo import errors, show
from podmanbox import box


@dataclasses.dataclass(frozen=True, kw_only=True)
class Container:
    """A container as Podman's own command line tells it."""

    name: str
    id: str
    digest: str
    status: str
    started_at: str


def containers(podman: box.PodmanBox) -> dict[str, Container]:
    """All containers that exist, running or not, by name."""
    ids = podman.podman("ps", "--all", "--quiet", "--no-trunc").split()
    facts = json.loads(podman.podman("container", "inspect", *ids)) if ids else []
    found = [
        Container(
            name=fact["Name"],
            id=fact["Id"],
            digest=fact["ImageDigest"],
            status=fact["State"]["Status"],
            started_at=fact["State"]["StartedAt"],
        )
        for fact in facts
    ]
    return {container.name: container for container in sorted(found, key=lambda container: container.started_at)}


class Checks:
    """Each check prints that it holds, or ends the demo with what was expected and what was found."""

    def __init__(self, screen: show.Screen) -> None:
        self._screen = screen

    def equal(self, what: str, *, expected: object, found: object) -> None:
        if found != expected:
            raise errors.Wrong(what, expected, found)
        self._screen.passed(what)

    def different(self, what: str, *, before: object, found: object) -> None:
        if found == before:
            raise errors.Wrong(what, f"something else than {before}", found)
        self._screen.passed(what)

    def says(self, what: str, *, words: str, found: str) -> None:
        if words not in found:
            raise errors.Wrong(what, f"the words {words!r}", found)
        self._screen.passed(what)

    def runs(self, service: str, image: str, digest: str, found: Mapping[str, Container]) -> None:
        """`service` runs from the image with `digest`."""
        container = found.get(service)
        expected = f"{service} running {digest}"
        self.equal(
            f"{service} runs {image} ({show.digits(digest)})",
            expected=expected,
            found=f"{service} {container.status} {container.digest}" if container else f"no container {service}",
        )

    def untouched(self, service: str, before: Mapping[str, Container], after: Mapping[str, Container]) -> None:
        """The very same container of `service` has been running all the time."""
        self.equal(
            f"{service} was not touched: same id, same start time",
            expected=before.get(service),
            found=after.get(service),
        )

    def alone(self, services: tuple[str, ...], found: Mapping[str, Container]) -> None:
        """There is nothing else than the services' containers: no `.next`, no `.old`, no `.failed`."""
        self.equal(
            "no other container is left (no .next, .old or .failed)", expected=sorted(services), found=sorted(found)
        )


def status(node: nodes.Node) -> dict[str, Any]:
    """What `overcloud-agent status --json` says."""
    answer = node.run("status", "--json")
    if answer.returncode:
        raise errors.DemoError(f"overcloud-agent status failed: {answer.stderr.strip()}")
    return dict(json.loads(answer.stdout))


def deployments(node: nodes.Node, name: str) -> list[dict[str, Any]]:
    """What the agent's journal has of all deployments called `name`, the newest last."""
    return [row for row in status(node)["deployments"] if row["name"] == name]


def in_step(node: nodes.Node, container: str, step: str) -> bool:
    """Whether the agent is in the middle of a step of a container's upgrade."""
    facts = status(node)
    # A step that failed never ended either, but its deployment runs no more.
    running = {row["id"] for row in facts["deployments"] if row["state"] == "running"}
    return any(
        row["deployment"] in running
        and row["ended_at"] is None
        and (row["container"], row["step"]) == (container, step)
        for row in facts["steps"]
    )


def deliveries(node: nodes.Node, deployment: str) -> list[str]:
    """What became of each signal of a deployment."""
    return [row["state"] for row in status(node)["signals"] if row["deployment"] == deployment]
