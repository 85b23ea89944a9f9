"""Install the reference stack, at pinned versions, in a venv of its own, with the source of heat-agents in it.

The file `reference-install` in the venv is the lock, and holds the digest of what was asked for once all is there.
"""

from __future__ import annotations

import dataclasses
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import places
from undercloud import tools

_HERE = Path(__file__).resolve().parent
_REQUIREMENTS = _HERE / "requirements.in"
_CONSTRAINTS = _HERE / "constraints.txt"
_AGENTS = "heat-agents==13.0.0"
_MARKER = "reference-install"


@dataclasses.dataclass(frozen=True)
class Reference:
    """The installed reference stack."""

    venv: Path

    @property
    def bin(self) -> Path:
        """os-collect-config, os-refresh-config, os-apply-config, dib-run-parts, heat-config-notify."""
        return self.venv / "bin"

    @property
    def python(self) -> Path:
        return self.bin / "python"

    @property
    def archive(self) -> Path:
        """The source distribution of heat-agents."""
        return self.venv / "download" / "heat_agents-13.0.0.tar.gz"

    @property
    def agents(self) -> Path:
        """The same, unpacked: the hooks, 55-heat-config, the templates, and their tests."""
        return self.venv / "heat_agents-13.0.0"


def install() -> Reference:
    """The reference stack in SCRATCH; about a minute the first time. Raises UndercloudError when pip fails."""
    found = Reference(places.SHARED / "reference-venv")
    found.venv.mkdir(parents=True, exist_ok=True)
    with (found.venv / _MARKER).open("a+") as marker:
        # Another test session may be at it; it is then complete when the lock is ours.
        fcntl.flock(marker, fcntl.LOCK_EX)
        marker.seek(0)
        if marker.read() != _digest():
            _empty(found.venv)
            _build(found)
            marker.write(_digest())
    return found


def unpack(reference: Reference, directory: Path) -> Path:
    """A fresh copy of heat-agents in `directory`."""
    subprocess.run(["tar", "-xzf", str(reference.archive), "-C", str(directory)], check=True)
    return directory / reference.agents.name


def _empty(venv: Path) -> None:
    """Remove all but the marker, which goes blank: half a venv is no base to build on."""
    os.truncate(venv / _MARKER, 0)
    for entry in venv.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        elif entry.name != _MARKER:
            entry.unlink()


def _build(reference: Reference) -> None:
    log = places.SHARED / "reference-install.log"
    # The caller's environment is kept: it may hold pip's proxy and index.
    environment = dict(os.environ)
    tools.run("venv", [sys.executable, "-m", "venv", str(reference.venv)], log, environment)
    pip = [str(reference.python), "-m", "pip", "--no-input", "--disable-pip-version-check"]
    wanted = ["--constraint", str(_CONSTRAINTS), "--requirement", str(_REQUIREMENTS)]
    tools.run("pip", [*pip, "install", *wanted], log, environment)
    # The wheel holds nothing but release notes.
    download = ["download", "--no-deps", "--no-binary", "heat-agents", "--dest", str(reference.archive.parent), _AGENTS]
    tools.run("pip", [*pip, *download], log, environment)
    unpack(reference, reference.venv)
    for program in ("heat-config-notify", "heat-config-rebuild-deployed"):
        shutil.copy2(reference.agents / "heat-config" / "bin" / program, reference.bin)


def _digest() -> str:
    content = b"\0".join([_REQUIREMENTS.read_bytes(), _CONSTRAINTS.read_bytes(), _AGENTS.encode()])
    return hashlib.sha256(content).hexdigest()
