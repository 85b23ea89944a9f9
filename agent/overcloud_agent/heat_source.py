"""POLL_SERVER_HEAT: os-collect-config's heat collector over one keystone session.

The collector makes a new keystone client, with a new token, at every poll. What is given to it here in the places of
its clients answers all of that from one session, so that a poll is one request.
"""

from __future__ import annotations

import dataclasses
import hashlib

from overcloud_agent import collectors, errors, keystone, settings

# Seconds for one poll; the collector has no option for it.
_TIMEOUT = 30.0


class Clients:
    """Stands for keystoneclient.v3.client and heatclient.client in the collector."""

    def __init__(self, polling: settings.Polling) -> None:
        self._logins = polling.credentials.logins
        self._session: keystone.Session | None = None
        self._digest = b""
        self._fetched = b""

    def Client(self, *_: object, **__: object) -> Clients:  # noqa: N802  the libraries' name for it
        """A client of Keystone, or of Heat; asked for when the section is known to be complete."""
        if self._session is None:
            self._session = keystone.Session(dataclasses.replace(self._logins["heat"], timeout=_TIMEOUT))
        return self

    # The collector goes through these on its way from one client to the other: they are all the same session.

    auth_token = ""

    @property
    def service_catalog(self) -> Clients:
        return self

    @property
    def resources(self) -> Clients:
        return self

    def url_for(self, *_: object, **__: object) -> str:
        return ""

    def metadata(self, stack_id: str, resource_name: str) -> object:
        """A resource's metadata. Raises Unchanged and SourceError."""
        assert self._session
        path = f"/stacks/{stack_id}/resources/{resource_name}/metadata"
        answer = self._session.request("orchestration", "GET", path)
        if not answer.ok:
            raise errors.SourceError(f"Heat answered {answer.status_code}")
        self._fetched = hashlib.blake2b(answer.content).digest()
        if self._fetched == self._digest:
            raise collectors.Unchanged
        content = collectors.parse(answer.text)
        return content.get("metadata") if isinstance(content, dict) else None

    def understood(self) -> None:
        self._digest = self._fetched
