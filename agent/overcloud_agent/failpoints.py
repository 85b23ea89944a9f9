"""Named places where a test kills the process, to see what the next start makes of it.

A fail point is reached in production too, and does nothing there: it costs one environment look-up.
"""

from __future__ import annotations

import os
import signal

VARIABLE = "OVERCLOUD_AGENT_FAIL_POINT"

# The steps of an upgrade and of the way back, as in containers/plan.py. Each has a point when it is written down and
# not done (`begun`), and one when it is done and that is not written down (`done`).
_UPGRADE = (
    "clear",
    "create",
    "prepare",
    "drain",
    "stop",
    "migrate",
    "set-aside",
    "swap",
    "start",
    "gate",
    "commit",
    "retire",
    "discard",
)
_ROLLBACK = ("drop", "mark", "stop-failed", "put-back", "start")

# The steps of an update of packages, as in packages/update.py.
PACKAGE = (
    "repair",
    "plan",
    "pre-update",
    "download",
    "transaction",
    "verify",
    "restart",
    "reboot",
    "failed",
    "post-update",
    "restart-self",
    "record",
)

NAMES = (
    "journal.migrated",
    "metadata.kept",
    "journal.received",
    "journal.running",
    "deployed.written",
    "hook.ended",
    "upgrade.pulled",
    *(f"upgrade.{step}.{end}" for step in _UPGRADE for end in ("begun", "done")),
    "migration.started",
    "migration.ended",
    "migration.recorded",
    *(f"rollback.{step}.{end}" for step in _ROLLBACK for end in ("begun", "done")),
    "rollback.recorded",
    *(f"package.{step}.{end}" for step in PACKAGE for end in ("begun", "done")),
    "package.transaction.started",
    "package.restart.asked",
    "upgrade.ended",
    "journal.finished",
    "deployed.told",
    "signal.sent",
    "signal.settled",
)


def reach(name: str) -> None:
    """Kill this process with SIGKILL when the environment names this fail point.

    SIGKILL and not an exception: nothing may be cleaned up, as in a power cut.
    """
    if os.environ.get(VARIABLE) == name:
        os.kill(os.getpid(), signal.SIGKILL)
