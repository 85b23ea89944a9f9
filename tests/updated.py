"""A node whose packages are updated: a library, a daemon that uses it, their units, hooks, and what all of them did."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

import places
from nodebox import box
from overcloud_agent import failpoints

REPOSITORY = "srv/update"
STATE = "var/lib/overcloud-agent"
HOOKS = "etc/overcloud-agent/hooks.d"
TRACE = "var/log/update-trace"
JOB = "srv/job.json"
CONFIG = "etc/overcloud-agent.conf"
DRIVER = str(places.ROOT / "tests/update_driver.py")
OWN_UNIT = "overcloud-agent.service"

# A daemon that says when it starts, and which versions of itself and of the library that was.
DAEMON = """#!/bin/sh
echo "{name} $(cat /usr/share/oca-lib/version)" >> /{trace}
[ -e /etc/{name}.broken ] && exit 1
systemd-notify --ready
[ -e /etc/{name}.flaky ] && exit 1
exec sleep infinity
"""
UNIT = """[Service]
Type=notify
NotifyAccess=all
ExecStart=/usr/sbin/{name}
Restart=always
RestartSec=100ms
[Install]
WantedBy=multi-user.target
"""
POSTINST = """#!/bin/sh
set -e
echo "configured {version}" >> /{trace}
while [ -e /etc/oca-slow ]; do sleep 0.1; done
[ ! -e /etc/oca-restarts ] || systemctl restart oca-one.service
[ ! -e /etc/oca-lib.broken ] || exit 1
"""
HOOK = """#!/bin/sh
echo "{said} ${{OVERCLOUD_AGENT_RESULT:-}}" >> /{trace}
test -r "$OVERCLOUD_AGENT_PLAN"
{more}
"""
# The driver in the agent's own unit.
AGENT = """[Service]
ExecStart={python} {driver} /{job}
Environment=PYTHONPATH={path}
Restart=on-failure
RestartSec=100ms
KillMode=process
TimeoutStopSec=60
"""


def build(directory: Path, name: str, version: str, files: Mapping[str, tuple[int, str]], postinst: str = "") -> Path:
    """Build a package; `files` are by path, with their modes."""
    made = directory / f"{name}_{version}_all.deb"
    control = (
        f"Package: {name}\nVersion: {version}\nArchitecture: all\nMaintainer: Nobody <n@example.com>\nDescription: x\n"
    )
    with tempfile.TemporaryDirectory() as scratch:
        tree = Path(scratch, "tree")
        scripts = {"DEBIAN/postinst": (0o755, postinst)} if postinst else {}
        for path, (mode, text) in {**files, **scripts, "DEBIAN/control": (0o644, control)}.items():
            file = tree / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
            file.chmod(mode)
        subprocess.run(
            ["dpkg-deb", "--root-owner-group", "-Znone", "--build", str(tree), str(made)],
            check=True,
            capture_output=True,
            timeout=60,
        )
    return made


def daemon(directory: Path, name: str, version: str) -> Path:
    files = {
        f"usr/sbin/{name}": (0o755, DAEMON.format(name=name, trace=TRACE)),
        f"usr/share/{name}/version": (0o644, version),
        f"lib/systemd/system/{name}.service": (0o644, UNIT.format(name=name)),
    }
    return build(directory, name, version, files)


def library(directory: Path, version: str) -> Path:
    postinst = POSTINST.format(version=version, trace=TRACE)
    return build(directory, "oca-lib", version, {"usr/share/oca-lib/version": (0o644, version)}, postinst)


def unit(name: str, action: str = "restart") -> dict[str, str]:
    return {"kind": "unit", "name": f"{name}.service", "action": action}


BOTH = [[unit("oca-one")], [unit("oca-two")]]


class Driver:
    """A driver that runs on the node. nsenter waits for it outside, and ends as it does."""

    def __init__(self, outside: subprocess.Popen[bytes]) -> None:
        self._outside = outside
        deadline = time.monotonic() + 30
        while not (children := psutil.Process(outside.pid).children()):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        self._inside = children[0]

    def wait(self, seconds: float) -> int:
        """Its exit code (negative: the signal)."""
        return self._outside.wait(seconds)

    def terminate(self) -> None:
        self._inside.terminate()

    def kill(self) -> None:
        with contextlib.suppress(psutil.NoSuchProcess):
            self._inside.kill()
        self._outside.wait(30)

    def await_off(self, node: box.NodeBox) -> None:
        """Wait until the node is off, which this driver has asked for."""
        deadline = time.monotonic() + 60
        while node.running():
            # A shutdown stops all processes before it ends them. nsenter stops with the one it waits for, which stays a
            # zombie that keeps the node up.
            self._outside.send_signal(signal.SIGCONT)
            assert time.monotonic() < deadline, "the node did not go down"
            time.sleep(0.1)


@dataclasses.dataclass
class World:
    """A node with version 1 of everything installed, and version 2 in its repository."""

    node: box.NodeBox

    def prepare(self, *, daemons: Sequence[str] = ("oca-one", "oca-two")) -> None:
        """Bring it to where an update begins, whatever an earlier test has left."""
        root = self.node.root
        self.node.run(["systemctl", "stop", OWN_UNIT], check=False)
        self.node.run(["systemctl", "stop", "overcloud-agent-transaction-*"], check=False)
        for path in (STATE, REPOSITORY, HOOKS, "srv/old", "var/cache/update"):
            shutil.rmtree(root / path, ignore_errors=True)
        for pattern in ("etc/oca-*", TRACE, "srv/job*", CONFIG, "etc/systemd/system/overcloud-agent.service"):
            for left in root.glob(pattern):
                left.unlink()
        for path in (STATE, REPOSITORY, "srv/old"):
            (root / path).mkdir(parents=True)
        for directory, version in ((REPOSITORY, "2"), ("srv/old", "1")):
            library(root / directory, version)
            for name in daemons:
                daemon(root / directory, name, version)
        debs = [f"/srv/old/{path.name}" for path in sorted((root / "srv/old").iterdir())]
        self.node.run(["dpkg", "--force-unsafe-io", "--configure", "--pending"], check=False)
        self.node.run(["dpkg", "--force-unsafe-io", "--force-downgrade", "--install", *debs])
        names = [f"{name}.service" for name in daemons]
        self.node.run(["systemctl", "daemon-reload"])
        self.node.run(["systemctl", "reset-failed"])
        self.node.run(["systemctl", "enable", "--quiet", *names])
        self.node.run(["systemctl", "restart", *names])
        self.hook("pre-update", "10-leave")
        self.hook("post-update", "10-join")
        (root / TRACE).write_text("")

    def hook(self, phase: str, name: str, more: str = "") -> None:
        path = self.node.root / HOOKS / f"{phase}.d" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(HOOK.format(said=phase, trace=TRACE, more=more))
        path.chmod(0o755)

    def ask(self, *, options: Mapping[str, object] | None = None, **job: Any) -> None:
        """Write down what is asked of the driver."""
        given = {
            "state_dir": f"/{STATE}",
            "update_hooks_dir": f"/{HOOKS}",
            "restart_stable_for": 0.5,
            **(options or {}),
        }
        lines = "".join(f"{key} = {value}\n" for key, value in given.items())
        (self.node.root / CONFIG).write_text(f"[DEFAULT]\n{lines}")
        asked = {"deployment": "one", "config": f"/{CONFIG}", "repository": f"/{REPOSITORY}", **job}
        asked["asked"] = {"identifier": "an id/1", **job.get("asked", {})}
        (self.node.root / JOB).write_text(json.dumps(asked))

    def run(self, *, die_at: str = "", timeout: float = 120) -> int:
        """Run the driver; returns its exit code (negative: the signal)."""
        env = {failpoints.VARIABLE: die_at, "INVOCATION_ID": ""}
        done = self.node.run([sys.executable, DRIVER, f"/{JOB}"], env=env, check=False, timeout_s=timeout)
        self.said = done.stderr
        assert done.returncode in (0, 130, -signal.SIGKILL), done.stderr
        return done.returncode

    @contextlib.contextmanager
    def running(self) -> Iterator[Driver]:
        """The driver, while it runs; it is killed after that."""
        argv = [*self.node._enter(), sys.executable, DRIVER, f"/{JOB}"]
        env = {"PATH": box.PATH, "PYTHONPATH": str(places.ROOT / "agent")}
        process = subprocess.Popen(argv, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        driver = Driver(process)
        try:
            yield driver
        finally:
            driver.kill()

    def run_as_unit(self, *, die_at: str = "") -> None:
        """Have systemd run the driver under the agent's own unit."""
        text = AGENT.format(python=sys.executable, driver=DRIVER, job=JOB, path=places.ROOT / "agent")
        if die_at:
            text += f"Environment={failpoints.VARIABLE}={die_at}\n"
        (self.node.root / "etc/systemd/system" / OWN_UNIT).write_text(text)
        self.node.run(["systemctl", "daemon-reload"])
        self.node.run(["systemctl", "start", OWN_UNIT])

    @property
    def answers(self) -> list[dict[str, Any]]:
        path = (self.node.root / JOB).with_suffix(".answers")
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def await_answer(self, within: float = 60.0) -> dict[str, Any]:
        deadline = time.monotonic() + within
        while not self.answers:
            assert time.monotonic() < deadline, self.node.journal(f"--unit={OWN_UNIT}")[-3000:]
            time.sleep(0.1)
        return self.answers[0]

    @property
    def trace(self) -> list[str]:
        return [line.strip() for line in (self.node.root / TRACE).read_text().splitlines()]

    def count(self) -> dict[str, int]:
        return dict(collections.Counter(self.trace))

    def versions(self) -> set[str]:
        shown = self.node.run(["dpkg-query", "--show", "--showformat=${db:Status-Abbrev}${Version}\n", "oca-*"]).stdout
        return {line.replace(" ", "") for line in shown.splitlines()}

    def audit(self) -> str:
        return self.node.run(["dpkg", "--audit"]).stdout

    def transactions(self) -> int:
        """How many were begun."""
        path = self.node.root / STATE / "packages/transaction.log"
        return sum(line.startswith("====") for line in path.read_text().splitlines()) if path.exists() else 0

    def await_trace(self, line: str, within: float = 60.0) -> None:
        deadline = time.monotonic() + within
        while line not in self.trace:
            assert time.monotonic() < deadline, self.trace
            time.sleep(0.05)
