"""What became of a deployment's containers, as a result for Heat. Pure: no I/O."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from overcloud_agent import errors, identifiers, model
from overcloud_agent.containers import plan, target

RESULTS = (
    "created",
    "upgraded",
    "adopted",
    "started",
    "ran",
    "removed",
    "unchanged",
    "rolled back",
    "failed",
)

# Of these Heat need not tell anybody.
_NOTHING = ("unchanged", "adopted")


def result(
    outcomes: list[target.Outcome], targets: dict[str, target.Target], order: list[str], notes: list[str]
) -> model.Result:
    """The result. An output `containers` is a list of what target.Outcome says, but for its log."""
    outputs = {
        "changed": any(outcome.result not in _NOTHING for outcome in outcomes),
        "containers": [_presented(outcome) for outcome in outcomes],
        "containers_identifier": identifiers.of({name: one.wanted.fingerprint for name, one in targets.items()}),
    }
    lines = [f"{outcome.name}: {outcome.result}" for outcome in outcomes] + notes
    lines += [f"{outcome.name}: {note}" for outcome in outcomes for note in outcome.notes]
    failures = [outcome for outcome in outcomes if outcome.failed]
    if not failures:
        return model.succeeded("\n".join(lines), outputs=outputs)
    done = {outcome.name for outcome in outcomes}
    lines += [f"{name}: not touched" for name in order if name not in done]
    said = "\n".join(
        f"the last lines of {outcome.name}, which failed:\n{outcome.log}" for outcome in failures if outcome.log
    )
    rolled_back = all(outcome.result == "rolled back" for outcome in failures)
    status = errors.GateError.exit_code if rolled_back else 1
    reasons = "; ".join(outcome.error for outcome in failures)
    return model.failed(reasons, status=status, stdout="\n".join(lines), stderr=said, outputs=outputs)


def node_identifier(found: Mapping[str, plan.Container]) -> str:
    """The identifier of all containers of the agent that run on a node, from those that Podman has, by name.

    Where one deployment has all of them, and each is there to serve, it is that deployment's containers_identifier.
    """
    # In the middle of an upgrade a container may run under a name that is not the one it is to have.
    serving = {name: one.fingerprint for name, one in found.items() if one.running and one.name == name}
    return identifiers.of({name: fingerprint for name, fingerprint in serving.items() if fingerprint})


def _presented(outcome: target.Outcome) -> dict[str, Any]:
    report = dataclasses.asdict(outcome)
    del report["log"], report["notes"]
    return {key: value for key, value in report.items() if value not in ("", None)}


def schema() -> dict[str, Any]:
    """The JSON Schemas of the outputs, by name."""
    digest = {"type": "string", "pattern": "^sha256:[0-9a-f]{64}$"}
    container = {
        "type": "object",
        "required": ["name", "result", "steps"],
        "properties": {
            "name": {"type": "string"},
            "result": {"enum": list(RESULTS)},
            "old_digest": digest,
            "new_digest": digest,
            "fingerprint": digest,
            "downtime": {"type": "number", "description": "seconds; absent when nothing was stopped"},
            "steps": {"type": "array", "items": {"type": "string"}},
            "error": {"type": "string"},
        },
    }
    return {
        "changed": {"type": "boolean"},
        "containers": {"type": "array", "items": container},
        "containers_identifier": digest,
    }
