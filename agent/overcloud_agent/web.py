"""HTTP with a deadline on the whole of a request, and what went wrong with one in words for people.

The timeouts of requests are for connecting and for each single read: a server that sends a byte now and then holds
its caller for ever. Here the connections' sockets are shut down when the time is up, whatever they wait for: the
handshake of TLS, the request, the answer's header or its body. Only the look-up of a name is left to the resolver's
own timeouts (resolv.conf).
"""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
import ssl
import threading
from collections.abc import Iterator
from typing import Any

import requests
import urllib3

from overcloud_agent import redact

# What is read of an answer that nobody will look at; the connection can only be used again when it was read.
_TAIL = 65536

# What reading the body of an answer raises beside requests' own exceptions, when it is read from `raw`.
READ_ERRORS = (urllib3.exceptions.HTTPError, OSError)


class TookTooLong(requests.exceptions.Timeout):
    """The time of a `deadline` was up."""


class _Guard:
    """Shuts down the sockets that it was told of when `expire` is called."""

    def __init__(self) -> None:
        self.expired = False
        self._sockets: list[socket.socket] = []
        self._lock = threading.Lock()

    def watch(self, connection: socket.socket) -> None:
        # A duplicate, because TLS takes the descriptor away from the object, and requests closes it when it likes.
        with self._lock:
            self._sockets.append(socket.socket(fileno=os.dup(connection.fileno())))
        if self.expired:
            self.expire()

    def expire(self) -> None:
        with self._lock:
            self.expired = True
            for watched in self._sockets:
                with contextlib.suppress(OSError):
                    watched.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        with self._lock:
            for watched in self._sockets:
                watched.close()
            self._sockets.clear()


class _Current(threading.local):
    """The guard of what this thread asks for at the moment."""

    guard: _Guard | None = None


_current = _Current()


@contextlib.contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Everything that the block asks through a `session` is over within `seconds`. Raises TookTooLong."""
    guard = _Guard()
    timer = threading.Timer(seconds, guard.expire)
    timer.daemon = True
    outer, _current.guard = _current.guard, guard
    timer.start()
    try:
        yield
    # Whatever a socket that was shut down makes of it: a reset, an end of file, a truncated answer.
    except Exception:
        if guard.expired:
            raise TookTooLong(f"no answer within {seconds:g} s") from None
        raise
    finally:
        _current.guard = outer
        timer.cancel()
        guard.close()
    # An answer without a length ends where the connection does, so this end may have been ours.
    if guard.expired:
        raise TookTooLong(f"no answer within {seconds:g} s")


class _Watched:
    """A connection of urllib3 whose socket the guard knows from its first byte on."""

    sock: socket.socket | None

    def _new_conn(self) -> socket.socket:
        connection: socket.socket = super()._new_conn()  # type: ignore[misc]
        if _current.guard:
            _current.guard.watch(connection)
        return connection

    def request(self, *args: Any, **kwargs: Any) -> None:
        # One that was kept open since an earlier request.
        if _current.guard and self.sock is not None:
            _current.guard.watch(self.sock)
        super().request(*args, **kwargs)  # type: ignore[misc]


class _Connection(_Watched, urllib3.connection.HTTPConnection):
    pass


class _TlsConnection(_Watched, urllib3.connection.HTTPSConnection):
    pass


class _Pool(urllib3.HTTPConnectionPool):
    ConnectionCls = _Connection


class _TlsPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


_POOLS = {"http": _Pool, "https": _TlsPool}


class _Adapter(requests.adapters.HTTPAdapter):
    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(*args, **kwargs)
        manager.pool_classes_by_scheme = _POOLS
        return manager


def session() -> requests.Session:
    """A session that keeps its connections open and heeds `deadline`. Not for sharing between threads."""
    made = requests.Session()
    for scheme in ("http://", "https://"):
        made.mount(scheme, _Adapter())
    return made


def drop(answer: requests.Response) -> None:
    """Read the rest of an answer that was asked for with stream=True, but no more than is sensible, and let go of it.

    An endless answer must not fill the memory.
    """
    try:
        answer.raw.read(_TAIL)
    finally:
        answer.close()


def endpoint_of(answer: requests.Response) -> str:
    """Who gave the answer: scheme, host and port."""
    return redact.endpoint(str(answer.url))


def words(error: BaseException) -> str:
    """What went wrong, in words: "connection refused" instead of a chain of exceptions. Never has a URL in it."""
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, TookTooLong):
            return str(cause)
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"certificate verify failed: {cause.verify_message}"
        if isinstance(cause, socket.gaierror):
            return f"the name does not resolve: {cause.strerror}"
        if isinstance(cause, http.client.RemoteDisconnected):
            return "the connection was closed without an answer"
        if isinstance(cause, http.client.BadStatusLine):
            return "the answer is not HTTP"
    for cause in causes:
        if isinstance(cause, ssl.SSLError):
            return f"TLS failed: {(cause.reason or 'no common ground').replace('_', ' ').lower()}"
        if isinstance(cause, requests.exceptions.ConnectTimeout):
            return "no connection in time"
        if isinstance(cause, TimeoutError | requests.exceptions.Timeout):
            return "no answer in time"
        if isinstance(cause, OSError) and cause.errno and cause.strerror:
            return cause.strerror[0].lower() + cause.strerror[1:]
    if any(isinstance(cause, http.client.IncompleteRead) for cause in causes):
        return "the answer was cut off"
    return type(error).__name__


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and all that it says it came from; requests and urllib3 put that in several places."""
    queue, seen = [error], {id(error)}
    while queue:
        current = queue.pop(0)
        yield current
        named = (current.__cause__, current.__context__, getattr(current, "reason", None), *current.args)
        for other in named:
            if isinstance(other, BaseException) and id(other) not in seen:
                seen.add(id(other))
                queue.append(other)
