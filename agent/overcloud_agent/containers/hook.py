"""The group container-upgrade: one function, used by the resident agent and by the hook executable alike."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from overcloud_agent import errors, failpoints, hook_io, identifiers, log, model
from overcloud_agent.containers import engine, plan, podman_spec, spec, steps, upgrade

if TYPE_CHECKING:
    from overcloud_agent import settings

# docker-cmd and paunch do nothing either when Heat deletes, suspends or resumes: the containers stay as they are.
_ACTIONS = ("", "CREATE", "UPDATE")


def upgrade_containers(
    deployment: model.Deployment,
    config: settings.Settings,
    record: steps.Steps,
    stopping: Callable[[], bool],
    *,
    deadline: float = math.inf,
) -> model.Result:
    """Bring the containers of one deployment to what its config says.

    Outputs: `changed`, `containers` (see _report), `containers_identifier`. A container that fails stops the line;
    what was committed before it stays. `stopping` is asked between steps and while a pull or a gate goes on; past
    `deadline` (of time.monotonic) no container is begun. Raises BadInput and EngineError while nothing has moved, and
    Interrupted.
    """
    if deployment.action not in _ACTIONS:
        return model.succeeded(f"{deployment.action}: the containers stay as they are", outputs={"changed": False})
    containers = spec.parse(deployment.config)
    podman = engine.Engine(config.podman_url)
    alive = _Alive(stopping, deadline)
    try:
        targets = _prepare(podman, containers, deployment.id, alive)
        failpoints.reach("upgrade.pulled")
        outcomes = _upgrade_in_order(podman, targets, record, alive)
    except (errors.EngineError, errors.BadInput) as error:
        # Nothing has moved in this run, but an earlier one may have died with a service stopped.
        outcomes = _restore_begun(podman, containers, deployment.id, record, stopping, error)
        if not outcomes:
            raise
        targets = []
    finally:
        podman.close()
    return _report(outcomes, targets, spec.notes(containers))


def _prepare(
    podman: engine.Engine, containers: dict[str, spec.Container], deployment: str, alive: _Alive
) -> list[upgrade.Target]:
    podman.ping()
    return [_target(podman, name, container, deployment, alive) for name, container in containers.items()]


def _restore_begun(
    podman: engine.Engine,
    containers: dict[str, spec.Container],
    deployment: str,
    record: steps.Steps,
    stopping: Callable[[], bool],
    error: errors.AgentError,
) -> list[upgrade.Outcome]:
    """Go back from what an earlier process of this deployment began, because `error` keeps this one from going on."""
    outcomes = []
    for name, container in containers.items():
        # A Podman that is away is only waited for where it is known that something had begun.
        if record.begun(name, plan.Step.CREATE.value) is None and isinstance(error, errors.EngineAway):
            continue
        wanted = plan.Wanted(fingerprint="", deployment=deployment)
        target = upgrade.Target(name=name, container=container, wanted=wanted, digest="", body={})
        outcome = upgrade.Upgrader(podman, target, record, stopping).restore(str(error))
        if outcome:
            outcomes.append(outcome)
    return outcomes


@dataclasses.dataclass(frozen=True)
class _Alive:
    """Asked wherever the work may be left: whether the agent is to stop, and whether there is time left."""

    stopping: Callable[[], bool]
    deadline: float

    def __call__(self) -> None:
        if self.stopping():
            raise errors.Interrupted("asked to stop before anything was changed")
        if time.monotonic() > self.deadline:
            raise errors.EngineError(
                "the deployment ran out of time before anything was changed", hint="see its option `timeout`"
            )


def _target(
    podman: engine.Engine, name: str, container: spec.Container, deployment: str, alive: _Alive
) -> upgrade.Target:
    """Everything about one container that can go wrong without touching it: image, env files, values."""
    try:
        alive()
        image = podman.pull(container.image, alive=alive)
        env_files = _read_env_files(container)
        fingerprint = spec.fingerprint(container, digest=image.digest, env_files=env_files)
        labels = {
            "config_id": deployment,
            "container_name": name,
            "managed_by": "overcloud-agent",
            engine.LABEL_DEPLOYMENT: deployment,
            engine.LABEL_DIGEST: image.digest,
            engine.LABEL_FINGERPRINT: fingerprint,
        }
        body = podman_spec.generate(
            container, name=name + spec.NEXT, image=image.id, labels=labels, env_files=env_files
        )
    except errors.BadInput as error:
        raise errors.BadInput(error.message, path=f"$.config.{name}", hint=error.hint) from None
    return upgrade.Target(
        name=name,
        container=container,
        wanted=plan.Wanted(fingerprint=fingerprint, deployment=deployment),
        digest=image.digest,
        body=body,
    )


def _read_env_files(container: spec.Container) -> str:
    paths = [container.env_file] if isinstance(container.env_file, str) else container.env_file
    try:
        return "\n".join(Path(path).read_text() for path in paths)
    except (OSError, ValueError) as error:
        raise errors.BadInput(f"cannot read an env_file: {error}", hint="it has to be on the node") from None


def _upgrade_in_order(
    podman: engine.Engine, targets: list[upgrade.Target], record: steps.Steps, alive: _Alive
) -> list[upgrade.Outcome]:
    outcomes: list[upgrade.Outcome] = []
    for target in targets:
        if time.monotonic() > alive.deadline:
            outcomes.append(upgrade.Outcome(name=target.name, result="failed", error="the deployment ran out of time"))
            break
        outcomes.append(upgrade.Upgrader(podman, target, record, alive.stopping).run())
        if outcomes[-1].failed:
            break
    return outcomes


def _report(outcomes: list[upgrade.Outcome], targets: list[upgrade.Target], notes: list[str]) -> model.Result:
    """The result for Heat. An output `containers` is a list of what upgrade.Outcome says, but for its log."""
    reports: list[dict[str, Any]] = []
    for outcome in outcomes:
        report = dataclasses.asdict(outcome)
        del report["log"], report["notes"]
        reports.append({key: value for key, value in report.items() if value not in ("", None)})
    fingerprints = {target.name: target.wanted.fingerprint for target in targets}
    outputs = {
        "changed": any(outcome.result != "unchanged" for outcome in outcomes),
        "containers": reports,
        "containers_identifier": identifiers.of(fingerprints),
    }
    lines = [f"{outcome.name}: {outcome.result}" for outcome in outcomes] + notes
    lines += [f"{outcome.name}: {note}" for outcome in outcomes for note in outcome.notes]
    failure = next((outcome for outcome in outcomes if outcome.failed), None)
    if not failure:
        return model.succeeded("\n".join(lines), outputs=outputs)
    skipped = [target.name for target in targets[len(outcomes) :]]
    lines += [f"{name}: not touched" for name in skipped]
    said = f"the last lines of the container that failed:\n{failure.log}" if failure.log else ""
    status = errors.GateError.exit_code if failure.result == "rolled back" else 1
    return model.failed(failure.error, status=status, stdout="\n".join(lines), stderr=said, outputs=outputs)


def describe() -> dict[str, Any]:
    """What hooks/container-upgrade.json says: summary, description, and JSON Schemas of config and outputs."""
    digest = {"type": "string", "pattern": "^sha256:[0-9a-f]{64}$"}
    container = {
        "type": "object",
        "required": ["name", "result", "fingerprint", "new_digest", "steps"],
        "properties": {
            "name": {"type": "string"},
            "result": {"enum": ["created", "upgraded", "started", "unchanged", "rolled back", "failed"]},
            "old_digest": digest,
            "new_digest": digest,
            "fingerprint": digest,
            "downtime": {"type": "number", "description": "seconds; absent when nothing was stopped"},
            "steps": {"type": "array", "items": {"type": "string"}},
            "error": {"type": "string"},
        },
    }
    return {
        "summary": "Upgrade containers one by one, with a gate and a way back.",
        "description": [
            "The config is a map of container names to their keys, in the format of paunch and",
            "tripleo_container_manage, with the key `upgrade` added. It may be an object, or its JSON or YAML text.",
            "Images are pulled before anything moves. A container whose image and keys did not change is not",
            "touched. One that does not pass its gate is taken away and its predecessor is put back, running.",
        ],
        "config": spec.schema(),
        "inputs": {"type": "object", "properties": {}},
        "outputs": {
            "type": "object",
            "properties": {
                "changed": {"type": "boolean"},
                "containers": {"type": "array", "items": container},
                "containers_identifier": digest,
            },
        },
    }


def main() -> int:
    """The executable; see hook_io. It tells its story on stderr."""
    log.setup()
    return hook_io.answer(_upgrade_here)


def _upgrade_here(deployment: model.Deployment) -> model.Result:
    # oslo.config takes as long to load as everything else together, and what is no deployment needs no settings.
    from overcloud_agent import settings

    return upgrade_containers(deployment, settings.load(), steps.Told(), lambda: False)
