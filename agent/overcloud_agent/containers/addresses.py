"""Whom a probe asks, as a config says it. Pure: no I/O."""

from __future__ import annotations

import dataclasses
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
