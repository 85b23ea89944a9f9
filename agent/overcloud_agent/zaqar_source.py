"""ZAQAR_MESSAGE: messages are read, and deleted only when what they say is safe with us.

os-collect-config's zaqar collector pops a message before it is used, so one that comes before a crash is lost. Its two
ways of reading are replaced here: over HTTP a poll is one request that lists what is in the queue; over a websocket
the collector subscribes once, and waits for news instead of polling. Messages live for an hour, so reading goes on
while an older one is not acknowledged yet.

Every message is the node's whole metadata, so the newest one counts. Which one that is, its place in the queue does
not tell: Heat posts from several threads, and of deployments that are made at the same time the message with fewer of
them may come last. What is newest is told by what is in it.
"""

from __future__ import annotations

import dataclasses
import logging
import time
import uuid
from collections.abc import Sequence
from typing import Any, Protocol
from urllib import parse

from overcloud_agent import collectors, errors, keystone, settings

log = logging.getLogger(__name__)

# Seconds for one request.
TIMEOUT = 30.0

# Zaqar's own limits for one request (max_messages_per_page, max_messages_per_claim_or_pop).
PAGE = 20


# Seconds within which a message may come after a newer one.
_OUT_OF_ORDER = 60.0

# When the latest deployment of a message was made (ISO 8601), and how many there are: more is newer in one second.
_Age = tuple[str, int]


class Queue(Protocol):
    """A queue, over whichever transport."""

    def messages(self) -> Sequence[dict[str, Any]]:
        """The messages that are in it, oldest first; waits for one, if the transport can. Raises SourceError."""

    def delete(self, ids: Sequence[str]) -> None:
        """Delete messages; one that is gone is no error. Raises SourceError."""

    def wake(self) -> None:
        """End a wait, from another thread."""

    def close(self) -> None:
        """Give up the connection."""


def make(build: Any, section: Any, polling: settings.Polling) -> collectors.Collector:
    """os-collect-config's collector (`build` is its class, `section` its configuration) with our way of reading."""
    return _Collector(build, section, polling)


class _Collector:
    def __init__(self, build: Any, section: Any, polling: settings.Polling) -> None:
        self.waits = bool(section.use_websockets)
        self._section = section
        self._logins = polling.credentials.logins
        self._queue: Queue | None = None
        self._listed: tuple[str, ...] = ()
        self._best: object = None
        self._best_age: _Age = ("", 0)
        self._best_until = 0.0
        self._peer = build(keystoneclient=self, zaqarclient=None, discover_class=collectors.NoDiscovery, transport=None)
        self._peer.get_data_wsgi = self._peer.get_data_websocket = self._newest

    # The collector makes a keystone client before it reads, which then only hands its token on.

    auth_token = ""

    def Client(self, **_: object) -> _Collector:  # noqa: N802  the library's name for it
        return self

    def collect(self) -> tuple[object, object]:
        """What the newest message says. The receipt is the ids of all messages up to that."""
        try:
            content = collectors.ask(self._peer)
        except errors.SourceError:
            self.close()
            self._queue = None
            raise
        return content, self._listed

    def _newest(self, *_: object) -> object:
        if self._queue is None:
            self._queue = _open(self._section, self._logins["zaqar"])
        messages = self._queue.messages()
        self._listed = tuple(str(message.get("id") or _id_of(message)) for message in messages)
        if not messages:
            raise collectors.Unchanged
        for message in messages:
            self._consider(message.get("body"))
        return self._best

    def _consider(self, content: object) -> None:
        """Take `content` for the newest, unless what came not long ago is newer."""
        age = _age(content)
        if age >= self._best_age or time.monotonic() > self._best_until:
            self._best, self._best_age = content, age
            self._best_until = time.monotonic() + _OUT_OF_ORDER

    def understood(self) -> None:
        return None

    def acknowledge(self, receipt: object) -> None:
        if self._queue is not None and isinstance(receipt, tuple):
            self._queue.delete(receipt)

    def wake(self) -> None:
        if self._queue is not None:
            self._queue.wake()

    def close(self) -> None:
        if self._queue is not None:
            self._queue.close()


def _open(section: Any, login: keystone.Login) -> Queue:
    login = dataclasses.replace(login, timeout=TIMEOUT)
    if section.use_websockets:
        from overcloud_agent import zaqar_socket

        return zaqar_socket.Queue(login, section.queue_id)
    return _HttpQueue(login, section.queue_id)


def _age(content: object) -> _Age:
    listed = content.get("deployments") if isinstance(content, dict) else None
    times = [
        str(entry.get("creation_time", ""))
        for entry in (listed if isinstance(listed, list) else ())
        if isinstance(entry, dict)
    ]
    return max(times, default=""), len(times)


def _id_of(message: dict[str, Any]) -> str:
    """A message's id out of its link, where it has no other."""
    return parse.urlsplit(str(message.get("href", ""))).path.rpartition("/")[2]


class _HttpQueue:
    """A queue over Zaqar's API, version 2."""

    def __init__(self, login: keystone.Login, queue_id: str) -> None:
        self._session = keystone.Session(login)
        self._path = f"/v2/queues/{parse.quote(queue_id, safe='')}/messages"
        # Zaqar does not show a client what it posted itself, unless asked with `echo`; Heat has another one.
        self._headers = {"Client-ID": str(uuid.uuid4()), "Accept": "application/json"}

    def messages(self) -> Sequence[dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {}
        query = {"limit": str(PAGE), "echo": "true"}
        while True:
            page, marker = self._page(query)
            before = len(found)
            found |= {str(message.get("id") or _id_of(message)): message for message in page}
            # Some of Zaqar's stores show the message at the marker once more.
            if len(page) < PAGE or not marker or len(found) == before:
                return list(found.values())
            query["marker"] = marker

    def _page(self, query: dict[str, str]) -> tuple[list[dict[str, Any]], str]:
        answer = self._ask("GET", query)
        if answer.status_code == 204:
            return [], ""
        content = collectors.parse(answer.text)
        messages = content.get("messages") if isinstance(content, dict) else None
        if not isinstance(content, dict) or not isinstance(messages, list):
            raise errors.SourceError("its answer is not a list of messages")
        links = content.get("links") or []
        following = next((str(link.get("href")) for link in links if link.get("rel") == "next"), "")
        markers = parse.parse_qs(parse.urlsplit(following).query).get("marker", [""])
        return messages, markers[0]

    def delete(self, ids: Sequence[str]) -> None:
        for begin in range(0, len(ids), PAGE):
            self._ask("DELETE", {"ids": ",".join(ids[begin : begin + PAGE])})

    def _ask(self, method: str, query: dict[str, str]) -> Any:
        answer = self._session.request("messaging", method, self._path, params=query, headers=self._headers)
        if not answer.ok:
            raise errors.SourceError(f"Zaqar answered {answer.status_code}")
        return answer

    def wake(self) -> None:
        return None

    def close(self) -> None:
        self._session.close()
