"""POLL_SERVER_HEAT: os-collect-config's heat collector over one keystone session.

The collector makes a new keystone client, with a new token, at every poll. What is given to it here in the places of
its clients answers all of that from one session, so that a poll is one request.
"""

from __future__ import annotations

import hashlib
from typing import Any

from overcloud_agent import collectors, errors, keystone, settings, web

# Seconds for one poll; the collector has no option for it.
_TIMEOUT = 30.0


class Clients:
    """Stands for keystoneclient.v3.client and heatclient.client in the collector."""

    def __init__(self, polling: settings.Polling) -> None:
        self._ca_certificate = polling.ca_certificate
        self._session: keystone.Session | None = None
        self._digest = b""
        self._fetched = b""

    def Client(self, *_: object, **options: Any) -> Clients:  # noqa: N802  the libraries' name for it
        """A client of Keystone (which brings the login), or of Heat."""
        if self._session is None:
            login = keystone.Login(
                options["auth_url"],
                options["user_id"],
                options["password"],
                options["project_id"],
                settings.region_of("heat"),
                ca_certificate=self._ca_certificate,
                timeout=_TIMEOUT,
            )
            self._session = keystone.Session(login)
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
        with web.deadline(_TIMEOUT):
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
