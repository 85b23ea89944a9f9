"""Check a file before Heat gets it: what the agent would say about it on a node, without touching anything."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path

from overcloud_agent import built_in, errors, model, runner, settings
from overcloud_agent.containers import docker_cmd, spec
from overcloud_agent.packages import inputs


def check_file(path: Path, config: settings.Settings) -> list[str]:
    """Everything that is wrong with the file, one line each; an empty list when it is valid.

    Raises BadInput when the file cannot be read.
    """
    document = read(path)
    if isinstance(document, dict) and isinstance(document.get("deployments"), list):
        document = document["deployments"]
    if isinstance(document, list):
        return [
            f"$.deployments[{index}]: {problem}"
            for index, entry in enumerate(document)
            for problem in _problems(functools.partial(check_deployment, entry, config))
        ]
    if _is_deployment(document):
        return _problems(lambda: check_deployment(document, config))
    return _problems(lambda: check_config(document))


def read(path: Path) -> object:
    """The JSON document in a file, or the text of one that has none. Raises BadInput when it cannot be read."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise errors.BadInput(f"cannot read {path}: {error}") from None
    try:
        return json.loads(text)
    except ValueError:
        return text


def deployment_in(path: Path) -> model.Deployment:
    """The deployment in a file, or one of the container-upgrade config in it. Raises BadInput."""
    document = read(path)
    if _is_deployment(document):
        return model.parse_deployment(document)
    return model.Deployment(id=path.stem, group="container-upgrade", config=document)


def _is_deployment(document: object) -> bool:
    return isinstance(document, dict) and "id" in document and "group" in document


def _problems(check: Callable[[], list[str]]) -> list[str]:
    try:
        return check()
    except errors.BadInput as error:
        return [str(error)]


def check_deployment(document: object, config: settings.Settings) -> list[str]:
    """What would keep this deployment from being run; raises BadInput where it cannot be understood at all."""
    deployment = model.parse_deployment(document)
    if deployment.group == "container-upgrade":
        return check_config(deployment.config)
    if deployment.group == docker_cmd.GROUP:
        return check_config(docker_cmd.to_containers(deployment.config).config)
    if deployment.group == inputs.GROUP:
        inputs.read(deployment)
    runner.find_hook(deployment.group or "", config.hooks_dirs, built_in.GROUPS)
    return []


def check_config(config: object) -> list[str]:
    """The first mistake of each container of a container-upgrade config, values included.

    Raises BadInput where the config as a whole cannot be understood.
    """
    _, mistakes = spec.check(config)
    return [str(mistake) for mistake in mistakes]
