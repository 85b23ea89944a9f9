"""What can be approved: a plan as a document, its identifier, and how two of them differ. Pure: no I/O."""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import Any, Literal

import msgspec

from overcloud_agent import errors, identifiers
from overcloud_agent.packages import classes, model


class Package(msgspec.Struct, frozen=True, kw_only=True, rename={"old": "from", "new": "to", "change_class": "class"}):
    """One package that changes."""

    name: str
    architecture: str
    kind: model.Kind
    old: str | None
    """The installed version; null where none is."""
    new: str | None
    """The version to come; null where it is removed."""
    source: str
    repository: str
    download: int
    """Bytes."""
    growth: int
    """Bytes on disk that come to it; negative where it shrinks."""
    security: bool | None
    """null where the repository does not say."""
    change_class: Literal["update", "upgrade"]
    reason: str
    """Why it is of that class."""


class Kept(msgspec.Struct, frozen=True, kw_only=True, rename={"old": "from", "new": "to"}):
    """A package that has an update, and is left as it is."""

    name: str
    architecture: str
    old: str
    new: str
    reason: str


class Restart(msgspec.Struct, frozen=True, kw_only=True):
    """A unit or container that runs code which changes; or a process of neither, which is only reported."""

    kind: Literal["unit", "container", "process"]
    name: str
    action: Literal["restart", "reload", "report"]
    packages: list[str]
    reasons: list[str]


class Workflow(msgspec.Struct, frozen=True, kw_only=True):
    """What follows from the changes."""

    batches: list[list[Restart]]
    """One after the other; of each, all at once."""
    report: list[Restart]
    """What is left to the operator."""
    reboot: list[str]
    """Why the node must boot again; empty when it need not."""


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """Sums."""

    packages: int
    kinds: dict[str, int]
    """How many packages of each kind of change."""
    upgrades: int
    """How many packages are of the class upgrade."""
    security: int
    kept: int
    download: int
    growth: int
    restarts: int
    """Units and containers that are restarted or reloaded."""


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """The answer of `overcloud-agent packages --json` and of `mode: plan`."""

    change: model.Class
    packages: list[Package]
    kept: list[Kept]
    workflow: Workflow
    totals: Totals
    """Of all packages, also of those that are left out."""
    left_out: int = 0
    """How many packages and kept ones are not in the document, which would have been too long for its reader."""


def build(pending: model.Pending, rules: classes.Rules, workflow: model.Workflow) -> model.Plan:
    """The plan for what an update would do."""
    pending = model.Pending(changes=tuple(sorted(pending.changes)), kept=tuple(sorted(pending.kept)))
    return model.Plan(pending=pending, classes=classes.classify(pending, rules), workflow=workflow)


def schema() -> dict[str, Any]:
    """The JSON Schema of what `document` returns."""
    return msgspec.json.schema(Document)


def document(plan: model.Plan) -> dict[str, Any]:
    """The plan, as JSON."""
    workflow = plan.workflow
    built = Document(
        change=plan.change,
        packages=[_package(change, plan) for change in sorted(plan.pending.changes)],
        kept=[Kept(**vars(one)) for one in sorted(plan.pending.kept)],
        workflow=Workflow(
            batches=[[_restart(one) for one in sorted(batch)] for batch in workflow.batches],
            report=[_restart(one) for one in sorted(workflow.report)],
            reboot=sorted(workflow.reboot),
        ),
        totals=_totals(plan),
    )
    return dict(msgspec.to_builtins(built))


def _class(change: model.Change, plan: model.Plan) -> tuple[model.Class, str]:
    return plan.classes.get(change.name, ("update", ""))


def _package(change: model.Change, plan: model.Plan) -> Package:
    kind, reason = _class(change, plan)
    values = {**vars(change), "old": change.old or None, "new": change.new or None}
    # That is between dnf and itself.
    del values["cause"]
    return Package(**values, change_class="upgrade" if kind == "upgrade" else "update", reason=reason)


