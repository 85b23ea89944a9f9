"""Start and stop containers: through systemd units where systemd runs, else through Podman alone.

A unit belongs to a name, not to a container: during an upgrade the successor gets the name after its predecessor has
given it up, and the way back gives it back. Hence the order: `stop(NAME)` before the container loses the name,
`install(NAME)` and `start(NAME)` when the next one has it, then `settle(NAME)` when it has passed its gate, or, on the
way back, `stop(NAME)`, `restore(NAME)` and `start(NAME)` when the old one has its name again.
"""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from overcloud_agent import errors, files, redact, run
from overcloud_agent.containers import engine, spec, unit_file

if TYPE_CHECKING:
    from overcloud_agent import settings

log = logging.getLogger(__name__)

# There when systemd is PID 1 (sd_booted(3)).
BOOTED = Path("/run/systemd/system")
# Seconds for an answer of systemctl that waits for no job.
TIMEOUT = 60.0
# A replaced unit file waits under this suffix, which systemd does not read; empty when there was none.
BEFORE = ".before"


class Starter(Protocol):
    """Who starts and stops containers. All raise EngineError; names are those that containers have when they serve."""

    units: bool
    """Whether there are systemd units."""

    def start(self, name: str) -> None:
        """Start the container that has the name now, and return when it runs or has ended again."""

    def stop(self, name: str, grace: int | None) -> None:
        """Stop it, so that nobody starts it again; `grace` seconds until SIGKILL, where its unit does not say it."""

    def install(self, name: str, container: spec.Container) -> None:
        """See that `container` is run in the way it asks for from now on. What was before is kept for `restore`."""

    def restore(self, name: str) -> None:
        """Take back what `install` changed since the last `settle`; it does not start or stop anything."""

    def refresh(self, name: str, container: spec.Container) -> None:
        """Bring what `install` writes up to date for a container that stays as it is."""

    def settle(self, name: str) -> None:
        """Forget what `restore` would need: the container has passed its gate."""

    def uninstall(self, name: str) -> None:
        """Remove what belongs to a name that is not wanted any more; to be called after `stop`."""

    def manages(self, name: str) -> bool:
        """Whether there is a unit of that name, ours or another tool's."""

    def body(self, container: spec.Container, name: str) -> dict[str, Any]:
        """What the container has to be created with; goes over podman_spec's. Raises BadInput."""


class Direct:
    """Podman alone: its own restart policy keeps containers running."""

    units = False

    def __init__(self, podman: engine.Engine) -> None:
        self._podman = podman

    def start(self, name: str) -> None:
        self._podman.start(name)

    def stop(self, name: str, grace: int | None) -> None:
        self._podman.stop(name, grace)

    def install(self, name: str, container: spec.Container) -> None:
        pass

    def restore(self, name: str) -> None:
        pass

    def refresh(self, name: str, container: spec.Container) -> None:
        pass

    def settle(self, name: str) -> None:
        pass

    def uninstall(self, name: str) -> None:
        pass

    def manages(self, name: str) -> bool:  # noqa: ARG002  Starter's signature
        return False

    def body(self, container: spec.Container, name: str) -> dict[str, Any]:  # noqa: ARG002  Starter's signature
        return {}


