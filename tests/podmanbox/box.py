"""The box: a Podman service and a registry that live in one directory."""

import http.client
import os
import pathlib
import shutil
import socket
import tempfile
from collections.abc import Mapping

from podmanbox import (
    commands,
    config,
    errors,
    image,
    layout,
    machine,
    network,
    processes,
    state,
    traces,
)

READY_TIMEOUT_S = 30.0
COMMAND_TIMEOUT_S = 300.0


class PodmanBox:
    """A private Podman and a registry in ``directory``.

    The box lives from ``up`` to ``down``, also beyond the end of this process:
    another PodmanBox for the same directory is the same box. All methods raise
    BoxError (CommandError for a failed command) with a message for people.
    """

    def __init__(self, directory: pathlib.Path) -> None:
        self._paths = layout.Layout(pathlib.Path(os.path.abspath(directory)))

    @property
    def directory(self) -> pathlib.Path:
        """The absolute path of the box's directory."""
        return self._paths.directory

    @property
    def socket(self) -> pathlib.Path:
        """The socket of the Podman API service."""
        return self._paths.socket

    @property
    def socket_url(self) -> str:
        """The same, as a URL: "unix:///..."."""
        return f"unix://{self._paths.socket}"

    @property
    def registry(self) -> str:
        """The registry's address "127.0.0.1:PORT"; it stays the same until the box is wiped."""
        return f"127.0.0.1:{self._state().registry_port}"

    @property
    def env(self) -> dict[str, str]:
        """The variables that point Podman's command line at the box's storage."""
        return self._paths.env

    def up(self) -> None:
        """Start service and registry; what runs already is left alone."""
        self._check_possible()
        for directory in self._paths.directories():
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._paths.directory.chmod(0o700)
        self._remember()
        self._configure()
        self.registry_start()
        self.service_start()

    def down(self, wipe: bool = False) -> None:
        """Remove all containers and stop everything; with ``wipe`` remove the directory too.

        Images, volumes and the registry's content survive unless wiped.
        """
        remembered = state.load(self._paths.state)
        if remembered is None:
            self._refuse_to_wipe_a_stranger(wipe)
            return
        try:
            self._remove_containers()
        finally:
            self.service_stop()
            self.registry_stop()
            processes.stop(lambda argv: processes.belongs_to(self.directory, argv))
            traces.unmount_below(self.directory)
            # It may be outside the directory, and means nothing without containers.
            traces.unmount_below(self._paths.runroot)
            shutil.rmtree(self._paths.runroot, ignore_errors=True)
        if not remembered.netns_was_mounted:
            traces.remove_netns()
        if not remembered.netavark_was_here:
            traces.remove_netavark()
        if wipe:
            shutil.rmtree(self.directory)

    def running(self) -> bool:
        """Say if both the service and the registry run."""
        return self.service_running() and self.registry_running()

    def podman(self, *args: str) -> str:
        """Run Podman's command line on the box's storage and return its standard output."""
        return self._podman(args)

    def build(
        self,
        name: str,
        files: Mapping[str, str],
        config: image.ImageConfig,
        keep_local: bool = False,
    ) -> str:
        """Build the image REGISTRY/``name`` and push it; return its digest there ("sha256:...").

        ``files`` are added to a busybox root file system, by their paths. The
        image is not kept in local storage, so that whoever runs it must pull it
        as on a real machine, unless ``keep_local`` says otherwise.
        """
        self._ensure_base()
        reference = f"{self.registry}/{name}"
        with tempfile.TemporaryDirectory(dir=self._paths.tmp) as scratch:
            context = pathlib.Path(scratch)
            image.write_context(context, files, config)
            # Only the docker format knows healthchecks.
            self._podman(("build", "-q", "--format=docker", "--pull=never", "--layers=false",
                          "-t", reference, str(context)))  # fmt: skip
            digest = context / "digest"
            self._podman(("push", "-q", f"--digestfile={digest}", reference))
            pushed = digest.read_text().strip()
        if not keep_local:
            self._podman(("rmi", reference))
        return pushed

    def service_start(self) -> None:
        """Start the Podman API service and return when it answers."""
        if self.service_running():
            return
        log = self._paths.log / "service.log"
        pid = processes.start(self._service_argv(), os.environ | self.env, log)
        processes.wait_ready(pid, lambda: _answers_ping(self.socket), log, READY_TIMEOUT_S)

    def service_stop(self) -> None:
        """Stop the Podman API service; its socket goes away, containers stay."""
        argv = self._service_argv()
        processes.stop(lambda other: other == argv)
        self.socket.unlink(missing_ok=True)

    def service_running(self) -> bool:
        """Say if there is a process of the Podman API service."""
        argv = self._service_argv()
        return bool(processes.find(lambda other: other == argv))

    def registry_start(self) -> None:
        """Start the registry, with all that was ever pushed, and return when it answers."""
        if self.registry_running():
            return
        log = self._paths.log / "registry.log"
        # Variables with this prefix would override the configuration file.
        env = {key: value for key, value in os.environ.items() if not key.startswith("REGISTRY_")}
        pid = processes.start(self._registry_argv(), env, log)
        processes.wait_ready(pid, lambda: _answers_http(self.registry), log, READY_TIMEOUT_S)

    def registry_stop(self) -> None:
        """Stop the registry; connections to it are refused from now on."""
        argv = self._registry_argv()
        processes.stop(lambda other: other == argv)

    def registry_running(self) -> bool:
        """Say if there is a process of the registry."""
        argv = self._registry_argv()
        return bool(processes.find(lambda other: other == argv))

    def _check_possible(self) -> None:
        if os.geteuid() != 0:
            raise errors.BoxError("a box needs root", "run this with sudo")
        if not machine.socket_path_fits(self.socket):
            raise errors.BoxError(
                f"{self.socket} is too long for a socket: {len(bytes(self.socket))} bytes,"
                f" at most {machine.SOCKET_PATH_MAX} are possible",
                "choose a directory with a shorter path (make demo: a shorter SCRATCH)",
            )
        commands.need("podman")

    def _state(self) -> state.State:
        found = state.load(self._paths.state)
        if found is None:
            raise errors.BoxError(f"the box in {self.directory} was never up", "call up first")
        return found

    def _remember(self) -> None:
        if state.load(self._paths.state) is None:
            fresh = state.State(
                registry_port=state.free_port(),
                netavark_was_here=traces.netavark_is_here(),
                netns_was_mounted=traces.netns_is_mounted(),
            )
            state.save(self._paths.state, fresh)

    def _configure(self) -> None:
        """Write the configuration for this machine as it is now."""
        facts = machine.look(self.directory)
        if machine.runc_is_needed(facts):
            commands.need("runc")
        config.install_wrapper(self._paths, facts)
        if not (self._paths.networks / f"{self._paths.name}.json").exists():
            # While a name is configured as the default, Podman refuses to create it.
            config.write(self._paths, facts, "", self.registry)
            self._podman(("network", "create", "--disable-dns", self._paths.name))
            network.rename_interface(self._paths)
        config.write(self._paths, facts, self._paths.name, self.registry)

    def _podman(self, args: tuple[str, ...], stdin: bytes | None = None) -> str:
        argv = [str(commands.need("podman")), *args]
        return commands.run(argv, os.environ | self.env, COMMAND_TIMEOUT_S, stdin)

    def _service_argv(self) -> tuple[str, ...]:
        podman = str(commands.need("podman"))
        return (podman, "system", "service", "--time=0", self.socket_url)

    def _registry_argv(self) -> tuple[str, ...]:
        program = str(commands.need("docker-registry", "registry"))
        return (program, "serve", str(self._paths.conf / "registry.yml"))

    def _ensure_base(self) -> None:
        try:
            self._podman(("image", "exists", image.BASE))
        except errors.CommandError as missing:
            if missing.returncode != 1:
                raise
            tar = image.base_tar(commands.need("busybox"))
            self._podman(("import", "-q", "-", image.BASE), stdin=tar)

    def remove_containers(self) -> None:
        """Remove every container; images, volumes and networks stay."""
        # Newest first, one after the other: Podman 4.3 refuses to remove one that others depend on, also with --all.
        for container in self._podman(("ps", "--all", "--quiet", "--no-trunc", "--sort=created")).split():
            self._podman(("rm", "--force", "--depend", "--ignore", "--time=0", container))

    def _remove_containers(self) -> None:
        self.remove_containers()
        self._podman(("pod", "rm", "--all", "--force", "--time=0"))
        self._podman(("network", "prune", "--force"))

    def _refuse_to_wipe_a_stranger(self, wipe: bool) -> None:
        if wipe and self.directory.exists():
            raise errors.BoxError(f"{self.directory} is not a box, so it is not removed", "check the path")


def _answers_ping(path: pathlib.Path) -> bool:
    """Say if a Podman service answers on the socket."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(READY_TIMEOUT_S)
        try:
            client.connect(str(path))
            client.sendall(b"GET /_ping HTTP/1.0\r\nHost: d\r\n\r\n")
            return b" 200 " in client.recv(100)
        except OSError:
            return False


def _answers_http(address: str) -> bool:
    """Say if a registry answers at "HOST:PORT"."""
    connection = http.client.HTTPConnection(address, timeout=READY_TIMEOUT_S)
    try:
        connection.request("GET", "/v2/")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
