"""Read what decides about updates: the data that is shipped, and deployers' drop-ins."""

from __future__ import annotations

import importlib.resources
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from overcloud_agent import errors
from overcloud_agent.packages import classes, tiers

if TYPE_CHECKING:
    import yaml


def services() -> classes.Rules:
    """Which changes are upgrades, as shipped."""
    return classes.read(_shipped("services.yaml"))


def workflow(directory: Path) -> tiers.Rules:
    """The order of restarts: as shipped, then as the drop-ins of `directory` have it, in the order of their names.

    A directory that is not there has none. Raises SettingsError, which names the file and the place in it.
    """
    shipped = tiers.read_shipped(_shipped("tiers.yaml"), file="tiers.yaml")
    found = [tiers.read_drop_in(_load(str(path), text), file=str(path)) for path, text in _texts(directory)]
    return tiers.merge(shipped, found)


def _texts(directory: Path) -> Iterator[tuple[Path, str]]:
    try:
        paths = sorted(path for path in directory.iterdir() if path.suffix == ".yaml")
    except FileNotFoundError:
        return
    except OSError as error:
        raise errors.SettingsError(f"{error.strerror}", path=str(directory)) from None
    for path in paths:
        try:
            yield path, path.read_text(encoding="utf-8")
        except OSError as error:
            raise errors.SettingsError(f"{error.strerror}", path=str(path)) from None
        except UnicodeDecodeError:
            raise errors.SettingsError("the file is not UTF-8", path=str(path)) from None


def _shipped(name: str) -> object:
    data = importlib.resources.files("overcloud_agent.packages").joinpath("data", name)
    return _load(name, data.read_text(encoding="utf-8"))


def _load(file: str, text: str) -> object:
    """A YAML document; a key that is there twice is an error, where YAML's parser would forget the first."""
    import yaml

    # libyaml is ten times faster, where PyYAML has it.
    loader_type: Any = type("Loader", (getattr(yaml, "CSafeLoader", yaml.SafeLoader),), {})

    def mapping(loader: yaml.SafeLoader, node: yaml.MappingNode) -> dict[object, object]:
        seen = set[str]()
        for key, _ in node.value:
            if str(key.value) in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key.value} is there twice", key.start_mark)
            seen.add(str(key.value))
        return dict(loader.construct_mapping(node, deep=True))

    loader_type.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, mapping)
    try:
        # The loader is a safe one.
        return yaml.load(text, loader_type)  # noqa: S506
    except yaml.YAMLError as error:
        mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
        where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise errors.SettingsError(f"this is no YAML{where}: {problem or error}", path=file) from None
    except RecursionError:
        raise errors.SettingsError("this is nested too deep", path=file) from None
