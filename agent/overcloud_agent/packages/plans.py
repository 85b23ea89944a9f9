"""Plans as JSON, and the last ones that were offered, by their identifiers."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import msgspec

from overcloud_agent import errors, files
from overcloud_agent.packages import model, transaction

# How many are kept.
KEPT = 20

_IDENTIFIER = re.compile("sha256:[0-9a-f]{64}")


def to_json(plan: model.Plan) -> dict[str, Any]:
    """The plan as JSON; `from_json` makes the same plan of it."""
    return dict(msgspec.to_builtins(plan))


def from_json(document: object) -> model.Plan:
    """The plan that `to_json` wrote. Raises PackageError."""
    try:
        return msgspec.convert(document, model.Plan)
    except msgspec.ValidationError as error:
        raise errors.PackageError(f"a plan that was kept cannot be understood: {error}") from None


def keep(state_dir: Path, identifier: str, document: dict[str, Any]) -> None:
    """Keep what was offered under `sha256:HEX`; only the last ones stay. Raises PackageError, and BadInput."""
    path = _path(state_dir, identifier)
    try:
        files.private_directory(path.parent)
        files.write(path, json.dumps(document).encode())
        by_age = sorted(path.parent.glob("*.json"), key=lambda one: one.stat().st_mtime_ns, reverse=True)
        for old in by_age[KEPT:]:
            old.unlink(missing_ok=True)
    except OSError as error:
        raise errors.PackageError(f"cannot keep the plan: {error}") from None


def find(state_dir: Path, identifier: str) -> dict[str, Any] | None:
    """What was offered under that identifier; None when it is not known any more, or never was. Raises BadInput."""
    path = _path(state_dir, identifier)
    try:
        return dict(json.loads(path.read_bytes()))
    except (OSError, ValueError):
        return None


def _path(state_dir: Path, identifier: str) -> Path:
    """Raises BadInput: it comes from metadata, and must name a file in this directory and no other."""
    if not _IDENTIFIER.fullmatch(identifier):
        raise errors.BadInput(
            f"{identifier!r} is not an identifier of a plan", hint="sha256:HEX, as `mode: plan` gives"
        )
    return transaction.directory(state_dir) / "plans" / f"{identifier.removeprefix('sha256:')}.json"
