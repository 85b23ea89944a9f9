"""os-collect-config's collectors, with what they lack: kept connections, and questions whether anything is new.

Each collector is its own class, unchanged where that does. What stands between it and the network is ours: a session
that keeps its connection, asks conditionally, reads a bounded answer within a deadline and knows one that it has seen.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import logging
import threading
from collections.abc import Callable, Mapping
from email import utils
from typing import Any, Protocol

import requests

from overcloud_agent import errors, redact, settings, web

# Bytes. A longer answer is none; thousands of deployments are some megabytes.
_LONGEST_ANSWER = 256 * 1024 * 1024

# The collectors' timeouts are for each single read; an answer as a whole may take this many times as long.
_WHOLE = 6.0

# Seconds by which an answer has to be younger than its Last-Modified before that can stand for its content.
_SETTLED = 2.0

_CHUNK = 65536


class Unchanged(BaseException):
    """The source has nothing new.

    No Exception, because os-collect-config's heat and zaqar collectors take every Exception for an outage.
    """


class NotConfigured(errors.SourceError):
    """The collector's section lacks what it needs."""


class Collector(Protocol):
    """What the source's thread works with."""

    waits: bool
    """Whether `collect` itself waits for news."""

    def collect(self) -> tuple[object, object]:
        """What there is now: (content, receipt). Raises Unchanged and SourceError."""

    def understood(self) -> None:
        """What `collect` returned last was metadata: the same again is Unchanged."""

    def acknowledge(self, receipt: object) -> None:
        """What came with this receipt is safe with us. Raises SourceError."""

    def wake(self) -> None:
        """Have `collect` wait no longer; called by another thread."""

    def close(self) -> None:
        """Give up the collector's connections."""


def make(name: str, polling: settings.Polling) -> Collector:
    """The collector called `name`. Raises SourceError when there is none or its section is wrong."""
    try:
        module = importlib.import_module(f"os_collect_config.{name}")
        build = module.Collector
    except (ImportError, AttributeError, ValueError):
        raise errors.SourceError(
            "there is no such collector", hint="collectors = cfn heat request zaqar local heat_local ec2"
        ) from None
    try:
        conf = settings.prepare_collector(module, name)
        if name in ("heat", "zaqar"):
            settings.prepare_collector(importlib.import_module("os_collect_config.keystone"), "keystone")
    except errors.SettingsError as error:
        raise errors.SourceError(error.message, hint=error.hint) from None
    maker = _MAKERS.get(name, _make_plain)
    return maker(build, module, conf, polling)


def _make_plain(build: Any, module: Any, conf: Any, polling: settings.Polling) -> Collector:
    del conf, polling
    # The local collector sorts by the locale, which is the whole process's, and fails where that cannot be set again.
    module.locale = _PlainOrder
    return _Peer(build(), None)


def _make_cfn(build: Any, module: Any, conf: Any, polling: settings.Polling) -> Collector:
    del module, polling
    session = _Requests(several=len(conf.cfn.path or ()) > 1)
    return _Peer(build(session), session)


def _make_request(build: Any, module: Any, conf: Any, polling: settings.Polling) -> Collector:
    del module, conf, polling
    session = _Requests()
    return _Peer(build(session), session)


def _make_heat(build: Any, module: Any, conf: Any, polling: settings.Polling) -> Collector:
    from overcloud_agent import heat_source

    del module, conf
    clients = heat_source.Clients(polling)
    return _Peer(build(keystoneclient=clients, heatclient=clients, discover_class=NoDiscovery), clients)


def _make_zaqar(build: Any, module: Any, conf: Any, polling: settings.Polling) -> Collector:
    from overcloud_agent import zaqar_source

    del module
    return zaqar_source.make(build, conf.zaqar, polling)


_MAKERS: dict[str, Callable[[Any, Any, Any, settings.Polling], Collector]] = {
    "cfn": _make_cfn,
    "request": _make_request,
    "heat": _make_heat,
    "zaqar": _make_zaqar,
}


class NoDiscovery:
    """Stands for keystoneclient's discovery: which versions Keystone has is found by the session, once."""

    def __init__(self, auth_url: str) -> None:
        del auth_url

    def url_for(self, version: str) -> None:
        del version


class _PlainOrder:
    """Stands for the module `locale` in the local collector: sorts as the C locale does, and sets nothing."""

    LC_ALL = 0
    strxfrm = staticmethod(str)

    @staticmethod
    def getlocale() -> None:
        return None

    @staticmethod
    def setlocale(_category: int, _locale: object) -> None:
        return None


class Seen(Protocol):
    """What stands between a collector and the network, where that can tell whether an answer is news."""

    def understood(self) -> None: ...


class _Peer:
    """One of os-collect-config's collectors."""

    waits = False

    def __init__(self, collector: Any, seen: Seen | None) -> None:
        self._collector = collector
        self._seen = seen

    def collect(self) -> tuple[object, object]:
        return ask(self._collector), None

    def understood(self) -> None:
        if self._seen:
            self._seen.understood()

    def acknowledge(self, receipt: object) -> None:
        del receipt

    def wake(self) -> None:
        return None

    def close(self) -> None:
        return None


