"""Have the node boot again, and know afterwards that it did."""

from __future__ import annotations

import json
import logging
import shlex
import time
from collections.abc import Callable
from pathlib import Path

from overcloud_agent import errors, failpoints, redact, run
from overcloud_agent.containers import steps

log = logging.getLogger(__name__)

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

# How often it is asked for: what refuses it may pass, such as a job of systemd's that is in the way.
TRIES = 3
# Seconds until the node has to begin with going down, which the agent notices by being asked to stop.
PATIENCE = 300.0
# Seconds for an answer of the command, which mostly does not wait for the end.
_ASK_LIMIT = 60.0
# Seconds after which it is asked for again where it was refused.
_REFUSED = 10.0
_STOP_NOTICED = 0.5

STEP = "reboot"


def boot_id() -> str:
    """What is another one after each boot. Raises PackageError."""
    try:
        return BOOT_ID.read_text().strip()
    except OSError as error:
        raise errors.PackageError(f"cannot tell one boot from another: {error}") from None


def until_booted(
    command: str, *, record: steps.Steps, place: str, alive: Callable[[], None], patience: float = PATIENCE
) -> str:
    """Return the id of the new boot when the node has booted since this was first called for this deployment.

    Else ask for it, and do not return: `alive` raises when the agent is asked to stop. Raises PackageError when the
    node does not go down, however often it is asked.
    """
    while True:
        now = boot_id()
        before = record.begun(place, STEP)
        boot, tries = json.loads(before) if before else (now, 0)
        if boot != now:
            # Only a node that came up again gets here, so what was begun is done.
            token = record.begin(place, STEP, before or "")
            failpoints.reach("package.reboot.done")
            record.end(token)
            return now
        if tries >= TRIES:
            raise errors.PackageError(
                f"the node was asked {TRIES} times to boot again, and did not", hint=f"see what `{command}` says"
            )
        # Dying here has it asked once more, or finds that it did: the boot's id tells.
        record.begin(place, STEP, json.dumps([now, tries + 1]))
        failpoints.reach("package.reboot.begun")
        await_end(alive, patience if _ask(command) else min(patience, _REFUSED))


def _ask(command: str) -> bool:
    """Ask for it; False when that was refused."""
    log.warning("the node boots again, because the update needs it")
    try:
        done = run.command(shlex.split(command), timeout=_ASK_LIMIT)
    except (OSError, ValueError) as error:
        raise errors.PackageError(f"cannot run {command}: {error}", hint="see the option reboot_command") from None
    if done.returncode == 0 or done.timed_out:
        return True
    said = redact.text(done.stderr.decode(errors="replace").strip())[:400]
    log.error("%s ended with status %d: %s", command, done.returncode, said)
    return False


def await_end(alive: Callable[[], None], patience: float) -> None:
    """Wait to be asked to stop, of which `alive` tells by raising.

    To return to the agent's loop would have it begin with something else meanwhile.
    """
    until = time.monotonic() + patience
    while time.monotonic() < until:
        alive()
        time.sleep(_STOP_NOTICED)
