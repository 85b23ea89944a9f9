"""The groups that the agent runs itself, without a hook: each with its function."""

from __future__ import annotations

import logging
from collections.abc import Callable

from overcloud_agent import configuration, journal, metadata, model, runner, scripts, settings

log = logging.getLogger(__name__)


def table(
    config: settings.Settings,
    book: journal.Journal,
    configured: configuration.Configuration,
    stopping: Callable[[], bool],
) -> dict[str, runner.BuiltIn]:
    """Each group's function. `stopping` is asked by those that can be left between two steps."""

    def upgrade_containers(deployment: model.Deployment, run: runner.Run) -> model.Result:
        # Podman's client is only loaded where a container is to be upgraded.
        from overcloud_agent.containers import hook, steps

        record = steps.Journalled(book, deployment.id)
        return hook.upgrade_containers(deployment, config, record, stopping, deadline=run.deadline)

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
        "script": run_script,
        **dict.fromkeys(metadata.TEMPLATE_GROUPS, render_templates),
    }
