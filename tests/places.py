"""Where things are: the checkout, the scratch directory, the installed executables."""

from __future__ import annotations

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# For what is made once and used by all.
SHARED = Path(os.environ.get("SCRATCH", ROOT / ".scratch"))
# Tests that run side by side (pytest-xdist) have a Podman, a cloud and whatever they make of their own.
SCRATCH = SHARED / os.environ.get("PYTEST_XDIST_WORKER", "")
BIN = Path(sys.executable).parent
