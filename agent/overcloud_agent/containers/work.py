"""The work on one deployment's containers: upgrade or run each, go back from what cannot go on, remove what left."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable

from overcloud_agent import errors
from overcloud_agent.containers import (
    actions,
    batch,
    described,
    engine,
    job,
    joined,
    line,
    plan,
    podman_spec,
    spec,
    steps,
    target,
    units,
    upgrade,
)

log = logging.getLogger(__name__)

# Containers of these are the deployment's to remove when they left its config; the rest of a name is the role's.
_TOOLS = (described.OURSELVES, "paunch", "docker-cmd", "tripleo_ansible", "tripleo-")

# The journal's word for an `action: exec` of a deployment, which is not done twice.
EXECUTE = "execute"


@dataclasses.dataclass(frozen=True)
class Site:
    """Whom the work is done with."""

    podman: engine.Engine
    starter: units.Starter
    record: steps.Steps
    stopping: Callable[[], bool]


def do(
    site: Site,
    containers: dict[str, spec.Container],
    targets: dict[str, target.Target],
    waves: list[list[str]],
    together: batch.Batch,
    *,
    seconds: float,
) -> list[target.Outcome]:
    """Bring each container to what is wanted, in order, beginning none after so many seconds. Raises Interrupted."""
    found = site.podman.containers()

    def one(name: str) -> target.Outcome:
        if name not in targets:
            return execute(site, name, containers[name])
        wanted = joined.with_partners(site.podman, targets[name])
        if _is_done(site.record, wanted, found):
            if found[name].deployment:
                site.starter.refresh(name, wanted.container)
            return unchanged(wanted, found[name])
        return upgrade.Upgrader(site.podman, site.starter, wanted, site.record, site.stopping).run()

    outcomes = line.run(waves, one, together, seconds=seconds)
    return [_retired(site, targets, outcome) for outcome in outcomes]


def _retired(site: Site, targets: dict[str, target.Target], outcome: target.Outcome) -> target.Outcome:
    """The outcome, once more without its predecessor: one that others shared namespaces of could not go before them."""
    left = [note for note in outcome.notes if actions.STILL_THERE in note]
    if not left:
        return outcome
    again = actions.Actions(site.podman, site.starter, targets[outcome.name], site.record, site.stopping)
    again.do(plan.Step.RETIRE, back=False)
    notes = [note for note in outcome.notes if note not in left]
    return dataclasses.replace(outcome, notes=(*notes, *again.notes))


def _is_done(record: steps.Steps, wanted: target.Target, found: dict[str, plan.Container]) -> bool:
    """Whether there is nothing to do, as far as one list of all containers tells."""
    step = plan.next_step(wanted.facts(found), wanted.wanted, plan.Progress())
    return step is plan.Step.DONE and not record.any(wanted.name)


def unchanged(wanted: target.Target, found: plan.Container) -> target.Outcome:
    """The outcome of a container that is what it shall be."""
    return target.Outcome(
        name=wanted.name,
        result="unchanged" if found.deployment else "adopted",
        old_digest=wanted.digest,
        new_digest=wanted.digest,
        fingerprint=wanted.wanted.fingerprint,
    )


def execute(site: Site, name: str, container: spec.Container) -> target.Outcome:
    """`action: exec`: a command in a container that runs. Once for each deployment, as paunch does it."""
    if site.record.done(name, EXECUTE) is not None:
        return target.Outcome(name=name, result="ran")
    token = site.record.begin(name, EXECUTE)
    # Dying here, the command is run again: whether it was done nobody knows.
    inside, *words = container.argv
    try:
        status, output = site.podman.exec(
            inside,
            words,
            timeout=container.upgrade.gate.exits_within,
            user=None if container.user is None else str(container.user),
            privileged=container.privileged,
            env=podman_spec.environment(container.environment, ""),
        )
        problem = "" if status in container.exit_codes else f"{name} ended with status {status} in {inside}"
    except errors.EngineError as error:
        problem, output = str(error), ""
    site.record.end(token, ok=not problem)
    if problem:
        return target.Outcome(name=name, result="failed", steps=(EXECUTE,), error=problem, log=output)
    return target.Outcome(name=name, result="ran", steps=(EXECUTE,))


def restore(
    site: Site, containers: dict[str, spec.Container], deployment: str, error: errors.AgentError
) -> list[target.Outcome]:
    """Go back from what an earlier process of this deployment began, because `error` keeps this one from going on."""
    outcomes = []
    for name, container in containers.items():
        # A Podman that is away is only waited for where it is known that something had begun.
        if site.record.begun(name, plan.Step.CREATE.value) is None and isinstance(error, errors.EngineAway):
            continue
        wanted = plan.Wanted(fingerprint="", deployment=deployment, one_shot=not container.detach)
        one = target.Target(name=name, container=container, wanted=wanted, digest="", body={})
        outcome = upgrade.Upgrader(site.podman, site.starter, one, site.record, site.stopping).restore(str(error))
        if outcome:
            outcomes.append(outcome)
    return outcomes


def remove_left(
    site: Site, containers: dict[str, spec.Container], asked: job.Job, step_of: dict[str, int]
) -> list[target.Outcome]:
    """Remove the containers of the same config_id that the config does not have any more."""
    outcomes = []
    for name, one in left(site.podman.containers(), containers, asked, step_of):
        outcomes.append(_remove(site, name, one))
        if outcomes[-1].failed:
            break
    return outcomes


def left(
    found: dict[str, plan.Container],
    containers: dict[str, spec.Container],
    asked: job.Job,
    step_of: dict[str, int],
) -> list[tuple[str, plan.Container]]:
    """The containers of the deployment's config_id, or of its resource in docker-cmd, that its config does not have."""
    labels = {asked.label(step_of.get(name)) for name in containers}
    return [
        (name, one)
        for name, one in sorted(found.items())
        if (one.owner == asked.owner if asked.owner else one.config_id in labels)
        and one.managed_by.startswith(_TOOLS)
        and not {name, one.name} & containers.keys()
    ]


def remove_all(site: Site, asked: job.Job) -> list[target.Outcome]:
    """Remove every container of a resource in docker-cmd that Heat deletes."""
    return remove_left(site, {}, asked, {})


def _remove(site: Site, name: str, found: plan.Container) -> target.Outcome:
    token = site.record.begin(name, plan.Step.STOP.value)
    # Dying here, or below, the container is found again, as it is by then.
    try:
        site.starter.stop(name, None)
        site.starter.uninstall(name)
        token = site.record.begin(name, plan.Step.RETIRE.value, ends=token)
        site.podman.remove(name)
        site.record.end(token)
    except errors.EngineError as error:
        site.record.end(token, ok=False)
        return target.Outcome(name=name, result="failed", error=f"{name} left the config, but stays: {error}")
    return target.Outcome(name=name, result="removed", old_digest=found.digest, steps=("stop", "retire"))
