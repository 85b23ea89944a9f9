"""Everything about a deployment's containers that can go wrong without touching one: resolve, pull, check."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
from collections.abc import Callable, Iterable, Iterator
from concurrent import futures
from pathlib import Path
from typing import TYPE_CHECKING

from overcloud_agent import errors, identifiers
from overcloud_agent.containers import (
    adoption,
    checks,
    described,
    engine,
    job,
    masks,
    plan,
    podman_spec,
    spec,
    target,
    units,
)

if TYPE_CHECKING:
    from overcloud_agent import settings

log = logging.getLogger(__name__)

# Pulls at the same time; Podman itself fetches six layers of each at once.
_PULLS = 4

# Where the set-up of a container does not take anything from one that still serves: a network of its own would answer
# to the service's name already.
_PREPARED_NETWORKS = ("host", "none")

Alive = Callable[[], None]


def targets(
    podman: engine.Engine,
    containers: dict[str, spec.Container],
    asked: job.Job,
    config: settings.Settings,
    starter: units.Starter,
    *,
    alive: Alive,
    step_of: dict[str, int],
) -> dict[str, target.Target]:
    """What shall become of each container that is run. Nothing but images and names of other tools' is changed.

    Raises BadInput and EngineError, and what `alive` raises.
    """
    running = {name: container for name, container in containers.items() if container.action == "run"}
    images = pull(podman, {container.image for container in running.values()}, alive)
    found = _take_names(podman, running, podman.containers())
    made = {}
    for name, container in running.items():
        with _at(name):
            one = target_of(name, container, images[container.image], asked, config, starter, step_of.get(name))
            current = found.get(name)
            made[name] = dataclasses.replace(one, adopted=adopted(podman, current, name, container) if current else {})
    _check(podman, made, images, found)
    return made


def _check(
    podman: engine.Engine,
    targets: dict[str, target.Target],
    images: dict[str, engine.Image],
    found: dict[str, plan.Container],
) -> None:
    """Look for what would go wrong with those that are not yet what they shall be. Raises BadInput and EngineError."""
    ahead = {name: plan.ahead(one.facts(found), one.wanted) for name, one in targets.items()}
    pending = {name: one.container for name, one in targets.items() if ahead[name]}
    if pending:
        # To tell of itself takes Podman longer than all other questions together.
        host = podman.host()
        checks.refuse_unsupported(pending, host)
        checks.refuse_clashes(podman, pending, found)
        stopped = [name for name, steps in ahead.items() if plan.Step.STOP in steps]
        checks.refuse_cut_off(podman, stopped, targets, found)
        checks.check_host(pending, images, host)


def _take_names(
    podman: engine.Engine, names: Iterable[str], found: dict[str, plan.Container]
) -> dict[str, plan.Container]:
    """Give another tool's containers, which run under names such as NAME-xxxxxxxx, the names that they are for."""
    missing = [name for name in names if name not in found]
    entries = podman.entries() if missing and any(one.name in missing for one in found.values()) else []
    for name in missing:
        real = adoption.find(name, entries)
        if real:
            log.info("%s is %s", real, name)
            # Dying here, it has the name. Nothing else of it changes.
            podman.rename(real, name)
    return podman.containers() if entries else found


def pull(podman: engine.Engine, references: set[str], alive: Alive) -> dict[str, engine.Image]:
    """All images, in parallel: those that are pinned and there are not asked for again. Raises the first failure."""
    images = {reference: image for reference, image in podman.local(references).items() if _is_pinned(reference)}
    missing = sorted(references - set(images))
    if not missing:
        alive()
        return images
    with futures.ThreadPoolExecutor(min(_PULLS, len(missing))) as pool:
        pulls = {pool.submit(podman.pull, reference, alive=alive): reference for reference in missing}
        try:
            for done in futures.as_completed(pulls):
                images[pulls[done]] = done.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return images


