"""The node: up and down, what runs on it, and what it says."""

from __future__ import annotations

import contextlib
import hashlib
import os
import pathlib
import select
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from types import TracebackType

import places
from nodebox import base, guest
from podmanbox import commands, errors, machine, processes, traces

BOOT_TIMEOUT_S = 120.0
OFF_TIMEOUT_S = 120.0
# What a login as root has.
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class NodeBox:
    """A node in ``directory``, from ``up`` to ``down``, also beyond the end of this process.

    ``registry`` ("HOST:PORT") is where it may pull from without TLS. Its file system begins as ``tree``, by default the
    machine's distribution with ``packages``. What ``shared`` names is there read-only, by default this checkout and the
    Python that runs this, with its packages. Its network is the machine's, or the namespace ``network``. All methods
    raise BoxError or CommandError.
    """

    def __init__(
        self,
        directory: pathlib.Path,
        *,
        registry: str = "",
        packages: Sequence[str] = base.PACKAGES,
        tree: pathlib.Path | None = None,
        shared: Sequence[pathlib.Path] | None = None,
        network: pathlib.Path | None = None,
    ) -> None:
        self.directory = pathlib.Path(os.path.abspath(directory))
        self.root = self.directory / "root"
        """The node's file system, for writing files there; mounted from ``up`` to ``down``."""
        self.name = "node" + hashlib.sha256(bytes(self.directory)).hexdigest()[:8]
        self._registry = registry
        self._tree = tree
        self._shared = [places.ROOT, *guest.python_paths()] if shared is None else list(shared)
        self._network = network
        self._packages = tuple(packages)
        self._console = self.directory / "console.log"
        self._leader = self.directory / "leader"

    def __enter__(self) -> NodeBox:
        self.up()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.down(wipe=True)

    @property
    def leader(self) -> int:
        """The pid that the node's PID 1 has on this machine."""
        if not self.running():
            raise errors.BoxError(f"the node in {self.directory} does not run", "call up or boot")
        return int(self._leader.read_text())

    @property
    def podman_url(self) -> str:
        """Podman's API in the node, as this machine reaches it; another one after each boot."""
        return f"unix:///proc/{self.leader}/root/run/podman/podman.sock"

    def up(self) -> None:
        """Make a new node and boot it."""
        self.prepare()
        self.boot()

    def prepare(self) -> None:
        """Make a new node without booting it; what a killed process left in the directory is cleared away."""
        if os.geteuid() != 0:
            raise errors.BoxError("a node needs root", "run this with sudo")
        tree = self._tree or self._base()
        self.down(wipe=True)
        for path in (self.directory, self.root, self._storage):
            path.mkdir(mode=0o755, parents=True, exist_ok=True)
        # What containers write is root's business, though their own directories have to be open.
        self.directory.chmod(0o700)
        facts = machine.look(self.directory)
        self._mount(tree, facts)
        guest.furnish(self.root, facts, self.name, self._registry)

    def down(self, wipe: bool = False) -> None:
        """Switch the node off; with ``wipe`` remove it."""
        if self.directory.exists():
            self.power_off()
            traces.unmount_below(self.directory)
            if wipe:
                shutil.rmtree(self.directory)

    def boot(self) -> float:
        """Boot, and return how many seconds it took until all that is to be started was."""
        begun = time.monotonic()
        argv = self._argv()
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notices:
            address = self.directory / "notify"
            address.unlink(missing_ok=True)
            notices.bind(str(address))
            # The control groups of cgroup v1 can be made writable in the node only if /sys is.
            env = {**os.environ, "NOTIFY_SOCKET": str(address), "SYSTEMD_NSPAWN_API_VFS_WRITABLE": "1"}
            pid = processes.start(argv, env, self._console)
            self._await_ready(pid, notices, begun + BOOT_TIMEOUT_S)
        return time.monotonic() - begun

    def power_off(self) -> None:
        """Shut the node down in order, as `poweroff` does."""
        processes.stop(self._is_ours, OFF_TIMEOUT_S)

    def cut_power(self) -> None:
        """End everything on the node at once."""
        if self.running():
            # With its PID 1 all processes of the node end; systemd-nspawn's own end need not end that one.
            init = os.pidfd_open(self.leader)
            signal.pidfd_send_signal(init, signal.SIGKILL)
            select.select([init], [], [], OFF_TIMEOUT_S)
            os.close(init)
        for pid in processes.find(self._is_ours):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        processes.stop(self._is_ours)

    def reboot(self) -> None:
        """Shut down and boot again."""
        self.power_off()
        self.boot()

    def running(self) -> bool:
        """Say if the node is switched on."""
        return bool(processes.find(self._is_ours))

    def run(
        self, argv: Sequence[str], *, env: Mapping[str, str] | None = None, check: bool = True, timeout_s: float = 120
    ) -> subprocess.CompletedProcess[str]:
        """Run a command on the node as root, with this checkout's agent in PYTHONPATH if the checkout is there.

        Raise CommandError if it fails, unless ``check`` is false.
        """
        environment = {"PATH": PATH, "HOME": "/root", "LANG": "C.UTF-8"}
        if places.ROOT in self._shared:
            environment["PYTHONPATH"] = str(places.ROOT / "agent")
        done = subprocess.run(
            [*self._enter(), *argv],
            env={**environment, **(env or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
        )
        if check and done.returncode != 0:
            raise errors.CommandError(argv, done.returncode, done.stderr + done.stdout)
        return done

    def podman(self, *args: str) -> str:
        """Run Podman's command line on the node and return its standard output."""
        return self.run(["podman", *args]).stdout.strip()

    def journal(self, *args: str) -> str:
        """Return the node's journal, of all its boots; ``args`` are journalctl's, such as "--unit=NAME"."""
        return self.run(["journalctl", "--no-pager", "--output=short-precise", *args]).stdout

    def _base(self) -> pathlib.Path:
        """The tree of the node's packages: one for each list of them."""
        more = sorted(set(self._packages) - set(base.PACKAGES))
        return base.make(places.SHARED / "-".join(["node-base", *more]), self._packages)

    @property
    def _storage(self) -> pathlib.Path:
        return self.directory / "containers"

    def _argv(self) -> list[str]:
        return guest.nspawn(
            commands.need("systemd-nspawn"),
            machine.look(self.directory),
            root=self.root,
            name=self.name,
            storage=self._storage,
            shared=self._shared,
            network=self._network,
        )

    def _is_ours(self, argv: tuple[str, ...]) -> bool:
        return pathlib.PurePath(argv[0] if argv else "").name == "systemd-nspawn" and (
            f"--directory={self.root}" in argv
        )

    def _enter(self) -> list[str]:
        network = ["--net"] if self._network else []
        namespaces = [*network, "--mount", "--uts", "--ipc", "--pid", "--cgroup", "--root", "--wd"]
        return [str(commands.need("nsenter")), f"--target={self.leader}", *namespaces, "--"]

    def _mount(self, tree: pathlib.Path, facts: machine.Machine) -> None:
        if facts.filesystem == "overlay":
            # The kernel refuses an overlay over an overlay.
            commands.run(["cp", "-a", f"{tree}/.", str(self.root)], os.environ, base.MAKING_TIMEOUT_S)
            return
        upper, work = self.directory / "upper", self.directory / "work"
        upper.mkdir()
        work.mkdir()
        options = f"lowerdir={tree},upperdir={upper},workdir={work}"
        commands.run(["mount", "-t", "overlay", "overlay", "-o", options, str(self.root)], os.environ, 30)

    def _await_ready(self, pid: int, notices: socket.socket, deadline: float) -> None:
        """Take in what systemd-nspawn tells until the node has booted; it says which process is the node's PID 1."""
        handle = os.pidfd_open(pid)
        try:
            poller = select.poll()
            poller.register(notices, select.POLLIN)
            poller.register(handle, select.POLLIN)
            while (left := deadline - time.monotonic()) > 0:
                events = [descriptor for descriptor, _ in poller.poll(left * 1000)]
                if notices.fileno() not in events:
                    break
                told = dict(line.partition("=")[::2] for line in notices.recv(4096).decode().splitlines())
                if "X_NSPAWN_LEADER_PID" in told:
                    self._leader.write_text(told["X_NSPAWN_LEADER_PID"])
                if told.get("READY") == "1":
                    return
        finally:
            os.close(handle)
        processes.reap(pid)
        last = self._console.read_text(errors="replace").strip().splitlines()[-5:]
        raise errors.BoxError(f"the node in {self.directory} did not boot", "its last words: " + " / ".join(last))
