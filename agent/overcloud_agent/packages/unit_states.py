"""What systemd knows of units, and what is asked of it; all by systemctl, which waits for jobs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from overcloud_agent import errors, redact, run
from overcloud_agent.packages import systemd

# Seconds for an answer that waits for no job.
TIMEOUT = 60.0
_PROPERTIES = ("ActiveState", "SubState", "InvocationID", "NRestarts", "Result", "Type")


@dataclasses.dataclass(frozen=True, kw_only=True)
class State:
    """What counts of a unit."""

    active: str
    """active, reloading, inactive, failed, activating, deactivating."""
    sub: str
    invocation: str
    """Another one after each start; empty for one that was never started."""
    restarts: int
    """How often systemd has started it again by itself."""
    result: str
    type: str

    @property
    def runs(self) -> bool:
        """Whether it is to run: also one that is about to."""
        return self.active in ("active", "reloading", "activating", "refreshing")

    @property
    def done(self) -> bool:
        """Whether it is one that runs to its end, and did."""
        return self.type == "oneshot" and self.active == "inactive" and self.result == "success"


def show(names: Sequence[str]) -> dict[str, State]:
    """The state of each unit, also of those that systemd does not know. Raises PackageError."""
    found = systemd.show(names, _PROPERTIES)
    return {name: _state(found.get(name, {})) for name in names}


def _state(values: Mapping[str, str]) -> State:
    return State(
        active=values.get("ActiveState", ""),
        sub=values.get("SubState", ""),
        invocation=values.get("InvocationID", ""),
        restarts=int(values.get("NRestarts") or 0),
        result=values.get("Result", ""),
        type=values.get("Type", ""),
    )


def do(verb: str, name: str, *, timeout: float) -> str:
    """Restart or reload a unit, and wait for the job: why it failed, empty when it did not."""
    done = _systemctl(verb, "--", name, timeout=timeout)
    if done.timed_out:
        return f"its {verb} did not come to an end within {timeout:.0f} seconds"
    return "" if done.returncode == 0 else f"its {verb} failed: {_said(done)}"


def restart_later(name: str) -> str:
    """Have a unit restarted, and wait for nothing: why that was refused, empty when it was not."""
    done = _systemctl("restart", "--no-block", "--", name, timeout=TIMEOUT)
    return "" if done.returncode == 0 else _said(done)


def await_boot(timeout: float) -> str:
    """Wait until the system has started what it starts at boot; its state then (running, degraded, ...)."""
    done = _systemctl("is-system-running", "--wait", timeout=timeout)
    return done.stdout.decode(errors="replace").strip()


def why(name: str) -> str:
    """The state of a unit in systemd's words, on one line."""
    lines = _systemctl("status", "--lines=0", "--", name, timeout=TIMEOUT).stdout.decode(errors="replace").splitlines()
    return next((line.strip() for line in lines if line.strip().startswith("Active:")), "it is not known to systemd")


def _said(done: run.Completed) -> str:
    lines = [line.strip() for line in (done.stderr or done.stdout).decode(errors="replace").splitlines()]
    return redact.text(next((line for line in lines if line), f"systemctl ended with status {done.returncode}"))[:400]


def _systemctl(*arguments: str, timeout: float) -> run.Completed:
    try:
        return run.command(["systemctl", "--no-pager", "--no-ask-password", *arguments], timeout=timeout, limit=1 << 20)
    except OSError as error:
        raise errors.PackageError(f"cannot run systemctl: {error.strerror}") from None
