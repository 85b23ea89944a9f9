"""What restarts after an update, and in which order. Pure: no I/O.

Three say what comes before what:

1. systemd: what it starts first restarts first.
2. Deployers' drop-ins. They add to systemd's order; one that contradicts it is a cycle, which is an error.
3. The tiers. They order what the first two leave open. What those want before a unit of an earlier tier restarts with
   that earlier tier, so that everything else keeps its order.

What is in no order restarts together: that is a batch. The agent's own unit is always last, and alone.
"""

from __future__ import annotations

import collections
import dataclasses
import graphlib
import itertools
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Literal

from overcloud_agent import errors
from overcloud_agent.packages import model, tiers

_Edge = tuple[str, str]


def build(
    affliction: model.Affliction,
    *,
    edges: Collection[_Edge] = (),
    rules: tiers.Rules,
    restart: Literal["auto", "report", "none"] = "auto",
) -> model.Workflow:
    """The batches for what is affected.

    `edges` are systemd's, as (what is before, what is after) by units' names; units that are not affected may be among
    them, and pass an order on. A container is in them by the name of its unit, `tripleo_NAME.service`. With `restart`
    report everything is only reported, with none nothing is.

    Raises PackageError for a cycle, naming it, and who wants each of its steps.
    """
    if restart == "none":
        return model.Workflow(reboot=tuple(sorted(affliction.reboot)))
    found = [dataclasses.replace(one, action=tiers.action(one, rules)) for one in _merged(affliction.affected)]
    if restart == "report":
        found = [dataclasses.replace(one, action="report") for one in found]
    moving = {tiers.label(one): one for one in found if one.action != "report"}
    last = moving.pop(tiers.AGENT, None)
    # What both say is systemd's, so that people look for it there. graphlib finds the same cycle only where it is given
    # the same sequence.
    order = dict(sorted((_drop_in_order(moving, rules) | _systemd_order(moving, edges)).items()))
    batches = [
        tuple(moving[name] for name in batch)
        for level in _levels(moving, order, rules)
        for batch in _apart(level, moving, rules)
    ]
    return model.Workflow(
        batches=(*batches, *([(last,)] if last else [])),
        report=tuple(one for one in found if one.action == "report"),
        reboot=tuple(sorted(affliction.reboot)),
    )


def _merged(affected: Iterable[model.Affected]) -> list[model.Affected]:
    """Each unit and container once, with everything that was found out about it, sorted."""
    found: dict[tuple[str, str], model.Affected] = {}
    for one in sorted(affected):
        known = found.get((one.kind, one.name), one)
        found[(one.kind, one.name)] = dataclasses.replace(
            one,
            # Who says report knows a reason not to touch it.
            action="report" if "report" in (known.action, one.action) else one.action,
            packages=tuple(sorted({*known.packages, *one.packages})),
            reasons=tuple(sorted({*known.reasons, *one.reasons})),
        )
    return sorted(found.values())


# Who is before whom: each edge with who says so


def _systemd_order(moving: Mapping[str, model.Affected], edges: Collection[_Edge]) -> dict[_Edge, str]:
    """systemd's order of what is affected, also where it goes by way of units that are not."""
    labels: dict[str, list[str]] = collections.defaultdict(list)
    for label, one in sorted(moving.items()):
        labels[tiers.unit_of(one)].append(label)
    after: dict[str, list[str]] = collections.defaultdict(list)
    for first, then in sorted(edges):
        after[first].append(then)
    found: dict[_Edge, str] = {}
    for unit in labels:
        for other, via in _reached(unit, after, labels).items():
            origin = f"systemd, by way of {' and '.join(via)}" if via else "systemd"
            found |= {(first, then): origin for first in labels[unit] for then in labels[other]}
    return found


def _reached(unit: str, after: Mapping[str, Sequence[str]], affected: Collection[str]) -> dict[str, tuple[str, ...]]:
    """The next affected units after `unit`, each with the units that are not affected in between."""
    found: dict[str, tuple[str, ...]] = {}
    ways: dict[str, tuple[str, ...]] = {unit: ()}
    queue = collections.deque([unit])
    while queue:
        here = queue.popleft()
        for then in after.get(here, ()):
            if then in affected:
                found.setdefault(then, ways[here])
            elif then not in ways:
                ways[then] = (*ways[here], then)
                queue.append(then)
    return found


def _drop_in_order(moving: Mapping[str, model.Affected], rules: tiers.Rules) -> dict[_Edge, str]:
    found: dict[_Edge, str] = {}
    for order in rules.orders:
        first, then = (
            [name for name in moving if tiers.fits(one, moving[name])] for one in (order.before, order.after)
        )
        # With wildcards a name can be on both sides; that nothing is before itself is no contradiction.
        found |= {(one, other): order.origin for one in first for other in then if one != other}
    return found


# Levels: tiers, and in each what is before what


def _levels(moving: Mapping[str, model.Affected], order: Mapping[_Edge, str], rules: tiers.Rules) -> list[list[str]]:
    """Lists of labels, sorted, of which nothing in one list is before anything else in it."""
    places = _places(moving, order, rules)
    found = []
    for place in sorted(set(places.values())):
        names = [name for name in moving if places[name] == place]
        graph = _graph(names, order)
        graph.prepare()
        while graph.is_active():
            ready = sorted(graph.get_ready())
            graph.done(*ready)
            found.append(ready)
    return found


def _places(moving: Mapping[str, model.Affected], order: Mapping[_Edge, str], rules: tiers.Rules) -> dict[str, int]:
    """In which tier each restarts: its own, or an earlier one where something waits for it."""
    try:
        sequence = list(_graph(moving, order).static_order())
    except graphlib.CycleError as error:
        raise _cycle(error.args[1], order) from None
    after: dict[str, list[str]] = collections.defaultdict(list)
    for first, then in order:
        after[first].append(then)
    places: dict[str, int] = {}
    for name in reversed(sequence):
        places[name] = min([tiers.tier(moving[name], rules), *(places[then] for then in after[name])])
    return places


def _graph(names: Iterable[str], order: Mapping[_Edge, str]) -> graphlib.TopologicalSorter[str]:
    graph: graphlib.TopologicalSorter[str] = graphlib.TopologicalSorter()
    known = set(names)
    for name in sorted(known):
        graph.add(name)
    for first, then in order:
        if first in known and then in known:
            graph.add(then, first)
    return graph


def _cycle(found: Sequence[str], order: Mapping[_Edge, str]) -> errors.PackageError:
    names = list(found[:-1])
    start = names.index(min(names))
    names = [*names[start:], *names[:start], names[start]]
    told = "; ".join(f"{first} before {then}: {order[first, then]}" for first, then in itertools.pairwise(names))
    return errors.PackageError(
        f"restarts are ordered in a circle: {' -> '.join(names)} ({told})",
        hint="take one of these orders back: a drop-in's is a line in a file, systemd's are After= and Before=",
    )


def _apart(level: Sequence[str], moving: Mapping[str, model.Affected], rules: tiers.Rules) -> list[list[str]]:
    """A level as batches, so that what must not be in one batch is not."""
    groups = {
        name: {index for index, group in enumerate(rules.apart) if tiers.fits(group, moving[name])} for name in level
    }
    batches: list[list[str]] = []
    for name in level:
        room = next((batch for batch in batches if not any(groups[name] & groups[one] for one in batch)), None)
        if room is None:
            batches.append([name])
        else:
            room.append(name)
    return batches
