"""Find out what an update would do to this node, and what follows from it."""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Literal
from urllib import parse

from overcloud_agent import errors
from overcloud_agent.packages import (
    backend,
    hosts,
    model,
    plan,
    restarts,
    rule_files,
    space,
    systemd,
    tiers,
    workflow,
)

if TYPE_CHECKING:
    from overcloud_agent import settings

log = logging.getLogger(__name__)

# What is written to while an update goes on: what is downloaded, and the packages' files.
_CACHE, _FILES = "/var/cache", "/usr"


def find(
    manager: backend.Backend,
    selection: model.Selection,
    config: settings.Settings,
    *,
    restart: Literal["auto", "report", "none"] = "auto",
    refresh: bool = True,
    alive: Callable[[], None] = lambda: None,
) -> model.Plan:
    """The plan for this node now; without `refresh` by what its repositories had when they were last asked.

    Raises PackageError, SettingsError for a drop-in, and whatever `alive` raises.
    """
    if refresh:
        manager.refresh(wait=config.package_lock_wait, alive=alive)
    pending = manager.pending(selection)
    alive()
    return plan.build(pending, rule_files.services(), _follows(manager, pending, config, restart))


def _follows(
    manager: backend.Backend,
    pending: model.Pending,
    config: settings.Settings,
    restart: Literal["auto", "report", "none"],
) -> model.Workflow:
    where = host(config)
    # An earlier update may have been cut short, or have been done by hand.
    found = restarts.after(host=where)
    if pending.changes:
        files = manager.files(sorted({change.name for change in pending.changes if change.old}))
        before = restarts.before(files, changes=pending.changes, host=where)
        found = model.Affliction(
            affected=(*before.affected, *found.affected), reboot=tuple({*before.reboot, *found.reboot})
        )
    units = {tiers.unit_of(one) for one in found.affected if one.action != "report"}
    edges = systemd.order_edges(units) if where.booted else set()
    return workflow.build(found, edges=edges, rules=rule_files.workflow(config.workflow_dir), restart=restart)


def remaining(planned: model.Workflow, config: settings.Settings) -> model.Remaining:
    """What is to be done after the packages have changed: what was planned, and nothing that was not approved.

    What still runs old code besides is reported, and a boot that turns out to be due is asked for.
    """
    found = restarts.after(host=host(config))
    known = {(one.kind, one.name) for batch in (*planned.batches, planned.report) for one in batch}
    more = [dataclasses.replace(one, action="report") for one in found.affected if (one.kind, one.name) not in known]
    workflow = dataclasses.replace(
        planned,
        report=tuple(sorted({*planned.report, *more})),
        reboot=tuple(sorted({*planned.reboot, *found.reboot})),
    )
    return model.Remaining(workflow=workflow, old=frozenset(one.name for one in found.affected))


def lack_of_room(manager: backend.Backend, found: model.Plan, config: settings.Settings) -> str:
    """What there is no room for on the disks, in words; empty when all fits. What was fetched before needs no more."""
    free: dict[str, int] = {}
    devices: set[int] = set()
    for path in (_CACHE, _FILES):
        place = config.packages_root / path.lstrip("/")
        try:
            device, status = os.stat(place).st_dev, os.statvfs(place)
        except FileNotFoundError:
            continue
        # Both on one file system have to share its room.
        free["/" if device in devices else path] = status.f_bavail * status.f_frsize
        devices.add(device)
    if len(free) > 1 and len(devices) == 1:
        free = {"/": free["/"]}
    return "; ".join(space.room(found, free, download=manager.missing(found.pending), cache=_CACHE, files=_FILES))


def host(config: settings.Settings) -> hosts.Host:
    """The host whose processes are looked at."""
    if os.geteuid() != 0:
        log.warning("only root can look at all processes: what others would have to restart is not found")

    def names(ids: Collection[str]) -> Mapping[str, str]:
        return _containers(config, ids)

    return hosts.Host(root=config.packages_root, containers=names)


def _containers(config: settings.Settings, ids: Collection[str]) -> dict[str, str]:
    """The names of containers; where there is no Podman, nobody knows them."""
    address = parse.urlsplit(config.podman_url)
    # The engine would wait for a service that starts again.
    if address.scheme == "unix" and not os.path.exists(address.path):
        return {}
    from overcloud_agent.containers import engine

    try:
        with engine.Engine(config.podman_url, timeout=config.podman_timeout) as podman:
            entries = podman.entries({"id": list(ids)})
    except errors.EngineError:
        return {}
    return {entry["Id"]: entry["Names"][0] for entry in entries}
