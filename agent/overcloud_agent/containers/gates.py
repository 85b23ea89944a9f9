"""The gate: what a container has to show before its predecessor is given up."""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import functools
import math
import threading
import time
from collections.abc import Callable, Collection

from overcloud_agent import errors
from overcloud_agent.containers import engine, events, execs, plan, probes, spec

# Seconds between two tries; a healthcheck's own interval, made for years, is mostly too long.
TRY_EVERY = 1.0

# Seconds for one try of an HTTP or TCP probe: what takes longer is not up, but the next try may find it so.
_PROBE_LIMIT = 5.0

# Seconds for the last try, which begins when the time is up.
_LAST_TRY = 1.0

# Seconds that a try may take beyond its limit before it is given up.
_LEEWAY = 2.0

# Seconds in which it is noticed that the agent is to stop: there is no event for that.
_STOP_NOTICED = 0.5

# Seconds after which the container is inspected even if no event has come: Podman tells none that is older than the
# watch, as all are after the clock was set back.
_LOOK_EVERY = 5.0

# A stream of events that breaks more often in one gate will not do better.
_MOST_BREAKS = 10


def check(podman: engine.Engine, name: str, gate: spec.Gate, *, stopping: Callable[[], bool]) -> None:
    """Wait until `name` has shown all that `gate` asks for, one after the other.

    It has to become healthy (where its config or its image has a healthcheck), to pass the probes `exec`, `http` and
    `tcp`, and to have run for `stable_for` without a restart. Every wait ends at once when the container does. Raises
    GateError that says what was missing, EngineAway, and Interrupted when the agent is to stop: the new container
    serves then, and the gate is asked again at the next start.
    """
    begun = time.monotonic()
    with contextlib.closing(_Gate(podman, name, stopping)) as opened:
        for probe in _probes(podman, name, gate, opened.container):
            opened.until_passed(probe)
        opened.until_stable(begun + gate.stable_for)


