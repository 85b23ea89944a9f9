"""The README's first command."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import places


def test_the_demo_holds_what_it_shows() -> None:
    """The whole story: create, upgrade one, roll back a broken one, survive a SIGKILL; it checks itself."""
    environment = {**os.environ, "PYTHONPATH": str(places.ROOT / "tests"), "TERM": "dumb"}
    argv = [sys.executable, "-m", "demo", "--scratch", str(places.SCRATCH)]
    done = subprocess.run(argv, cwd=places.ROOT, env=environment, capture_output=True, text=True, timeout=580)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "All checks held" in done.stdout + done.stderr
    assert leftovers(places.SCRATCH / "demo") == []


def leftovers(directory: Path) -> list[str]:
    """Processes whose command line names the demo's directory."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(directory) in words:
            found.append(words)
    return found
