"""Find programs and run them to their end."""

import pathlib
import shutil
import subprocess
from collections.abc import Mapping, Sequence

from podmanbox import errors

# Podman's helpers and system tools may be outside a plain user's PATH.
EXTRA_PATH = ("/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/bin", "/bin")


def find(*names: str) -> pathlib.Path | None:
    """Return the first of the named programs that is installed, as an absolute path."""
    for name in names:
        found = shutil.which(name) or shutil.which(name, path=":".join(EXTRA_PATH))
        if found:
            return pathlib.Path(found).absolute()
    return None


def need(*names: str) -> pathlib.Path:
    """Return what ``find`` returns; raise BoxError if none of the programs is installed."""
    found = find(*names)
    if found is None:
        raise errors.BoxError(f"{' or '.join(names)} is not installed", "run tests/packages.sh as root")
    return found


def run(argv: Sequence[str], env: Mapping[str, str], timeout_s: float, stdin: bytes | None = None) -> str:
    """Run a command to its end and return its standard output.

    Raise CommandError if it fails or is not through after ``timeout_s`` seconds.
    """
    try:
        done = subprocess.run(list(argv), env=dict(env), input=stdin, capture_output=True, timeout=timeout_s)
    except subprocess.TimeoutExpired as late:
        raise errors.CommandError(argv, None, (late.stderr or b"").decode()) from None
    except OSError as problem:
        raise errors.CommandError(argv, 127, str(problem)) from None
    if done.returncode != 0:
        raise errors.CommandError(argv, done.returncode, done.stderr.decode(errors="replace"))
    return done.stdout.decode(errors="replace")
