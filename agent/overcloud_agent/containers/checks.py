"""What can be known to go wrong before anything is touched: the host, its disk, names, volumes, the images."""

from __future__ import annotations

import platform
import shutil
from collections.abc import Collection
from pathlib import Path

from overcloud_agent import errors
from overcloud_agent.containers import described, engine, joined, plan, podman_spec, spec, target

# Bytes that have to be free where Podman keeps containers, so that one can be created and write something.
LEAST_ROOM = 64 * 1024 * 1024

# How images call the machines that the kernel calls otherwise (Go's GOARCH).
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def refuse_unsupported(containers: dict[str, spec.Container], host: engine.Host) -> None:
    """Raises BadInput that names each key which this Podman, or this host, cannot do."""
    found = [line for container in containers.values() for line in podman_spec.unsupported(container, host.facts)]
    if found:
        raise errors.BadInput("; ".join(found), hint="nothing was changed")


def refuse_clashes(
    podman: engine.Engine, containers: dict[str, spec.Container], found: dict[str, plan.Container]
) -> None:
    """Raises BadInput when a name that an upgrade needs belongs to somebody else."""
    for name in containers:
        for taken in _clashes(name, found):
            raise errors.BadInput(
                f"there is a container {taken}, which the agent did not make and whose name it needs",
                path=f"$.config.{name}",
                hint="rename or remove it",
            )
        if name not in found and podman.is_pod(name):
            raise errors.BadInput(f"{name} is the name of a pod", path=f"$.config.{name}", hint="choose another name")


def refuse_cut_off(
    podman: engine.Engine, stopped: Collection[str], known: Collection[str], found: dict[str, plan.Container]
) -> None:
    """Raises BadInput when one of `stopped` has namespaces that a container shares which nobody would replace.

    `known` are the containers of the config.
    """
    owners = {found[name].id: name for name in stopped if name in found and found[name].running}
    if not owners:
        return
    others = [name for name in joined.neighbours(podman, owners) if name not in known]
    for name, owner in joined.sharers(podman, owners, among=others).items():
        raise errors.BadInput(
            f"{name} shares namespaces of {owners[owner]}, and would be cut off when that is replaced",
            path=f"$.config.{owners[owner]}",
            hint=f"put {name} into the same config",
        )


def _clashes(name: str, found: dict[str, plan.Container]) -> list[str]:
    """Names that an upgrade needs, of containers of others."""
    family = {suffix: found[name + suffix] for suffix in target.SUFFIXES.values() if name + suffix in found}
    replaced = {one.predecessor for one in family.values()}
    clashes = [
        name + suffix for suffix in (spec.NEXT, spec.FAILED) if suffix in family and not family[suffix].deployment
    ]
    # A predecessor may be of another tool. Who made it aside says what replaces it, or is gone itself.
    clashes += [
        name + suffix
        for suffix in (spec.OLD, spec.GONE)
        if suffix in family and "" in family and not family[suffix].deployment and family[suffix].id not in replaced
    ]
    migrates = found.get(name + spec.MIGRATE)
    if migrates and migrates.managed_by != described.OURSELVES:
        clashes.append(name + spec.MIGRATE)
    return clashes


def check_host(containers: dict[str, spec.Container], images: dict[str, engine.Image], host: engine.Host) -> None:
    """Raises BadInput for sources of volumes that are not there, EngineError for a wrong image or a full disk."""
    ours = _ARCHITECTURES.get(platform.machine(), platform.machine())
    for name, container in containers.items():
        architecture = images[container.image].architecture
        if architecture and architecture != ours:
            raise errors.EngineError(
                f"$.config.{name}.image: {container.image} is for {architecture}, this node is {ours}"
            )
        for index, volume in enumerate(container.volumes):
            source = str(volume).partition(":")[0]
            if source.startswith("/") and ":" in str(volume) and not Path(source).exists():
                raise errors.BadInput(
                    f"{source} is not on this node", path=f"$.config.{name}.volumes[{index}]", hint="create it before"
                )
    room = shutil.disk_usage(host.storage).free if Path(host.storage).is_dir() else LEAST_ROOM
    if room < LEAST_ROOM:
        raise errors.EngineError(
            f"only {room // 1024**2} MiB are free in {host.storage}, where Podman keeps containers",
            hint="podman image prune makes room",
        )
