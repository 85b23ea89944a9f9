"""The executable of the group docker-cmd; see docker_cmd.py."""

from __future__ import annotations

import logging
import os

from overcloud_agent import hook_io, log, model
from overcloud_agent.containers import docker_cmd, hook

_log = logging.getLogger(__name__)

# It removes the containers of a deployment that has changed before this hook is asked for their successors.
_REMOVER = "/usr/libexec/os-refresh-config/configure.d/50-heat-config-docker-cmd"


def main() -> int:
    """Answer one deployment; see hook_io. It tells its story on stderr."""
    log.setup()
    if os.path.exists(_REMOVER):
        _log.warning("%s removes containers before their successors are there: there is no way back", _REMOVER)
    return hook_io.answer(_carry_out)


def _carry_out(deployment: model.Deployment) -> model.Result:
    return docker_cmd.carry_out(deployment, hook.upgrade_here)
