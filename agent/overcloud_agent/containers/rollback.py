"""`overcloud-agent rollback`: return to the container that was kept when its successor was committed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING

from overcloud_agent import errors, journal, lock
from overcloud_agent.containers import adoption, engine, joined, plan, spec, steps, target, units, upgrade

if TYPE_CHECKING:
    from overcloud_agent import settings


def roll_back(name: str, config: settings.Settings, stopping: Callable[[], bool]) -> target.Outcome:
    """Swap the container `name` with the kept one that served last, through the same steps and gate as an upgrade.

    Run again after a crash, it goes on. Raises BadInput when nothing is kept or something would be cut off, Busy while
    an upgrade is under way, EngineError and JournalError.
    """
    with lock.containers(config.state_dir), engine.Engine(config.podman_url, timeout=config.podman_timeout) as podman:
        found = podman.containers()
        kept, under_way = _kept(name, found)
        wanted = _target(podman, name, kept, found[kept], config)
        key = f"rollback {name}"
        if not under_way:
            _refuse_cut_off(podman, name, found)
            if joined.is_cut_off(podman, kept):
                raise errors.BadInput(f"what {kept} shares namespaces of was replaced, so it cannot serve again")
            _forget(config, key)
        with steps.Journalled(config.state_dir, key) as record:
            return upgrade.Upgrader(podman, units.starter(config, podman), wanted, record, stopping).run()


def _kept(name: str, found: dict[str, plan.Container]) -> tuple[str, bool]:
    """The name of the container to return to, and whether an earlier call has begun with it."""
    for stage in (name + spec.NEXT, name + spec.FAILED):
        if stage in found:
            return stage, True
    if name + spec.OLD in found or name + spec.GONE in found:
        return name, True
    kept = {one: found[one].finished_at for one in found if one.startswith(name + target.KEPT)}
    if not kept:
        raise errors.BadInput(
            f"there is no previous container of {name}",
            hint="keep_previous in the agent's configuration, or upgrade.keep in the config, keeps some",
        )
    return max(kept, key=lambda one: kept[one]), False


def _refuse_cut_off(podman: engine.Engine, name: str, found: dict[str, plan.Container]) -> None:
    """Raises BadInput when a container shares namespaces of the one that is given up: nothing here replaces it."""
    owners = {found[name].id} if name in found else set[str]()
    for sharer in joined.sharers(podman, owners, among=joined.neighbours(podman, owners)):
        raise errors.BadInput(
            f"{sharer} shares namespaces of {name}, and would be cut off when that is replaced",
            hint=f"have a config with both {name}, as it was, and {sharer} be applied",
        )


def _target(
    podman: engine.Engine, name: str, kept: str, previous: plan.Container, config: settings.Settings
) -> target.Target:
    document = podman.document(kept)
    container = adoption.config_of(document) if document else None
    container = container or spec.Container(image=previous.image, name=name)
    # Its fingerprint may be that of what runs, whose config was changed back; this container is meant, and no other.
    fingerprint = f"kept {previous.id}"
    return target.Target(
        name=name,
        container=container,
        wanted=plan.Wanted(
            fingerprint=fingerprint,
            deployment=previous.deployment,
            one_shot=previous.one_shot,
            drains=bool(container.upgrade.drain or container.pre_stop_exec),
        ),
        digest=previous.digest or podman.image(previous.image).digest,
        body={},
        # The one that is given up now may be wanted back.
        keep=max(1, config.keep_previous if container.upgrade.keep is None else container.upgrade.keep),
        adopted={previous.id: fingerprint},
        revived=kept,
    )


def _forget(config: settings.Settings, key: str) -> None:
    book = journal.Journal.open(config.state_dir)
    try:
        book.forget([key])
    finally:
        book.close()


def describe(outcome: target.Outcome) -> dict[str, object]:
    """The outcome for `--json`."""
    return dataclasses.asdict(outcome)
