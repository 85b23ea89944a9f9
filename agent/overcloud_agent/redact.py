"""Keep credentials out of texts that people and logs see."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator

# Shorter than this, or one of these words, a value says nothing, and would be found in half of all lines.
SHORTEST_SECRET = 4
_PLAIN_WORDS = frozenset({"true", "false", "none", "null"})
# Where a shell, a log or a tool cuts a value in parts: line ends, quotes under `set -x`, the query of a URL.
_PARTS = re.compile(r"[\r\n'?]+")

_QUERY = re.compile(r"\?[^\s'\"<>)]+")
# Up to the last @ before the path: whoever writes a password into a URL may not have escaped it.
_CREDENTIALS = re.compile(r"(?<=://)[^\s/'\"<>]+@")


def text(value: object) -> str:
    """`value` as text, of every URL in it the query and the name and password removed.

    Pre-signed URLs (Heat's CFN URLs, Swift's TempURLs) carry their signature in the query, and both requests and
    urllib3 put the whole URL into their exceptions. Repositories and proxies have passwords in theirs, which dnf and
    curl tell to everybody.
    """
    return _CREDENTIALS.sub("***@", _QUERY.sub("?[removed]", str(value)))


def endpoint(url: str) -> str:
    """Scheme, host and port of `url`, which is what a person needs to find a dead endpoint; empty if it has none."""
    # A hook has no URL to show, and need not load this.
    from urllib import parse

    try:
        parts = parse.urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return ""
    return f"{parts.scheme}://{parts.hostname}{port}" if parts.hostname else ""


def secrets(values: Iterable[object]) -> tuple[str, ...]:
    """Every text by which a log line could give one of `values` (any JSON) away: see `mask`.

    Text in objects and lists counts, numbers do not. Each comes whole, in parts, and as JSON would write it.
    """
    found = {form for value in values for leaf in _texts(value) for form in _forms(leaf)}
    return tuple(sorted(form for form in found if len(form) >= SHORTEST_SECRET and form.lower() not in _PLAIN_WORDS))


def _texts(value: object) -> Iterator[str]:
    stack = [value]
    while stack:
        value = stack.pop()
        if isinstance(value, str):
            # A log line was decoded from bytes, so what is no Unicode looks there as it does here.
            yield value.encode("utf-8", "surrogatepass").decode("utf-8", "replace")
        elif isinstance(value, list):
            stack += value
        elif isinstance(value, dict):
            stack += value.values()


def _forms(text: str) -> Iterator[str]:
    yield text
    yield json.dumps(text)[1:-1]
    yield from (part.strip() for part in _PARTS.split(text))


def mask(line: str, hidden: Iterable[str]) -> str:
    """`line` with `***` for everything in it that one of `hidden` covers."""
    spans = sorted(span for secret in hidden if secret in line for span in _spans(line, secret))
    pieces: list[str] = []
    end = 0
    for begin, until in spans:
        # Two that touch become one: nobody needs to know how many there were.
        if begin > end or not pieces:
            pieces += [line[end:begin], "***"]
        end = max(end, until)
    return "".join([*pieces, line[end:]])


def _spans(line: str, secret: str) -> Iterator[tuple[int, int]]:
    begin = line.find(secret)
    while begin >= 0:
        yield begin, begin + len(secret)
        begin = line.find(secret, begin + 1)
