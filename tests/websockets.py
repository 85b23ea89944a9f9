"""The least of a websocket client (RFC 6455): text messages over an unencrypted connection."""

from __future__ import annotations

import base64
import json
import os
import socket
import struct
import types
import urllib.parse
from typing import Any

_TEXT = 0x1


class WebSocket:
    """A connection to a ``ws://`` address, for messages that are JSON objects; TimeoutError after `timeout` seconds."""

    def __init__(self, url: str, timeout: float = 20.0) -> None:
        parts = urllib.parse.urlsplit(url)
        assert parts.scheme == "ws"
        self._socket = socket.create_connection((parts.hostname or "", parts.port or 80), timeout)
        self._stream = self._socket.makefile("rb")
        self._open(parts.netloc, parts.path or "/")

    def __enter__(self) -> WebSocket:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | types.TracebackType | None) -> None:
        self._stream.close()
        self._socket.close()

    def send(self, message: dict[str, Any]) -> None:
        payload = json.dumps(message).encode()
        if len(payload) < 126:
            length = bytes([0x80 | len(payload)])
        elif len(payload) < 1 << 16:
            length = struct.pack("!BH", 0x80 | 126, len(payload))
        else:
            length = struct.pack("!BQ", 0x80 | 127, len(payload))
        # A client has to mask what it sends.
        mask = os.urandom(4)
        masked = bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))
        self._socket.sendall(bytes([0x80 | _TEXT]) + length + mask + masked)

    def receive(self) -> dict[str, Any]:
        kind, length = self._stream.read(2)
        assert kind == 0x80 | _TEXT, f"not a whole text message: {kind:#x}"
        if length == 126:
            (length,) = struct.unpack("!H", self._stream.read(2))
        elif length == 127:
            (length,) = struct.unpack("!Q", self._stream.read(8))
        return dict(json.loads(self._stream.read(length)))

    def _open(self, host: str, path: str) -> None:
        key = base64.b64encode(os.urandom(16)).decode()
        lines = [
            f"GET {path} HTTP/1.1",
            f"Host: {host}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Key: {key}",
            "Sec-WebSocket-Version: 13",
        ]
        self._socket.sendall("\r\n".join([*lines, "", ""]).encode())
        status = self._stream.readline()
        assert status.split()[1] == b"101", status
        while self._stream.readline().strip():
            pass
