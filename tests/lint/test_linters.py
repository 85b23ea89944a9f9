"""The linters, as tests: a finding is a failure like any other."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

import places


def tracked(*patterns: str) -> list[str]:
    """The repository's files, also those that are not committed yet."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *patterns]
    names = subprocess.run(listed, cwd=places.ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    return [name for name in names if (places.ROOT / name).is_file()]


def run(*argv: str) -> None:
    done = subprocess.run(argv, cwd=places.ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_types() -> None:
    run(str(places.BIN / "mypy"))


def test_style() -> None:
    run(str(places.BIN / "ruff"), "check", "--quiet")


def test_format() -> None:
    run(str(places.BIN / "ruff"), "format", "--check", "--diff", "--quiet")


def test_shell() -> None:
    shellcheck = shutil.which("shellcheck")
    assert shellcheck, "shellcheck is missing; `make packages` installs it"
    scripts = [name for name in tracked() if is_shell(places.ROOT / name)]
    assert ".ci/run" in scripts
    run(shellcheck, *scripts)


def test_elements() -> None:
    """dib-lint is a shell script that calls flake8 and python, both from where it is itself."""
    environment = {**os.environ, "PATH": f"{places.BIN}:{os.environ['PATH']}", "ELEMENTS_DIR": "elements"}
    argv = [str(places.BIN / "dib-lint")]
    # It wants a directory of library scripts, too; ours are all in the elements.
    environment["LIB_DIR"] = "elements"
    done = subprocess.run(argv, cwd=places.ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def is_shell(path: Path) -> bool:
    with path.open("rb") as file:
        first = file.readline(64)
    return first.startswith(b"#!") and (b"bash" in first or first.strip().endswith(b"sh"))


def test_every_hook_has_its_description() -> None:
    hooks = [name for name in tracked("hooks/") if not name.endswith(".json")]
    assert hooks
    missing = [name for name in hooks if not (places.ROOT / f"{name}.json").is_file()]
    assert not missing


@pytest.mark.parametrize("limit", [400])
def test_files_tell_one_story(limit: int) -> None:
    lengths = {name: len((places.ROOT / name).read_text().splitlines()) for name in tracked("*.py", "hooks/*")}
    assert {name: lines for name, lines in lengths.items() if lines > limit and not name.endswith(".json")} == {}
