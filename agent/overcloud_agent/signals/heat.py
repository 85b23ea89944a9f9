"""HEAT_SIGNAL: a request to the Heat API's resource signal, with a token."""

from __future__ import annotations

from urllib import parse

from overcloud_agent import keystone, model, web
from overcloud_agent.signals import verdict


def send(session: keystone.Session, target: model.Target, body: bytes) -> verdict.Verdict:
    """Send `body` (JSON) as the user of `session` and judge the answer."""
    path = f"/stacks/{target.stack_id}/resources/{parse.quote(target.resource_name, safe='')}/signal"
    return post(session, "orchestration", path, body)


def post(
    session: keystone.Session, service: str, path: str, body: bytes, headers: dict[str, str] | None = None
) -> verdict.Verdict:
    """POST JSON to a service of the catalogue and judge the answer."""
    try:
        answer = session.request(
            service, "POST", path, data=body, headers={"Content-Type": "application/json", **(headers or {})}
        )
    except keystone.Failure as error:
        return of_failure(error)
    return verdict.of_status(
        answer.status_code, web.endpoint_of(answer), retry_after=answer.headers.get("Retry-After", "")
    )


def of_failure(error: keystone.Failure) -> verdict.Verdict:
    """What it means that a request with a token got no answer of its service."""
    if error.kind in ("refused", "senseless"):
        doubtful = error.kind == "refused"
        return verdict.Verdict(outcome="refused", error=error.message, status=401, doubtful=doubtful)
    if error.kind == "silent":
        return verdict.silence(error.message)
    pause = verdict.seconds_of(error.retry_after)
    return verdict.Verdict(outcome="retry", error=error.message, lane=pause is not None, retry_after=pause)
