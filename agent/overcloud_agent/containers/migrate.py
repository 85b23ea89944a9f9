"""What has to be done with the new image before it serves, such as a database's migration: once, on one node."""

from __future__ import annotations

import time
from collections.abc import Callable

from overcloud_agent import errors, failpoints
from overcloud_agent.containers import described, engine, plan, spec, steps, target

LABEL_MIGRATION = "overcloud-agent.migration"

# What of a container's body has no place where it runs to an end.
_OF_SERVICES = ("healthconfig", "restart_policy", "restart_tries", "conmon_pid_file")

_LOG_LINES = 20
# Seconds between two signs of life to whoever watches the agent.
_ALIVE_EVERY = 1.0


def name_of(wanted: target.Target) -> str:
    """The name of the container that migrates."""
    return wanted.name + spec.MIGRATE


def migrate(podman: engine.Engine, wanted: target.Target, record: steps.Steps, *, alive: Callable[[], object]) -> None:
    """Run each of `upgrade.migrate` in a container of its own from the new image, and note that they are done.

    After a crash, what is done is not done again, and one that runs is waited for. Nothing interrupts a migration.
    Raises GateError when one does not end well within `migrate_within` seconds.
    """
    container = wanted.container
    deadline = time.monotonic() + container.upgrade.migrate_within
    for index, words in enumerate(container.upgrade.migrate):
        step = f"{plan.Step.MIGRATE.value} {index + 1}"
        if record.done(wanted.name, step) is not None:
            continue
        token = record.begin(wanted.name, step)
        try:
            _run(podman, wanted, words, f"{wanted.migration} {index}", deadline, alive)
        except BaseException:
            record.end(token, ok=False)
            raise
        # Dying here, the ended container tells the next process how it ended.
        failpoints.reach("migration.ended")
        record.end(token)
        failpoints.reach("migration.recorded")
        podman.remove(name_of(wanted))
    # It is still there when an earlier process died before it could remove it.
    podman.remove(name_of(wanted))
    record.note_migrated(wanted.name, wanted.migration)


def await_other(podman: engine.Engine, wanted: target.Target, *, stopping: Callable[[], bool]) -> None:
    """Wait for a migration that another deployment began before its process died, and remove its container.

    No service may start on a database that still moves. Raises GateError when it does not end within `migrate_within`
    seconds, and Interrupted when the agent is to stop.
    """
    name = name_of(wanted)
    key = podman.label(name, LABEL_MIGRATION)
    if not key or (wanted.migration and key.startswith(f"{wanted.migration} ")):
        return
    deadline = time.monotonic() + wanted.container.upgrade.migrate_within
    while (found := podman.inspect(name)) and found.running:
        if stopping():
            raise errors.Interrupted("asked to stop while the migration of another deployment went on")
        if time.monotonic() > deadline:
            raise errors.GateError(f"{name}, which another deployment began, still runs")
        _ended(podman, name)
    podman.remove(name)


def _run(
    podman: engine.Engine,
    wanted: target.Target,
    words: list[str],
    key: str,
    deadline: float,
    alive: Callable[[], object],
) -> None:
    name = name_of(wanted)
    found = podman.inspect(name)
    if found and podman.label(name, LABEL_MIGRATION) != key:
        podman.remove(name)
        found = None
    if not found:
        podman.create(_body(wanted, words, key))
    if not found or not (found.running or found.ended):
        podman.start(name)
        failpoints.reach("migration.started")
    while not _ended(podman, name):
        alive()
        if time.monotonic() > deadline:
            podman.stop(name, None)
            raise _failed(podman, name, words, f"did not end within {wanted.container.upgrade.migrate_within:g} s")
    ended = podman.inspect(name)
    if not ended or ended.exit_code:
        raise _failed(podman, name, words, f"ended with {ended.exit_code}" if ended else "is gone")


def _ended(podman: engine.Engine, name: str) -> bool:
    try:
        return podman.wait_exit(name, _ALIVE_EVERY)
    except errors.EngineAway:
        # It goes on without Podman's service. To end it because nobody can be asked would do harm.
        time.sleep(_ALIVE_EVERY)
        return False


def _body(wanted: target.Target, words: list[str], key: str) -> dict[str, object]:
    body = {name: value for name, value in wanted.body.items() if name not in _OF_SERVICES}
    labels = {described.LABEL_NAME: wanted.name, described.LABEL_MANAGED_BY: described.OURSELVES, LABEL_MIGRATION: key}
    return {**body, "name": name_of(wanted), "command": words, "labels": labels}


def _failed(podman: engine.Engine, name: str, words: list[str], how: str) -> errors.GateError:
    said = podman.logs(name, _LOG_LINES)
    return errors.GateError(f"the migration {words[0]!r} {how}" + (f"; its last words: {said[-1000:]}" if said else ""))
