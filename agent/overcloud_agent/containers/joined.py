"""Containers that share the namespaces of another one (`net: container:NAME`, and so for pid, ipc and uts).

Podman knows by its id whom such a container shares with. When that one is replaced, the container is cut off: it runs
on without a network, say. And whenever it is started, Podman starts the replaced one as well. So it is replaced after
the other, although its own config is the same.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Collection, Mapping
from typing import Any

from overcloud_agent.containers import engine, order, plan, target


def with_partners(podman: engine.Engine, wanted: target.Target) -> target.Target:
    """`wanted`, to be met by a new container if the one that is there is cut off. Raises EngineError."""
    if wanted.wanted.one_shot or not order.joined(wanted.container) or not is_cut_off(podman, wanted.name):
        return wanted
    current = podman.containers(wanted.name)[wanted.name]
    return dataclasses.replace(wanted, adopted={**wanted.adopted, current.id: plan.CUT_OFF})


def is_cut_off(podman: engine.Engine, name: str) -> bool:
    """Whether the container of that name shares namespaces of one that does not serve any more. Raises EngineError."""
    needed = _needed(podman, name)
    if not needed:
        return False
    return not needed <= {one.id for other, one in podman.containers().items() if not _is_aside(other)}


def sharers(podman: engine.Engine, owners: Collection[str], *, among: Collection[str]) -> dict[str, str]:
    """Those of the containers `among` that share namespaces of one of `owners` (ids), with its id. Raises as above."""
    needed = {name: _needed(podman, name).intersection(owners) for name in among}
    return {name: min(ids) for name, ids in needed.items() if ids}


def running(podman: engine.Engine) -> list[str]:
    """The names of all containers that run. Raises EngineError."""
    return [name for name, one in podman.containers().items() if one.running]


def neighbours(podman: engine.Engine, owners: Collection[str]) -> list[str]:
    """The names of those that have a namespace in common with one of `owners`, which run. Raises EngineError.

    Not the namespaces of the node itself, which most services have: whose owner is replaced is not cut off from those.
    """
    host = {str(os.stat(f"/proc/self/ns/{kind}").st_ino) for kind in ("net", "pid", "ipc", "uts")}
    entries = podman.entries(namespaces=True)
    spaces = {entry["Id"]: _spaces(entry) - host for entry in entries}
    shared = set().union(*(spaces.get(owner, set()) for owner in owners))
    return [entry["Names"][0] for entry in entries if entry["Id"] not in owners and spaces[entry["Id"]] & shared]


def _spaces(entry: Mapping[str, Any]) -> set[str]:
    found = entry.get("Namespaces") or {}
    return {str(found[kind]) for kind in ("Net", "Pidns", "Ipc", "Uts") if found.get(kind)}


def _is_aside(name: str) -> bool:
    """Whether a name says that its container is not the one that serves: it is replaced, kept, or not there yet."""
    return target.KEPT in name or name.endswith(tuple(suffix for suffix in target.SUFFIXES.values() if suffix))


def _needed(podman: engine.Engine, name: str) -> set[str]:
    """The ids of those that the container shares namespaces of."""
    document = podman.document(name)
    return set(document.get("Dependencies") or ()) if document else set()
