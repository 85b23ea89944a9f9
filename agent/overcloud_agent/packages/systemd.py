"""What systemd knows of its units, asked with one call of systemctl."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from overcloud_agent import errors, run

TIMEOUT = 60.0
# The properties of thousands of units; what is longer would be cut in the middle.
_LIMIT = 1 << 27


def show(units: Sequence[str], properties: Collection[str]) -> dict[str, dict[str, str]]:
    """Properties of units, as systemctl(1) prints them, by the names that were asked for and by the units' own.

    A pattern (`*.service`) stands for those units in memory that match it. A property that is there several times
    (ExecStart) has a line for each. What a unit has not is left out; a unit that does not exist has LoadState
    `not-found`. Raises PackageError when systemd cannot be asked.
    """
    if not units:
        return {}
    wanted = ",".join(dict.fromkeys(["Id", "Names", *properties]))
    argv = ["systemctl", "--no-pager", "--no-ask-password", "show", f"--property={wanted}", "--", *units]
    try:
        done = run.command(argv, timeout=TIMEOUT, limit=_LIMIT)
    except OSError as error:
        raise errors.PackageError(
            f"cannot run systemctl: {error.strerror}", hint="what runs the changed code is known from systemd"
        ) from None
    if done.timed_out or done.returncode != 0:
        why = "no answer in time" if done.timed_out else _first_line(done.stderr)
        raise errors.PackageError(f"systemd does not tell of its units: {why}", hint="systemctl status")
    return parse(done.stdout.decode(errors="surrogateescape"), units)


def parse(text: str, units: Collection[str] = ()) -> dict[str, dict[str, str]]:
    """Read what `systemctl show` printed: a block of KEY=VALUE lines for each unit. Pure."""
    asked = set(units)
    found: dict[str, dict[str, str]] = {}
    for block in text.split("\n\n"):
        values: dict[str, str] = {}
        for line in block.splitlines():
            key, equals, value = line.partition("=")
            if equals:
                values[key] = f"{values[key]}\n{value}" if key in values else value
        for name in (values.get("Id", ""), *(asked & set(values.get("Names", "").split()))):
            if name:
                found[name] = values
    return found


def order_edges(units: Collection[str]) -> set[tuple[str, str]]:
    """Which of the units systemd starts before which others: (before, after), by the names that were given.

    Through targets, too: what is after `network-online.target` is after what that target waits for. Raises
    PackageError when systemd cannot be asked.
    """
    facts = show([*sorted(units), "*.target"], ["After", "Before"]) if units else {}
    return edges(units, facts)


def edges(units: Collection[str], facts: Mapping[str, Mapping[str, str]]) -> set[tuple[str, str]]:
    """The same from what `show` told of After and Before. Pure."""
    # A unit may be asked for by an alias; After and Before have it by its own name.
    names: dict[str, list[str]] = {}
    for unit in units:
        for own in {unit, facts.get(unit, {}).get("Id", unit)}:
            names.setdefault(own, []).append(unit)
    before: dict[str, set[str]] = {}
    for own, values in facts.items():
        before.setdefault(own, set()).update(values.get("After", "").split())
        for later in values.get("Before", "").split():
            before.setdefault(later, set()).add(own)
    found: set[tuple[str, str]] = set()
    for unit in units:
        own = facts.get(unit, {}).get("Id", unit)
        for first in _through_targets(before.get(own, set()), before):
            found.update((name, unit) for name in names.get(first, ()) if first != own)
    return found


def _through_targets(first: Iterable[str], before: Mapping[str, set[str]]) -> set[str]:
    seen: set[str] = set()
    left = list(first)
    while left:
        unit = left.pop()
        if unit not in seen:
            seen.add(unit)
            if unit.endswith(".target"):
                left.extend(before.get(unit, ()))
    return seen


def _first_line(output: bytes) -> str:
    return (output.decode(errors="replace").strip().splitlines() or ["it failed without a word"])[0]