def ask(collector: Any) -> object:
    """What os-collect-config's collector returns. Raises SourceError with what it complained of, and Unchanged."""
    from os_collect_config import exc

    with _Complaints() as complaints:
        try:
            return collector.collect()
        except (exc.SourceNotConfigured, exc.RequestMetadataNotConfigured):
            raise NotConfigured("not configured") from None
        except exc.SourceNotAvailable:
            raise errors.SourceError(complaints.text() or "not available") from None
        # The collectors leak whatever lxml, json, requests and their own slips raise (a truncated answer, a list
        # where an object was due). For the agent all of that is one thing: no metadata from this source now.
        except Exception as error:
            message = f"{type(error).__name__}: {redact.text(error)}"
            raise errors.SourceError(f"its answer is not metadata: {message}") from None


class _Complaints(logging.Handler):
    """What the collector of this thread logs while it fails: the only place where it says why."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._lines: list[str] = []
        self._thread_id = threading.get_ident()
        self._logger = logging.getLogger("os_collect_config")

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread == self._thread_id:
            self._lines.append(redact.text(record.getMessage()))

    def text(self) -> str:
        return "; ".join(self._lines)

    def __enter__(self) -> _Complaints:
        self._logger.addHandler(self)
        return self

    def __exit__(self, *exc: object) -> None:
        self._logger.removeHandler(self)


class _Answer:
    """As much of requests.Response as the collectors use."""

    def __init__(self, response: requests.Response, content: bytes) -> None:
        self.headers = response.headers
        self.text = content.decode(errors="replace")
        self._response = response

    def raise_for_status(self) -> None:
        self._response.raise_for_status()


class _Unasked:
    """The answer to a HEAD that is not sent: the GET that follows is conditional, and tells all."""

    headers: Mapping[str, str] = {}


class _Requests:
    """Stands for the module `requests` and its Session in the cfn and the request collector."""

    exceptions = requests.exceptions

    def __init__(self, *, several: bool = False) -> None:
        # Where metadata is put together from several answers, one that is not new says nothing of the others.
        self._several = several
        self._session = web.session()
        self._validators: dict[str, str] = {}
        self._digest = b""
        self._fetched: tuple[bytes, dict[str, str]] = (b"", {})

    def Session(self) -> _Requests:  # noqa: N802  the library's name for it
        from lxml import etree

        # Thousands of deployments are more than lxml takes for one text by default. No entity is ever due. The
        # default parser is one of this thread.
        etree.set_default_parser(etree.XMLParser(huge_tree=True, resolve_entities=False, no_network=True))
        return self

    def head(self, url: str, **options: object) -> _Unasked:
        del url, options
        return _Unasked()

    def get(
        self,
        url: str,
        *,
        timeout: float,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        verify: str | None = None,
    ) -> _Answer:
        """Fetch `url`. Raises Unchanged when it is what was understood last, and requests' exceptions."""
        given = {**(headers or {}), **({} if self._several else self._validators)}
        try:
            with web.deadline(timeout * _WHOLE):
                answer = self._session.get(
                    url, params=params, headers=given, verify=verify or True, timeout=timeout, stream=True
                )
                with answer:
                    content = _read(answer)
        except requests.exceptions.RequestException as error:
            raise requests.exceptions.ConnectionError(f"{redact.endpoint(url)}: {web.words(error)}") from None
        if answer.status_code == requests.codes.not_modified:
            raise Unchanged
        if answer.ok and not self._several:
            self._compare(content, answer.headers)
        return _Answer(answer, content)

    def _compare(self, content: bytes, headers: Mapping[str, str]) -> None:
        digest = hashlib.blake2b(content).digest()
        if digest == self._digest:
            self._validators = _conditions(headers)
            raise Unchanged
        self._fetched = (digest, _conditions(headers))

    def understood(self) -> None:
        self._digest, self._validators = self._fetched


def _conditions(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers by which a server can say that it still has the content of an answer with these ones.

    Only one of them: Swift says 304 when either holds. A Last-Modified of the second in which the content was asked for
    is none: what is written later in that second has the same (RFC 9110, section 8.8.2.2), and would never be seen.
    """
    if "ETag" in headers:
        return {"If-None-Match": headers["ETag"]}
    try:
        modified, told = (utils.parsedate_to_datetime(headers[name]) for name in ("Last-Modified", "Date"))
        settled = (told - modified).total_seconds() >= _SETTLED
    except (KeyError, TypeError, ValueError):
        return {}
    return {"If-Modified-Since": headers["Last-Modified"]} if settled else {}


def _read(answer: requests.Response) -> bytes:
    """The whole body, as long as it is not endless."""
    content = bytearray()
    for chunk in answer.iter_content(_CHUNK):
        content += chunk
        if len(content) > _LONGEST_ANSWER:
            raise requests.exceptions.ContentDecodingError(f"it is longer than {_LONGEST_ANSWER} bytes")
    return bytes(content)


def parse(text: str) -> object:
    """JSON text; SourceError when it is none."""
    try:
        return json.loads(text)
    except ValueError as error:
        raise errors.SourceError(f"its answer is not JSON: {error}") from None
