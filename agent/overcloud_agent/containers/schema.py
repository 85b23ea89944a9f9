"""The JSON Schema of the container format, made from its types and from what loose.py takes beside them. Pure."""

from __future__ import annotations

from typing import Any

from overcloud_agent.containers import loose

_ANY_ENTRIES = {
    "type": "array",
    "items": {"anyOf": [{"type": ["string", "number", "boolean", "null"]}, {"$ref": "#/$defs/Entries"}]},
}


def of(container: dict[str, Any], components: dict[str, Any], hidden: tuple[str, ...], steps: str) -> dict[str, Any]:
    """The schema of a config: a map of names, or of steps to maps of names, or one such under TripleO's key.

    `container` and `components` are msgspec's; properties that are `hidden` are no keys of the format. `steps` is the
    pattern of a step's name.
    """
    definitions = {name: _loose_struct(definition) for name, definition in components.items()}
    whole = definitions["Container"]
    whole["properties"] = {key: value for key, value in whole["properties"].items() if key not in hidden}
    is_exec = {"properties": {"action": {"const": "exec"}}, "required": ["action"]}
    whole |= {"if": is_exec, "then": {"required": ["command"]}, "else": {"required": ["image"]}}
    flat = {"type": "object", "minProperties": 1, "additionalProperties": container}
    step = {"anyOf": [{**flat, "minProperties": 0}, {"type": "null"}, {"const": ""}]}
    stepped = {"type": "object", "minProperties": 1, "patternProperties": {steps: step}, "additionalProperties": False}
    wrapped = {
        "type": "object",
        "minProperties": 1,
        "maxProperties": 1,
        "properties": {"container_config": stepped, "docker_config": stepped},
        "additionalProperties": False,
    }
    is_stepped = {"type": "object", "minProperties": 1, "propertyNames": {"pattern": steps}}
    is_wrapped = {
        "type": "object",
        "minProperties": 1,
        "propertyNames": {"enum": ["container_config", "docker_config"]},
    }
    # if/then says what is wrong with the form that was meant; anyOf would say only that no form fits.
    forms = {"if": is_stepped, "then": stepped, "else": {"if": is_wrapped, "then": wrapped, "else": flat}}
    return {"type": "object", **forms, "$defs": {**definitions, "Entries": _ANY_ENTRIES}}


def _loose_struct(definition: dict[str, Any]) -> dict[str, Any]:
    properties = {key: _nullable(_loose(value)) for key, value in definition.get("properties", {}).items()}
    return {**definition, "properties": properties}


def _loose(node: dict[str, Any]) -> dict[str, Any]:
    """A schema of a value, with the other ways of writing it."""
    if "anyOf" in node:
        return {**node, "anyOf": [_loose(one) for one in node["anyOf"]]}
    if node.get("$comment") == loose.GAPS["$comment"]:
        return {**node, "items": _ANY_ENTRIES["items"]}
    if node.get("$comment") == loose.DURATION["$comment"]:
        return {**node, "type": ["number", "string"]}
    if node.get("$comment") == loose.TEXT["$comment"]:
        return node
    kind = node.get("type")
    if kind == "array":
        return {**node, "items": _loose(node["items"])}
    if kind in ("integer", "number"):
        return {**node, "type": [kind, "string"], "pattern": loose.NUMBER_PATTERN}
    if kind == "boolean":
        return {**node, "type": ["boolean", "string"], "pattern": loose.BOOLEAN_PATTERN}
    if kind == "string":
        return {**node, "type": ["string", "number", "boolean"]}
    return node


def _nullable(node: dict[str, Any]) -> dict[str, Any]:
    if "anyOf" in node:
        options = [one for one in node["anyOf"] if one != {"type": "null"}]
        return {**node, "anyOf": [*options, {"type": "null"}]}
    if "$ref" in node:
        return {"anyOf": [{"$ref": node["$ref"]}, {"type": "null"}]}
    if "enum" in node:
        return {**node, "enum": [*node["enum"], None]}
    if "type" in node:
        return {**node, "type": [*(node["type"] if isinstance(node["type"], list) else [node["type"]]), "null"]}
    return node
