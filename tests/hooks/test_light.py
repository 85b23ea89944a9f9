"""What the executables load: they start for every deployment, and each library that they load is waited for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import places

# Of our own, and of Python: what takes as long to load as a short script to run.
LIBRARIES = {"click", "keystoneauth1", "lxml", "os_apply_config", "os_collect_config", "podman", "psutil", "requests"}
LIBRARIES |= {"rich", "sqlalchemy", "urllib3", "websocket", "yaml"}
SLOW = {"dataclasses", "hashlib", "inspect", "logging", "msgspec", "oslo_config", "pathlib", "socket", "typing"}
SLOW |= {"urllib.parse"}


def loaded(name: str, stdin: str, **variables: str) -> set[str]:
    """What one of our executables has loaded when it ends; it must have ended well."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", places.BIN / name],
        input=stdin,
        capture_output=True,
        text=True,
        env={**os.environ, **variables},
        timeout=60,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    return {line.rpartition("|")[2].strip() for line in lines}


@pytest.mark.parametrize("script", ["#!/bin/sh\n", "#!/bin/sh\nexit 3\n", "", "#!/no/such/interpreter\n"])
def test_a_script_waits_for_nothing_that_it_does_not_need(tmp_path: Path, script: str) -> None:
    inputs = [{"name": "deploy_action", "value": "CREATE"}, {"name": "a", "value": {"b": [1]}}]
    document = {"id": "d1", "group": "script", "config": script, "inputs": inputs, "outputs": [{"name": "x"}]}
    variables = {"HEAT_SCRIPT_WORKING": str(tmp_path / "w"), "HEAT_SCRIPT_OUTPUTS": str(tmp_path / "o")}
    found = loaded("script", json.dumps(document), **variables)
    assert "overcloud_agent.scripts" in found
    assert not found & (LIBRARIES | SLOW)


@pytest.mark.parametrize("config", [{"web": {"image": 5}}, {"web": {"imagine": "x"}}, 7])
def test_what_cannot_be_understood_is_answered_without_podman(config: object) -> None:
    found = loaded("container-upgrade", json.dumps({"id": "d1", "group": "container-upgrade", "config": config}))
    assert "overcloud_agent.containers.hook" in found
    assert not found & LIBRARIES


def test_a_pass_over_what_has_run_loads_nothing_to_send_or_to_collect_with(tmp_path: Path) -> None:
    document = {"id": "d1", "group": "script", "config": "#!/bin/sh\nexit 1\n", "inputs": [], "outputs": []}
    kept = tmp_path / "deployed"
    kept.mkdir(mode=0o700)
    (kept / "d1.json").write_text(json.dumps(document))
    (tmp_path / "list").write_text(json.dumps([document]))
    variables = {
        "HEAT_SHELL_CONFIG": str(tmp_path / "list"),
        "HEAT_CONFIG_DEPLOYED": str(kept),
        "HEAT_CONFIG_DEPLOYED_OLD": str(tmp_path / "old"),
    }
    found = loaded("55-heat-config", "", **variables)
    assert "overcloud_agent.agent" in found
    assert not found & (LIBRARIES | {"msgspec", "overcloud_agent.collectors", "overcloud_agent.signals.sender"})
