"""Run one deployment: find its hook, run it in a process or built in, and make a result of whatever happens."""

from __future__ import annotations

import json
import logging
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from overcloud_agent import deadlines, errors, failpoints, model, run, settings

log = logging.getLogger(__name__)

# Groups whose work can be done again without harm: after a crash they resume. Others are answered as interrupted.
REPEATABLE = frozenset(
    {"container-upgrade", "package-update", "puppet", "ansible", "hiera", "json-file", "apply-config"}
)

# Takes the deployment and the point of time.monotonic by which it should be done.
BuiltIn = Callable[[model.Deployment, float], model.Result]

INTERRUPTED = (
    "interrupted: the agent ended while this deployment ran, and its group cannot be assumed safe to run twice;"
    " update the deployment to run it again"
)


def run_deployment(
    document: object,
    *,
    config: settings.Settings,
    built_in: dict[str, BuiltIn],
    expect: Callable[[float], None],
    began: Callable[[model.Process], None],
) -> model.Result:
    """Run what one entry of the metadata asks for.

    `expect` is told how many seconds that may take, `began` which process runs it. Whatever is wrong becomes a failed
    result in clear words. Raises Interrupted when the agent was asked to stop and the deployment is left to be
    resumed, and JournalError.
    """
    try:
        deployment = model.parse_deployment(document)
        assert isinstance(document, dict)
        deadline = timeout(deployment, config)
        expect(deadline)
        if deployment.group in built_in:
            return built_in[deployment.group](deployment, time.monotonic() + deadline)
        hook = find_hook(deployment.group or "", config.hooks_dirs, tuple(built_in))
        return _run_hook(hook, model.hook_document(document), deadline, config.output_limit, began)
    # Without a journal a result would be lost like the deployment: better to end, and to go on when it is back.
    except (errors.Interrupted, errors.JournalError):
        raise
    except errors.AgentError as error:
        return model.failed_by(error)
    # A slip of ours must be answered as well: an agent that dies of it would resume, and die of it, for ever.
    except Exception as error:
        log.exception("a mistake in overcloud-agent")
        return model.failed(f"a mistake in overcloud-agent: {type(error).__name__}; the node's log has the details")


def find_hook(group: str, directories: tuple[Path, ...], built_in: tuple[str, ...] = ()) -> Path:
    """The executable for `group`: the first file of that name in `directories`.

    The name is stripped to letters, digits, '-' and '_', as 55-heat-config does. Raises BadInput when there is none
    or it cannot be executed.
    """
    name = re.sub("[^0-9A-Za-z_-]", "", group)
    for directory in directories:
        path = directory / name
        if name and path.is_file():
            if os.access(path, os.X_OK):
                return path
            raise errors.BadInput(f"the hook {path} is not executable", path="$.group", hint=f"chmod +x {path}")
    known = sorted(_installed(directories) | set(built_in))
    raise errors.BadInput(
        f"there is no hook for the group {group!r}", path="$.group", hint=f"groups of this node: {', '.join(known)}"
    )


def _installed(directories: tuple[Path, ...]) -> set[str]:
    return {path.name for directory in directories if directory.is_dir() for path in directory.iterdir()}


def timeout(deployment: model.Deployment, config: settings.Settings) -> float:
    """Seconds that this deployment may take: its option `timeout`, else the agent's default. Raises BadInput."""
    return deadlines.timeout(deployment, config.hook_timeout)


def _run_hook(
    hook: Path, document: dict[str, Any], deadline: float, limit: int, began: Callable[[model.Process], None]
) -> model.Result:
    try:
        completed = run.hook([str(hook)], json.dumps(document).encode(), timeout=deadline, limit=limit, began=began)
    except OSError as error:
        raise errors.BadInput(
            f"the hook {hook} cannot be started: {error.strerror}", path="$.group", hint="has it a valid first line?"
        ) from None
    # Dying here leaves the deployment `running`: what the hook did is done, and nobody knows its result.
    failpoints.reach("hook.ended")
    stdout = completed.stdout.decode(errors="replace")
    stderr = completed.stderr.decode(errors="replace")
    if completed.timed_out:
        return deadlines.overdue("hook", deadline, stdout=stdout, stderr=stderr)
    if completed.output_held:
        log.warning("%s left a background child that holds its output; the child goes on without it", hook.name)
    return model.interpret(completed.returncode, stdout, stderr)
