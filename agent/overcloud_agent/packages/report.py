"""What became of a deployment of packages, as a result for Heat. Pure: no I/O."""

from __future__ import annotations

import dataclasses
from typing import Any

from overcloud_agent import model as deployments
from overcloud_agent.packages import inputs, model, outcomes, plan, table

# Packages in the outputs. Zaqar takes 250 kB, which is about twice as many.
LIMIT = 500


@dataclasses.dataclass(frozen=True, kw_only=True)
class Identifiers:
    """Of what is on the node now."""

    packages: str
    content: dict[str, str]
    containers: str | None

    def outputs(self) -> dict[str, Any]:
        """As Heat gets them."""
        return {
            "packages_identifier": self.packages,
            "content_identifiers": self.content,
            "containers_identifier": self.containers,
        }


def planned(found: model.Plan, current: Identifiers | None) -> dict[str, Any]:
    """The outputs of a plan that nobody carried out; without identifiers where these cannot be told."""
    document = plan.shortened(plan.document(found), LIMIT)
    return {
        "change": found.change,
        "plan_identifier": plan.plan_identifier(found),
        "pending_updates": document["packages"],
        "updated": [],
        "kept": document["kept"],
        "totals": document["totals"],
        "workflow": document["workflow"],
        "restarted": [],
        "still_old": [],
        "failed": {},
        "reboot_required": bool(found.workflow.reboot),
        "update_managed_packages": "false",
        **(current.outputs() if current else {}),
    }


def carried_out(found: model.Plan, outcome: outcomes.Outcome, current: Identifiers | None) -> dict[str, Any]:
    """The outputs of an update; without identifiers where these cannot be told."""
    outputs = planned(found, current)
    if outcome.packages == "changed":
        outputs["updated"], outputs["pending_updates"] = outputs["pending_updates"], []
    return {
        **outputs,
        "restarted": outcome.restarted,
        "still_old": outcome.still_old,
        "failed": outcome.failed,
        "not_running": outcome.left,
        "reboot_required": bool(outcome.reboot_required),
        "reboot_reasons": outcome.reboot_required,
        "boot_id": outcome.boot_id,
    }


def text(found: model.Plan, current: Identifiers | None) -> str:
    """The plan for people."""
    shown: dict[str, str] = {}
    if current:
        shown = {"packages": current.packages, **current.content, "containers": current.containers or "-"}
    return table.text(plan.document(found), {**shown, "plan": plan.plan_identifier(found)})


def result(found: model.Plan, outcome: outcomes.Outcome, current: Identifiers | None) -> deployments.Result:
    """The result of an update that was carried out, well or not."""
    outputs = carried_out(found, outcome, current)
    lines = [text(found, current), *outcome.notes]
    lines += [f"{name}: runs the new code" for name in outcome.restarted]
    lines += [f"{name}: did not run, and was left so" for name in outcome.left]
    lines += [f"{name}: still runs the old code" for name in outcome.still_old]
    lines += [f"{name}: {why}" for name, why in outcome.failed.items()]
    lines += [f"the node has to boot: {why}" for why in outcome.reboot_required]
    stdout = "\n".join(lines)
    if outcome.ok:
        return deployments.succeeded(stdout, outputs=outputs)
    said = f"the package manager's last words:\n{outcome.log}" if outcome.log else ""
    return deployments.failed(outcome.reason, stdout=stdout, stderr=said, outputs=outputs)


def schema() -> dict[str, Any]:
    """The JSON Schemas of the outputs, by name."""
    digest = {"type": "string", "pattern": "^sha256:[0-9a-f]{64}$"}
    names = {"type": "array", "items": {"type": "string"}}
    things = {"type": "array", "items": {"type": "object"}}
    described = {
        "change": {"enum": ["none", "update", "upgrade"]},
        "plan_identifier": digest,
        "pending_updates": {**things, "description": "packages that are not updated yet, as in the plan's schema"},
        "updated": {**things, "description": "packages that this deployment has changed"},
        "kept": {**things, "description": "packages that have an update and stay as they are, each with its reason"},
        "totals": {"type": "object", "description": "sums of all packages, also where the lists are shortened"},
        "workflow": {"type": "object", "description": "batches of restarts, what is only reported, reasons to boot"},
        "restarted": {**names, "description": "units and containers that run the new code"},
        "still_old": {**names, "description": "units and containers that still run the old code"},
        "failed": {"type": "object", "description": "units and containers that did not come back, each with why"},
        "not_running": {**names, "description": "units that did not run before, and were left so"},
        "reboot_required": {"type": "boolean"},
        "reboot_reasons": names,
        "boot_id": {"type": "string", "description": "of the boot that the update asked for"},
        "update_managed_packages": {"enum": ["true", "false"], "description": "whether Puppet is to update packages"},
        "packages_identifier": digest,
        "content_identifiers": {"type": "object", "additionalProperties": digest},
        "containers_identifier": {"anyOf": [digest, {"type": "null"}]},
    }
    return dict(described)


def nothing_asked(asked: inputs.Inputs) -> str:
    """Why a deployment changes nothing, in words; empty when it does."""
    if asked.applies:
        return ""
    if asked.mode == "plan":
        return "a plan was asked for, and nothing was changed"
    if asked.action not in ("", "CREATE", "UPDATE"):
        return f"{asked.action}: the packages stay as they are"
    return "neither update_identifier nor plan_identifier is set, so that nothing was changed"
