"""The groups that the agent runs itself, without a hook: each with its function."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from overcloud_agent import configuration, errors, metadata, model, runner, scripts, settings

if TYPE_CHECKING:
    from overcloud_agent.containers import batch

log = logging.getLogger(__name__)


# All of them.
GROUPS = ("container-upgrade", "docker-cmd", "package-update", "script", *metadata.TEMPLATE_GROUPS)

# Deployments of this group that follow each other are worked on side by side.
TOGETHER = "container-upgrade"


def table(
    config: settings.Settings,
    configured: configuration.Configuration,
    stopping: Callable[[], bool],
    part: batch.Part | None = None,
) -> dict[str, runner.BuiltIn]:
    """Each group's function. `stopping` is asked by those that can be left between two steps; `part` as in line.py."""

    def upgrade_containers(deployment: model.Deployment, run: runner.Run) -> model.Result:
        # Podman's client is only loaded where a container is to be upgraded.
        from overcloud_agent.containers import hook

        return hook.upgrade_containers(deployment, config, stopping, deadline=run.deadline, part=part)

    def run_docker_cmd(deployment: model.Deployment, run: runner.Run) -> model.Result:
        from overcloud_agent.containers import docker_cmd

        return docker_cmd.carry_out(deployment, lambda converted: upgrade_containers(converted, run))

    def update_packages(deployment: model.Deployment, run: runner.Run) -> model.Result:
        from overcloud_agent.packages import hook

        return hook.update_packages(deployment, config, stopping, deadline=run.deadline, began=run.began)

    def run_script(deployment: model.Deployment, run: runner.Run) -> model.Result:
        name = model.plain(deployment.name or deployment.id)
        return scripts.run_script(
            deployment,
            places=scripts.places(),
            timeout=run.timeout,
            limit=config.output_limit,
            began=run.began,
            live=lambda line: log.info("%s: %s", name, line),
        )

    def render_templates(deployment: model.Deployment, _run: runner.Run) -> model.Result:
        return configured.answer(deployment)

    return {
        "container-upgrade": upgrade_containers,
        "docker-cmd": run_docker_cmd,
        "package-update": update_packages,
        "script": run_script,
        **dict.fromkeys(metadata.TEMPLATE_GROUPS, render_templates),
    }


def containers_of(document: object, config: settings.Settings) -> frozenset[str]:
    """The containers of a deployment that may be worked on beside others; empty for one that has to be alone."""
    from overcloud_agent.containers import spec

    try:
        deployment = model.parse_deployment(document)
        if deployment.group != TOGETHER or runner.find_hook(TOGETHER, config.hooks_dirs, (TOGETHER,)):
            return frozenset()
        return frozenset(spec.parse(deployment.config))
    except errors.BadInput:
        # It is answered when its turn comes.
        return frozenset()
    # So is what trips up the code that reads it. Here nobody would answer it: the agent would end, at every start anew.
    except Exception:
        return frozenset()
