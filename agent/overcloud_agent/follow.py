"""Follow Heat's word on how the node gets its metadata: the section `os-collect-config` of the metadata itself.

os-apply-config's template for /etc/os-collect-config.conf makes the file of that section alone. This puts the section
into the file that is there: what the section names is as it says, what it sets to null is gone, and all else (a CA
certificate, an interval) stays.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from typing import Any

from overcloud_agent import errors

_NAME = re.compile(r"[A-Za-z0-9_-]+")
_SECTION = re.compile(r"\[([^]]*)\]\s*")
_OPTION = re.compile(r"([A-Za-z0-9_-]+)\s*[=:]")

_NEW_FILE = "[DEFAULT]\ncommand = os-refresh-config\n"


def apply(text: str, section: Mapping[str, Any]) -> str:
    """The configuration file `text` after `section`; the same text when there is nothing to change.

    Raises BadInput when the section holds what cannot be written into such a file.
    """
    wanted = _options(section)
    lines: dict[str, list[str]] = {"DEFAULT": []}
    for name, line in _sectioned(text or _NEW_FILE):
        option = _OPTION.match(line)
        if not option or _plain(option[1]) not in wanted.get(name, {}):
            lines.setdefault(name, []).append(line)
    for name, options in wanted.items():
        body = lines.setdefault(name, [])
        while body and not body[-1].strip():
            body.pop()
        body += [f"{key} = {value}" for key, values in options.items() for value in values]
    made = "\n\n".join("\n".join([f"[{name}]", *body]) for name, body in lines.items() if body) + "\n"
    return text if _essence(made) == _essence(text) else made


def _options(section: Mapping[str, Any]) -> dict[str, dict[str, list[str]]]:
    """What the section says, by the file's sections: each option's values, none for one that is to go."""
    wanted: dict[str, dict[str, list[str]]] = {"DEFAULT": {}}
    for key, value in section.items():
        _check_name(key)
        if isinstance(value, dict):
            for option in value:
                _check_name(option)
            options = {_plain(option): _values(given, f"{key}.{option}") for option, given in value.items()}
            wanted.setdefault(key, {}).update(options)
        else:
            wanted["DEFAULT"][_plain(key)] = _values(value, key)
    return wanted


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise errors.BadInput(f"{name[:80]!r} cannot be the name of an option", path="$['os-collect-config']")


def _values(value: Any, where: str) -> list[str]:
    entries = [entry for entry in (value if isinstance(value, list) else [value]) if entry is not None]
    texts = [str(entry).lower() if isinstance(entry, bool) else str(entry) for entry in entries]
    if any(isinstance(entry, list | dict) for entry in entries) or not all(map(_is_line, texts)):
        raise errors.BadInput(
            "a value cannot be written into os-collect-config.conf", path=f"$['os-collect-config'].{where}"
        )
    # oslo.config takes a single $ for the name of another option.
    return [_quoted(text.replace("$", "$$")) for text in texts]


def _is_line(text: str) -> bool:
    """Whether it stays one line whoever reads it: no control character, no separator of lines, nothing but Unicode."""
    return not any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in text)


def _quoted(text: str) -> str:
    """A value as it has to be written for oslo.config, which takes off space around it, and one pair of quotes."""
    return f'"{text}"' if text != text.strip() or text[:1] == text[-1:] in ("'", '"') else text


def _plain(option: str) -> str:
    return option.replace("-", "_")


def _sectioned(text: str) -> list[tuple[str, str]]:
    """Each line with the section that it is in; a value that goes on in the next lines is one line."""
    found: list[tuple[str, str]] = []
    section = "DEFAULT"
    # Not splitlines, which knows more separators than those who read the file.
    for line in text.removesuffix("\n").split("\n"):
        heading = _SECTION.fullmatch(line)
        if heading:
            section = heading[1]
        elif line[:1].isspace() and line.strip() and found and found[-1][0] == section:
            found[-1] = (section, f"{found[-1][1]}\n{line}")
        else:
            found.append((section, line))
    return found


def _essence(text: str) -> list[tuple[str, str, str]]:
    """What of a file counts: its options, those of one name in their order, without the space around them."""
    options = []
    for section, line in _sectioned(text):
        name, _, value = re.sub(r"\s*[=:]\s*", "=", line, count=1).strip().partition("=")
        if name and name[0] not in "#;":
            options.append((section, _plain(name), value))
    return sorted(options, key=lambda option: option[:2])
