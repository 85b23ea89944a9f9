"""What surrounds 55-heat-config on a node: its list, its hooks and its files, in a directory of their own."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import places

OURS = places.BIN / "55-heat-config"
NOTIFY = places.BIN / "heat-config-notify"


class HeatConfig:
    """One installation in `directory`. `program` is 55-heat-config, ours unless another is named."""

    def __init__(self, directory: Path, program: Path = OURS) -> None:
        self.directory = directory
        self.program = program
        self.hooks = directory / "hooks"
        self.list = directory / "heat-config"
        self.deployed = directory / "deployed"
        self.old = directory / "old"
        self.config = directory / "heat-config.conf"
        self.ran = directory / "ran"
        self.hooks.mkdir(parents=True, exist_ok=True)
        self._options: dict[str, object] = {
            "os_collect_config_file": directory / "os-collect-config.conf",
            "signal_timeout": 5,
            "signal_retry_max": 1,
        }
        self.configure(deliver_within=20)
        self.env = {
            "HEAT_CONFIG_HOOKS": str(self.hooks),
            "HEAT_SHELL_CONFIG": str(self.list),
            "HEAT_CONFIG_DEPLOYED": str(self.deployed),
            "HEAT_CONFIG_DEPLOYED_OLD": str(self.old),
            "HEAT_SCRIPT_WORKING": str(directory / "scripts"),
            "HEAT_SCRIPT_OUTPUTS": str(directory / "outputs"),
            "OVERCLOUD_AGENT_CONFIG": str(self.config),
        }

    def configure(self, **options: object) -> None:
        """Write the agent's own configuration: these options, and those that were given before."""
        self._options.update(options)
        lines = ["[DEFAULT]", *(f"{key} = {value}" for key, value in self._options.items())]
        self.config.write_text("\n".join(lines) + "\n")

    def expect(self, status: int) -> None:
        """Have it wait for Heat only as long as it takes to see that."""
        self.configure(deliver_within=1 if status == 75 else 20)

    def hook(self, name: str, body: str = "", *, answer: object = None, mode: int = 0o755) -> Path:
        """Install a hook: it notes in the file `ran` which deployment it is for, does `body`, and answers."""
        path = self.hooks / name
        note = f"""key=$(sed -n 's/.*"id": "\\([^"]*\\)".*/\\1/p'); echo $key >> {self.ran}"""
        said = json.dumps({"deploy_status_code": 0} if answer is None else answer)
        path.write_text(f"#!/bin/sh\n{note}\n{body}\ncat <<'END'\n{said}\nEND\n")
        path.chmod(mode)
        return path

    def runs(self) -> list[str]:
        """The ids that hooks ran for, in order."""
        return self.ran.read_text().split() if self.ran.exists() else []

    def write(self, *documents: object) -> None:
        self.list.write_text(json.dumps(list(documents)))

    def start(self, argv: Sequence[str | Path] = (), **env: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [str(part) for part in argv or [self.program]],
            env={**os.environ, **self.env, **env},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, argv: Sequence[str | Path] = (), stdin: str = "", **env: str) -> subprocess.CompletedProcess[str]:
        process = self.start(argv, **env)
        try:
            stdout, stderr = process.communicate(stdin, timeout=60)
        finally:
            process.kill()
        return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)

    def apply(self, *documents: object, status: int = 0, **env: str) -> str:
        """Run it over a list of the documents; returns what it told on stderr."""
        self.write(*documents)
        self.expect(status)
        done = self.run(**env)
        assert done.returncode == status, done.stderr
        return done.stderr

    def document(self, key: str) -> Any:
        return json.loads((self.deployed / f"{key}.json").read_text())

    def result(self, key: str) -> Any:
        return json.loads((self.deployed / f"{key}.notify.json").read_text())


def await_file(path: Path, within: float = 20.0) -> None:
    deadline = time.monotonic() + within
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} never came"
        time.sleep(0.02)
