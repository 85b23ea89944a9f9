"""A node that is upgraded to and fro, and what an upgrade does that leaves traces: drains, migrations, one-shots."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import heatlike
import nodes
import places
from overcloud_agent import failpoints
from podmanbox import box

# It passes in each that serves but those that were made to fail it; the way back asks the old one for the same.
GATE = ["/bin/sh", "-c", 'test -s /etc/service-version && test -z "$SPOILT"']

SERVICE, JOB = "web", "job"

# What an upgrade comes to: the service's new version, or one of the ways not to get there.
GOOD, BROKEN, GATE_FAILS, MIGRATION_FAILS = "good", "broken image", "gate fails", "migration fails"
KINDS = (GOOD, BROKEN, GATE_FAILS, MIGRATION_FAILS)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Asked:
    """One deployment, and what there was before it."""

    key: str
    document: dict[str, Any]
    container: str
    kind: str
    keep: int
    before: str
    """The id of the container that it is to replace; empty when there is none."""
    kept_before: int
    serves: bool
    """Whether what there was before runs, so that it has to be drained and stopped."""
    removed: bool = False
    """A one-shot that is not there any more once it has ended."""

    @property
    def good(self) -> bool:
        return self.kind == GOOD


class Scene:
    """The node, its Heat and its Podman; deployments follow each other, each with a key of its own."""

    def __init__(self, node: nodes.Node, heat: heatlike.HeatLike, podman: box.PodmanBox) -> None:
        self.node = node
        self.heat = heat
        self.podman = podman
        self.traces = node.directory / "traces"
        self.traces.mkdir()
        self._drain = node.directory / "drain"
        self._drain.write_text(f"#!/bin/sh\ncat > /dev/null\necho drained >> {self.traces}/local\n")
        self._drain.chmod(0o755)
        self._count = 0
        self.last_start = 0.0
        """When the process was started that was not killed, in seconds since the epoch."""

    def ask(self, kind: str = GOOD, *, container: str = SERVICE, removed: bool = False) -> Asked:
        """The next deployment, which is not served yet: from version 1 to 2, or from 2 to 1."""
        self._count += 1
        key = f"d{self._count}"
        keep = self._count % 2
        before = self.inspect(container)
        config = self._service(key, kind, keep, before) if container == SERVICE else self._job(key, before, removed)
        inputs = [{"name": "bootstrap", "value": "true"}, {"name": "migrate_identifier", "value": key}]
        document = self.heat.deployment(key, "container-upgrade", {container: config}, inputs=inputs)
        return Asked(
            key=key,
            document=document,
            container=container,
            kind=kind,
            keep=keep if container == SERVICE else 0,
            before=before["Id"] if before else "",
            kept_before=len(self.kept(container)),
            serves=bool(before and before["State"]["Running"]),
            removed=removed,
        )

    def _image(self, before: dict[str, Any] | None) -> str:
        runs = json.loads(before["Config"]["Labels"]["config_data"])["image"] if before else ""
        return f"{self.podman.registry}/service:{'2' if runs.endswith(':1') else '1'}"

    def _service(self, key: str, kind: str, keep: int, before: dict[str, Any] | None) -> dict[str, Any]:
        # It moves the database a little while, and sometimes fails in the end.
        last = "exit 1" if kind == MIGRATION_FAILS else "exit 0"
        moves = f"echo {key} >> /traces/migrated; sleep 0.2; {last}"
        gate = {"stable_for": 0.3, "exec": GATE, "within": 0.5 if kind == GATE_FAILS else 30}
        return {
            "image": f"{self.podman.registry}/service:broken" if kind == BROKEN else self._image(before),
            "net": "host",
            "environment": {"SPOILT": "yes"} if kind == GATE_FAILS else {},
            "volumes": [f"{self.traces}:/traces"],
            "upgrade": {
                "drain": [["/bin/sh", "-c", "echo drained >> /traces/exec"], {"hook": [str(self._drain)]}],
                "migrate": [["/bin/sh", "-c", moves]],
                "gate": gate,
                "keep": keep,
            },
        }

    def _job(self, key: str, before: dict[str, Any] | None, removed: bool) -> dict[str, Any]:
        return {
            "image": self._image(before),
            "net": "host",
            "detach": False,
            "remove": removed,
            "volumes": [f"{self.traces}:/traces"],
            "command": ["/bin/sh", "-c", "echo ran >> /traces/ran; sleep 0.2"],
            "environment": {"DEPLOYMENT": key},
        }

    def trace(self, name: str) -> list[str]:
        """What was done under that name since the scene was last cleared."""
        path = self.traces / name
        return path.read_text().split() if path.exists() else []

    def clear_traces(self) -> None:
        for path in self.traces.iterdir():
            path.unlink()

    def settle(self, container: str = SERVICE) -> None:
        """Have version 1 of the service, or of the one-shot, alone."""
        self.podman.remove_containers()
        asked = self.ask(container=container)
        self.heat.serve(asked.document)
        applied = self.node.run("apply")
        assert applied.returncode == 0, applied.stderr

    def die_at(self, point: str) -> None:
        """Start the agent and have it killed at a fail point."""
        self.node.start(env={failpoints.VARIABLE: point})
        assert self.node.wait() == -signal.SIGKILL, f"{point} was never reached: {self.node.log.read_text()[-3000:]}"

    def die_within(self, seconds: float) -> None:
        """Start the agent and kill it after so long, whatever it does then."""
        self.node.start(env={failpoints.VARIABLE: "none"})
        time.sleep(seconds)
        self.node.stop(signal.SIGKILL)

    def end(self, asked: Asked) -> list[Any]:
        """Start the agent for good; returns the bodies of all signals that came, once it has nothing to do any more."""
        self.last_start = time.time()
        self.node.start()
        self.heat.signal(asked.key, within=60)
        self.node.await_state(asked.key, "signalled")
        self.node.stop()
        return [body for path, body in self.heat.signals if path == f"/v1/signal/{asked.key}"]

    def hook(self, asked: Asked, *, die_at: str = "") -> dict[str, Any]:
        """Let the executable do the deployment, with the agent's own journal; returns what it answers."""
        self.last_start = time.time()
        env = {**os.environ, "OVERCLOUD_AGENT_CONFIG": str(self.node.config), failpoints.VARIABLE: die_at}
        done = subprocess.run(
            [places.BIN / "container-upgrade"],
            input=json.dumps(asked.document),
            env=env,
            capture_output=True,
            text=True,
            timeout=120,
        )
        if die_at:
            assert done.returncode == -signal.SIGKILL, f"{die_at} was never reached: {done.stderr}"
            return {}
        assert done.returncode == 0, done.stderr
        return dict(json.loads(done.stdout))

    def containers(self) -> list[str]:
        """The names of all containers."""
        return self.podman.podman("ps", "--all", "--format", "{{.Names}}").split()

    def kept(self, container: str) -> list[str]:
        return [name for name in self.containers() if name.startswith(f"{container}.kept-")]

    def inspect(self, container: str) -> dict[str, Any] | None:
        """What Podman says of a container."""
        if container not in self.containers():
            return None
        return dict(json.loads(self.podman.podman("inspect", "--type", "container", container))[0])

    def passes_its_gate(self) -> bool:
        try:
            self.podman.podman("exec", SERVICE, *GATE)
        except Exception:
            return False
        return True


def made(directory: Path, heat: heatlike.HeatLike, podman: box.PodmanBox) -> Scene:
    """A scene in `directory`, which has to be empty."""
    directory.mkdir(parents=True, exist_ok=True)
    node = nodes.Node(directory, metadata=nodes.cfn_section(heat.url), podman_url=podman.socket_url)
    return Scene(node, heat, podman)
