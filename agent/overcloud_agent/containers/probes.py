"""What a node can ask a service from outside: does it answer, does it accept a connection. Not redirected, not proxied.

The node asks from its own network, so `127.0.0.1` is the node, also for a container that has a network of its own.
"""

from __future__ import annotations

import dataclasses
import socket
from urllib import parse

from overcloud_agent import errors

_SCHEMES = {"http": 80, "https": 443}


@dataclasses.dataclass(frozen=True)
class Address:
    """Where to ask. `shown` is for people, without password and query."""

    host: str
    port: int
    shown: str


def of_url(url: str) -> Address:
    """Who a URL asks. Raises BadInput when it is not one of http or https."""
    hint = "for example http://127.0.0.1:8774/healthcheck"
    try:
        parts = parse.urlsplit(url)
        port = parts.port or _SCHEMES.get(parts.scheme, 0)
    except ValueError:
        raise errors.BadInput("this is not a URL", hint=hint) from None
    if parts.scheme not in _SCHEMES or not parts.hostname or not url.isprintable() or " " in url:
        raise errors.BadInput("this is not the URL of an HTTP server", hint=hint)
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    explicit = f":{parts.port}" if parts.port else ""
    return Address(parts.hostname, port, f"{parts.scheme}://{host}{explicit}{parts.path}")


def of_tcp(target: str) -> Address:
    """Host and port of `host:port` or `[IPv6 address]:port`. Raises BadInput."""
    try:
        parts = parse.urlsplit(f"//{target}")
        whole = parts.netloc == target and "@" not in target and target.isprintable()
        if whole and parts.hostname and parts.port and " " not in target:
            return Address(parts.hostname, parts.port, target)
    except ValueError:
        pass
    raise errors.BadInput(f"{target!r} is not a host and a port", hint="for example 127.0.0.1:3306 or [::1]:3306")


def http(url: str, seconds: float) -> str | None:
    """None when `url` answers with 2xx or 3xx within `seconds`, else what it does instead, for people."""
    # Heavy, and few gates ask for it.
    import ssl

    import requests

    from overcloud_agent import web

    try:
        with web.session() as session, web.deadline(seconds):
            # Neither a proxy nor a password of the agent's environment is meant for a service of this node.
            session.trust_env = False
            # The node's own authorities, which are not those that come with requests.
            trusted = ssl.get_default_verify_paths()
            session.verify = trusted.cafile or trusted.capath or True
            answer = session.get(url, allow_redirects=False, stream=True, timeout=seconds)
            answer.close()
    except (requests.exceptions.RequestException, *web.READ_ERRORS, ValueError) as error:
        return f"{of_url(url).shown}: {web.words(error)}"
    if 200 <= answer.status_code < 400:
        return None
    return f"{of_url(url).shown} answered {answer.status_code}"


def tcp(target: str, seconds: float) -> str | None:
    """None when `host:port` accepts a connection within `seconds`, else why not, for people."""
    address = of_tcp(target)
    try:
        socket.create_connection((address.host, address.port), timeout=seconds).close()
    except socket.gaierror as error:
        return f"{target}: the name does not resolve: {error.strerror}"
    except TimeoutError:
        return f"{target}: no connection within {seconds:.3g} s"
    except OSError as error:
        return f"{target}: {(error.strerror or type(error).__name__).lower()}"
    return None
