"""One attempt to get one result to Heat, by whichever of its routes takes it."""

from __future__ import annotations

import dataclasses
import logging
from datetime import UTC, datetime

from overcloud_agent import keystone, model, web
from overcloud_agent.signals import access, heat, presigned, routes, verdict, zaqar

log = logging.getLogger(__name__)

_PRESIGNED = frozenset({"CFN_SIGNAL", "TEMP_URL_SIGNAL"})

# Each HEAT_SIGNAL deployment has a user of its own, so tokens are rarely used twice; the node's own are.
_MOST_SESSIONS = 8


class Sender:
    """Connections and tokens of one lane, kept between its signals. Not for several threads."""

    def __init__(self, timeout: float) -> None:
        """`timeout`: seconds that one route of an attempt may take in all."""
        self._timeout = timeout
        self._http = web.session()
        self._sessions: dict[keystone.Login, keystone.Session] = {}

    def close(self) -> None:
        self._http.close()

    def attempt(self, target: model.Target, body: bytes, own: access.Access) -> verdict.Verdict:
        """Try once to deliver `body`."""
        try:
            return self._attempt(target, body, own)
        # One signal that trips over a mistake of ours must not keep the others from being sent.
        except Exception as error:
            log.exception("a mistake in overcloud-agent")
            return verdict.retry(f"a mistake in overcloud-agent: {type(error).__name__}")

    def _attempt(self, target: model.Target, body: bytes, own: access.Access) -> verdict.Verdict:
        if target.transport == "HEAT_SIGNAL":
            return heat.send(self._session(_login_of(target), own), target, body)
        if target.transport == "ZAQAR_SIGNAL":
            return zaqar.send(self._session(_login_of(target), own), target, body)
        if target.transport in _PRESIGNED:
            return self._by_routes(target, body, own)
        lacking = f"this version cannot signal by {model.plain(target.transport)}"
        return verdict.refused(f"{lacking}; use CFN_SIGNAL, TEMP_URL_SIGNAL, HEAT_SIGNAL or ZAQAR_SIGNAL")

    def _by_routes(self, target: model.Target, body: bytes, own: access.Access) -> verdict.Verdict:
        credentials = own.credentials
        now = datetime.now(UTC)
        planned = routes.plan(
            target,
            ttl=own.cfn_signal_ttl,
            now=now,
            sections=tuple(credentials.logins),
            key_pair=bool(credentials.access_key_id and credentials.secret_access_key),
        )
        tried: list[tuple[routes.Route, verdict.Verdict]] = []
        for route in planned:
            tried.append((route, self._take(route, target, body, own)))
            if routes.settled(tried):
                break
        late = routes.is_late(target, ttl=own.cfn_signal_ttl, now=now)
        outcome = routes.conclude(target, tried, late=late)
        if outcome.outcome == "delivered" and tried[-1][0] != routes.URL:
            log.info("delivered by %s", tried[-1][0])
        return outcome

    def _take(self, route: routes.Route, target: model.Target, body: bytes, own: access.Access) -> verdict.Verdict:
        credentials = own.credentials
        if route.kind == "heat":
            return heat.send(self._session(credentials.logins[route.section], own), target, body)
        url, verb = target.url, target.verb
        if route.kind == "sign":
            url, verb = presigned.sign_again(url, credentials.access_key_id, credentials.secret_access_key), "POST"
        return presigned.send(self._http, verb, url, body, timeout=self._timeout, ca_certificate=own.ca_certificate)

    def _session(self, login: keystone.Login, own: access.Access) -> keystone.Session:
        """A session of that user; the one used last is kept longest."""
        complete = dataclasses.replace(
            login, ca_certificate=login.ca_certificate or own.ca_certificate, timeout=self._timeout
        )
        session = self._sessions.pop(complete, None) or keystone.Session(complete, http=self._http)
        self._sessions[complete] = session
        if len(self._sessions) > _MOST_SESSIONS:
            del self._sessions[next(iter(self._sessions))]
        return session


def _login_of(target: model.Target) -> keystone.Login:
    return keystone.Login(target.auth_url, target.user_id, target.password, target.project_id, target.region_name)
