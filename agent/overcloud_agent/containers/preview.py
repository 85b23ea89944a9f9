"""What an upgrade would do, before anything moves: a pure function of facts. Pure: no I/O.

No secret is in the document: values of the environment, and of every key that looks like one of a secret, are `***`;
that they differ is still told.
"""

from __future__ import annotations

import dataclasses
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import msgspec

from overcloud_agent.containers import masks, plan, spec


@dataclasses.dataclass(frozen=True, kw_only=True)
class Wanted:
    """One container as its config wants it."""

    name: str
    config: Mapping[str, Any]
    """msgspec.to_builtins of its spec.Container."""
    image: str
    """The reference as it is in the config."""
    digest: str | None
    """The digest that the reference has now, in its registry; None when that cannot be known."""
    bytes_to_pull: int | None
    """0 when the image is here, None when that cannot be known."""
    fingerprint: str
    """spec.fingerprint; "" when the digest is not known."""
    steps: tuple[str, ...] = ()
    """What the upgrade would do, in its words; none when nothing is to be done."""
    notes: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Existing:
    """One container that is there."""

    name: str
    """The name that it really has; another than the wanted one's when it is found by its label."""
    config: Mapping[str, Any] | None
    """As Wanted.config; None when it is not known."""
    digest: str
    """"" when it is not known."""
    fingerprint: str
    """Of our label, or adoption.fingerprint; "" when it is not known."""
    managed_by: str
    ours: bool
    """Whether our engine made it, whatever group it is of."""
    running: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class Facts:
    """All that a plan is made of."""

    wanted: Sequence[Wanted]
    """In the order in which they would be upgraded."""
    existing: Mapping[str, Existing]
    """By the wanted names."""
    removed: Sequence[Existing] = ()
    """Those that would be removed because the config, which is complete, has them no more."""
    history: Mapping[str, Sequence[float]] = dataclasses.field(default_factory=dict)
    """Seconds of downtime of earlier upgrades of this node, by container."""
    notes: Sequence[str] = ()


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """One key that differs; null where it is not given."""

    key: str
    """Nested keys with dots: `environment.DB_URL`, `healthcheck.interval`."""
    old: Any
    new: Any
    replaces: bool
    """Whether a change of this key replaces the container."""


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """What would become of one container."""

    name: str
    action: Literal["create", "replace", "adopt", "keep", "remove", "start", "run"]
    certain: bool
    """False when the registry could not be asked, and the image is taken to be the one that runs."""
    found_as: str | None
    """The name that the existing container has, where it is another."""
    managed_by: str | None
    """The tool that made the existing container; null where there is none."""
    differences: list[Difference]
    image: str | None
    old_digest: str | None
    new_digest: str | None
    bytes_to_pull: int | None
    steps: list[str]
    expected_downtime: float | None
    """Seconds; null where nothing is stopped, or nothing is known."""
    expected_downtime_from: Literal["this container", "this node"] | None
    expected_downtime_count: int
    """Of how many earlier upgrades it is the median."""
    notes: list[str]


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """Sums over all containers; null where one of them is not known."""

    actions: dict[str, int]
    bytes_to_pull: int | None
    expected_downtime: float | None


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """The answer of `overcloud-agent plan --json` and of `mode: plan`."""

    changes: bool
    containers: list[Entry]
    totals: Totals
    notes: list[str]


def schema() -> dict[str, Any]:
    """The JSON Schema of what `document` returns."""
    return msgspec.json.schema(Document)


def document(facts: Facts) -> dict[str, Any]:
    """The plan, as JSON."""
    entries = [_entry(wanted, facts.existing.get(wanted.name), facts.history) for wanted in facts.wanted]
    entries += [_removal(existing) for existing in facts.removed]
    made = Document(
        changes=any(entry.steps or entry.action not in ("keep", "adopt") for entry in entries),
        containers=entries,
        totals=_totals(entries),
        notes=list(facts.notes),
    )
    return dict(msgspec.to_builtins(made))


