"""The group docker-cmd of heat-agents in terms of our engine: config, labels, and what is left behind. Pure: no I/O.

Its hook starts a new container under a new name and removes the old ones in the next pass, so that a failed one is
found when the old one is gone. Here the same config goes through the upgrade that container-upgrade has: pulled first,
swapped, gated, with the way back.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from overcloud_agent import model, records
from overcloud_agent.containers import adoption, documents

GROUP = adoption.DOCKER_CMD

# The keys that the hook knows; it passes over all others without a word.
KEYS = (
    "action",
    "command",
    "detach",
    "env_file",
    "environment",
    "exit_codes",
    "image",
    "net",
    "pid",
    "privileged",
    "restart",
    "start_order",
    "user",
    "volumes",
    "volumes_from",
)

# Lists of which the hook leaves out the empty entries.
_LISTS = ("env_file", "environment", "volumes", "volumes_from")


@dataclasses.dataclass(frozen=True)
class Converted:
    """A config in the format of container-upgrade, and what people should know about the conversion."""

    config: dict[str, Any]
    """By container; empty where there is nothing to do, which spec.parse would refuse."""
    notes: tuple[str, ...] = ()


def to_containers(config: object) -> Converted:
    """The containers of a config of docker-cmd (an object, or its YAML or JSON text) as container-upgrade takes them.

    No config is nothing to do, as it is for the hook. What is of the wrong type stays as it came, for spec.parse to say
    where. Raises BadInput when the config is no map of names.
    """
    if not config:
        return Converted({})
    entries = {name: _entry(entry) for name, entry in documents.load(config).items()}
    notes = [note for name, entry in documents.load(config).items() for note in _notes(name, entry)]
    return Converted(entries, tuple(notes))


def _entry(entry: object) -> object:
    if not isinstance(entry, dict):
        return entry
    given = {key: entry[key] for key in KEYS if key in entry}
    for key in _LISTS:
        if isinstance(given.get(key), list):
            given[key] = [one for one in given[key] if one]
    if isinstance(given.get("command"), str):
        # That hook knows no quotes.
        given["command"] = given["command"].split()
    if isinstance(given.get("command"), list):
        given["command"] = [str(word) for word in given["command"]]
    if "privileged" in given:
        given["privileged"] = _boolean(given["privileged"])
    if "detach" in given:
        given["detach"] = bool(given["detach"])
    # `key: null` and an empty command, which the hook takes for none.
    return {key: value for key, value in given.items() if value is not None and not (key == "command" and not value)}


def _boolean(value: object) -> object:
    return {"true": True, "1": True, "false": False, "0": False}.get(str(value).lower(), value)


def _notes(name: str, entry: object) -> list[str]:
    if not isinstance(entry, dict):
        return []
    notes = [f"{name}: the key {key} has no effect in the group docker-cmd" for key in entry if key not in KEYS]
    if isinstance(entry.get("environment"), dict):
        notes.append(f"{name}: environment is a map: the hook of heat-agents would have left out its values")
    return notes


def carry_out(deployment: model.Deployment, upgrade: Callable[[model.Deployment], model.Result]) -> model.Result:
    """The result of a deployment of the group, whose containers `upgrade` brings to what the config says.

    An empty config is nothing to do, as the hook has it. Raises what `upgrade` raises, and BadInput.
    """
    if deployment.action == "DELETE":
        return upgrade(deployment)
    converted = to_containers(deployment.config)
    if not converted.config:
        return model.succeeded("the config has no containers")
    result = upgrade(model.Deployment(**{**records.fields(deployment), "config": converted.config}))
    said = "\n".join([str(result.body.get("deploy_stdout") or ""), *converted.notes]).strip("\n")
    return model.Result(body={**result.body, "deploy_stdout": said}, ok=result.ok, reason=result.reason)


def labels(deployment: model.Deployment) -> dict[str, str]:
    """The labels by which the containers of one resource are known again, as the hook gives them."""
    return {
        "deploy_stack_id": str(deployment.input("deploy_stack_id") or ""),
        "deploy_resource_name": str(deployment.input("deploy_resource_name") or ""),
    }


def describe() -> dict[str, Any]:
    """What hooks/docker-cmd.json says: summary, description, and JSON Schemas of config, inputs and outputs."""
    text, words = {"type": "string"}, {"type": "array", "items": {"type": "string"}}
    properties = {
        "image": text,
        "action": {"enum": ["run", "exec"], "default": "run"},
        "command": {"anyOf": [text, {"type": "array"}], "description": "text is split at white space, without quotes"},
        "detach": {"type": "boolean", "default": True},
        "start_order": {"type": "integer", "default": 0},
        "exit_codes": {"type": "array", "items": {"type": "integer"}, "default": [0]},
        "env_file": {"anyOf": [text, words]},
        "environment": {"anyOf": [{"type": "object"}, words]},
        "net": text,
        "pid": text,
        "privileged": {"type": ["boolean", "string"]},
        "restart": text,
        "user": {"type": ["string", "integer"]},
        "volumes": words,
        "volumes_from": words,
    }
    return {
        "summary": "Run docker-cmd's configs with the upgrade of container-upgrade.",
        "description": [
            "The config is a map of container names to keys of docker run, or its YAML or JSON text. A container that",
            "is there is replaced with a gate and a way back, and one whose image and keys did not change is not",
            "touched. Other keys have no effect, as in the hook of heat-agents; deploy_stdout says so.",
        ],
        "config": {
            "type": "object",
            "additionalProperties": {
                "type": "object",
                "required": ["image"],
                "properties": properties,
                "additionalProperties": True,
            },
        },
        "inputs": {
            "type": "object",
            "properties": {"deploy_stack_id": text, "deploy_resource_name": text},
        },
        "outputs": {"type": "object", "properties": {}},
    }
