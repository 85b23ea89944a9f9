"""A node for tests and demo: the real executables, with configuration, state and hooks in a directory of their own."""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import places


class Node:
    """One node in `directory`. `metadata` is the section of `collector` that tells where its metadata comes from."""

    def __init__(
        self,
        directory: Path,
        *,
        metadata: Mapping[str, str],
        collector: str = "cfn",
        podman_url: str = "unix:///nonexistent/podman.sock",
        polling_interval: float = 1.0,
    ) -> None:
        self.directory = directory
        self.hooks = directory / "hooks"
        self.state = directory / "state"
        self.log = directory / "agent.log"
        self.config = directory / "overcloud-agent.conf"
        self.sources = directory / "os-collect-config.conf"
        self.deployed = directory / "deployed"
        self.cache = directory / "cache"
        self.templates = directory / "templates"
        self.root = directory / "root"
        self.env = {
            "HEAT_SCRIPT_WORKING": str(directory / "scripts"),
            "HEAT_SCRIPT_OUTPUTS": str(directory / "outputs"),
        }
        self.process: subprocess.Popen[bytes] | None = None
        self._notify: socket.socket | None = None
        self.hooks.mkdir(parents=True, exist_ok=True)
        self.podman_url = podman_url
        self.configure()
        self.collect({collector: metadata}, polling_interval=polling_interval)

    def collect(self, sections: Mapping[str, Mapping[str, object]], **options: object) -> None:
        """Write os-collect-config's file: the collectors are those of the sections, in their order."""
        given = {"min_polling_interval": 0.2, "polling_interval": 1.0, "cachedir": self.cache, **options}
        lines = ["[DEFAULT]", *(f"collectors = {name}" for name in sections)]
        lines += [f"{key} = {value}" for key, value in given.items()]
        for name, section in sections.items():
            lines += [f"[{name}]", *(f"{key} = {value}" for key, value in section.items() if value is not None)]
        self.sources.touch(mode=0o600)
        self.sources.write_text("\n".join(lines) + "\n")

    def configure(self, **options: object) -> None:
        """Write the agent's own configuration."""
        given = {
            "state_dir": self.state,
            "hooks_dirs": self.hooks,
            "os_collect_config_file": self.sources,
            "deployed_dir": self.deployed,
            "templates_dir": self.templates,
            "templates_output_dir": self.root,
            "signal_retry_max": 2,
            "podman_url": self.podman_url,
            **options,
        }
        self.config.write_text("\n".join(["[DEFAULT]", *(f"{key} = {value}" for key, value in given.items())]) + "\n")

    def hook(self, name: str, body: str, mode: int = 0o755) -> Path:
        """Install a hook: a shell script."""
        path = self.hooks / name
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(mode)
        return path

    def command(self, *verb: str) -> list[str]:
        return [str(places.BIN / "overcloud-agent"), "--config-file", str(self.config), *verb]

    def run(self, *verb: str, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """Run a verb to its end."""
        environment = {**os.environ, **self.env, **(env or {})}
        return subprocess.run(self.command(*verb), env=environment, capture_output=True, text=True, timeout=120)

    def start(self, *, env: Mapping[str, str] | None = None) -> None:
        """Start the resident agent and return when it says that it is ready."""
        address = self.directory / "notify"
        address.unlink(missing_ok=True)
        self._notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notify.bind(str(address))
        self._notify.settimeout(30)
        environment = {**os.environ, **self.env, **(env or {}), "NOTIFY_SOCKET": str(address)}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command("run"), env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        # An agent that is told to die at a fail point may do so before it is ready.
        if not environment.get("OVERCLOUD_AGENT_FAIL_POINT"):
            self.await_notice("READY=1")

    def await_notice(self, notice: str) -> None:
        """Wait until the agent told systemd `notice`."""
        assert self._notify
        while notice not in self._notify.recv(4096).decode().splitlines():
            pass

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and wait for the end; returns the exit status (negative: the signal)."""
        assert self.process
        self.process.send_signal(number)
        return self.wait()

    def wait(self, within: float = 60.0) -> int:
        assert self.process
        status = self.process.wait(within)
        self.process = None
        if self._notify:
            self._notify.close()
            self._notify = None
        return status

    def close(self) -> None:
        if self.process:
            self.stop(signal.SIGKILL)

    def status(self) -> dict[str, Any]:
        answer = self.run("status", "--json")
        assert answer.returncode == 0, answer.stderr
        return dict(json.loads(answer.stdout))

    def deployment(self, key: str) -> dict[str, Any]:
        """What `status` says of one deployment."""
        return next(dict(row) for row in self.status()["deployments"] if row["id"] == key)

    def await_file(self, path: Path, within: float = 20.0) -> None:
        """Wait until a hook has made `path`."""
        self.await_that(path.exists, within, f"{path} never came")

    def await_log(self, words: str, within: float = 30.0) -> None:
        """Wait until the agent's log has `words`."""
        self.await_that(lambda: words in self.log.read_text(), within, f"{words!r} is not in the log")

    def await_step(self, step: str, deployment: str, within: float = 30.0) -> None:
        """Wait until a step of a deployment has begun."""

        def begun() -> bool:
            rows = self.status()["steps"]
            return (deployment, step) in [(row["deployment"], row["step"]) for row in rows]

        self.await_that(begun, within, f"{deployment} never came to {step!r}")

    def await_that(self, there: Callable[[], bool], within: float, complaint: str) -> None:
        """Wait until `there` says yes; `complaint` is what is told if it never does."""
        deadline = time.monotonic() + within
        while not there():
            if time.monotonic() > deadline:
                raise AssertionError(f"{complaint}; the log ends: {self.log.read_text()[-2000:]}")
            time.sleep(0.05)

    def await_state(self, key: str, state: str, within: float = 30.0) -> dict[str, Any]:
        """Ask until the journal has the deployment in `state`."""
        found: list[dict[str, Any]] = []

        def there() -> bool:
            found[:] = [row for row in self.status()["deployments"] if row["id"] == key and row["state"] == state]
            return bool(found)

        self.await_that(there, within, f"{key} is not {state}")
        return found[0]


def cfn_section(url: str) -> dict[str, str]:
    """A [cfn] section for a heatlike.HeatLike."""
    return {
        "metadata_url": f"{url}/v1/",
        "access_key_id": "key",
        "secret_access_key": "secret",
        "stack_name": "stack",
        "path": "server.Metadata",
    }


def quoted(document: object) -> str:
    """A JSON document as one word for a hook's shell."""
    return shlex.quote(json.dumps(document))


def is_running(pid: int) -> bool:
    """Whether a process runs; one that has ended and waits to be reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
