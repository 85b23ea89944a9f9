"""Many containers: how long a deployment takes that replaces all of them, and one that finds nothing to do."""

from __future__ import annotations

import time

from benchmarks.container_swap import service, sides
from podmanbox import box

_SLEEP = ["/bin/sleep", "86400"]


def config(image: str, count: int) -> dict[str, object]:
    """A deployment's config: `count` containers that do nothing and are ready at once."""
    gate = {"gate": {"stable_for": 0}}
    container = {"image": image, "command": _SLEEP, "net": "host", "upgrade": gate}
    return {f"many{number:03}": container for number in range(count)}


def replace(podman: box.PodmanBox, key: str, version: str, count: int) -> float:
    """Have the hook bring `count` containers to a version; seconds. Raises SwapError unless all of them changed."""
    began = time.monotonic()
    outputs = sides.deploy(podman, podman.socket_url, key, config(service.reference(podman, version), count))
    took = time.monotonic() - began
    unchanged = [name for name, result in results(outputs).items() if result == "unchanged"]
    if unchanged:
        raise sides.SwapError(f"{key}: {len(unchanged)} of {count} containers were not replaced, e.g. {unchanged[0]}")
    return took


def replace_by_hand(podman: box.PodmanBox, version: str, count: int) -> float:
    """The same with podman stop, podman rm and podman run for one after the other; seconds."""
    began = time.monotonic()
    for name in config("", count):
        podman.podman("stop", name)
        podman.podman("rm", name)
        options = ("--detach", "--name", name, "--net", "host")
        podman.podman("run", *options, service.reference(podman, version), *_SLEEP)
    return time.monotonic() - began


def find_nothing(podman: box.PodmanBox, key: str, image: str, count: int) -> float:
    """Have the hook look at `count` containers that are as they should be; seconds. Raises SwapError if it did more."""
    began = time.monotonic()
    outputs = sides.deploy(podman, podman.socket_url, key, config(image, count))
    took = time.monotonic() - began
    if outputs.get("changed") is not False:
        raise sides.SwapError(f"{key}: there was nothing to do, but the hook did {results(outputs)}")
    return took


def results(outputs: dict[str, object]) -> dict[str, str]:
    """What became of each container."""
    containers = outputs["containers"]
    assert isinstance(containers, list)
    return {report["name"]: report["result"] for report in containers}
