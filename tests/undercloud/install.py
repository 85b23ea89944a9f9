"""Install Keystone, Heat and the openstack client, at pinned versions, in a venv of their own.

The file ``undercloud-install`` in the venv says that it is ours, and whether it is complete: it
holds the digest of requirements.in and constraints.txt once everything is installed.  It serves
as the lock too, because several underclouds may share one venv.
"""

import contextlib
import fcntl
import hashlib
import importlib.util
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from undercloud import errors, progress, tools

_HERE = Path(__file__).resolve().parent
REQUIREMENTS = _HERE / "requirements.in"
CONSTRAINTS = _HERE / "constraints.txt"
_MARKER = "undercloud-install"


def install(venv: Path, log: Path) -> None:
    """Make ``venv`` complete: nothing to do, or about a minute; the tools' output goes to ``log``.

    A venv that is incomplete or of other versions is emptied and made again.  Raises
    UndercloudError when the directory is not ours, or when venv or pip fails.
    """
    # Asked first without the lock, so that a shared venv need not be writable.
    if is_complete(venv):
        return
    _refuse_foreign(venv)
    with _locked_marker(venv) as marker:
        if _is_complete(venv, marker):
            return
        _require_ensurepip()
        progress.say(f"Installing {_versions()} (about a minute, once) ...")
        _empty(venv)
        _build(venv, log)
        marker.write(_digest())
    progress.say(f"Installed in {venv}.")


def is_complete(venv: Path) -> bool:
    """Tell whether the venv holds exactly what the requirements ask for."""
    try:
        with (venv / _MARKER).open(encoding="utf-8") as marker:
            return _is_complete(venv, marker)
    except OSError:
        return False


def _is_complete(venv: Path, marker: TextIO) -> bool:
    marker.seek(0)
    return marker.read() == _digest() and (venv / "bin" / "python").exists()


def _refuse_foreign(venv: Path) -> None:
    """Never empty a directory that this module did not make."""
    if not venv.exists() or (venv / _MARKER).exists():
        return
    if not venv.is_dir() or any(venv.iterdir()):
        raise errors.UndercloudError(
            f"{venv} is not a venv that the undercloud made; it is left alone.",
            "name another directory, in UNDERCLOUD_VENV if that is set.",
        )


def _require_ensurepip() -> None:
    if importlib.util.find_spec("ensurepip") is None:
        raise errors.UndercloudError(
            "This python3 cannot make virtual environments (it has no ensurepip).",
            "apt-get install python3-venv",
        )


@contextlib.contextmanager
def _locked_marker(venv: Path) -> Iterator[TextIO]:
    venv.mkdir(parents=True, exist_ok=True)
    with (venv / _MARKER).open("a+", encoding="utf-8") as marker:
        fcntl.flock(marker, fcntl.LOCK_EX)
        yield marker


def _empty(venv: Path) -> None:
    """Remove everything but the marker, which goes blank: half a venv is no base to build on."""
    os.truncate(venv / _MARKER, 0)
    for entry in venv.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        elif entry.name != _MARKER:
            entry.unlink()


def _build(venv: Path, log: Path) -> None:
    # The caller's environment is kept here, and only here: it may hold pip's proxy and index.
    environment = dict(os.environ)
    tools.run("venv", [sys.executable, "-m", "venv", str(venv)], log, environment)
    pip = [str(venv / "bin" / "python"), "-m", "pip", "--no-input", "--disable-pip-version-check"]
    wanted = ["--constraint", str(CONSTRAINTS), "--requirement", str(REQUIREMENTS)]
    tools.run("pip", [*pip, "install", *wanted], log, environment)


def _digest() -> str:
    content = REQUIREMENTS.read_bytes() + b"\0" + CONSTRAINTS.read_bytes()
    return hashlib.sha256(content).hexdigest()


def _versions() -> str:
    lines = REQUIREMENTS.read_text(encoding="utf-8").splitlines()
    pins = dict(line.split("==", 1) for line in lines if "==" in line)
    return f"Keystone {pins['keystone']} and Heat {pins['openstack-heat']}"
