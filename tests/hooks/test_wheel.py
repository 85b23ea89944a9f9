"""What is shipped: a wheel built from the tree, in an empty venv."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import places


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin directory of a venv that has the wheel and nothing of the checkout."""
    directory = tmp_path_factory.mktemp("wheel")
    tree = directory / "tree"
    # setuptools builds in place and takes along what an earlier build left there, so it gets a copy.
    shutil.copytree(
        places.ROOT, tree, ignore=shutil.ignore_patterns(".git", ".scratch", "build", "*.egg-info", "tests")
    )
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(directory), str(tree))
    (wheel,) = directory.glob("overcloud_agent-*.whl")
    run(sys.executable, "-m", "venv", str(directory / "venv"))
    run(str(directory / "venv" / "bin" / "pip"), "install", "--quiet", str(wheel))
    return directory / "venv" / "bin"


def run(*argv: str, stdin: str = "") -> str:
    # Nothing of the checkout may help: neither its path nor an environment.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    done = subprocess.run(argv, input=stdin, cwd="/", env=environment, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_command_starts(installed: Path) -> None:
    said = run(str(installed / "overcloud-agent"), "--help")
    assert all(verb in said for verb in ("run", "apply", "status", "validate"))
    assert run(str(installed / "overcloud-agent"), "--version").startswith("overcloud-agent, version 0.")


def test_each_hook_starts(installed: Path) -> None:
    hooks = [path.name for path in (places.ROOT / "hooks").iterdir() if not path.suffix]
    assert hooks
    for name in hooks:
        answer = json.loads(run(str(installed / name), stdin="not json"))
        assert answer["deploy_status_code"] == 2
        assert "stdin is not JSON" in answer["deploy_stderr"]


def test_the_descriptions_are_shipped(installed: Path) -> None:
    shipped = installed.parent / "share" / "overcloud-agent" / "hooks"
    for path in (places.ROOT / "hooks").glob("*.json"):
        assert (shipped / path.name).read_text() == path.read_text()


def test_the_resident_agent_has_all_that_it_needs(installed: Path, tmp_path: Path) -> None:
    config = tmp_path / "agent.conf"
    sources = tmp_path / "occ.conf"
    metadata = tmp_path / "metadata.json"
    metadata.write_text('{"deployments": []}')
    sources.write_text(f"[DEFAULT]\ncollectors = heat_local\n[heat_local]\npath = {metadata}\n")
    config.write_text(f"[DEFAULT]\nstate_dir = {tmp_path}/state\nos_collect_config_file = {sources}\n")
    run(str(installed / "overcloud-agent"), "--config-file", str(config), "apply")
    facts = json.loads(run(str(installed / "overcloud-agent"), "--config-file", str(config), "status", "--json"))
    assert [(source["name"], source["ok"]) for source in facts["sources"]] == [("heat_local", True)]
