"""Frozen records, and the check of what they are made from. Pure: no I/O.

A hook executable starts for every deployment, and to load dataclasses or msgspec takes it as long as a short script
runs. So the types that it works with are records: nothing but what a hook has loaded anyway.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from overcloud_agent import errors

# A type checker takes this name for true. What is imported under it, it alone needs: to load typing is slow as well.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeVar, dataclass_transform

    Kind = TypeVar("Kind")
else:

    def dataclass_transform(**_):
        """Do nothing: it is said to type checkers only."""
        return lambda kind: kind


# By Python's types, JSON's as msgspec calls them in its messages; they and those of the records lie side by side.
_NAMES = {dict: "object", list: "array", str: "str", bool: "bool", int: "int", float: "float", type(None): "null"}


@dataclass_transform(frozen_default=True, kw_only_default=True)
class Record:
    """Base of the records: annotated names are fields, by keyword only; one that has a value may be left out."""

    def __init__(self, **values: Any) -> None:
        """Raises TypeError for a field that is missing, or that there is not."""
        names = type(self).__annotations__
        missing = [name for name in names if name not in values and not hasattr(type(self), name)]
        unknown = [name for name in values if name not in names]
        if missing or unknown:
            raise TypeError(f"{type(self).__name__}: missing {missing}, unknown {unknown}")
        self.__dict__.update(values)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} is frozen: {name} stays as it is")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__} is frozen: {name} stays")

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and fields(self) == fields(other)

    def __hash__(self) -> int:
        return hash((type(self), *fields(self).values()))

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={value!r}" for name, value in fields(self).items())
        return f"{type(self).__name__}({shown})"


def fields(record: object) -> dict[str, Any]:
    """The fields of a record with their values, in the order of their declaration."""
    return {name: getattr(record, name) for name in type(record).__annotations__}


def made_from(kind: Callable[..., Kind], kept: Mapping[str, Any]) -> Kind:
    """A record (or a dataclass) made again from the fields that were kept; those that a later version added are left.

    Raises TypeError for a field that is missing and has no default.
    """
    return kind(**{name: value for name, value in kept.items() if name in kind.__annotations__})


def read(
    document: object, shape: Mapping[str, tuple[type, ...]], *, required: str, path: str, hint: str
) -> dict[str, Any]:
    """What of a JSON document `shape` names; each has one of its types, or any where there are none.

    Raises BadInput with the JSON path, which begins with `path`, of the first thing that is wrong.
    """
    if not isinstance(document, dict):
        raise errors.BadInput(f"Expected `object`, got `{json_type(document)}`", path=path, hint=hint)
    if required not in document:
        raise errors.BadInput(f"Object missing required field `{required}`", path=path, hint=hint)
    found = {name: document[name] for name in shape if name in document}
    for name, value in found.items():
        if shape[name] and type(value) not in shape[name]:
            expected = " | ".join(_NAMES[kind] for kind in shape[name])
            raise errors.BadInput(f"Expected `{expected}`, got `{json_type(value)}`", path=f"{path}.{name}", hint=hint)
    return found


def json_type(value: object) -> str:
    """What JSON calls the type of `value`."""
    return _NAMES.get(type(value), type(value).__name__)
