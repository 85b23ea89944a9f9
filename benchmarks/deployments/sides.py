"""The two sides of the comparison. Each puts its programs and its configuration into a node, and starts its daemon.

Both read the same /etc/os-collect-config.conf, with the same intervals, and use the same default paths.
"""

from __future__ import annotations

import dataclasses
import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol

import places
from reference import node as nodes

STATE = "/var/lib/overcloud-agent"
HEAT_CONFIG = "/var/run/heat-config/heat-config"

# All else is default, and the defaults are paths of the node.
OUR_OPTIONS: Mapping[str, object] = {"state_dir": STATE, "hooks_dirs": nodes.HOOKS}


class Side(Protocol):
    """How to make a node of one side."""

    name: ClassVar[str]

    def prepare(self, node: nodes.ReferenceNode, occ: Mapping[str, Any]) -> None:
        """Write the node's configuration from Heat's `os_collect_config`."""

    def start(self, node: nodes.ReferenceNode, wrapper: Sequence[str] = ()) -> int:
        """Start the daemon, behind the command `wrapper` if there is one; returns the process id of the first."""

    def learn(self, node: nodes.ReferenceNode, known: int) -> None:
        """Have the node take in the `known` deployments of its metadata, and end the daemon that did it, if any."""

    def settle(self, node: nodes.ReferenceNode, known: int) -> None:
        """Return when the running daemon has nothing left to tell about them."""

    def heat_config(self) -> list[str]:
        """The command that is this side's 55-heat-config; empty when it is not installed."""


@dataclasses.dataclass(frozen=True)
class Reference:
    """os-collect-config, os-refresh-config, os-apply-config, and heat-agents."""

    name: ClassVar[str] = "reference"

    def prepare(self, node: nodes.ReferenceNode, occ: Mapping[str, Any]) -> None:
        node.configure(occ)

    def start(self, node: nodes.ReferenceNode, wrapper: Sequence[str] = ()) -> int:
        return node.start([*wrapper, "os-collect-config"])

    def learn(self, node: nodes.ReferenceNode, known: int) -> None:
        del known
        node.check_run(["os-collect-config", "--one-time"])

    def settle(self, node: nodes.ReferenceNode, known: int) -> None:
        """Nothing: it keeps no account of its signals."""

    def heat_config(self) -> list[str]:
        return [f"{nodes.CONFIGURE_D}/55-heat-config"]


@dataclasses.dataclass(frozen=True)
class Ours:
    """The resident agent, with its own script hook where there is one, else with the reference's."""

    name: ClassVar[str] = "ours"

    def prepare(self, node: nodes.ReferenceNode, occ: Mapping[str, Any]) -> None:
        node.configure(occ)
        lines = ["[DEFAULT]", *(f"{key} = {value}" for key, value in OUR_OPTIONS.items())]
        node.path("/etc/overcloud-agent.conf").write_text("\n".join(lines) + "\n")
        if (places.BIN / "script").exists():
            node.link(f"{nodes.HOOKS}/script", places.BIN / "script")

    def start(self, node: nodes.ReferenceNode, wrapper: Sequence[str] = ()) -> int:
        return node.start([*wrapper, *self._agent("run")])

    def learn(self, node: nodes.ReferenceNode, known: int) -> None:
        self.start(node)
        self._await_states(node, known, "finished", "signalled")
        node.stop()

    def settle(self, node: nodes.ReferenceNode, known: int) -> None:
        self._await_states(node, known, "signalled")

    def heat_config(self) -> list[str]:
        executable = places.BIN / "55-heat-config"
        return [str(executable)] if os.access(executable, os.X_OK) else []

    def _await_states(self, node: nodes.ReferenceNode, known: int, *states: str) -> None:
        deadline = time.monotonic() + 1800
        while True:
            rows = json.loads(node.check_run(self._agent("status", "--json")))["deployments"]
            if sum(row["state"] in states for row in rows) >= known:
                return
            assert time.monotonic() < deadline, f"the agent does not get done with {known} deployments; see {node.log}"
            # Each question reads the whole journal.
            time.sleep(1)

    def _agent(self, *verb: str) -> list[str]:
        return [str(places.BIN / "overcloud-agent"), *verb]


SIDES: tuple[Side, ...] = (Reference(), Ours())


def keep_as_deployed(node: nodes.ReferenceNode, entries: Sequence[Mapping[str, Any]]) -> None:
    """Make the node one that has run these deployments: what the reference stack keeps of each."""
    directory = node.path(nodes.DEPLOYED)
    directory.mkdir(parents=True, exist_ok=True)
    directory.chmod(0o700)
    answer = json.dumps({"deploy_stdout": "", "deploy_stderr": "", "deploy_status_code": 0}, indent=2)
    for entry in entries:
        _keep(directory / f"{entry['id']}.json", json.dumps(entry, indent=2))
        _keep(directory / f"{entry['id']}.notify.json", answer)


def _keep(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text)
