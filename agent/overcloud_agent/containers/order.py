"""In which order containers are worked on: steps, start_order, and what depends on what. Pure: no I/O."""

from __future__ import annotations

import graphlib
import itertools
from typing import TYPE_CHECKING

from overcloud_agent import errors

if TYPE_CHECKING:
    from overcloud_agent.containers import spec

# How TripleO names the units that run its containers.
_UNIT_PREFIX, _UNIT_SUFFIX = "tripleo_", ".service"

_Group = tuple[int, int]


def group(container: spec.Container) -> _Group:
    """What is worked on before what, whatever depends on what."""
    return (container.step or 0, container.start_order)


def waves(containers: dict[str, spec.Container]) -> list[list[str]]:
    """Lists of names, each of which may be worked on in parallel once the lists before it are done.

    Raises BadInput for containers that depend on each other in a circle, or on one that comes later.
    """
    found: list[list[str]] = []
    ordered = sorted(containers, key=lambda name: (*group(containers[name]), name))
    for _, names in itertools.groupby(ordered, key=lambda name: group(containers[name])):
        found += _sorted(containers, list(names))
    return found


def _sorted(containers: dict[str, spec.Container], names: list[str]) -> list[list[str]]:
    """The containers of one group, in the order of what they depend on in it."""
    graph: graphlib.TopologicalSorter[str] = graphlib.TopologicalSorter()
    for name in names:
        graph.add(name, *(needed for needed in _needed(containers, name) if needed in names))
    try:
        graph.prepare()
    except graphlib.CycleError as error:
        circle: list[str] = error.args[1]
        # graphlib says each before what needs it; the reader asks what a container needs.
        path = f"{containers[circle[-1]].path}.{_needed(containers, circle[-1])[circle[-2]]}"
        raise errors.BadInput(
            f"containers depend on each other in a circle: {' -> '.join(reversed(circle))}",
            path=path,
            hint="one of them has to be there first",
        ) from None
    found = []
    while graph.is_active():
        ready = sorted(graph.get_ready())
        graph.done(*ready)
        found.append(ready)
    return found


def _needed(containers: dict[str, spec.Container], name: str) -> dict[str, str]:
    """The containers of the config that have to be there before `name`, and which key says so.

    Other names are of containers, or of systemd units, that are on the node already.
    """
    container = containers[name]
    found: dict[str, str] = {}
    for key, value in _references(container):
        needed = value if value in containers else _of_unit(value)
        if needed not in containers or needed in found:
            continue
        if group(containers[needed]) > group(container):
            raise errors.BadInput(
                f"{needed} comes later: {_place(containers[needed])} is after {_place(container)}",
                path=f"{container.path}.{key}",
                hint="see start_order and the steps",
            )
        found[needed] = key
    return found


def _references(container: spec.Container) -> list[tuple[str, str]]:
    """Key and name of everything that refers to another container."""
    found = [(f"depends_on[{index}]", name) for index, name in enumerate(container.depends_on)]
    if container.action == "exec":
        return [*found, ("command[0]", container.argv[0])]
    found += [(f"volumes_from[{index}]", name.partition(":")[0]) for index, name in enumerate(container.volumes_from)]
    return [*found, *joined(container).items()]


def joined(container: spec.Container) -> dict[str, str]:
    """The namespaces (net, pid, ipc, uts) that are another container's, with its name."""
    net = container.net if isinstance(container.net, str) else ""
    given = {"net": net, "pid": container.pid, "ipc": container.ipc, "uts": container.uts}
    parts = {key: (namespace or "").partition(":") for key, namespace in given.items()}
    return {key: name for key, (kind, _, name) in parts.items() if kind == "container"}


def _of_unit(name: str) -> str:
    return name.removesuffix(_UNIT_SUFFIX).removeprefix(_UNIT_PREFIX) if name.endswith(_UNIT_SUFFIX) else name


def _place(container: spec.Container) -> str:
    step = f"step {container.step}, " if container.step is not None else ""
    return f"{step}start_order {container.start_order}"