def _restart(affected: model.Affected) -> Restart:
    return Restart(
        kind=affected.kind,
        name=affected.name,
        action=affected.action,
        packages=list(affected.packages),
        reasons=list(affected.reasons),
    )


def _totals(plan: model.Plan) -> Totals:
    changes = plan.pending.changes
    return Totals(
        packages=len(changes),
        kinds=dict(sorted(Counter(change.kind for change in changes).items())),
        upgrades=sum(_class(change, plan)[0] == "upgrade" for change in changes),
        security=sum(change.security is True for change in changes),
        kept=len(plan.pending.kept),
        download=sum(change.download for change in changes),
        growth=sum(change.growth for change in changes),
        restarts=sum(len(batch) for batch in plan.workflow.batches),
    )


def shortened(document: dict[str, Any], limit: int) -> dict[str, Any]:
    """The document with at most `limit` packages, and as many kept ones: those that are read for come first.

    Heat takes a result of a megabyte, which is 3,000 packages; their sums, and the whole workflow, stay.
    """
    if max(len(document["packages"]), len(document["kept"])) <= limit:
        return document
    packages = sorted(document["packages"], key=interest)[:limit]
    kept = document["kept"][:limit]
    left_out = len(document["packages"]) - len(packages) + len(document["kept"]) - len(kept)
    return {**document, "packages": packages, "kept": kept, "left_out": document["left_out"] + left_out}


def interest(package: dict[str, Any]) -> tuple[bool, bool, bool]:
    """By what packages of a document are sorted so that those come first that somebody has to look at."""
    routine = package["kind"] in ("install", "upgrade", "reinstall")
    return package["class"] != "upgrade", routine, package["security"] is not True


def read(document: object) -> model.Plan:
    """The plan of a document. Raises BadInput for what is none, or not all of one."""
    try:
        found = msgspec.convert(document, Document)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at ")
        raise errors.BadInput(message, path=path.strip("`") or "$", hint="docs/package-plan.schema.json") from None
    if found.left_out:
        raise errors.BadInput(f"{found.left_out} packages are left out of the plan", path="$.left_out")
    return model.Plan(
        pending=model.Pending(
            changes=tuple(_change(one) for one in found.packages),
            kept=tuple(model.Kept(**msgspec.structs.asdict(one)) for one in found.kept),
        ),
        classes={one.name: (one.change_class, one.reason) for one in found.packages},
        workflow=model.Workflow(
            batches=tuple(tuple(_affected(one) for one in batch) for batch in found.workflow.batches),
            report=tuple(_affected(one) for one in found.workflow.report),
            reboot=tuple(found.workflow.reboot),
        ),
    )


def _change(package: Package) -> model.Change:
    fields = {field.name for field in dataclasses.fields(model.Change)}
    values = {name: value for name, value in msgspec.structs.asdict(package).items() if name in fields}
    return model.Change(**{**values, "old": package.old or "", "new": package.new or ""})


def _affected(restart: Restart) -> model.Affected:
    return model.Affected(
        kind=restart.kind,
        name=restart.name,
        action=restart.action,
        packages=tuple(restart.packages),
        reasons=tuple(restart.reasons),
    )


# Approval


def approved(plan: model.Plan) -> dict[str, Any]:
    """What of a plan is approved: what changes, from where, what restarts in which order, and whether the node boots.

    Not what may be otherwise a minute later though exactly the same is done: how much is left to download, which
    process had which file open, what is not updated, what is only reported (sessions and processes come and go), and
    how any of it is said.
    """
    workflow = plan.workflow
    return {
        "packages": sorted(
            [one.name, one.architecture, one.kind, one.old, one.new, one.repository] for one in plan.pending.changes
        ),
        "batches": [sorted([one.kind, one.name, one.action] for one in batch) for batch in workflow.batches if batch],
        "reboot": bool(workflow.reboot),
    }


def plan_identifier(plan: model.Plan) -> str:
    """`sha256:<hex>`: the same for plans that do the same."""
    return identifiers.of(approved(plan))
