"""Run one deployment: find its hook, run it in a process or built in, and make a result of whatever happens."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import os
import re
import sys
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from overcloud_agent import deadlines, errors, failpoints, model, run, settings

log = logging.getLogger(__name__)

# Groups whose work can be done again without harm: after a crash they resume. Others are answered as interrupted.
REPEATABLE = frozenset(
    {
        "container-upgrade",
        "docker-cmd",
        "package-update",
        "puppet",
        "ansible",
        "hiera",
        "json-file",
        "apply-config",
        "os-apply-config",
        "Heat::Ungrouped",
    }
)

# Characters of a file's name (NAME_MAX).
_LONGEST_NAME = 255

# Of these nobody but the agent knows how far the work came.
OUR_OWN = frozenset({"container-upgrade", "docker-cmd", "package-update"})

INTERRUPTED = (
    "interrupted: the agent ended while this deployment ran, and its group cannot be assumed safe to run twice;"
    " update the deployment to run it again"
)


@dataclasses.dataclass(frozen=True)
class Watch:
    """Who is told how the run of a deployment goes."""

    expect: Callable[[float], None]
    """How many seconds it may take."""
    file: Callable[[object], None]
    """What its hook is about to get. Raises AgentError when that cannot be kept."""
    began: Callable[[model.Process], None]
    """Which process runs it."""


@dataclasses.dataclass(frozen=True)
class Run:
    """What a group's function needs besides the deployment; times in seconds, `deadline` of time.monotonic."""

    timeout: float
    deadline: float
    began: Callable[[model.Process], None]


BuiltIn = Callable[[model.Deployment, Run], model.Result]


def run_deployment(
    document: object, *, config: settings.Settings, built_in: Mapping[str, BuiltIn], watch: Watch
) -> model.Result:
    """Run what one entry of the metadata asks for.

    A hook that is installed on the node runs before one of ours. Whatever is wrong becomes a failed result in clear
    words. Raises Interrupted when the agent was asked to stop and the deployment is left to be resumed, and
    JournalError.
    """
    try:
        model.parse_deployment(document)
        assert isinstance(document, dict)
        shown = model.chosen(document)
        if shown is None:
            return model.succeeded("the component has no config for this action: there is nothing to do")
        shown = model.hook_document(shown)
        deployment = model.parse_deployment(shown)
        seconds = deadlines.timeout(deployment, config.hook_timeout)
        group = deployment.group or "Heat::Ungrouped"
        hook = find_hook(group, config.hooks_dirs, built_in)
        watch.expect(seconds)
        watch.file(shown)
        if hook is None:
            return built_in[group](deployment, Run(seconds, time.monotonic() + seconds, watch.began))
        return _run_hook(hook, shown, seconds, config, watch.began)
    # Without a journal a result would be lost like the deployment: better to end, and to go on when it is back.
    except (errors.Interrupted, errors.JournalError):
        raise
    except errors.AgentError as error:
        return model.failed_by(error)
    # A slip of ours must be answered as well: an agent that dies of it would resume, and die of it, for ever.
    except Exception as error:
        log.exception("a mistake in overcloud-agent")
        return model.failed(f"a mistake in overcloud-agent: {type(error).__name__}; the node's log has the details")


def is_repeatable(document: object) -> bool:
    """Whether the work of an entry can be done again, because of its group or because its options say so."""
    with contextlib.suppress(errors.BadInput):
        chosen = model.chosen(document) if isinstance(document, dict) else None
        options = chosen.get("options") if chosen else None
        if isinstance(options, dict) and options.get("on_interrupt") == "rerun":
            return True
        return (model.describe(chosen)[1] or "Heat::Ungrouped") in REPEATABLE
    return True


def find_hook(group: str, directories: tuple[Path, ...], built_in: Collection[str] = ()) -> Path | None:
    """The executable for `group`: the first file of that name in `directories`; None when we run the group ourselves.

    The name is stripped to letters, digits, '-' and '_', as 55-heat-config does. A hook of ours that was linked there
    stands for ourselves. Raises BadInput when there is none or it cannot be executed.
    """
    name = re.sub("[^0-9A-Za-z_-]", "", group)
    for directory in directories:
        path = directory / name
        # Of a longer name, the system says neither that it is there nor that it is not.
        if 0 < len(name) <= _LONGEST_NAME and path.is_file():
            if group in built_in and path.resolve().parent == Path(sys.executable).parent.resolve():
                return None
            if os.access(path, os.X_OK):
                return path
            raise errors.BadInput(f"the hook {path} is not executable", path="$.group", hint=f"chmod +x {path}")
    if group in built_in:
        return None
    known = sorted(_installed(directories) | set(built_in))
    raise errors.BadInput(
        f"there is no hook for the group {group!r}", path="$.group", hint=f"groups of this node: {', '.join(known)}"
    )


def _installed(directories: tuple[Path, ...]) -> set[str]:
    return {path.name for directory in directories if directory.is_dir() for path in directory.iterdir()}


def _run_hook(
    hook: Path,
    document: dict[str, Any],
    deadline: float,
    config: settings.Settings,
    began: Callable[[model.Process], None],
) -> model.Result:
    stdin = json.dumps(document).encode()
    try:
        completed = run.hook([str(hook)], stdin, timeout=deadline, limit=config.output_limit, began=began)
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
    if config.silent_hook == "succeeds" and completed.returncode == 0 and not stdout.strip():
        return model.succeeded("", stderr=stderr)
    return model.interpret(completed.returncode, _answer_in(stdout), stderr)


def _answer_in(stdout: str) -> str:
    """What of a hook's stdout is its answer: all of it, or what comes after what its tool has printed.

    The docker-cmd hook of heat-agents lets `docker run` print before it answers. Its answer is believed, and not its
    exit status, which is 0 whatever became of the containers.
    """
    with contextlib.suppress(ValueError):
        json.loads(stdout)
        return stdout
    begin = stdout.rfind('{"deploy_')
    with contextlib.suppress(ValueError):
        if begin > 0:
            json.loads(stdout[begin:])
            return stdout[begin:]
    return stdout


def notify(command: str, path: Path, result: model.Result, config: settings.Settings) -> bool:
    """Have a command that takes heat-config-notify's place tell Heat a result; whether it says that it did."""
    body = json.dumps(result.body).encode()
    try:
        completed = run.hook([command, str(path)], body, timeout=config.signal_timeout, limit=config.output_limit)
    except OSError as error:
        log.error("%s cannot be started: %s", command, error.strerror)
        return False
    if completed.returncode:
        log.error("%s ended with status %d", command, completed.returncode)
    return completed.returncode == 0