def _is_pinned(reference: str) -> bool:
    return "@sha256:" in reference or reference.startswith("localhost/")


@contextlib.contextmanager
def _at(name: str) -> Iterator[None]:
    """Adds a container's path to a BadInput that has none."""
    try:
        yield
    except errors.BadInput as error:
        if error.path.startswith("$.config"):
            raise
        raise errors.BadInput(error.message, path=f"$.config.{name}", hint=error.hint) from None


def target_of(
    name: str,
    container: spec.Container,
    image: engine.Image,
    asked: job.Job,
    config: settings.Settings,
    starter: units.Starter,
    step: int | None,
) -> target.Target:
    """One container as it shall be, with an image of which only the digest need be known. Raises BadInput."""
    env_files = read_env_files(container)
    fingerprint = spec.fingerprint(container, digest=image.digest, env_files=env_files)
    labels = {
        **asked.labels,
        described.LABEL_CONFIG_ID: asked.label(step),
        described.LABEL_NAME: name,
        described.LABEL_MANAGED_BY: described.OURSELVES,
        described.LABEL_CONFIG_DATA: _config_data(container),
        described.LABEL_DEPLOYMENT: asked.deployment,
        described.LABEL_DIGEST: image.digest,
        described.LABEL_FINGERPRINT: fingerprint,
        **({} if container.detach else {described.LABEL_ONE_SHOT: "true"}),
    }
    # The agent removes a one-shot itself, when it knows how it ended.
    body = podman_spec.generate(container, name=name + spec.NEXT, image=image.id, labels=labels, env_files=env_files)
    run_as = starter.body(container, name)
    # What a unit runs has to be begun by the unit, or systemd would not see it end.
    prepares = container.detach and container.net in _PREPARED_NETWORKS and "conmon_pid_file" not in run_as
    migrates = bool(container.upgrade.migrate) and asked.bootstrap
    migration = asked.migration or identifiers.of([image.digest, container.upgrade.migrate])
    return target.Target(
        name=name,
        container=container,
        wanted=plan.Wanted(
            fingerprint=fingerprint,
            deployment=asked.deployment,
            one_shot=not container.detach,
            exit_codes=container.exit_codes,
            removed=container.remove and not container.detach,
            prepares=prepares and not _relabels(container),
            drains=bool(container.upgrade.drain or container.pre_stop_exec),
            migrates=migrates,
        ),
        digest=image.digest,
        body={**body, "remove": False, **run_as},
        keep=config.keep_previous if container.upgrade.keep is None else container.upgrade.keep,
        migration=migration if migrates else "",
    )


def _config_data(container: spec.Container) -> str:
    """The config as its label has it, for the next plan's comparison."""
    return json.dumps(masks.conceal(spec.written(container)), sort_keys=True)


def _relabels(container: spec.Container) -> bool:
    """Whether its set-up would take a volume away from the predecessor: `Z` labels it for one container alone."""
    return any("Z" in volume.split(":")[-1].split(",") for volume in container.volumes if isinstance(volume, str))


def adopted(podman: engine.Engine, current: plan.Container, name: str, container: spec.Container) -> dict[str, str]:
    """The fingerprint of another tool's container by its id, if that can be told."""
    if current.fingerprint:
        return {}
    document = podman.document(name)
    if not document:
        return {}
    runs = podman.image(current.image).digest
    fingerprint = adoption.fingerprint(document, runs, read_env_files, wanted=container)
    return {current.id: fingerprint} if fingerprint else {}


def read_env_files(container: spec.Container) -> str:
    """The text of a container's env_files, one after the other. Raises BadInput."""
    paths = [container.env_file] if isinstance(container.env_file, str) else container.env_file
    try:
        return "\n".join(Path(path).read_text() for path in paths)
    except (OSError, ValueError) as error:
        raise errors.BadInput(f"cannot read an env_file: {error}", hint="it has to be on the node") from None
