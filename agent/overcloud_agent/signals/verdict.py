"""What an endpoint's answer means for a signal. Pure."""

from __future__ import annotations

import dataclasses
from typing import Literal

# Answers that say "not now"; everything else below 500 that is not success is a decision.
_NOT_NOW = frozenset({408, 425, 429})

_HINTS = {
    401: "the credentials of the signal are not accepted",
    403: "the URL's signature is not accepted: Keystone's [credential] auth_ttl may have passed; raise it, or use"
    " signal_transport HEAT_SIGNAL",
    404: "Heat does not know the stack or the resource any more",
}


@dataclasses.dataclass(frozen=True)
class Verdict:
    """`delivered` and `refused` are final; `retry` is tried again."""

    outcome: Literal["delivered", "retry", "refused"]
    error: str = ""


def delivered() -> Verdict:
    """Heat has it."""
    return Verdict("delivered")


def retry(error: str) -> Verdict:
    """Not now."""
    return Verdict("retry", error)


def refused(error: str) -> Verdict:
    """Never."""
    return Verdict("refused", error)


def of_status(status: int, endpoint: str) -> Verdict:
    """Judge an HTTP status: 2xx is delivered; 408, 425, 429 and 5xx are tried again; the rest is refused for good."""
    if 200 <= status < 300:
        return delivered()
    if status in _NOT_NOW or status >= 500:
        return retry(f"{endpoint} answered {status}")
    hint = _HINTS.get(status)
    return refused(f"{endpoint} answered {status}" + (f": {hint}" if hint else ""))