class Units:
    """systemd: a container that is to be kept running has a unit; the others are Podman's."""

    units = True

    def __init__(self, podman: engine.Engine, *, prefix: str, directory: Path) -> None:
        self._podman = podman
        self._prefix = prefix
        self._directory = directory
        self._executable = shutil.which("podman") or "/usr/bin/podman"

    def start(self, name: str) -> None:
        if not self.manages(name):
            self._podman.start(name)
            return
        before = self._podman.inspect(name)
        unit = self._unit(name)
        # A unit that gave up on an earlier container of the name would refuse this one.
        self._ask("reset-failed", unit)
        try:
            self._do("start", unit, words=f"start {name}", timeout=unit_file.START_LIMIT + TIMEOUT)
        except errors.EngineError:
            after = self._podman.inspect(name)
            # It started and ended: what that means is for its gate to say.
            if not before or not after or after.started_at == before.started_at:
                raise

    def stop(self, name: str, grace: int | None) -> None:
        if self.manages(name):
            # systemctl returns when the job is done, which may take all of the unit's own grace.
            timeout = TIMEOUT + unit_file.STOP_MARGIN + (grace or 600)
            self._do("stop", self._unit(name), words=f"stop {name}", timeout=timeout)
        # It may have no unit, or have been started outside it.
        self._podman.stop(name, grace)

    def install(self, name: str, container: spec.Container) -> None:
        text = self._text(container, name) if unit_file.wanted(container) else ""
        old = self._read(name)
        if text != old:
            before = self._path(name, BEFORE)
            # Dying after this leaves a file that says what is in place anyway; dying after the next one is an install
            # that was not loaded, which `_load` notices.
            if not before.exists():
                self._write(before, old)
            if text:
                self._write(self._path(name), text)
            else:
                self._remove(name)
        if text:
            self._load(name, again=self._write_scopes())

    def refresh(self, name: str, container: spec.Container) -> None:
        # What another tool wrote stays with that tool's container.
        if unit_file.wanted(container) and self._text(container, name) != self._read(name):
            self.install(name, container)
            self.settle(name)

    def restore(self, name: str) -> None:
        before = self._path(name, BEFORE)
        if not before.exists():
            return
        text = before.read_text()
        if text:
            self._write(self._path(name), text)
            self._load(name)
        else:
            self._remove(name)
        before.unlink()

    def settle(self, name: str) -> None:
        self._path(name, BEFORE).unlink(missing_ok=True)

    def uninstall(self, name: str) -> None:
        self._remove_checks(name)
        self._remove(name)
        self.settle(name)

    def manages(self, name: str) -> bool:
        return self._path(name).exists()

    def body(self, container: spec.Container, name: str) -> dict[str, Any]:
        if not unit_file.wanted(container):
            return {}
        # Only to refuse now what could not be written later.
        self._text(container, name)
        tries = {"restart_tries": 0} if ":" in (container.restart or "") else {}
        return {"restart_policy": "no", **tries, "conmon_pid_file": unit_file.pid_file(name)}

    def _unit(self, name: str) -> str:
        return unit_file.unit(self._prefix, name)

    def _path(self, name: str, suffix: str = "") -> Path:
        return self._directory / (self._unit(name) + suffix)

    def _text(self, container: spec.Container, name: str) -> str:
        return unit_file.text(container, name, prefix=self._prefix, podman=self._executable)

    def _read(self, name: str) -> str:
        """The unit file's text; empty when there is none."""
        path = self._path(name)
        if path.resolve() == Path("/dev/null"):
            raise errors.EngineError(f"{path.name} is masked, so {name} cannot be run by it", hint="systemctl unmask")
        try:
            return path.read_text()
        except FileNotFoundError:
            return ""
        except (OSError, ValueError) as error:
            raise errors.EngineError(f"cannot read {path}: {error}") from None

    def _write(self, path: Path, text: str) -> None:
        try:
            path.parent.mkdir(mode=0o755, exist_ok=True)
            files.write(path, text.encode(), mode=0o644)
        except OSError as error:
            raise errors.EngineError(f"cannot write {path}: {error.strerror}") from None

    def _write_scopes(self) -> bool:
        """Write what makes systemd leave containers to their units; whether that was missing."""
        path = self._directory / unit_file.SCOPES_FILE
        if path.exists() and path.read_text() == unit_file.SCOPES:
            return False
        self._write(path, unit_file.SCOPES)
        return True

    def _load(self, name: str, *, again: bool = False) -> None:
        """Let systemd know the unit file as it is, and start it at boot; `again`: also what it knows already."""
        unit = self._unit(name)
        shown = self._ask("show", "--property=NeedDaemonReload,LoadState,UnitFileState", unit)
        if "UnitFileState=enabled" not in shown:
            # It reads the files again by itself.
            self._do("enable", "--quiet", unit, words=f"enable {unit}")
        elif again or "NeedDaemonReload=yes" in shown or "LoadState=loaded" not in shown:
            self._do("daemon-reload", words="let systemd read its units again")

    def _remove(self, name: str) -> None:
        if self.manages(name):
            unit = self._unit(name)
            self._do("disable", "--quiet", unit, words=f"disable {unit}")
            self._path(name).unlink(missing_ok=True)
            self._do("daemon-reload", words="let systemd read its units again")
            # What had failed would be listed for ever.
            self._ask("reset-failed", unit)

    def _remove_checks(self, name: str) -> None:
        """Remove the units that TripleO made to check the container's health."""
        stem = self._unit(name).removesuffix(".service")
        for unit in (f"{stem}_healthcheck.timer", f"{stem}_healthcheck.service"):
            path = self._directory / unit
            if path.exists():
                self._do("disable", "--quiet", "--now", unit, words=f"disable {unit}")
                path.unlink(missing_ok=True)
        shutil.rmtree(self._path(name, ".requires"), ignore_errors=True)

    def _do(self, *arguments: str, words: str, timeout: float = TIMEOUT) -> None:
        done = _systemctl(*arguments, timeout=timeout)
        if done.timed_out:
            raise errors.EngineError(f"cannot {words}: systemctl did not come back within {timeout:g} seconds")
        if done.returncode != 0:
            said = [redact.text(line) for line in _lines(done.stderr)[:1]]
            raise errors.EngineError("; ".join([f"cannot {words}", *said, *self._status(arguments[-1])]))

    def _ask(self, *arguments: str) -> list[str]:
        """The lines of systemctl's answer; whether it worked does not matter."""
        return _lines(_systemctl(*arguments, timeout=TIMEOUT).stdout)

    def _status(self, unit: str) -> list[str]:
        """The end of the unit's status: its state, and Podman's last complaint, but nothing that the container said."""
        if not unit.endswith(".service"):
            return []
        state = [line for line in self._ask("status", "--lines=0", unit) if line.startswith("Active:")]
        # `status` has no lines of a start that systemd is about to repeat. What was just said may be on its way.
        run.command(["journalctl", "--sync"], timeout=TIMEOUT)
        query = ["journalctl", "--quiet", "--output=cat", f"--unit={unit}", "--identifier=podman", "--lines=5"]
        told = [line for line in _lines(run.command(query, timeout=TIMEOUT).stdout) if line.startswith("Error")]
        return [redact.text(line)[:400] for line in (*state, *told[-1:])]


def _systemctl(*arguments: str, timeout: float) -> run.Completed:
    try:
        return run.command(["systemctl", "--no-pager", "--no-ask-password", *arguments], timeout=timeout)
    except OSError as error:
        raise errors.EngineError(f"cannot run systemctl: {error.strerror}", hint="or set systemd = never") from None


def _lines(output: bytes) -> list[str]:
    return [line.strip() for line in output.decode(errors="replace").splitlines()]


def starter(config: settings.Settings, podman: engine.Engine) -> Starter:
    """Who starts containers on this node."""
    if config.systemd == "auto" and BOOTED.is_dir():
        return Units(podman, prefix=config.unit_prefix, directory=config.unit_dir)
    return Direct(podman)
