"""What is asked of an update besides its plan, and what became of it. Pure: no I/O."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any, Literal

from overcloud_agent import model as deployments
from overcloud_agent.packages import model


@dataclasses.dataclass(frozen=True, kw_only=True)
class Asked:
    """What a deployment says besides its plan."""

    identifier: str = ""
    """The update_identifier; empty when there is none, and then none is recorded."""
    restart: Literal["auto", "report", "none"] = "auto"
    reboot: Literal["never", "report", "when-required"] = "report"
    deadline: float = math.inf
    """Of time.monotonic; past it nothing new is begun."""
    began: Callable[[deployments.Process], None] = lambda _: None
    """Told each hook's process, so that one that outlives the agent is found."""
    remaining: Callable[[model.Workflow], model.Remaining] = lambda planned: model.Remaining(workflow=planned)
    """Given the planned workflow, what of it, and what else, has to be done after the packages have changed."""
    outputs: Callable[[Outcome], dict[str, Any]] = lambda outcome: dataclasses.asdict(outcome)
    """What is recorded with the identifier."""


@dataclasses.dataclass(kw_only=True)
class Outcome:
    """What became of an update. Names are units' and containers'."""

    ok: bool = False
    reason: str = ""
    """Why it failed; empty when it did not."""
    packages: Literal["unchanged", "changed", "unknown"] = "unchanged"
    """unknown: the transaction has begun and has not ended well."""
    restarted: list[str] = dataclasses.field(default_factory=list)
    """These run the new code."""
    failed: dict[str, str] = dataclasses.field(default_factory=dict)
    """These do not run, or not for long, by the reason."""
    still_old: list[str] = dataclasses.field(default_factory=list)
    """These run the old code."""
    left: list[str] = dataclasses.field(default_factory=list)
    """These did not run before, and were left so."""
    reboot_required: list[str] = dataclasses.field(default_factory=list)
    """Why the node has to boot again, as far as it has not."""
    boot_id: str = ""
    """Of the boot that the update asked for."""
    notes: list[str] = dataclasses.field(default_factory=list)
    log: str = ""
    """The end of what the package manager printed."""
