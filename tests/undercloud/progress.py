"""Progress messages on stderr, each with the seconds since this process began."""

import sys
import time

_BEGAN = time.monotonic()


def say(text: str) -> None:
    """Print one progress line, such as ``[ 12.3 s] Starting Heat ...``, on stderr."""
    print(f"[{time.monotonic() - _BEGAN:5.1f} s] {text}", file=sys.stderr, flush=True)
