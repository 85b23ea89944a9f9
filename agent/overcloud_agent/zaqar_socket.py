"""A queue over Zaqar's websocket: subscribed to once, told of news, read and deleted by request.

What is pushed only says that there is something: the queue is listed then, because a message is in it until it is
deleted, and one that came before the subscription was never pushed.
"""

from __future__ import annotations

import json
import os
import select
import ssl
import threading
import time
import uuid
from collections.abc import Sequence
from typing import Any

from overcloud_agent import errors, keystone, redact, web, zaqar_source

# Seconds. A subscription is made anew when half of its time is over. Zaqar promises no push, so without news the queue
# is listed now and then.
_SUBSCRIPTION = 3600
_SILENCE = 60.0


class Queue:
    """See zaqar_source.Queue. `messages` waits for news; `wake` ends that from another thread."""

    def __init__(self, login: keystone.Login, queue_id: str) -> None:
        self._login = login
        self._session = keystone.Session(login)
        self._queue_id = queue_id
        self._socket: Any = None
        self._headers: dict[str, str] = {}
        self._subscribed_until = 0.0
        # None at first: whoever asks for the first time is told at once what there is, even if that is nothing.
        self._listed: list[str] | None = None
        self._pushed = False
        self._woken = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._closing = threading.Lock()
        self._closed = False

    def messages(self) -> Sequence[dict[str, Any]]:
        """What is in the queue, as soon as that is something else than the last time, or when nothing came for long."""
        deadline = time.monotonic() + _SILENCE
        while True:
            self._connect()
            self._pushed = False
            messages = self._list()
            ids = [str(message.get("id")) for message in messages]
            if ids != self._listed or not self._wait(deadline):
                self._listed = ids
                return messages

    def delete(self, ids: Sequence[str]) -> None:
        self._connect()
        for begin in range(0, len(ids), zaqar_source.PAGE):
            self._ask("message_delete_many", message_ids=list(ids[begin : begin + zaqar_source.PAGE]))

    def wake(self) -> None:
        with self._closing:
            if not self._closed:
                os.eventfd_write(self._woken, 1)

    def close(self) -> None:
        """Close everything, for good. A node that cannot reach Zaqar makes a queue at every poll, for days."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        self._session.close()
        with self._closing:
            if not self._closed:
                os.close(self._woken)
            self._closed = True

    def _connect(self) -> None:
        if self._socket is None:
            self._open()
            self._subscribed_until = 0.0
        if time.monotonic() > self._subscribed_until:
            self._ask("queue_create")
            self._ask("subscription_create", ttl=_SUBSCRIPTION)
            self._subscribed_until = time.monotonic() + _SUBSCRIPTION / 2

    def _open(self) -> None:
        import websocket

        url = self._session.endpoint("messaging-websocket")
        trusted = {"ca_certs": self._login.ca_certificate} if self._login.ca_certificate else {}
        try:
            self._socket = websocket.create_connection(
                url, timeout=zaqar_source.TIMEOUT, sslopt={"cert_reqs": ssl.CERT_REQUIRED, **trusted}
            )
        except (OSError, ValueError, websocket.WebSocketException) as error:
            raise errors.SourceError(f"{redact.endpoint(url)}: {web.words(error)}") from None
        self._headers = {"Client-ID": str(uuid.uuid4()), "X-Project-ID": self._login.project_id}
        self._say("authenticate", {"X-Auth-Token": self._session.token()}, {})

    def _list(self) -> list[dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {}
        marker: dict[str, str] = {}
        while True:
            page = self._ask("message_list", echo=True, limit=zaqar_source.PAGE, **marker).get("messages")
            if not isinstance(page, list):
                raise errors.SourceError("its answer is not a list of messages")
            before = len(found)
            found |= {str(message.get("id")): message for message in page}
            if len(page) < zaqar_source.PAGE or len(found) == before:
                return list(found.values())
            marker = {"marker": str(page[-1].get("id"))}

    def _ask(self, action: str, **body: object) -> dict[str, Any]:
        return self._say(action, {}, {"queue_name": self._queue_id, **body})

    def _say(self, action: str, headers: dict[str, str], body: dict[str, object]) -> dict[str, Any]:
        """The body of the answer to a request. Raises SourceError, and then the connection is of no use any more."""
        self._send({"action": action, "headers": {**self._headers, **headers}, "body": body})
        while True:
            answer = self._receive()
            status = answer.get("headers", {}).get("status")
            if status is None:
                # It was pushed, and a list that is being made in this moment may not have it yet.
                self._pushed = True
                continue
            if not 200 <= int(status) < 300:
                raise errors.SourceError(f"Zaqar answered {status} to {action}")
            content = answer.get("body")
            return content if isinstance(content, dict) else {}

    def _wait(self, deadline: float) -> bool:
        """Wait for something to be pushed; False when there was no news until `deadline`, or we were woken."""
        if self._pushed:
            return True
        if not getattr(self._socket.sock, "pending", lambda: 0)():
            ready, _, _ = select.select([self._socket.sock, self._woken], [], [], max(deadline - time.monotonic(), 0))
            if self._woken in ready:
                os.eventfd_read(self._woken)
                return False
            if not ready:
                return False
        self._receive()
        return True

    def _send(self, message: dict[str, object]) -> None:
        import websocket

        try:
            self._socket.send(json.dumps(message))
        except (OSError, websocket.WebSocketException) as error:
            raise errors.SourceError(f"the websocket is gone: {web.words(error)}") from None

    def _receive(self) -> dict[str, Any]:
        import websocket

        try:
            text = self._socket.recv()
            answer = json.loads(text)
        except (OSError, ValueError, websocket.WebSocketException) as error:
            raise errors.SourceError(f"the websocket is gone: {web.words(error)}") from None
        return answer if isinstance(answer, dict) else {}
