"""The executables of heat-config: 55-heat-config, heat-config-notify and heat-config-rebuild-deployed.

They are what heat-agents installs under these names, with the same paths, variables and files, for whoever calls
them: os-refresh-config, TripleO's config-download, an operator. What they share with the resident agent is the code;
their journal is their own, beside the files by which everybody knows what has run.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import shutil
import stat
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from overcloud_agent import deployed, errors, lock, log, model, nesting, settings

logger = logging.getLogger(__name__)

# Try later (sysexits.h): os-collect-config runs its command again at its next poll when it fails.
_TRY_LATER = errors.Busy.exit_code

# Hooks inherit it: the process ids of the 55-heat-config that they run within, outermost first.
_WITHIN = "OVERCLOUD_AGENT_WITHIN"


def main() -> int:
    """55-heat-config: run what HEAT_SHELL_CONFIG lists and has not run yet.

    Returns 0 whatever became of the deployments, as its namesake does: their results are told to Heat and in the
    files. 1 when there is no list, 75 when a result could not be delivered yet or a hook called it in vain: called
    again, it tries again. 130 when it was asked to stop; called again, it goes on.
    """
    from overcloud_agent import agent

    log.setup()
    try:
        path = Path(os.environ.get("HEAT_SHELL_CONFIG") or "/var/run/heat-config/heat-config")
        documents = _read_list(path)
        config = _settings(os.environ)
        deployed.Deployed(config.deployed_dir).prepare(settings.old_deployed_dir())
        _mark_hooks(config.state_dir)
        delivered = agent.apply_list(config, documents, deliver_within=config.deliver_within)
    except (errors.AgentError, OSError) as error:
        return _complain(error)
    if not delivered:
        logger.error("not every result is with Heat yet; the next run tries again")
    return 0 if delivered else _TRY_LATER


def notify() -> int:
    """heat-config-notify CONFIG_FILE: tell Heat the result on stdin of the deployment in the file.

    Returns 0 when Heat has it, or nobody asked for it; 1 when it cannot be delivered ever; 75 when it could not be
    delivered yet: it is kept, and every later call, as well as 55-heat-config, tries again.
    """
    from overcloud_agent import notifier

    log.setup()
    if len(sys.argv) < 2 or not Path(sys.argv[1]).is_file():
        logger.error("call it with the file of the deployment: heat-config-notify FILE < RESULT")
        return 1
    try:
        document = json.loads(Path(sys.argv[1]).read_bytes())
        body = _body(sys.stdin.buffer.read())
        return notifier.deliver(_settings(os.environ), document, body)
    except (errors.AgentError, OSError, ValueError, RecursionError) as error:
        return _complain(error)


def rebuild_deployed() -> int:
    """heat-config-rebuild-deployed: say of everything in the node's metadata that it has run."""
    from overcloud_agent import metadata, templates

    log.setup()
    kept = deployed.Deployed(_directory_in_use(os.environ))
    try:
        documents = templates.merged(templates.metadata_files(), None).get("deployments")
        kept.prepare()
        found = documents if isinstance(documents, list) else []
        sys.stdout.write(f"Found {len(found)} deployments.\n")
        for document in found:
            if isinstance(document, dict) and not metadata.is_for_templates(document):
                sys.stdout.write(f"{document.get('id')} will not be run (again)\n")
                kept.touch(str(document.get("id")))
    except (errors.AgentError, OSError) as error:
        return _complain(error)
    return 0


def _directory_in_use(environ: Mapping[str, str]) -> Path:
    """Where the files are now: an older version's place counts until 55-heat-config has moved it."""
    directory = settings.load().deployed_dir
    old = settings.old_deployed_dir(environ)
    return old if old.is_dir() and not directory.is_dir() else directory


def _settings(environ: Mapping[str, str]) -> settings.Settings:
    """The agent's settings, with a journal in the directory that says what has run.

    It goes with that directory, which callers exchange for another one, and it is not the resident agent's.
    """
    config = settings.load(environ=environ)
    return dataclasses.replace(
        config,
        state_dir=config.deployed_dir / ".overcloud-agent",
        notify_command=_notifier(environ.get("HEAT_CONFIG_NOTIFY", "")),
    )


def _notifier(command: str) -> str:
    """The operator's own notifier; empty when what is named is ours, which would only do what is done anyway."""
    found = shutil.which(command) if command else None
    ours = Path(sys.executable).parent / "heat-config-notify"
    return "" if found and os.path.realpath(found) == os.path.realpath(ours) else command


def _mark_hooks(state_dir: Path) -> None:
    """Let hooks know which run they belong to. Raises Busy when this is a hook of the run that it would wait for."""
    outer = os.environ.get(_WITHIN, "").split()
    # A process that a hook left behind has the mark, too, and may wait: it is the lock that counts.
    if any(pid.isdecimal() and lock.is_open(int(pid), state_dir) for pid in outer):
        raise errors.Busy(
            "called by a hook of a 55-heat-config that works with the same directory, which can only wait for itself",
            hint="call it after the deployment, or with another HEAT_CONFIG_DEPLOYED",
        )
    os.environ[_WITHIN] = " ".join([*outer, str(os.getpid())])


def _read_list(path: Path) -> list[object]:
    """The list of deployments, in a file that nobody else can read from now on. Raises AgentError."""
    try:
        if stat.S_IMODE(path.lstat().st_mode) != 0o600:
            path.chmod(0o600)
        text = path.read_bytes()
    except OSError as error:
        raise errors.AgentError(f"no list of deployments in {path}: {error.strerror}") from None
    try:
        # os-apply-config writes an empty file when there are no deployments.
        documents = json.loads(text) if text.strip() else []
    except ValueError as error:
        raise errors.BadInput(str(error), path=str(path), hint="it is rendered by os-apply-config") from None
    except RecursionError:
        documents = None
    if documents is None or not nesting.is_shallow(documents):
        raise errors.BadInput(f"it is nested more than {nesting.DEEPEST} levels deep", path=str(path))
    if not isinstance(documents, list):
        raise errors.BadInput("expected a list of deployments", path=str(path))
    return documents


def _body(text: bytes) -> dict[str, Any]:
    """A hook's result; nothing at all is one without outputs. What is no result is told as a failure."""
    if not text.strip():
        return {}
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        body = None
    return body if isinstance(body, dict) else model.failed("the result that heat-config-notify got is not JSON").body


def _complain(error: Exception) -> int:
    if isinstance(error, errors.AgentError):
        logger.error("%s", error)
        # What is wrong is 1 to whoever knows heat-agents; what is to be tried again has to be told from it.
        return error.exit_code if isinstance(error, (errors.Busy, errors.Interrupted)) else 1
    # The text of an exception may quote what it read.
    where = getattr(error, "filename", None) or ""
    logger.error("%s %s", type(error).__name__, where)
    return 1
