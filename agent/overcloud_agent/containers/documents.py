"""A container config as it was written: an object or text, with TripleO's steps or without. Pure: no I/O."""

from __future__ import annotations

import dataclasses
import json
import re
from typing import Any

from overcloud_agent import errors

# Podman's own rule for names. The suffixes are ours, for the containers that stand in during an upgrade.
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")
SUFFIXES = (".next", ".old", ".gone", ".failed", ".migrate")
# What is kept of them is called NAME.kept-ID.
KEPT = ".kept-"

# The keys of TripleO's templates whose value is a map of steps, and how a step is named.
_STEPPED = ("container_config", "docker_config")
STEP_PATTERN = "^step_[0-9]+$"

# YAML's aliases make hundreds of millions of nine lines. A node's containers together have some thousands of values.
_MOST_VALUES = 1_000_000


@dataclasses.dataclass(frozen=True)
class Entry:
    """One container as it was written, and where."""

    name: str
    path: str
    keys: object
    step: int | None = None


def entries(config: object) -> list[Entry]:
    """The containers of a config, with steps or without.

    Raises BadInput when it is no map, or its text neither JSON nor YAML, and for names that cannot be or are there
    twice.
    """
    root, document = "$.config", load(config)
    if len(document) == 1 and set(document) <= set(_STEPPED):
        (wrapper,) = document
        root, document = f"$.config.{wrapper}", document[wrapper]
        if not isinstance(document, dict):
            raise errors.BadInput(f"expected steps, got {document!r}", path=root, hint="{step_1: {NAME: ...}, ...}")
    stepped = [key for key in document if re.fullmatch(STEP_PATTERN, str(key))]
    if not stepped and root == "$.config":
        return [Entry(_name(name, root), f"{root}.{name}", keys) for name, keys in document.items()]
    others = [str(key) for key in document if key not in stepped]
    if others:
        raise errors.BadInput(f"{others[0]!r} is no step", path=root, hint="either steps, step_1 to step_5, or names")
    return _entries_of_steps(document, root)


def _entries_of_steps(document: dict[str, Any], root: str) -> list[Entry]:
    found: dict[str, Entry] = {}
    for step, containers in sorted(document.items(), key=lambda item: int(item[0].removeprefix("step_"))):
        # Heat's conditions leave null or empty text where there is nothing in a step.
        if containers in (None, ""):
            continue
        if not isinstance(containers, dict):
            raise errors.BadInput("expected a map of container names to their keys", path=f"{root}.{step}")
        for name, keys in containers.items():
            path = f"{root}.{step}.{_name(name, f'{root}.{step}')}"
            if name in found:
                raise errors.BadInput(
                    f"{name} is in {found[name].path.split('.')[-2]}, too", path=path, hint="a name is one container"
                )
            found[name] = Entry(name, path, keys, int(step.removeprefix("step_")))
    return list(found.values())


def _name(name: object, path: str) -> str:
    if not isinstance(name, str) or not _NAME.fullmatch(name) or name.endswith(SUFFIXES) or KEPT in name:
        raise errors.BadInput(
            f"{name!r} cannot be a container's name",
            path=path,
            hint=f"letters, digits, '_', '.', '-'; the endings {', '.join(SUFFIXES)} are the agent's own",
        )
    return name


def load(config: object) -> dict[str, Any]:
    """The config as a mapping. Raises BadInput when it is none, or its text is neither JSON nor YAML."""
    document = _load_text(config) if isinstance(config, str) else config
    if not isinstance(document, dict) or not document:
        found = "empty" if not document else f"a {type(document).__name__}"
        raise errors.BadInput(
            f"the config is {found}", path="$.config", hint="expected a map of container names to their keys"
        )
    return document


def _load_text(text: str) -> object:
    try:
        return json.loads(text)
    except RecursionError:
        raise errors.BadInput("the config is nested too deep", path="$.config") from None
    except ValueError:
        return _load_yaml(text)


def _load_yaml(text: str) -> object:
    # Deployers write YAML too; its parser is only loaded where it is needed.
    import yaml

    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise errors.BadInput(f"the config is neither JSON nor YAML{where}", path="$.config") from None
    except RecursionError:
        raise errors.BadInput("the config is nested too deep", path="$.config") from None
    # Python's own complaint of a date that is in no calendar, or of a number with thousands of digits.
    except ValueError:
        raise errors.BadInput(
            "the config has a date or a number that is none", path="$.config", hint="quote it"
        ) from None
    _check_size(document)
    return document


def _check_size(document: object) -> None:
    """Raises BadInput when aliases, of which each counts as what it stands for, make too much of it, or a circle."""
    left, stack = _MOST_VALUES, [document]
    while stack:
        value = stack.pop()
        if isinstance(value, dict | list):
            left -= len(value)
            if left < 0:
                raise errors.BadInput(
                    f"the config has more than {_MOST_VALUES} values, or never ends",
                    path="$.config",
                    hint="its aliases?",
                )
            stack += value.values() if isinstance(value, dict) else value
