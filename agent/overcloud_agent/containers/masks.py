"""What of a container's config must not be seen: secrets, and how to tell that they differ. Pure: no I/O.

Podman writes a container's labels into the journal with each event, and inspect shows them to who may ask, so what
would be a secret there is replaced by a mask and a short digest.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from overcloud_agent import identifiers, redact
from overcloud_agent.containers import values

MASK = "***"
# What conceal() leaves of a secret.
_MARK = re.compile(r"\*\*\*:[0-9a-f]{12}")

# What may be written as a map or as a list, and is compared by its keys either way.
_PAIRS = ("annotation", "environment", "sysctl")
_SECRET = re.compile(r"pass(word|wd|phrase|$|[_.-])|pwd|secret|token|credential|private|auth(?!or)|key$", re.IGNORECASE)
_USER_INFO = re.compile(r"(?<=://)[^/\s@]+@")
_OPTION = re.compile(r"--?[\w-]*(?:passw|secret|token|credential|-key)[\w-]*", re.IGNORECASE)
_ASSIGNED = re.compile(rf"({_OPTION.pattern}|\b\w*(?:passw|secret|token)\w*)([=\s])\s*(\S+)", re.IGNORECASE)


def secrets(leaves: Mapping[str, Any]) -> frozenset[str]:
    """The values of keys that look like those of secrets, wherever else they may stand."""
    return frozenset(redact.secrets(value for key, value in leaves.items() if _SECRET.search(key)))


def conceal(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config whose secrets, and the values of whose environment, are masks with a digest: equal ones stay equal."""
    hidden = secrets(flat(config))
    return {key: _concealed(key, value, hidden) for key, value in config.items()}


def _concealed(key: str, value: Any, hidden: Iterable[str]) -> Any:
    inner = values.pairs(value) if key in _PAIRS else value
    if isinstance(inner, dict):
        return {name: _concealed(f"{key}.{name}", leaf, hidden) for name, leaf in inner.items()}
    return _marked(inner, shown(key, inner, hidden))


def _marked(value: Any, mask: Any) -> Any:
    if isinstance(value, list) and isinstance(mask, list):
        return [_marked(word, masked) for word, masked in zip(value, mask, strict=True)]
    return value if mask == value else f"{mask}:{identifiers.of(value).removeprefix('sha256:')[:12]}"


def flat(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config's leaves by their dotted keys. A list is a leaf, but where it stands for a map."""
    leaves: dict[str, Any] = {}
    for key, value in config.items():
        inner = values.pairs(value) if key in _PAIRS else value
        if isinstance(inner, dict):
            leaves.update({f"{key}.{name}": leaf for name, leaf in flat(inner).items()})
        else:
            leaves[key] = inner
    return leaves


def shown(key: str, value: Any, hidden: Iterable[str]) -> Any:
    """A value as it may be seen. A list keeps its length, unless all of it is a secret."""
    if value is None:
        return None
    if key.startswith("environment.") or _SECRET.search(key):
        return MASK
    if isinstance(value, list):
        return _shown_words(value, tuple(hidden))
    return _scrubbed(_MARK.sub(MASK, value), hidden) if isinstance(value, str) else value


def _shown_words(words: Sequence[Any], hidden: Sequence[str]) -> list[Any]:
    """Words of a list; the one after an option such as --password is its value."""
    shown: list[Any] = []
    for before, word in zip([None, *words], words, strict=False):
        follows = isinstance(before, str) and _OPTION.fullmatch(before)
        inner = _shown_words(word, hidden) if isinstance(word, list) else word
        text = _scrubbed(_MARK.sub(MASK, inner), hidden) if isinstance(inner, str) else inner
        shown.append(MASK if follows else text)
    return shown


def _scrubbed(text: str, hidden: Iterable[str]) -> str:
    """A text without the secrets that are known, without users and queries of URLs, and without `password=...`."""
    masked = _USER_INFO.sub(f"{MASK}@", redact.mask(text, hidden))
    masked = redact.text(masked) if "://" in masked else masked
    return _ASSIGNED.sub(rf"\1\2{MASK}", masked)
