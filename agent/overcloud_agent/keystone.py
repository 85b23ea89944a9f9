"""Requests with a token of Keystone's: log in, find a service in the catalogue, ask it.

keystoneauth1 takes a while to load, so it is imported when the first such request is made.
"""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections.abc import Iterator
from typing import Any, Literal

import requests

from overcloud_agent import errors, redact, web

_VERSIONS = ("/v2.0", "/v3")


@dataclasses.dataclass(frozen=True)
class Login:
    """A user and where it logs in. `auth_url` is Keystone's, with /v3, with /v2.0 or without a version."""

    auth_url: str
    user_id: str
    password: str = dataclasses.field(repr=False)
    project_id: str
    region_name: str = ""
    _: dataclasses.KW_ONLY
    ca_certificate: str | None = None
    """A file to verify TLS with instead of the system's."""
    timeout: float = 30.0
    """Seconds that a request may take in all, with logging in if that is due."""

    @property
    def v3_url(self) -> str:
        """Where version 3 of the API is; Heat writes the address as it is configured, in any of three ways."""
        url = self.auth_url.rstrip("/")
        for version in _VERSIONS:
            url = url.removesuffix(version).rstrip("/")
        return f"{url}/v3"


class Failure(errors.AgentError):
    """A request that got no answer from its service: Keystone refused the login, or somebody did not answer.

    `kind`: "refused" (the login), "senseless" (nobody can be asked at such a URL), "silent" (no answer at all),
    "unavailable" (an answer that says "not now", or a catalogue without the service). `retry_after` is Keystone's
    header of that name, or empty.
    """

    def __init__(
        self, message: str, *, kind: Literal["refused", "senseless", "silent", "unavailable"], retry_after: str = ""
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.retry_after = retry_after


class Session:
    """One user's requests; keeps its token until it expires, and its connections open. Not for several threads."""

    def __init__(self, login: Login, *, http: requests.Session | None = None) -> None:
        """`http` is a session of `web.session` to share connections with; without one it has its own."""
        from keystoneauth1 import session
        from keystoneauth1.identity import v3

        self._login = login
        self._http = http or web.session()
        self._owns_http = http is None
        # reauthenticate, which is the default, renews a token that is about to expire.
        self._auth = v3.Password(
            auth_url=login.v3_url,
            user_id=login.user_id,
            password=login.password,
            project_id=login.project_id,
        )
        self._session = session.Session(
            auth=self._auth,
            session=self._http,
            verify=login.ca_certificate or True,
            timeout=login.timeout,
            user_agent="overcloud-agent",
            redirect=False,
        )

    def close(self) -> None:
        """Close its connections, unless they are shared."""
        if self._owns_http:
            self._http.close()

    def request(self, service_type: str, method: str, path: str, **kwargs: Any) -> requests.Response:
        """The answer of a service of the catalogue, whatever its status; `path` is below the service's public URL.

        `json`, `data`, `headers`, `params` and `stream` are as for requests. An answer of 401 is asked again once with
        a new token. Raises Failure.
        """
        with self._failures():
            answer = self._session.request(
                self._base(service_type) + path, method, raise_exc=False, log=False, **kwargs
            )
        assert isinstance(answer, requests.Response)
        return answer

    def endpoint(self, service_type: str) -> str:
        """A service's public URL, for who asks it by other means. Raises Failure."""
        with self._failures():
            return self._base(service_type)

    def token(self) -> str:
        """A token that is valid for a while, for who asks by other means. Raises Failure."""
        with self._failures():
            return str(self._session.get_token())

    @contextlib.contextmanager
    def _failures(self) -> Iterator[None]:
        """What is asked in the block is over in time, and fails with Failure alone."""
        from keystoneauth1 import exceptions

        try:
            with web.deadline(self._login.timeout):
                yield
        except exceptions.HttpError as error:
            raise self._refused(error) from None
        except (exceptions.ConnectionError, requests.exceptions.RequestException) as error:
            raise Failure(f"{self._asked(error)}: {web.words(error)}", kind="silent") from None
        except exceptions.ClientException as error:
            message = f"{self._where} gave no usable answer to the login: {type(error).__name__}"
            raise Failure(message, kind="unavailable") from None
        # A URL that makes no sense; keystoneauth1 lets urllib3's complaint pass.
        except ValueError:
            raise Failure("the URL for logging in is no URL", kind="senseless") from None

    @property
    def _where(self) -> str:
        return redact.endpoint(self._login.auth_url)

    def _base(self, service_type: str) -> str:
        """The service's public URL, as the catalogue has it."""
        if not self._login.auth_url.startswith(("http://", "https://")):
            raise Failure("the URL for logging in is no http or https URL", kind="senseless")
        from keystoneauth1 import exceptions

        region = self._login.region_name
        found = None
        with contextlib.suppress(exceptions.CatalogException):
            found = self._session.get_endpoint(
                service_type=service_type, interface="public", region_name=region or None, skip_discovery=True
            )
        if not found:
            where = f"the catalogue of {self._where}" + (f" for region {region}" if region else "")
            raise Failure(f"{where} has no {service_type} service", kind="unavailable")
        url = str(found).rstrip("/")
        # Zaqar's has no version by its own documentation, and some installations give it one.
        return re.sub(r"/v\d+(\.\d+)?$", "", url) if service_type == "messaging" else url

    def _refused(self, error: Any) -> Failure:
        """What an HTTP status of Keystone's means; those of other services are the caller's to judge."""
        status = int(error.http_status)
        if status in (408, 425, 429) or status >= 500:
            response = getattr(error, "response", None)
            after = response.headers.get("Retry-After", "") if response is not None else ""
            return Failure(f"{self._where} answered {status} to the login", kind="unavailable", retry_after=after)
        message = f"{self._where} answered {status}: it does not let user {self._login.user_id} in"
        return Failure(message, kind="refused")

    def _asked(self, error: BaseException) -> str:
        """Who was asked: the exceptions of requests, of which keystoneauth1 makes its own, have the request."""
        for cause in (error, error.__cause__, error.__context__):
            request = getattr(cause, "request", None)
            if request is not None and getattr(request, "url", None):
                return redact.endpoint(str(request.url))
        return self._where
