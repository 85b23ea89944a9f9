"""Run a set-up tool to its end, with its output in a log file."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from undercloud import errors

LOOPBACK = "127.0.0.1,localhost"

PROGRAMS = "/usr/sbin:/usr/bin:/sbin:/bin"
"""Where the distribution's programs are; a plain user's PATH may lack some of it."""


def run(name: str, argv: Sequence[str], log: Path, environment: Mapping[str, str]) -> None:
    """Run ``argv`` and append its output to ``log``; raise UndercloudError if it fails.

    No tool gets a secret in ``argv``: any user of the machine can read that.
    """
    with open_log(log) as output:
        result = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=dict(environment),
            check=False,
        )
    if result.returncode != 0:
        raise errors.UndercloudError(
            f"{name} failed with exit status {result.returncode}. It ended with:\n{tail(log)}",
            f"the whole output is in {log}",
        )


def open_log(log: Path) -> BinaryIO:
    """Open a log for appending, readable by its owner only."""
    return os.fdopen(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab")


def tail(log: Path, lines: int = 8) -> str:
    """Return the last lines of a log, indented; "" when there is none."""
    try:
        text = log.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return "\n".join(f"    {line}" for line in text.splitlines()[-lines:])


def clean_environment(venv: Path) -> dict[str, str]:
    """Return the environment of everything that runs inside the undercloud.

    The caller's is not handed on: OS_* variables would steer Keystone and Heat, and a proxy
    would come between services that talk over loopback.
    """
    return {
        "PATH": f"{venv / 'bin'}:{PROGRAMS}",
        "HOME": os.environ.get("HOME", "/"),
        "LANG": "C.UTF-8",
        "no_proxy": LOOPBACK,
        "NO_PROXY": LOOPBACK,
    }
