"""Have the old container give up its work before it is stopped, while it still serves."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable

from overcloud_agent import errors, run
from overcloud_agent.containers import engine, spec, values

log = logging.getLogger(__name__)

# What a drain ends with that wants to be asked again: EX_TEMPFAIL of sysexits.h.
LATER = 75
# Seconds until it is.
PAUSE = 5.0
# Seconds in which Podman notices the end of a container.
_GOING = 1.0
# Bytes of what a local drain prints that are kept for the report.
_OUTPUT = 4096


def drain(podman: engine.Engine, name: str, container: spec.Container, *, stopping: Callable[[], bool]) -> None:
    """Run all of `upgrade.drain`, then `pre_stop_exec`; each is asked again while it says "later" (exit status 75).

    Raises GateError when one fails, or says "later" until the deadline; the container still serves then. A container
    that ends meanwhile is drained. Raises Interrupted when the agent is to stop: it is drained again later.
    """
    deadline = time.monotonic() + container.upgrade.drain_within
    for words in [*container.upgrade.drain, *_pre_stop(container)]:
        try:
            ended = _ends_before(podman, name, words, deadline, stopping)
        except (errors.EngineError, errors.GateError):
            # The end of a container takes what is run in it along.
            if not _ends_within(podman, name, _GOING, stopping):
                raise
            ended = True
        if ended:
            log.info("%s ended while it was drained", name)
            return


def _ends_before(
    podman: engine.Engine,
    name: str,
    words: list[str] | spec.Local,
    deadline: float,
    stopping: Callable[[], bool],
) -> bool:
    """Ask one drain until it is done; True when the container ended before that."""
    begun = time.monotonic()
    while not _asked(podman, name, words, deadline):
        left = deadline - time.monotonic()
        if left <= 0:
            raise errors.GateError(
                f"{name} was not drained in time: {_shown(words)} still says later"
                f" after {time.monotonic() - begun:.0f} seconds"
            )
        # The last time it is asked is when the time is up.
        if _ends_within(podman, name, min(PAUSE, left), stopping):
            return True
    return False


def _pre_stop(container: spec.Container) -> list[list[str]]:
    return [values.words(container.pre_stop_exec)] if container.pre_stop_exec else []


def _asked(podman: engine.Engine, name: str, words: list[str] | spec.Local, deadline: float) -> bool:
    """Run one drain; False when it says "later"."""
    timeout = max(deadline - time.monotonic(), 1.0)
    if isinstance(words, spec.Local):
        document = json.dumps({"container": name}).encode()
        try:
            ended = run.hook(words.hook, document, timeout=timeout, limit=_OUTPUT)
        except OSError as error:
            raise errors.GateError(f"{name} cannot be drained: {_shown(words)}: {error.strerror}") from None
        if ended.timed_out:
            raise errors.GateError(f"{name} was not drained: {_shown(words)} did not end within {timeout:.0f} seconds")
        status, output = ended.returncode, (ended.stderr or ended.stdout).decode(errors="replace")
    else:
        status, output = podman.exec(name, words, timeout=timeout)
    if status not in (0, LATER):
        raise errors.GateError(f"{name} was not drained: {_shown(words)} ended with {status}: {output.strip()[-500:]}")
    return status == 0


def _ends_within(podman: engine.Engine, name: str, seconds: float, stopping: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        if stopping():
            raise errors.Interrupted("asked to stop while a container was drained")
        if podman.wait_exit(name, min(left, 1.0)):
            return True
    return False


def _shown(words: list[str] | spec.Local) -> str:
    return (words.hook if isinstance(words, spec.Local) else words)[0]
