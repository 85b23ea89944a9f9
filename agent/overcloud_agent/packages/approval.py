"""How what would be done differs from what was approved, in words. Pure: no I/O."""

from __future__ import annotations

import collections
from collections.abc import Sequence
from typing import Any

from overcloud_agent import errors
from overcloud_agent.packages import model, plan

# So many differences are told in an answer; past that their number.
LIMIT = 50
# So many names of a batch, and so many batches, are told of an order.
_NAMED = 6

_Batches = Sequence[Sequence[str]]


def refusal(identifier: str, found: model.Plan, stored: object = None) -> str:
    """Why a plan is not the one that was approved as `identifier`; empty when it is.

    `stored` is that plan's document, as this node has kept it; None when it has not.
    """
    now = plan.plan_identifier(found)
    if now == identifier:
        return ""
    head = f"what would be done now is the plan {now}, and the plan {identifier} was approved"
    known = _known(identifier, stored)
    if known is None:
        return (
            f"{head}; this node does not have that plan, so what differs cannot be told: it was made on another node,"
            " or is no longer kept (make a plan here with mode: plan, and approve that)"
        )
    return f"{head}: {'; '.join(_capped(difference(plan.document(known), plan.document(found))))}"


def _known(identifier: str, stored: object) -> model.Plan | None:
    """The stored plan, if that is what it is; a document that was damaged says nothing about what was approved."""
    if stored is None:
        return None
    try:
        known = plan.read(stored)
    except errors.BadInput:
        return None
    return known if plan.plan_identifier(known) == identifier else None


def _capped(lines: Sequence[str]) -> list[str]:
    more = len(lines) - LIMIT
    return [*lines[:LIMIT], *([f"and {more} more differences"] if more > 0 else [])]


def difference(approved: dict[str, Any], found: dict[str, Any]) -> list[str]:
    """What came, went and changed between two documents of plans; nothing exactly where their identifiers are the same.

    Raises BadInput for a document that is none.
    """
    old, new = plan.read(approved), plan.read(found)
    reboot = (bool(old.workflow.reboot), bool(new.workflow.reboot))
    return [
        *_packages(old.pending.changes, new.pending.changes),
        *_restarts(old.workflow, new.workflow),
        *_order(old.workflow.batches, new.workflow.batches),
        *([f"a reboot is {'required now' if reboot[1] else 'no longer required'}"] if reboot[0] != reboot[1] else []),
    ]


def _packages(old: Sequence[model.Change], new: Sequence[model.Change]) -> list[str]:
    lines = []
    before, after = _by_package(old), _by_package(new)
    for key in sorted({*before, *after}):
        was, now = before.get(key, []), after.get(key, [])
        if was == now:
            continue
        package = f"package {key[0]}" + (f" ({key[1]})" if key[1] else "")
        if not was:
            lines.append(f"{package} came: {', '.join(now)}")
        elif not now:
            lines.append(f"{package} went: {', '.join(was)}")
        else:
            lines.append(f"{package} changed: {', '.join(was)} was approved, {', '.join(now)} is found")
    return lines


def _by_package(changes: Sequence[model.Change]) -> dict[tuple[str, str], list[str]]:
    """What is done to each package; with rpm that can be several things (kernels)."""
    found: dict[tuple[str, str], list[str]] = collections.defaultdict(list)
    for change in sorted(changes):
        versions = " -> ".join(version for version in (change.old, change.new) if version)
        origin = f" from {change.repository}" if change.repository else ""
        found[change.name, change.architecture].append(f"{change.kind} {versions}{origin}")
    return {key: sorted(told) for key, told in found.items()}


def _restarts(old: model.Workflow, new: model.Workflow) -> list[str]:
    before, after = _actions(old), _actions(new)
    reported = {_name(one): "report" for one in (*old.report, *new.report)}
    lines = []
    for name in sorted({*before, *after}):
        was, now = before.get(name, reported.get(name)), after.get(name, reported.get(name))
        if was is None:
            lines.append(f"{name} came: {now}")
        elif now is None:
            lines.append(f"{name} went: {was}")
        elif was != now:
            lines.append(f"{name} changed: {was} was approved, {now} is found")
    return lines


def _name(affected: model.Affected) -> str:
    return f"{affected.kind} {affected.name}"


def _actions(workflow: model.Workflow) -> dict[str, str]:
    return {_name(one): one.action for batch in workflow.batches for one in batch}


def _order(old: Sequence[Sequence[model.Affected]], new: Sequence[Sequence[model.Affected]]) -> list[str]:
    """The first and last batches that differ, of what is in both; what came and went is told elsewhere."""
    both = {_name(one) for batch in old for one in batch} & {_name(one) for batch in new for one in batch}
    before, after = _common(old, both), _common(new, both)
    if before == after:
        return []
    start = next(index for index in range(max(len(before), len(after))) if before[index:][:1] != after[index:][:1])
    end = 0
    while end < min(len(before), len(after)) - start and before[-1 - end] == after[-1 - end]:
        end += 1
    was, now = before[start : len(before) - end], after[start : len(after) - end]
    return [f"the order changed: {_told(was)} was approved, {_told(now)} is found"]


def _common(batches: Sequence[Sequence[model.Affected]], both: set[str]) -> list[list[str]]:
    found = [sorted(_name(one) for one in batch if _name(one) in both) for batch in batches]
    return [batch for batch in found if batch]


def _told(batches: _Batches) -> str:
    return ", then ".join(_some(batch) for batch in batches[:_NAMED]) + (", then more" if len(batches) > _NAMED else "")


def _some(names: Sequence[str]) -> str:
    more = len(names) - _NAMED
    return " and ".join([*names[:_NAMED], *([f"{more} more"] if more > 0 else [])])