def _entry(wanted: Wanted, existing: Existing | None, history: Mapping[str, Sequence[float]]) -> Entry:
    differences = _differences(existing, wanted)
    same = existing is not None and _same(wanted, existing, differences)
    action = _action(wanted, existing, same=same)
    downtime, source, count = _downtime(wanted.name, history) if action == "replace" else (None, None, 0)
    return Entry(
        name=wanted.name,
        action=action,
        certain=bool(wanted.fingerprint) or action in ("create", "run") or any(one.replaces for one in differences),
        found_as=existing.name if existing and existing.name != wanted.name else None,
        managed_by=existing.managed_by if existing else None,
        differences=differences,
        image=wanted.image,
        old_digest=(existing.digest or None) if existing else None,
        new_digest=wanted.digest,
        bytes_to_pull=wanted.bytes_to_pull,
        steps=list(wanted.steps),
        expected_downtime=downtime,
        expected_downtime_from=source,
        expected_downtime_count=count,
        notes=[*wanted.notes, *(_why(wanted, existing, differences) if existing and action == "replace" else ())],
    )


def _removal(existing: Existing) -> Entry:
    return Entry(
        name=existing.name,
        action="remove",
        certain=True,
        found_as=None,
        managed_by=existing.managed_by,
        differences=[],
        image=None,
        old_digest=existing.digest or None,
        new_digest=None,
        bytes_to_pull=0,
        steps=["stop", "remove"] if existing.running else ["remove"],
        expected_downtime=None,
        expected_downtime_from=None,
        expected_downtime_count=0,
        notes=["the config has it no more"],
    )


_Action = Literal["create", "replace", "adopt", "keep", "remove", "start", "run"]


def _action(wanted: Wanted, existing: Existing | None, *, same: bool) -> _Action:
    if wanted.config.get("action") == "exec" or wanted.config.get("detach") is False:
        return "run" if wanted.steps else "keep"
    if existing is None:
        return "create"
    if not same:
        return "replace"
    if not existing.running:
        return "start"
    return "keep" if existing.ours else "adopt"


def _same(wanted: Wanted, existing: Existing, differences: Iterable[Difference]) -> bool:
    if wanted.fingerprint:
        return wanted.fingerprint == existing.fingerprint
    # Without the digest the fingerprint is not known; of what can be known, all is equal.
    known = existing.config is not None and bool(existing.fingerprint)
    return known and not any(difference.replaces for difference in differences)


def _why(wanted: Wanted, existing: Existing, differences: Sequence[Difference]) -> list[str]:
    """Why a container is replaced, where neither keys nor digests tell."""
    if existing.fingerprint == plan.CUT_OFF:
        return []
    if existing.config is None:
        return ["which keys differ is not known: the container does not have its config written on it"]
    if any(one.replaces for one in differences) or (wanted.digest and wanted.digest != existing.digest):
        return []
    if not existing.fingerprint:
        return [f"what {existing.managed_by or 'its maker'} made of this config is not wholly known"]
    if wanted.config.get("env_file"):
        return ["the text of an env_file has changed"]
    return ["the same config is written in another way"]


def _downtime(
    name: str, history: Mapping[str, Sequence[float]]
) -> tuple[float | None, Literal["this container", "this node"] | None, int]:
    own = history.get(name, ())
    if own:
        return round(statistics.median(own), 3), "this container", len(own)
    others = [seconds for of_one in history.values() for seconds in of_one]
    if others:
        return round(statistics.median(others), 3), "this node", len(others)
    return None, None, 0


def _totals(entries: Sequence[Entry]) -> Totals:
    # Containers of one image pull it once.
    pulls = {entry.new_digest or entry.image: entry.bytes_to_pull for entry in entries if entry.image}
    downtimes = [entry.expected_downtime for entry in entries if entry.action == "replace"]
    return Totals(
        actions=dict(Counter(entry.action for entry in entries)),
        bytes_to_pull=None if None in pulls.values() else sum(size or 0 for size in pulls.values()),
        expected_downtime=None if None in downtimes else round(sum(one or 0.0 for one in downtimes), 3),
    )


# Differences, and what of them may be seen


def _differences(existing: Existing | None, wanted: Wanted) -> list[Difference]:
    if existing is None or existing.config is None:
        return []
    before, after = masks.flat(existing.config), masks.flat(wanted.config)
    hidden = masks.secrets({**before, **after}) | masks.secrets(before)
    return [
        Difference(
            key=key,
            old=masks.shown(key, before.get(key), hidden),
            new=masks.shown(key, after.get(key), hidden),
            replaces=spec.is_identity(key.partition(".")[0]),
        )
        for key in sorted({*before, *after})
        if before.get(key) != after.get(key)
    ]
