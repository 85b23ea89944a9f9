"""A config's values made what their types say, where TripleO's templates and paunch are looser. Pure: no I/O.

Numbers and booleans may be text, text may be a number, lists may have gaps and lists in them (as Heat's `list_concat`
and `if` leave them), and null is the same as leaving a key out. What is still wrong after that is left as it is: the
conversion to the types finds it.
"""

from __future__ import annotations

import math
import re
from typing import Any

import msgspec

from overcloud_agent import errors
from overcloud_agent.containers import values

# Marks of types, which the JSON Schema has as comments, too.
GAPS = {"$comment": "lists in the list are flattened; null and empty text are left out"}
TEXT = {"$comment": "text only"}
DURATION = {"$comment": "seconds, or text such as 90 or 1m30s"}

NUMBER_PATTERN = r"^\s*-?[0-9]+\s*$"
BOOLEAN_PATTERN = r"^\s*([Tt]rue|TRUE|[Ff]alse|FALSE|[Yy]es|YES|[Nn]o|NO|[Oo]n|ON|[Oo]ff|OFF)\s*$"
_TRUE = ("true", "yes", "on")

_Type = msgspec.inspect.Type


def loosen(value: Any, kind: _Type, path: str) -> Any:
    """`value` as `kind` would have it written. Raises BadInput for what is inside a map and is no scalar."""
    if isinstance(kind, msgspec.inspect.Metadata):
        if kind.extra_json_schema == GAPS:
            return _flat(value, kind.type, path)
        if kind.extra_json_schema == DURATION and isinstance(value, (str, float)):
            with values.at(path):
                return math.ceil(values.seconds(value))
        return value if kind.extra_json_schema == TEXT else loosen(value, kind.type, path)
    if isinstance(kind, msgspec.inspect.UnionType):
        return loosen(value, _member(value, kind), path)
    if isinstance(value, dict):
        return _mapping(value, kind, path)
    if isinstance(kind, (msgspec.inspect.ListType, msgspec.inspect.VarTupleType)) and isinstance(value, list):
        return [loosen(one, kind.item_type, f"{path}[{index}]") for index, one in enumerate(value)]
    return _scalar(value, kind)


def _mapping(value: dict[Any, Any], kind: _Type, path: str) -> dict[Any, Any]:
    if isinstance(kind, msgspec.inspect.StructType):
        known = {field.name: field.type for field in kind.fields}
        return {
            key: loosen(one, known[key], f"{path}.{key}") if key in known else one
            for key, one in value.items()
            if one is not None
        }
    if isinstance(kind, msgspec.inspect.DictType) and not isinstance(kind.value_type, msgspec.inspect.AnyType):
        for key, one in value.items():
            if isinstance(one, (dict, list)):
                found = "a map" if isinstance(one, dict) else "a list"
                raise errors.BadInput(f"expected text, a number or a boolean, got {found}", path=f"{path}.{key}")
        # YAML has keys that are numbers.
        return {_scalar(key, msgspec.inspect.StrType()): one for key, one in value.items()}
    return value


def _member(value: Any, union: msgspec.inspect.UnionType) -> _Type:
    """Which of the types of a union a value is meant to be."""
    shapes: list[type[Any]] = [msgspec.inspect.StrType, msgspec.inspect.IntType, msgspec.inspect.FloatType]
    shapes.append(msgspec.inspect.BoolType)
    if isinstance(value, dict):
        shapes = [msgspec.inspect.StructType, msgspec.inspect.DictType]
    elif isinstance(value, list):
        shapes = [msgspec.inspect.ListType]
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        shapes = [msgspec.inspect.IntType, msgspec.inspect.FloatType, msgspec.inspect.StrType]
    for shape in shapes:
        for kind in union.types:
            bare = kind.type if isinstance(kind, msgspec.inspect.Metadata) else kind
            if isinstance(bare, shape):
                return kind
    return union.types[0] if value is not None else msgspec.inspect.NoneType()


def _flat(value: Any, kind: _Type, path: str) -> Any:
    if not isinstance(value, list) or not isinstance(kind, msgspec.inspect.ListType):
        return value
    flat: list[Any] = []
    for index, one in enumerate(value):
        if isinstance(one, list):
            flat += _flat(one, kind, f"{path}[{index}]")
        elif one is not None and one != "":
            flat.append(loosen(one, kind.item_type, f"{path}[{index}]"))
    return flat


def _scalar(value: Any, kind: _Type) -> Any:
    if isinstance(kind, msgspec.inspect.StrType) and isinstance(value, (bool, int, float)):
        return values.text(value)
    if not isinstance(value, str):
        return value
    if isinstance(kind, msgspec.inspect.BoolType) and re.fullmatch(BOOLEAN_PATTERN[1:-1], value):
        return value.strip().lower() in _TRUE
    if isinstance(kind, (msgspec.inspect.IntType, msgspec.inspect.FloatType)) and re.fullmatch(r"\s*-?\d+\s*", value):
        return int(value)
    return value
