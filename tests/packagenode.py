"""A node with systemd and the sample services in version 1, and a repository for version 2."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import debs
import debsamples
import places
from nodebox import base
from nodebox import box as nodeboxes

CONFIG = "/etc/overcloud-agent/overcloud-agent.conf"
SERVICES = ("alpha-daemon", "beta-daemon", "solo-daemon", "nova-sample")
AGENT = "overcloud-agent.service"

# Where the node has its state.
STATE = "/var/lib/overcloud-agent"


class PackageNode:
    """`box` is the node; its only repository is `repository`, in which all samples are in version 1."""

    def __init__(self, directory: Path, *, more: Sequence[str] = ()) -> None:
        self.box = nodeboxes.NodeBox(directory, packages=(*base.PACKAGES, *more))
        self._scratch = directory.with_name(f"{directory.name}-debs")
        self.repository: debs.Repository

    def up(self) -> None:
        """Boot it, and install version 1 of everything."""
        self.box.up()
        root = self.box.root
        for path in (root / "etc/apt/sources.list", *(root / "etc/apt/sources.list.d").iterdir()):
            path.unlink(missing_ok=True)
        signer = debs.key(self._scratch / "gnupg")
        first = debsamples.build(self._scratch / "1", 1)
        self.repository = debs.repository(root / "srv/packages", first.values(), signed_by=signer, root=root)
        self.repository.install(root)
        self.box.run(["apt-get", "-qq", "update"])
        self.box.run(["apt-get", "-qq", "-y", "install", *first], env={"DEBIAN_FRONTEND": "noninteractive"})
        self.configure()

    def down(self) -> None:
        """Switch it off, and remove it and its packages."""
        self.box.down(wipe=True)
        shutil.rmtree(self._scratch, ignore_errors=True)

    def configure(self, **options: object) -> None:
        """The agent's options."""
        given = {"restart_stable_for": 1, "package_lock_wait": 20, **options}
        lines = "".join(f"{name} = {value}\n" for name, value in given.items())
        path = self.box.root / CONFIG.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"[DEFAULT]\n{lines}")

    def publish(self, *names: str, number: int = 2) -> None:
        """Have the repository offer that version of these samples, or of all."""
        made = debsamples.build(self._scratch / str(number), number)
        self.repository.publish(*(path for name, path in made.items() if not names or name in names))

    def install_slow(self) -> None:
        """Install version 1 of a package whose version 2, which is offered then, takes long to be configured."""
        name = "slow-sample"
        self.repository.publish(debs.build(self._scratch / "slow", name, "1"))
        self.box.run(["apt-get", "-qq", "update"])
        self.box.run(["apt-get", "-qq", "-y", "install", name])
        script = "#!/bin/sh\necho begun >> /root/slow\nsleep 5\n"
        self.repository.publish(debs.build(self._scratch / "slow", name, "2", scripts={"postinst": script}))

    def slow_began(self) -> int:
        """How often that was begun."""
        path = self.box.root / "root/slow"
        return len(path.read_text().splitlines()) if path.exists() else 0

    def agent(self, *words: str, check: bool = True) -> str:
        """Run the agent's command line on the node; returns its standard output."""
        return self.box.run([sys.executable, "-m", "overcloud_agent", *words], check=check, timeout_s=300).stdout

    def hook(self, key: str, **inputs: object) -> dict[str, Any]:
        """What the hook executable answers to a deployment with these inputs."""
        document = {"id": key, "name": key, "group": "package-update", "config": "", "inputs": as_inputs(inputs)}
        asked = self.box.root / "root/deployment.json"
        asked.write_text(json.dumps(document))
        hook = places.ROOT / "hooks" / "package-update"
        command = f"exec {sys.executable} {hook} < /root/deployment.json"
        done = self.box.run(["/bin/sh", "-c", command], timeout_s=300)
        return dict(json.loads(done.stdout))

    def start_agent(self, source: str) -> None:
        """Run the agent as a unit, with os-collect-config's file `source`."""
        path = self.box.root / "etc/os-collect-config.conf"
        path.write_text(source)
        path.chmod(0o600)
        unit = self.box.root / "etc/systemd/system" / AGENT
        unit.write_text(
            "[Service]\nType=notify\nKillMode=mixed\nRestart=always\nRestartSec=0\n"
            f"Environment=PYTHONPATH={places.ROOT / 'agent'}\n"
            f"ExecStart={sys.executable} -m overcloud_agent run\n"
        )
        self.box.run(["systemctl", "daemon-reload"])
        self.box.run(["systemctl", "start", AGENT])

    def installed(self, package: str) -> str:
        """The version of a package; empty when it is not installed."""
        done = self.box.run(["dpkg-query", "-W", "-f", "${db:Status-Status} ${Version}", package], check=False)
        state, _, version = done.stdout.partition(" ")
        return version if state == "installed" else ""

    def main_pid(self, service: str) -> str:
        """The process of a service; `0` when there is none."""
        shown = self.box.run(["systemctl", "show", "--property=MainPID", "--value", f"{service}.service"])
        return shown.stdout.strip()

    def main_pids(self) -> dict[str, str]:
        """Of all samples' services."""
        return {name: self.main_pid(name) for name in SERVICES}

    def said(self, service: str) -> list[str]:
        """What a service printed at each of its starts: its name and version."""
        lines = self.box.journal(f"--unit={service}.service", "--output=cat").splitlines()
        return [line for line in lines if "Start" not in line and "systemd" not in line]


def as_inputs(values: dict[str, object]) -> list[dict[str, object]]:
    """Inputs of a deployment as a node gets them."""
    return [{"name": name, "type": "String", "value": value} for name, value in values.items()]
