"""Named places where a test kills the process, to see what the next start makes of it.

A fail point is reached in production too, and does nothing there: it costs one environment look-up.
"""

from __future__ import annotations

import os
import signal

VARIABLE = "OVERCLOUD_AGENT_FAIL_POINT"

NAMES = (
    "metadata.kept",
    "journal.received",
    "journal.running",
    "deployed.written",
    "hook.ended",
    "journal.finished",
    "deployed.told",
    "signal.sent",
    "signal.settled",
    "upgrade.pulled",
    "upgrade.created",
    "upgrade.stopped",
    "upgrade.old-renamed",
    "upgrade.swapped",
    "upgrade.started",
    "upgrade.gated",
    "upgrade.committed",
    "upgrade.removed",
    "rollback.marked",
    "rollback.stopped",
    "rollback.renamed",
    "rollback.started",
    "rollback.recorded",
)


def reach(name: str) -> None:
    """Kill this process with SIGKILL when the environment names this fail point.

    SIGKILL and not an exception: nothing may be cleaned up, as in a power cut.
    """
    if os.environ.get(VARIABLE) == name:
        os.kill(os.getpid(), signal.SIGKILL)
