"""The test suite of heat-agents, unmodified, run against the originals and against ours in their places."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

import places
from reference import install

# Where heat-agents has it; our executable; how many of the suite's tests run it (and fail when it does nothing).
REPLACED = [
    ("heat-config/os-refresh-config/configure.d/55-heat-config", "55-heat-config", 1),
    ("heat-config-script/install.d/hook-script.py", "script", 2),
]

SUITE = Path(__file__).resolve().parent / "suite.py"


@dataclasses.dataclass(frozen=True)
class Outcome:
    passed: frozenset[str]
    skipped: frozenset[str]
    failed: frozenset[str]
    closing: str
    text: str


@pytest.fixture(scope="module")
def reference() -> install.Reference:
    return install.install()


@pytest.fixture(scope="module")
def originals(reference: install.Reference, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    return run_suite(reference, tmp_path_factory.mktemp("originals"), {})


def run_suite(reference: install.Reference, directory: Path, links: Mapping[str, Path]) -> Outcome:
    """Run the suite in a fresh copy, in which each path of `links` is a link."""
    tree = install.unpack(reference, directory)
    for place, target in links.items():
        original = tree / place
        assert original.is_file() and not original.is_symlink(), place
        original.unlink()
        original.symlink_to(target)
    result = directory / "result.json"
    environment = {**os.environ, "PATH": f"{reference.bin}:{os.environ['PATH']}"}
    # The suite imports its own modules and nothing of ours.
    environment.pop("PYTHONPATH", None)
    argv = [str(reference.python), str(SUITE), str(result)]
    done = subprocess.run(argv, cwd=tree, env=environment, capture_output=True, text=True, timeout=300)
    assert result.exists(), done.stderr
    found = {kind: frozenset(names) for kind, names in json.loads(result.read_text()).items()}
    ran = re.findall(r"^Ran \d+ tests", done.stderr, re.MULTILINE)[-1]
    return Outcome(closing=f"{ran}: {done.stderr.splitlines()[-1]}", text=done.stderr, **found)


def test_the_suite_passes_with_the_originals(originals: Outcome, capsys: pytest.CaptureFixture[str]) -> None:
    tell(capsys, f"heat-agents' suite with the originals: {originals.closing}")
    assert (len(originals.passed), len(originals.skipped), originals.failed) == (54, 3, frozenset()), originals.text


def test_the_suite_runs_what_is_replaced(originals: Outcome, reference: install.Reference, tmp_path: Path) -> None:
    """Otherwise it would say nothing about ours."""
    outcome = run_suite(reference, tmp_path, {place: Path("/bin/false") for place, _, _ in REPLACED})
    assert len(originals.passed - outcome.passed) == sum(count for _, _, count in REPLACED), outcome.failed


def test_what_passes_with_the_originals_passes_with_ours(
    originals: Outcome, reference: install.Reference, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    links = {place: places.BIN / ours for place, ours, _ in REPLACED}
    missing = [str(path) for path in links.values() if not os.access(path, os.X_OK)]
    assert not missing, "not installed"
    outcome = run_suite(reference, tmp_path, links)
    tell(capsys, f"heat-agents' suite with ours in place: {outcome.closing}")
    assert originals.passed <= outcome.passed, outcome.text


def tell(capsys: pytest.CaptureFixture[str], line: str) -> None:
    """Say it also when the test passes."""
    with capsys.disabled():
        print(f"\n{line}")
