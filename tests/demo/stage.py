"""What the story stands on: a registry, a Podman service, an undercloud, images and a node. All of it goes again."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from pathlib import Path

import images
import nodes
from demo import errors, show
from podmanbox import box, processes
from podmanbox import errors as box_errors
from undercloud import box as clouds
from undercloud import errors as cloud_errors

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SERVICES = ("identity", "api", "scheduler")
BROKEN = "api:3"
IMAGES = ("identity:1", "api:1", "scheduler:1", "api:2", BROKEN, "api:4")

# conmon and Podman's clean-up of a container outlive the container by a moment.
_GONE_WITHIN = 10.0


class Stage:
    """Everything that runs, in one directory."""

    def __init__(self, directory: Path, screen: show.Screen) -> None:
        self.directory = directory
        self.logs = directory / "logs"
        self.podman = box.PodmanBox(directory / "podman")
        self.cloud = clouds.Undercloud(directory / "undercloud")
        self.digests: dict[str, str] = {}
        self._screen = screen
        self._node: nodes.Node | None = None

    @property
    def node(self) -> nodes.Node:
        """The node, once the operator has registered it."""
        assert self._node
        return self._node

    @property
    def agent_log(self) -> Path:
        return self.directory / "node" / "agent.log"

    def image(self, name: str) -> str:
        """What a deployer writes to have the image `name`."""
        return f"{self.podman.registry}/{name}"

    def set_up(self) -> None:
        """Start registry, Podman service and undercloud, and build the images, side by side."""
        # First what may be impossible on this machine, and would tell at once.
        self.podman.up()
        with futures.ThreadPoolExecutor(2) as pool:
            for started in [pool.submit(self.cloud.up), pool.submit(self._stock)]:
                started.result()
        self._screen.grid(("image", "digest"), [(name, show.digits(digest)) for name, digest in self.digests.items()])

    def _stock(self) -> None:
        """Fill the registry with small real images."""
        print(f"Registry on {self.podman.registry}; building {len(IMAGES)} images.", file=sys.stderr, flush=True)
        for name in IMAGES:
            if name == BROKEN:
                self.digests[name] = images.build_broken(self.podman, name)
            else:
                self.digests[name] = images.build_service(self.podman, name, name.partition(":")[2])

    def start_agent(self, cfn: dict[str, str]) -> None:
        """Configure the node with what Heat says of it, and start its agent."""
        self._node = nodes.Node(self.directory / "node", metadata=cfn, podman_url=self.podman.socket_url)
        # The caller's proxies and Podman are not the demo's.
        self._node.env = {
            "CONTAINER_HOST": self.podman.socket_url,
            **{key: self.cloud.openrc[key] for key in ("no_proxy", "NO_PROXY")},
        }
        self.resume_agent()

    def resume_agent(self) -> None:
        """Start the agent of the configured node; returns when it is ready."""
        try:
            self.node.start()
        except TimeoutError:
            raise errors.DemoError("the agent did not become ready", f"its log is {self.agent_log}") from None

    def tear_down(self) -> list[str]:
        """Stop and remove everything but the logs; returns what could not be, in words for people."""
        problems = []
        steps: tuple[Callable[[], None], ...] = (
            self._stop_agent,
            self._save_logs,
            lambda: self.podman.down(wipe=True),
            self._wipe_cloud,
            lambda: shutil.rmtree(self.directory / "node", ignore_errors=True),
        )
        # Whatever is wrong with one must not keep the others running.
        for step in steps:
            try:
                step()
            except (OSError, box_errors.BoxError, cloud_errors.UndercloudError, subprocess.SubprocessError) as error:
                problems.append(str(error))
        return problems + [f"still running: {line}" for line in self._leftovers()]

    def _stop_agent(self) -> None:
        """Stop the agent, also one that a killed demo left."""
        config = str(self.directory / "node" / "overcloud-agent.conf")
        processes.stop(lambda argv: config in argv)

    def _wipe_cloud(self) -> None:
        if self.cloud.layout.state_file.exists():
            self.cloud.down(wipe=True)

    def _save_logs(self) -> None:
        for source in (self.podman.directory / "log", self.cloud.logs):
            if source.is_dir():
                shutil.copytree(source, self.logs / source.parent.name, dirs_exist_ok=True)
        if self.agent_log.exists():
            shutil.copy(self.agent_log, self.logs)

    def _leftovers(self) -> list[str]:
        """The programs whose command line has a path of the demo, after a moment of grace."""
        deadline = time.monotonic() + _GONE_WITHIN
        while True:
            lines = [f"{pid} {' '.join(processes.command_line(pid))}" for pid in processes.find(self._is_ours)]
            if not lines or time.monotonic() > deadline:
                return lines
            time.sleep(0.1)

    def _is_ours(self, argv: tuple[str, ...]) -> bool:
        # An onlooker's `tail -f` of a log is none of ours.
        program = Path(argv[0]).name if argv else ""
        ours = program in processes.PROGRAMS or program.startswith("python")
        return ours and any(f"{self.directory}{os.sep}" in argument for argument in argv)


@contextlib.contextmanager
def built(directory: Path, screen: show.Screen) -> Iterator[Stage]:
    """A stage in `directory`, set up; it is torn down whatever happens, and the logs stay in `directory`/logs."""
    with _exclusive(directory):
        stage = Stage(directory, screen)
        try:
            _clear(stage)
            screen.act("Setting up registry, Podman service and undercloud")
            stage.set_up()
            yield stage
        finally:
            ignore_signals()
            screen.act("Stopping everything")
            problems = stage.tear_down()
            for problem in problems:
                screen.failed(problem)
            if not problems:
                screen.passed("nothing is left running")
        if problems:
            raise errors.DemoError("not everything could be stopped", "see above")


def ignore_signals() -> None:
    """Let nothing interrupt the cleaning up."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    # A terminal sends Ctrl-C to all of its foreground group, and Podman's helpers would heed it.
    with contextlib.suppress(PermissionError):
        os.setpgid(0, 0)


def _clear(stage: Stage) -> None:
    """Remove what an earlier demo left that was killed."""
    shutil.rmtree(stage.logs, ignore_errors=True)
    stage.logs.mkdir(mode=0o700)
    problems = stage.tear_down()
    if problems:
        raise errors.DemoError(
            "an earlier demo left something that cannot be removed: " + "; ".join(problems),
            "stop these processes, or choose another directory with --scratch (make demo: SCRATCH)",
        )


@contextlib.contextmanager
def _exclusive(directory: Path) -> Iterator[None]:
    """Let one demo at a time work in `directory`."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = (directory / "lock").open("w")
    except OSError as error:
        raise errors.DemoError(f"cannot use {directory}: {error.strerror}", "choose another --scratch") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise errors.DemoError(f"another demo runs in {directory}", "wait for it, or choose --scratch") from None
        yield
