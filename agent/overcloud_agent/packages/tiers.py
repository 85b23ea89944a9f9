"""In which order services restart where systemd leaves it open: what is shipped, and deployers' drop-ins. Pure: no I/O.

docs/package-plan.md has the format of a drop-in. A name in it is a systemd unit's, with its suffix, or
`container:NAME`; both may have shell wildcards.
"""

from __future__ import annotations

import dataclasses
import difflib
import fnmatch
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal, TypeVar

import msgspec

from overcloud_agent import errors
from overcloud_agent.packages import model

# The agent restarts itself when all else is done, whatever anybody orders.
AGENT = "overcloud-agent.service"

CONTAINER = "container:"

Action = Literal["restart", "reload", "report"]

_NAMES_HINT = "a unit has its suffix (nova-compute.service), a container is written container:NAME"
# systemd.unit(5): what a unit can be. Others than these are not restarted, but may be named.
_UNIT = re.compile(r"[A-Za-z0-9:_.\\@*?\[\]!-]+\.(service|socket|target|timer|mount|automount|path|slice|scope|\*)")
# What Podman allows in a name, and wildcards.
_CONTAINER_NAME = re.compile(r"[A-Za-z0-9*?\[][A-Za-z0-9_.*?\[\]!-]*")


class Order(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`names` restart before and after others, in systemd's words."""

    names: list[str]
    before: list[str] = []
    after: list[str] = []


class DropIn(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A file of workflow.d."""

    order: list[Order] = []
    tiers: dict[str, list[str]] = {}
    """By the name of the tier, what belongs to it."""
    actions: dict[Action, list[str]] = {}
    apart: list[list[str]] = []
    """Of each list, no two are in the same batch."""


class Tier(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A tier, and what belongs to it."""

    name: str
    names: list[str]


class Shipped(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """tiers.yaml."""

    tiers: list[Tier]
    default: str
    actions: dict[Action, list[str]] = {}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ordered:
    """What fits `before` restarts before what fits `after`; `origin` says who wants that."""

    before: re.Pattern[str]
    after: re.Pattern[str]
    origin: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rules:
    """All that is known about the order besides what systemd knows. Of lists, the first that fits counts."""

    tiers: tuple[str, ...]
    """From first to last."""
    default: str
    placed: tuple[tuple[re.Pattern[str], str], ...] = ()
    """What fits the names of a tier, and the tier."""
    actions: tuple[tuple[re.Pattern[str], Action], ...] = ()
    orders: tuple[Ordered, ...] = ()
    apart: tuple[re.Pattern[str], ...] = ()


def label(affected: model.Affected) -> str:
    """How a unit or a container is written in rules and in messages."""
    return CONTAINER + affected.name if affected.kind == "container" else affected.name


def fits(pattern: re.Pattern[str], affected: model.Affected) -> bool:
    """Whether a unit or a container is one of those that a rule names."""
    return any(pattern.fullmatch(name) for name in _written(affected))


def _written(affected: model.Affected) -> Iterator[str]:
    """All ways in which something can be meant: a unit that runs a container is known by both names."""
    yield label(affected)
    unit = re.fullmatch(r"tripleo_(.+)\.service", affected.name) if affected.kind == "unit" else None
    if unit:
        yield CONTAINER + unit[1]
    if affected.kind == "container":
        yield unit_of(affected)


def unit_of(affected: model.Affected) -> str:
    """The unit by whose name systemd orders it: a container's is named as TripleO does, if it has one."""
    return affected.name if affected.kind == "unit" else f"tripleo_{affected.name}.service"


def tier(affected: model.Affected, rules: Rules) -> int:
    """The place of its tier."""
    name = next((name for pattern, name in rules.placed if fits(pattern, affected)), rules.default)
    return rules.tiers.index(name)


def action(affected: model.Affected, rules: Rules) -> Action:
    """What is done to it: what a rule says, else what it came with. A process of nobody's is only ever reported."""
    if affected.kind == "process":
        return "report"
    return next((action for pattern, action in rules.actions if fits(pattern, affected)), affected.action)


# Reading


def read_shipped(document: object, *, file: str) -> Shipped:
    """tiers.yaml. Raises SettingsError."""
    shipped = _convert(document, Shipped, file)
    names = [one.name for one in shipped.tiers]
    if shipped.default not in names or len(set(names)) < len(names):
        raise errors.SettingsError("a tier's name is there twice, or the default is none", path=f"{file}: $.tiers")
    for index, one in enumerate(shipped.tiers):
        _check_names(one.names, f"{file}: $.tiers[{index}].names")
    for name, patterns in shipped.actions.items():
        _check_names(patterns, f"{file}: $.actions.{name}")
    return shipped


def read_drop_in(document: object, *, file: str) -> tuple[str, DropIn]:
    """A deployer's file, checked as far as it can be by itself, with its name; an empty one has nothing.

    Raises SettingsError.
    """
    drop_in = _convert({} if document is None else document, DropIn, file)
    for path, names in _lists(drop_in):
        _check_names(names, f"{file}: {path}")
    for index, order in enumerate(drop_in.order):
        _check_order(order, f"{file}: $.order[{index}]")
    for index, group in enumerate(drop_in.apart):
        if not group:
            raise errors.SettingsError("the list is empty", path=f"{file}: $.apart[{index}]", hint=_NAMES_HINT)
    return file, drop_in


_Kind = TypeVar("_Kind")


def _convert(document: object, kind: type[_Kind], file: str) -> _Kind:
    try:
        return msgspec.convert(document, kind)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at ")
        hint = _hint(message, kind)
        raise errors.SettingsError(message, path=f"{file}: {path.strip('`') or '$'}", hint=hint) from None


def _hint(message: str, kind: Any) -> str:
    """What would be right in place of a word that is not known."""
    word = re.search(r"unknown field `(.*)`|enum value '(.*)'", message)
    known = [field.name for one in (kind, Order) for field in msgspec.structs.fields(one)]
    known += ["restart", "reload", "report"]
    near = difflib.get_close_matches((word[1] or word[2]) if word else "", known, n=1)
    return f"nearest: {near[0]}" if near else "docs/package-plan.md has the format"


def _lists(drop_in: DropIn) -> Iterator[tuple[str, Sequence[str]]]:
    for index, order in enumerate(drop_in.order):
        for key in ("names", "before", "after"):
            yield f"$.order[{index}].{key}", getattr(order, key)
    for name, patterns in drop_in.tiers.items():
        yield f"$.tiers.{name}", patterns
    for kind, patterns in drop_in.actions.items():
        yield f"$.actions.{kind}", patterns
    for index, group in enumerate(drop_in.apart):
        yield f"$.apart[{index}]", group


def _check_names(names: Sequence[str], path: str) -> None:
    for index, name in enumerate(names):
        container = name.removeprefix(CONTAINER)
        good = _CONTAINER_NAME.fullmatch(container) if container != name else _UNIT.fullmatch(name)
        if not good:
            raise errors.SettingsError(f"{name!r} is no name", path=f"{path}[{index}]", hint=_NAMES_HINT)


def _check_order(order: Order, path: str) -> None:
    if not order.names or not (order.before or order.after):
        raise errors.SettingsError(
            "this orders nothing", path=path, hint="an order has names, and what they restart before, after, or both"
        )
    for key, others in (("before", order.before), ("after", order.after)):
        both = sorted({*order.names} & {*others})
        if both:
            raise errors.SettingsError(f"{both[0]} cannot restart {key} itself", path=f"{path}.{key}")
    first = {*order.names} if order.before else set()
    if AGENT in first or AGENT in order.after:
        raise errors.SettingsError(
            f"{AGENT} restarts last, and nothing after it", path=path, hint="leave it out of the order"
        )


# Merging


def merge(shipped: Shipped, drop_ins: Iterable[tuple[str, DropIn]]) -> Rules:
    """All rules as one. Later drop-ins come before earlier ones, and all of them before what is shipped.

    Raises SettingsError for a tier that there is not.
    """
    files = list(drop_ins)
    names = tuple(one.name for one in shipped.tiers)
    for file, drop_in in files:
        for name in drop_in.tiers:
            if name not in names:
                raise errors.SettingsError(
                    f"there is no tier {name!r}", path=f"{file}: $.tiers", hint=f"the tiers are {', '.join(names)}"
                )
    placed = [(name, patterns) for _, drop_in in reversed(files) for name, patterns in drop_in.tiers.items()]
    placed += [(one.name, one.names) for one in shipped.tiers]
    actions = [item for _, drop_in in reversed(files) for item in drop_in.actions.items()]
    actions += shipped.actions.items()
    return Rules(
        tiers=names,
        default=shipped.default,
        placed=tuple((_pattern(patterns), name) for name, patterns in placed),
        actions=tuple((_pattern(patterns), action) for action, patterns in actions),
        orders=tuple(one for file, drop_in in files for one in _ordered(file, drop_in)),
        apart=tuple(_pattern(group) for _, drop_in in files for group in drop_in.apart),
    )


def _ordered(file: str, drop_in: DropIn) -> Iterator[Ordered]:
    for index, order in enumerate(drop_in.order):
        origin, names = f"{file}: $.order[{index}]", _pattern(order.names)
        if order.before:
            yield Ordered(before=names, after=_pattern(order.before), origin=f"{origin}.before")
        if order.after:
            yield Ordered(before=_pattern(order.after), after=names, origin=f"{origin}.after")


def _pattern(names: Iterable[str]) -> re.Pattern[str]:
    # With no name, nothing fits.
    return re.compile("|".join(fnmatch.translate(name) for name in names) or r"(?!)")
