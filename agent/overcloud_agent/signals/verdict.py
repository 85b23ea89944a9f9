"""What an endpoint's answer means for a signal. Pure."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from email import utils
from typing import Literal

# Answers that say "not now"; everything else below 500 that is not success is a decision.
_NOT_NOW = frozenset({408, 425, 429})

# Those for which Retry-After is heeded (RFC 9110, RFC 6585).
_PAUSES = frozenset({429, 503})

# Not this signature, not this user: another may be accepted, and the same one later. While Keystone is there and its
# database is not, Heat's answer to a good signature is 403; so is Swift's, 401, while it cannot read an account's keys.
NOT_ME = frozenset({401, 403})

# Seconds. A server that asks for more is mistaken, or not the one that we mean.
LONGEST_PAUSE = 3600.0

_HINTS = {
    401: "the credentials of the signal are not accepted",
    403: "the signature or the user is not accepted",
    404: "Heat does not know the stack or the resource any more",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Verdict:
    """`delivered`, `refused` and `expired` are final; `retry` is tried again.

    `lane`: the trouble is the endpoint's, so whatever else is for it waits, too. `retry_after`: seconds that the
    endpoint asked for. `status`: the HTTP status, 0 without one. `doubtful`: a refusal that is given as well while
    nobody can check the credentials.
    """

    outcome: Literal["delivered", "retry", "refused", "expired"]
    error: str = ""
    lane: bool = False
    retry_after: float | None = None
    status: int = 0
    doubtful: bool = False


def delivered() -> Verdict:
    """Heat has it."""
    return Verdict(outcome="delivered")


def retry(error: str) -> Verdict:
    """Not now, for a reason that is this signal's."""
    return Verdict(outcome="retry", error=error)


def silence(error: str) -> Verdict:
    """Not now: the endpoint did not answer."""
    return Verdict(outcome="retry", error=error, lane=True)


def refused(error: str) -> Verdict:
    """Never."""
    return Verdict(outcome="refused", error=error)


def of_status(status: int, endpoint: str, *, retry_after: str = "", now: datetime | None = None) -> Verdict:
    """Judge an HTTP status: 2xx is delivered; 408, 425, 429 and 5xx are tried again; the rest is refused for good.

    `retry_after` is the header of that name, `now` what its date is compared with.
    """
    if 200 <= status < 300:
        return Verdict(outcome="delivered", status=status)
    if status in _NOT_NOW or status >= 500:
        pause = seconds_of(retry_after, now) if status in _PAUSES else None
        asks = "" if pause is None else f" and asks for a pause of {pause:.0f} s"
        error = f"{endpoint} answered {status}{asks}"
        return Verdict(outcome="retry", error=error, lane=pause is not None, retry_after=pause, status=status)
    hint = _HINTS.get(status) or ("redirects are not followed" if status < 400 else "")
    error = f"{endpoint} answered {status}" + (f": {hint}" if hint else "")
    return Verdict(outcome="refused", error=error, status=status, doubtful=status in NOT_ME)


def seconds_of(retry_after: str, now: datetime | None = None) -> float | None:
    """The seconds of a Retry-After header: a number or a date, an hour at most; None when it is neither."""
    text = retry_after.strip()
    try:
        if text.isascii() and text.isdigit():
            seconds = float(text)
        else:
            date = utils.parsedate_to_datetime(text)
            # RFC 9110: the date is in GMT, also where it does not say so.
            date = date if date.tzinfo else date.replace(tzinfo=UTC)
            seconds = (date - (now or datetime.now(UTC))).total_seconds()
    except (ValueError, OverflowError):
        return None
    return min(max(seconds, 0.0), LONGEST_PAUSE)