def await_exit(
    podman: engine.Engine, name: str, within: float, exit_codes: Collection[int], *, stopping: Callable[[], bool]
) -> None:
    """Wait until `name`, which was started, has ended with one of `exit_codes`.

    Raises GateError when it ends with another one or still runs after `within` seconds, EngineAway, and Interrupted
    when the agent is to stop: the container goes on then.
    """
    deadline = time.monotonic() + within
    with contextlib.closing(_Observed(podman, name, stopping)) as observed:
        while (container := observed.look()).running:
            if time.monotonic() >= deadline:
                raise errors.GateError(f"{name} did not end within {within:g} seconds")
            observed.pause_long(deadline)
    if container.exit_code not in exit_codes:
        wanted = " or ".join(str(code) for code in sorted(exit_codes))
        raise errors.GateError(f"{name} ended with status {container.exit_code} instead of {wanted}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Probe:
    """One thing that a gate asks for."""

    ask: Callable[[float], str | None]
    """Try once, for that many seconds at most: None when it passes, else why not."""
    cancel: Callable[[], None] = lambda: None
    """End what `ask` does in another thread."""
    within: float
    limit: float
    """Seconds for one try, where so many are left."""
    every: float = TRY_EVERY
    is_healthcheck: bool = False
    failed: Callable[[str, int], str]
    """What to say after so many tries, of which the last said that."""


def _probes(podman: engine.Engine, name: str, gate: spec.Gate, container: plan.Container) -> list[_Probe]:
    probe = functools.partial(_Probe, within=gate.within, failed=functools.partial(_not_passed, name, gate.within))
    command = _Command(podman.url, name, gate.exec)
    found = []
    if container.check_timeout is not None:
        found.append(_healthcheck(podman, name, gate, container))
    if gate.exec:
        found.append(probe(ask=command.ask, cancel=command.cancel, limit=math.inf))
    if gate.http:
        found.append(probe(ask=functools.partial(probes.http, gate.http), limit=_PROBE_LIMIT))
    if gate.tcp:
        found.append(probe(ask=functools.partial(probes.tcp, gate.tcp), limit=_PROBE_LIMIT))
    return found


def _not_passed(name: str, within: float, said: str, tries: int) -> str:
    which = f"last of {tries} attempts" if tries > 1 else "the only attempt"
    return f"{name} did not pass its gate: {said}; {which} within {within:g} s"


def _healthcheck(podman: engine.Engine, name: str, gate: spec.Gate, container: plan.Container) -> _Probe:
    """The container's healthcheck, run by the agent: without systemd Podman has no timer that does."""

    def ask(seconds: float) -> str | None:
        passed, said = podman.healthcheck(name, seconds)
        return None if passed else said

    def failed(said: str, _tries: int) -> str:
        return f"{name} did not become healthy in time" + (f"; its last check said: {said}" if said else "")

    return _Probe(
        ask=ask,
        within=gate.healthy_within,
        limit=container.check_timeout or gate.healthy_within,
        every=min(container.check_interval, TRY_EVERY),
        is_healthcheck=True,
        failed=failed,
    )


class _Command:
    """A command in the container, that has to end with status 0."""

    def __init__(self, url: str, name: str, argv: list[str]) -> None:
        self._url = url
        self._name = name
        self._argv = argv
        self._running: execs.Exec | None = None
        self._cancelled = False

    def ask(self, seconds: float) -> str | None:
        self._running = execs.Exec(self._url, self._name, self._argv)
        if self._cancelled:
            return "cancelled"
        code, said = self._running.run(seconds)
        if code == 0:
            return None
        return f"{self._argv[0]} ended with status {code}" + (f": {said[-200:]}" if said else "")

    def cancel(self) -> None:
        self._cancelled = True
        if self._running:
            self._running.cancel()


class _Observed:
    """A container under watch: what it is now, and waits that end as soon as something happens to it."""

    def __init__(self, podman: engine.Engine, name: str, stopping: Callable[[], bool]) -> None:
        self._podman = podman
        self._name = name
        self._stopping = stopping
        self._breaks = 0
        container = podman.inspect(name)
        if not container:
            raise errors.GateError(f"there is no container {name}")
        self._id = container.id
        # From here on nothing is missed; what counts is what is inspected from now on.
        self._watch = events.Watch(podman, self._id)

    def close(self) -> None:
        self._watch.close()

    def look(self) -> plan.Container:
        """Inspect it. Raises GateError when it has been removed."""
        container = self._podman.inspect(self._name)
        if not container or container.id != self._id:
            raise errors.GateError(f"{self._name} was removed while its gate was open")
        return container

    def pause(self, seconds: float) -> events.Event | None:
        """Wait for the next event, at most `seconds` and no longer than a stop may go unnoticed."""
        if self._stopping():
            raise errors.Interrupted("asked to stop while a gate was open")
        try:
            return self._watch.next(min(seconds, _STOP_NOTICED))
        except events.Broken:
            self._breaks += 1
            if self._breaks > _MOST_BREAKS:
                raise
        # Podman has been restarted, or is away, which this request finds out.
        self._podman.inspect(self._name)
        self._watch.close()
        self._watch = events.Watch(self._podman, self._id)
        return events.Event("unknown")

    def pause_long(self, deadline: float) -> None:
        """Wait for the next event, at most until `deadline`, or until it is time to look all the same."""
        until = min(deadline, time.monotonic() + _LOOK_EVERY)
        while (left := until - time.monotonic()) > 0:
            if self.pause(left):
                return

    def wake(self) -> None:
        self._watch.wake()


class _Gate(_Observed):
    """A container whose gate is open: it has to run all the time, and every wait ends when it does not."""

    def __init__(self, podman: engine.Engine, name: str, stopping: Callable[[], bool]) -> None:
        super().__init__(podman, name, stopping)
        self._healthy = False
        self._last_status: int | None = None
        try:
            self.container = self.look()
            self._judge(self.container)
        except BaseException:
            self.close()
            raise

    def _must_live(self) -> None:
        self._judge(self.look())

    def _judge(self, now: plan.Container) -> None:
        self._looked_at = time.monotonic()
        if not now.running:
            raise errors.GateError(f"{self._name} ended with status {now.exit_code} within its gate")
        if (now.restarts, now.started_at) != (self.container.restarts, self.container.started_at):
            had = "" if self._last_status is None else f"; it had ended with status {self._last_status}"
            raise errors.GateError(f"{self._name} restarted within its gate{had}")

    def _wait(self, seconds: float) -> None:
        """Wait until something happens, at most `seconds`. Raises GateError when that was the container's end."""
        event = self.pause(seconds)
        if event and event.time >= self.container.started_at:
            if event.status == "died":
                self._last_status = event.exit_code
            # A timer of systemd runs the healthcheck, too.
            self._healthy |= (event.status, event.health) == ("health_status", "healthy")
        if event or time.monotonic() - self._looked_at > _LOOK_EVERY:
            self._must_live()

    def until_stable(self, until: float) -> None:
        while (left := until - time.monotonic()) > 0:
            self._wait(left)
        self._must_live()

    def until_passed(self, probe: _Probe) -> None:
        """Try until it passes. Raises GateError when the time is up and a last try has failed, too."""
        deadline = time.monotonic() + probe.within
        tries = 0
        while not self._passed_elsewhere(probe):
            tries += 1
            said = self._try(probe, min(probe.limit, max(deadline - time.monotonic(), _LAST_TRY)))
            if said is None:
                return
            # Its end explains more than what the try made of it.
            self._must_live()
            if time.monotonic() >= deadline:
                raise errors.GateError(probe.failed(said, tries))
            next_try = min(time.monotonic() + probe.every, deadline)
            while (left := next_try - time.monotonic()) > 0 and not self._passed_elsewhere(probe):
                self._wait(left)

    def _passed_elsewhere(self, probe: _Probe) -> bool:
        return probe.is_healthcheck and self._healthy

    def _try(self, probe: _Probe, limit: float) -> str | None:
        """One try, in a thread, so that the end of the container ends it, too."""
        outcome: concurrent.futures.Future[str | None] = concurrent.futures.Future()
        threading.Thread(target=self._ask, args=(probe, limit, outcome), name="gate", daemon=True).start()
        given_up = time.monotonic() + limit + _LEEWAY
        try:
            while not outcome.done():
                if self._passed_elsewhere(probe):
                    return None
                left = given_up - time.monotonic()
                if left <= 0:
                    return f"no answer within {limit:g} s"
                self._wait(left)
        finally:
            if not outcome.done():
                probe.cancel()
        try:
            return outcome.result()
        except errors.EngineError as error:
            # Mostly because the container has ended, or Podman is away, which inspecting it finds out.
            return str(error)

    def _ask(self, probe: _Probe, limit: float, outcome: concurrent.futures.Future[str | None]) -> None:
        try:
            outcome.set_result(probe.ask(limit))
        except BaseException as error:
            outcome.set_exception(error)
        self.wake()
