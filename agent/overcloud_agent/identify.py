"""What `overcloud-agent identifiers` tells: unique identifiers of packages, configured trees, and containers."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib import parse

from overcloud_agent import errors, settings
from overcloud_agent.packages import inventory, select, trees


def collect(config: settings.Settings) -> dict[str, Any]:
    """The facts, as `--json` prints them: what cannot be told is null, and `notes` says why. Raises PackageError."""
    packages = inventory.identifier(select.backend(config.packages_root), config.state_dir)
    content, notes = content_identifiers(config, config.content_trees)
    containers, why = containers_identifier(config)
    return {
        "packages_identifier": packages,
        "content_identifiers": content,
        "containers_identifier": containers,
        "notes": [*notes, *([why] if why else [])],
    }


def content_identifiers(config: settings.Settings, content_trees: Iterable[Path]) -> tuple[dict[str, str], list[str]]:
    """By tree its identifier; and notes for people. Raises PackageError."""
    found = {
        str(path): trees.identify(_in_root(config.packages_root, path), config.state_dir) for path in content_trees
    }
    notes = [f"{path} is not there, and is identified as an empty tree" for path, tree in found.items() if tree.missing]
    return {path: tree.identifier for path, tree in found.items()}, notes


def trees_in(value: object, path: str) -> tuple[Path, ...]:
    """The trees that an input (a list of absolute paths) asks for instead of the configured ones.

    Raises BadInput, with the JSON path, which begins with `path`.
    """
    if not isinstance(value, list):
        raise errors.BadInput("Expected a list of directories", path=path, hint='for example ["/etc/puppet/modules"]')
    for index, one in enumerate(value):
        if not isinstance(one, str) or not os.path.isabs(one) or "\0" in one:
            raise errors.BadInput(
                "Expected an absolute path", path=f"{path}[{index}]", hint="for example /etc/puppet/modules"
            )
    return tuple(Path(one) for one in dict.fromkeys(value))


def containers_identifier(config: settings.Settings) -> tuple[str | None, str]:
    """The identifier of all running containers of the agent; or None, and why it cannot be told."""
    address = parse.urlsplit(config.podman_url)
    # The engine would wait for a service that starts again.
    if address.scheme == "unix" and not os.path.exists(address.path):
        return None, f"containers are not identified: there is no Podman at {address.path}"
    from overcloud_agent.containers import described, engine, report

    try:
        with engine.Engine(config.podman_url, timeout=config.podman_timeout) as podman:
            entries = podman.entries({"label": [f"{described.LABEL_MANAGED_BY}={described.OURSELVES}"]})
    except errors.EngineError as error:
        return None, f"containers are not identified: {error}"
    return report.node_identifier({entry["Names"][0]: described.listed(entry) for entry in entries}), ""


def show(facts: dict[str, Any]) -> None:
    """Print the facts as lines: what it is an identifier of, and the identifier."""
    import click

    lines = {
        "packages": facts["packages_identifier"],
        **facts["content_identifiers"],
        "containers": facts["containers_identifier"] or "-",
    }
    width = max(len(name) for name in lines)
    for name, identifier in lines.items():
        click.echo(f"{name:{width}}  {identifier}")
    for note in facts["notes"]:
        click.echo(f"note: {note}", err=True)


def _in_root(root: Path, path: Path) -> Path:
    """Where a path of the node is. A link in another root may lead to this machine's own files, which are not meant."""
    inside = root / path.relative_to("/")
    real = os.path.realpath(root)
    if os.path.commonpath([real, os.path.realpath(inside)]) != real:
        raise errors.PackageError(f"{path} leads out of {root}", hint="make the link a relative one")
    return inside
