"""By which routes a result can reach Heat, in which order, and what their answers mean together. Pure.

A CFN signal's URL is only valid for a while (Keystone's `[credential] auth_ttl` after its Timestamp). The node has
credentials of its own, for its metadata, and Heat takes a signal with those, too.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Literal
from urllib import parse

from overcloud_agent import model
from overcloud_agent.signals import verdict

WAY_OUT = (
    "the URL's signature has expired, and this node has no credentials of its own to deliver the result with: raise"
    " Keystone's [credential] auth_ttl, or use signal_transport HEAT_SIGNAL, or give the node's metadata to it by"
    " POLL_SERVER_HEAT or POLL_SERVER_CFN"
)

LATE = "if the URL's signature has expired: raise Keystone's [credential] auth_ttl, or use signal_transport HEAT_SIGNAL"


@dataclasses.dataclass(frozen=True)
class Route:
    """One way to Heat.

    `url`: the signal's own address and credentials. `heat`: Heat's API with the user of the section `section` of
    os-collect-config's file. `sign`: the URL, signed again with the key pair of its section [cfn].
    """

    kind: Literal["url", "heat", "sign"]
    section: str = ""

    def __str__(self) -> str:
        if self.kind == "heat":
            return f"Heat's API with the user of [{self.section}]"
        return "the URL" if self.kind == "url" else "the URL signed with the key of [cfn]"


URL = Route("url")


def signed_at(url: str) -> datetime | None:
    """When a CFN URL was signed, by its Timestamp; None when it has none, so it does not expire."""
    try:
        (text,) = parse.parse_qs(parse.urlsplit(url).query).get("Timestamp", [""])
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def plan(
    target: model.Target, *, ttl: float, now: datetime, sections: Sequence[str] = (), key_pair: bool = False
) -> tuple[Route, ...]:
    """The routes of one attempt, in order.

    `ttl`: seconds that a signature is taken to be valid; `sections`: those that have a user; `key_pair`: whether [cfn]
    has one. Past the deadline the URL comes last, and not never: the operator may have raised auth_ttl, clocks may
    be wrong.
    """
    if target.transport != "CFN_SIGNAL":
        return (URL,)
    users = [Route("heat", section) for section in sections if target.stack_id and target.resource_name]
    own = [*users, *([Route("sign")] if key_pair else [])]
    return (*own, URL) if is_late(target, ttl=ttl, now=now) else (URL, *own)


def is_late(target: model.Target, *, ttl: float, now: datetime) -> bool:
    """Whether the time of a signal's URL should be up."""
    signed = signed_at(target.url) if target.transport == "CFN_SIGNAL" else None
    return signed is not None and (now - signed).total_seconds() > ttl


def settled(tried: Sequence[tuple[Route, verdict.Verdict]]) -> bool:
    """Whether the next route is not to be tried after these."""
    route, last = tried[-1]
    if last.outcome == "delivered":
        return True
    # The URL's answer counts for itself, unless it is about the signature: a stack that is gone (404) is gone by
    # every route, and a Heat that is busy gets no second request. What another route answers says less: its user may
    # know nothing of the stack, its Keystone may be out of reach for good.
    return route == URL and last.status not in verdict.NOT_ME


def conclude(
    target: model.Target, tried: Sequence[tuple[Route, verdict.Verdict]], *, late: bool = False
) -> verdict.Verdict:
    """What the answers of an attempt's routes mean for the signal; `late`: its URL is refused because of its age."""
    outcome = _conclude(target, tried)
    if outcome.status:
        # One of the answers, which counts for itself.
        return outcome
    doubtful = any(answer.doubtful and not (late and way == URL) for way, answer in tried)
    return dataclasses.replace(outcome, doubtful=doubtful)


def _conclude(target: model.Target, tried: Sequence[tuple[Route, verdict.Verdict]]) -> verdict.Verdict:
    route, last = tried[-1]
    if last.outcome == "delivered" or (len(tried) == 1 and not _expired(target, tried)):
        return last
    if route == URL and last.outcome == "refused" and last.status not in verdict.NOT_ME:
        return last
    answers = "; ".join(f"{way}: {answer.error}" for way, answer in tried)
    postponed = [(way, answer) for way, answer in tried if answer.outcome == "retry"]
    if postponed:
        # Only what the URL's own endpoint does is the lane's concern; its other signals go there, and not elsewhere.
        return verdict.Verdict(
            outcome="retry",
            error=answers,
            lane=any(answer.lane for way, answer in postponed if way == URL),
            retry_after=max((answer.retry_after or 0.0 for _, answer in postponed), default=0.0) or None,
        )
    if _expired(target, tried):
        return verdict.Verdict(outcome="expired", error=f"{last.error.partition(': ')[0]}: {WAY_OUT}")
    return verdict.refused(f"{answers}; {LATE}" if signed_at(target.url) else answers)


def _expired(target: model.Target, tried: Sequence[tuple[Route, verdict.Verdict]]) -> bool:
    """Whether there was nothing but a URL whose time is up."""
    ((route, answer), *more) = tried
    timed = target.transport == "CFN_SIGNAL" and signed_at(target.url) is not None
    return timed and not more and route == URL and answer.status in verdict.NOT_ME
