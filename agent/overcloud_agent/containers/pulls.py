"""How Podman is asked for an image; which failed pulls are worth another try, and the pauses between the tries."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from typing import Any

from overcloud_agent import errors

log = logging.getLogger(__name__)

# Seconds, at most, before the second, third and fourth try: as many tries as paunch has.
PAUSES = (1.0, 2.0, 4.0)

# How often a pause looks whether the agent is to stop.
_LOOK = 0.5

NO_SPACE = "no space left on device"

# What registries and Podman say when the next try would end the same: the image is not there, not for us, not for this
# machine, or the host's policy.json does not want it. Anything else may be the network's.
_DEFINITE = (
    "manifest unknown",
    "name unknown",
    "repository name not known",
    "unauthorized",
    "authentication required",
    "denied",
    "source image rejected",
    "no image found in",
    "invalid reference",
    "x509:",
    NO_SPACE,
)


def request(reference: str) -> tuple[str, dict[str, Any]]:
    """Path and arguments of the POST that pulls `reference`.

    Podman's own endpoint tells when a layer begins and nothing until it is there, so a large one that many nodes fetch
    at once would be taken for a registry that is silent, and begun anew. Docker's tells once a second of what has come.
    """
    if names_registry(reference):
        return "/images/create", {"params": {"fromImage": reference}, "compatible": True}
    # Docker's endpoint would take a short name for one of docker.io; Podman's looks it up in registries.conf.
    policy = "missing" if "@sha256:" in reference else "always"
    return "/images/pull", {"params": {"reference": reference, "policy": policy}}


def names_registry(reference: str) -> bool:
    """Whether a reference begins with the registry that has the image."""
    host, slash, _ = reference.partition("/")
    return bool(slash) and ("." in host or ":" in host or host == "localhost")


def persistently(pull: Callable[[], None], *, alive: Callable[[], None]) -> None:
    """Do `pull` until it succeeds, four times at most. Raises its last EngineError, and what `alive` raises.

    A definite refusal is raised at once.
    """
    for most in PAUSES:
        try:
            return pull()
        except errors.EngineError as error:
            if is_definite(str(error)):
                raise
            # Many nodes pull from one registry; they must not all come back at the same moment.
            pause = most * random.uniform(0.5, 1.0)  # noqa: S311  chance, no secret
            log.warning("%s; trying again in %.1f seconds", error, pause)
            _rest(pause, alive)
    return pull()


def is_definite(said: str) -> bool:
    """Whether a pull that failed with these words would fail again."""
    lower = said.lower()
    return any(words in lower for words in _DEFINITE)


def _rest(seconds: float, alive: Callable[[], None]) -> None:
    until = time.monotonic() + seconds
    alive()
    while (left := until - time.monotonic()) > 0:
        time.sleep(min(left, _LOOK))
        alive()
