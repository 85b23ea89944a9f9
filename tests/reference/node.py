"""A light node in which unmodified reference programs run with their hard-coded paths.

A node is a private mount namespace: overlays on /etc and /usr/libexec, a /var and a /run of its own. What is written
there is in the node's directory, so the node is the same when it is opened again. Ours run in it as well.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import places
from reference import install, sources

_LIBEXEC = "/usr/libexec"
CONFIGURE_D = f"{_LIBEXEC}/os-refresh-config/configure.d"
HOOKS = "/var/lib/heat-config/hooks"
DEPLOYED = "/var/lib/heat-config/deployed"
SOURCES = "/etc/os-collect-config.conf"


@dataclasses.dataclass
class _Daemon:
    process: subprocess.Popen[bytes]
    log: Path


class ReferenceNode:
    """A node that lives in `directory`, as root. With `network` it has a loopback of its own, on which nobody listens.

    Use it as a context manager, or call `close`: processes, mounts and namespaces are gone afterwards, files stay.
    """

    def __init__(self, directory: Path, *, network: bool = False) -> None:
        self.directory = directory.absolute()
        self.reference = install.install()
        self.log = self.directory / "node.log"
        self._daemon: _Daemon | None = None
        fresh = not (self.directory / "var").exists()
        for name in ("etc", "etc.work", "libexec", "libexec.work", "run", "var"):
            (self.directory / name).mkdir(parents=True, exist_ok=True)
        # The node's configuration holds credentials.
        self.directory.chmod(0o700)
        self._holder = _hold_namespaces(network)
        try:
            self._mount()
            if network:
                self.check_run(["ip", "link", "set", "lo", "up"])
            if fresh:
                self._furnish()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> ReferenceNode:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def path(self, inside: str | Path) -> Path:
        """Where a path of the node is to be found from outside, as long as the node is open."""
        # Not in the overlay's upper directory: what is written there behind the overlay's back need not show.
        return Path(f"/proc/{self._holder.pid}/root{inside}")

    @property
    def network(self) -> Path:
        """The node's network namespace, or the machine's where the node has none of its own."""
        return Path(f"/proc/{self._holder.pid}/ns/net")

    @property
    def environment(self) -> dict[str, str]:
        """What programs see in the node. os-collect-config ends where the locale does not exist."""
        return {
            "HOME": "/root",
            "LC_ALL": "C",
            "PATH": f"{self.reference.bin}:/usr/sbin:/usr/bin:/sbin:/bin",
            "no_proxy": "127.0.0.1,localhost",
        }

    def command(self, argv: Sequence[str]) -> list[str]:
        """The command that runs `argv` in the node; it becomes `argv`, so its process id is that of `argv`."""
        mounts = f"/proc/{self._holder.pid}/ns/mnt"
        return ["nsenter", f"--mount={mounts}", f"--net={self.network}", "--", *argv]

    def run(
        self, argv: Sequence[str], env: Mapping[str, str] | None = None, *, stdin: str = "", within: float = 300.0
    ) -> subprocess.CompletedProcess[str]:
        """Run a program in the node to its end."""
        environment = {**self.environment, **(env or {})}
        return subprocess.run(
            self.command(argv), env=environment, input=stdin, capture_output=True, text=True, timeout=within
        )

    def check_run(self, argv: Sequence[str], env: Mapping[str, str] | None = None, *, within: float = 300.0) -> str:
        """The same for a program that has to succeed: what it printed."""
        done = self.run(argv, env, within=within)
        assert done.returncode == 0, f"{argv} ended with {done.returncode}: {done.stdout}{done.stderr}"
        return done.stdout

    def configure(self, occ: Mapping[str, Any]) -> None:
        """Write /etc/os-collect-config.conf from the attribute `os_collect_config` of the node's server."""
        target = self.path(SOURCES)
        target.touch(mode=0o600)
        target.write_text(sources.text(occ))

    def link(self, inside: str, executable: Path) -> None:
        """Put a link to an executable in the place of a file of the node, e.g. ours for a reference one."""
        target = self.path(inside)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        target.symlink_to(executable)

    def install_hook(self, group: str) -> None:
        """Install the hook that heat-agents has for a group."""
        name = f"heat-config-{group}/install.d/hook-{group}.py"
        self._copy(self.reference.agents / name, f"{HOOKS}/{group}", 0o755)

    def restore(self) -> None:
        """Put every file of the reference stack back into its place."""
        agents = self.reference.agents
        scripts = agents / "heat-config" / "os-refresh-config" / "configure.d"
        templates = agents / "heat-config" / "os-apply-config"
        for script in ("20-os-apply-config", "55-heat-config"):
            self._copy(scripts / script, f"{CONFIGURE_D}/{script}", 0o755)
        for template in ("etc/os-collect-config.conf", "var/run/heat-config/heat-config"):
            self._copy(templates / template, f"{_LIBEXEC}/os-apply-config/templates/{template}", 0o644)
        self.install_hook("script")

    def write(self, inside: str | Path, text: str, mode: int = 0o600) -> None:
        """Write a file of the node, and make the directories above it."""
        target = self.path(inside)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch(mode=mode)
        target.write_text(text)

    def start(self, argv: Sequence[str] = ("os-collect-config",), env: Mapping[str, str] | None = None) -> int:
        """Start a daemon (the reference one, unless another is named) and return its process id."""
        assert self._daemon is None, "the node's daemon runs already"
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                self.command(argv),
                env={**self.environment, **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # What the daemon started goes with it.
                start_new_session=True,
            )
        self._daemon = _Daemon(process, self.log)
        return process.pid

    def stop(self, within: float = 120.0) -> int:
        """End the daemon and what it started; returns its exit status (negative: the signal).

        Ours may take half a minute: it tries once what it never tried to deliver.
        """
        assert self._daemon
        process, self._daemon = self._daemon.process, None
        # To the whole group, as systemd does it. A tracer in front of the daemon would ignore its own.
        os.killpg(process.pid, signal.SIGTERM)
        try:
            return process.wait(within)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)

    def crash(self) -> None:
        """End the daemon and what it started as a power cut does."""
        assert self._daemon
        process, self._daemon = self._daemon.process, None
        namespace = os.readlink(f"/proc/{self._holder.pid}/ns/mnt")
        # Hooks of ours have a process group of their own.
        _end_all_in(namespace, but=self._holder.pid)
        process.wait(10)

    def close(self) -> None:
        """End all processes of the node; its mounts go with the last of them."""
        if self._daemon:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.stop()
        namespace = os.readlink(f"/proc/{self._holder.pid}/ns/mnt")
        assert self._holder.stdin
        self._holder.stdin.close()
        self._holder.wait(10)
        _end_all_in(namespace)

    def _mount(self) -> None:
        here = self.directory
        for name in ("cache", "lib", "lock", "log", "tmp"):
            (here / "var" / name).mkdir(exist_ok=True)
        # Not to /run: seen from outside, that would be the machine's.
        if not (here / "var" / "run").is_symlink():
            (here / "var" / "run").symlink_to("../run")
        # /var is no overlay, because checkout, scratch directory or interpreter may be below it, and an overlay's
        # upper directory must not be inside its lower one. Those are bound into the node's /var first.
        for visible in _below("/var", _needed()):
            (here / "var" / visible.relative_to("/var")).mkdir(parents=True, exist_ok=True)
            self._mount_one("--rbind", str(visible), str(here / "var" / visible.relative_to("/var")))
        for target in ("/etc", _LIBEXEC):
            upper = here / Path(target).name
            layers = f"lowerdir={target},upperdir={upper},workdir={upper}.work"
            self._mount_one("-t", "overlay", "-o", layers, "overlay", target)
        self._mount_one("--bind", str(here / "run"), "/run")
        self._mount_one("--rbind", str(here / "var"), "/var")

    def _mount_one(self, *arguments: str) -> None:
        self.check_run(["mount", *arguments])

    def _furnish(self) -> None:
        # What the machine itself has of either stack is none of the node's.
        for name in ("os-apply-config", "os-refresh-config", "heat-config"):
            shutil.rmtree(self.path(f"{_LIBEXEC}/{name}"), ignore_errors=True)
        shutil.rmtree(self.path("/etc/overcloud-agent.conf.d"), ignore_errors=True)
        for name in (SOURCES, "/etc/overcloud-agent.conf"):
            self.path(name).unlink(missing_ok=True)
        self.restore()

    def _copy(self, source: Path, inside: str, mode: int) -> None:
        target = self.path(inside)
        target.parent.mkdir(parents=True, exist_ok=True)
        # Not through a link that stands for one of ours.
        target.unlink(missing_ok=True)
        shutil.copyfile(source, target)
        target.chmod(mode)


