"""One container as it shall be, and what became of it. Pure: no I/O."""

from __future__ import annotations

import dataclasses
from typing import Any

from overcloud_agent.containers import documents, plan, spec

# What Podman cannot be asked of a container: names that stand for how far an upgrade came (plan.py).
KEPT = documents.KEPT
SUFFIXES = {"current": "", "next": spec.NEXT, "old": spec.OLD, "gone": spec.GONE, "failed": spec.FAILED}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Target:
    """One container as it shall be: everything that is known before anything moves."""

    name: str
    container: spec.Container
    wanted: plan.Wanted
    digest: str
    body: dict[str, Any]
    """SpecGenerator of the successor."""
    keep: int = 0
    """How many predecessors stay after the commit."""
    migration: str = ""
    """The identifier of what `migrate` does; empty when it is not to be done here."""
    adopted: dict[str, str] = dataclasses.field(default_factory=dict)
    """Fingerprints of containers that another tool made, by their ids."""

    revived: str = ""
    """The kept container that is to serve again; empty where a new one is made."""

    @property
    def names(self) -> dict[str, str]:
        """The name of each of plan.Facts."""
        return {kind: self.name + suffix for kind, suffix in SUFFIXES.items()}

    @property
    def kept(self) -> str:
        """What the names of kept predecessors begin with."""
        return self.name + KEPT

    def facts(self, found: dict[str, plan.Container]) -> plan.Facts:
        """What of the containers that exist is of this name."""
        facts = {}
        for kind, name in self.names.items():
            one = found.get(name)
            if one and one.id in self.adopted:
                one = dataclasses.replace(one, fingerprint=self.adopted[one.id])
            facts[kind] = one
        return plan.Facts(**facts)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one container; `downtime` in seconds, None when nothing was stopped."""

    name: str
    result: str
    old_digest: str = ""
    new_digest: str = ""
    fingerprint: str = ""
    downtime: float | None = None
    steps: tuple[str, ...] = ()
    error: str = ""
    notes: tuple[str, ...] = ()
    log: str = ""

    @property
    def failed(self) -> bool:
        return bool(self.error)
