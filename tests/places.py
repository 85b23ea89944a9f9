"""Where things are: the checkout, the scratch directory, the installed executables."""

from __future__ import annotations

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SCRATCH = Path(os.environ.get("SCRATCH", ROOT / ".scratch"))
BIN = Path(sys.executable).parent
