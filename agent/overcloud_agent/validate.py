"""Check a file before Heat gets it: what the agent would say about it on a node, without touching anything."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from overcloud_agent import errors, model, runner, settings
from overcloud_agent.containers import podman_spec, spec


def check_file(path: Path, config: settings.Settings) -> list[str]:
    """Everything that is wrong with the file, one line each; an empty list when it is valid.

    Raises BadInput when the file cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise errors.BadInput(f"cannot read {path}: {error}") from None
    try:
        document = json.loads(text)
    except ValueError:
        return _problems(lambda: check_config(text))
    if isinstance(document, dict) and isinstance(document.get("deployments"), list):
        document = document["deployments"]
    if isinstance(document, list):
        return [
            f"$.deployments[{index}]: {problem}"
            for index, entry in enumerate(document)
            for problem in _problems(lambda entry=entry: check_deployment(entry, config))
        ]
    if isinstance(document, dict) and "id" in document and "group" in document:
        return _problems(lambda: check_deployment(document, config))
    return _problems(lambda: check_config(document))


def _problems(check: Any) -> list[str]:
    try:
        check()
    except errors.BadInput as error:
        return [str(error)]
    return []


def check_deployment(document: object, config: settings.Settings) -> None:
    """Raises BadInput for the first thing that would keep this deployment from being run."""
    deployment = model.parse_deployment(document)
    if deployment.group == "container-upgrade":
        check_config(deployment.config)
    else:
        runner.find_hook(deployment.group or "", config.hooks_dirs, ("container-upgrade",))


def check_config(config: object) -> None:
    """Raises BadInput for the first thing that is wrong with a container-upgrade config, values included."""
    for name, container in spec.parse(config).items():
        try:
            podman_spec.generate(container, name=name, image=container.image, labels={}, env_files="")
        except errors.BadInput as error:
            raise errors.BadInput(error.message, path=f"$.config.{name}", hint=error.hint) from None