def _needed() -> list[Path]:
    """What has to be visible in every node: the code, the venvs and the interpreter."""
    return [places.ROOT, places.SCRATCH, places.BIN.parent, Path(sys.base_prefix)]


def _below(top: str, paths: Iterable[Path]) -> list[Path]:
    """The outermost of the paths that are below `top`."""
    inside = sorted({path.resolve() for path in paths if path.resolve().is_relative_to(top)})
    return [path for path in inside if not any(other in path.parents for other in inside)]


def _hold_namespaces(network: bool) -> subprocess.Popen[bytes]:
    """A process that holds the node's namespaces open until its stdin ends, at the latest when this process ends."""
    own = ["--mount", "--propagation", "private", *(["--net"] if network else [])]
    holder = subprocess.Popen(["unshare", *own, "cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdin
    assert holder.stdout
    # `cat` answers from within the new namespaces only.
    holder.stdin.write(b".")
    holder.stdin.flush()
    assert holder.stdout.read(1) == b".", "unshare failed; a node needs root"
    holder.stdout.close()
    return holder


def _end_all_in(namespace: str, but: int = 0) -> None:
    """Kill what is left in a mount namespace, until nothing is, but one process."""
    deadline = time.monotonic() + 10
    while left := [pid for pid in _pids() if pid != but and _namespace_of(pid) == namespace]:
        assert time.monotonic() < deadline, f"cannot end {left}"
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _namespace_of(pid: int) -> str:
    try:
        return os.readlink(f"/proc/{pid}/ns/mnt")
    # It has ended, or is a kernel thread.
    except OSError:
        return ""
