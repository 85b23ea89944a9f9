"""The group container-upgrade: one function, used by the resident agent and by the hook executable alike."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from overcloud_agent import errors, failpoints, hook_io, lock, log, model
from overcloud_agent.containers import batch, docker_cmd, engine, job, prepare, report, spec, steps, target, units, work

if TYPE_CHECKING:
    from overcloud_agent import settings

# docker-cmd and paunch do nothing either when Heat deletes, suspends or resumes: the containers stay as they are.
_ACTIONS = ("", "CREATE", "UPDATE")


def upgrade_containers(
    deployment: model.Deployment,
    config: settings.Settings,
    stopping: Callable[[], bool],
    *,
    deadline: float = math.inf,
    part: batch.Part | None = None,
) -> model.Result:
    """Bring the containers of one deployment to what its config says.

    Outputs: see report.py. A container that fails stops the line; what was committed before it stays. `stopping` is
    asked between steps and while a pull or a gate goes on; past `deadline` (of time.monotonic) no container is begun.
    With `part`, other deployments are worked on at the same time, and the time that is waited for them does not count.
    Raises BadInput and EngineError while nothing has moved, and Interrupted.
    """
    if deployment.group == docker_cmd.GROUP and deployment.action == "DELETE":
        return _delete(deployment, config, stopping)
    if deployment.action not in _ACTIONS:
        return model.succeeded(f"{deployment.action}: the containers stay as they are", outputs={"changed": False})
    if deployment.input("mode") == "plan":
        from overcloud_agent.containers import planning, preview_table

        document = planning.plan_deployment(deployment, config)
        return model.succeeded(preview_table.text(document), outputs={"changed": False, "plan": document})
    containers = spec.parse(deployment.config)
    waves = spec.waves(containers)
    asked = job.read(deployment)
    part = part or batch.Part(batch.Batch(1, config.workers))
    with _site(deployment, config, stopping) as site:
        targets, outcomes = _bring(site, containers, waves, asked, config, part, _Alive(stopping, deadline))
        if asked.complete and not any(outcome.failed for outcome in outcomes):
            outcomes += work.remove_left(site, containers, asked, _steps(containers))
    failpoints.reach("upgrade.ended")
    order = [name for wave in waves for name in wave]
    return report.result(outcomes, targets, order, spec.notes(containers, units=site.starter.units))


def _bring(
    site: work.Site,
    containers: dict[str, spec.Container],
    waves: list[list[str]],
    asked: job.Job,
    config: settings.Settings,
    part: batch.Part,
    alive: _Alive,
) -> tuple[dict[str, target.Target], list[target.Outcome]]:
    """Pull, check, and upgrade in order; or go back from what an earlier process left half done."""
    targets: dict[str, target.Target] = {}
    try:
        targets = prepare.targets(
            site.podman, containers, asked, config, site.starter, alive=alive, step_of=_steps(containers)
        )
        failpoints.reach("upgrade.pulled")
        left = alive.deadline - time.monotonic()
        part.prepared(alive.unless_stopping)
        return targets, work.do(site, containers, targets, waves, part.together, seconds=left)
    except (errors.EngineError, errors.BadInput) as error:
        # Nothing has moved in this run, but an earlier one may have died with a service stopped.
        outcomes = work.restore(site, containers, asked.deployment, error)
        if not outcomes:
            raise
        return targets, outcomes


def _steps(containers: dict[str, spec.Container]) -> dict[str, int]:
    """TripleO's step of each container that has one."""
    return {name: container.step for name, container in containers.items() if container.step is not None}


@contextlib.contextmanager
def _site(deployment: model.Deployment, config: settings.Settings, stopping: Callable[[], bool]) -> Iterator[work.Site]:
    """Podman, the journal, and the lock of the node's containers, for as long as a deployment is worked on."""
    podman = engine.Engine(config.podman_url, timeout=config.podman_timeout)
    with (
        lock.containers(config.state_dir, shared=True),
        steps.Journalled(config.state_dir, deployment.id) as record,
        podman,
    ):
        yield work.Site(podman, units.starter(config, podman), record, stopping)


def _delete(deployment: model.Deployment, config: settings.Settings, stopping: Callable[[], bool]) -> model.Result:
    """docker-cmd's containers of a deployment that Heat deletes are removed."""
    asked = job.read(deployment)
    with _site(deployment, config, stopping) as site:
        outcomes = work.remove_all(site, asked) if asked.owner else []
    return report.result(outcomes, {}, [], [])


@dataclasses.dataclass(frozen=True)
class _Alive:
    """Asked wherever the work may be left: whether the agent is to stop, and whether there is time left."""

    stopping: Callable[[], bool]
    deadline: float

    def unless_stopping(self) -> None:
        if self.stopping():
            raise errors.Interrupted("asked to stop before anything was changed")

    def __call__(self) -> None:
        self.unless_stopping()
        if time.monotonic() > self.deadline:
            raise errors.EngineError(
                "the deployment ran out of time before anything was changed", hint="see its option `timeout`"
            )


def describe() -> dict[str, Any]:
    """What hooks/container-upgrade.json says: summary, description, and JSON Schemas of config, inputs and outputs."""
    return {
        "summary": "Upgrade containers one by one, with a gate and a way back.",
        "description": [
            "The config is a map of container names to their keys, in the format of paunch and",
            "tripleo_container_manage, with the key `upgrade` added, or a map of TripleO's steps to such maps. It may",
            "be an object, or its JSON or YAML text. Images are pulled before anything moves. A container whose image",
            "and keys did not change is not touched. One that does not pass its gate is taken away and its predecessor",
            "is put back, running.",
        ],
        "config": spec.schema(),
        "inputs": {
            "type": "object",
            "properties": {
                "mode": {"enum": ["apply", "plan"], "description": "plan: tell what would change, and change nothing"},
                "bootstrap": {"type": "boolean", "description": "migrations run on this node"},
                "migrate_identifier": {"type": "string", "description": "migrations run once for each"},
                "config_id": {"type": "string", "description": "the label of that name"},
                "complete": {"type": "boolean", "description": "other containers of the config_id are removed"},
            },
        },
        "outputs": {"type": "object", "properties": report.schema()},
    }


def main() -> int:
    """The executable; see hook_io. It tells its story on stderr."""
    log.setup()
    return hook_io.answer(upgrade_here)


def upgrade_here(deployment: model.Deployment) -> model.Result:
    """Carry out a deployment as a hook does: with this node's configuration, without an agent."""
    # oslo.config takes as long to load as everything else together, and what is no deployment needs no settings.
    from overcloud_agent import settings

    config = settings.load()
    result = upgrade_containers(deployment, config, lambda: False)
    # Whoever asks again after this answer means it anew. Dying before, it is gone on with.
    steps.close(config.state_dir, deployment.id)
    return result
