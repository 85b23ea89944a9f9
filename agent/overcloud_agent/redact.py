"""Keep credentials out of texts that people and logs see."""

from __future__ import annotations

import re
from urllib import parse

_QUERY = re.compile(r"\?[^\s'\"<>)]+")


def text(value: object) -> str:
    """`value` as text, the query of every URL in it removed.

    Pre-signed URLs (Heat's CFN URLs, Swift's TempURLs) carry their signature in the query, and both requests and
    urllib3 put the whole URL into their exceptions.
    """
    return _QUERY.sub("?[removed]", str(value))


def endpoint(url: str) -> str:
    """Scheme, host and port of `url`, which is what a person needs to find a dead endpoint; empty if it has none."""
    try:
        parts = parse.urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return ""
    return f"{parts.scheme}://{parts.hostname}{port}" if parts.hostname else ""
