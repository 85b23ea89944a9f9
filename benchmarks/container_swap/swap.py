"""One swap, watched by the client."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import dataclass
from threading import Timer

from benchmarks.container_swap import client, service, sides

WITHIN = 60.0


@dataclass(frozen=True)
class Swap:
    """What became of one swap. Times are time.monotonic, durations seconds."""

    last_old: float
    first_new: float
    longest_gap: float
    took: float
    """From the beginning of the swap to its end, cleaning up included."""

    @property
    def downtime(self) -> float:
        return self.first_new - self.last_old


def measure(side: sides.Side, old: str) -> Swap:
    """Swap `old`, which serves, for the other version. Raises SwapError when the client does not see it happen."""
    new = service.other(old)
    side.prepare(new)
    where = (",".join(side.service.addresses), str(side.service.port))
    # A client that starts quickly, and alone: nothing of the project is imported by it.
    argv = [sys.executable, "-I", client.__file__, *where, old, new, str(WITHIN)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as asking:
        # The client has a deadline of its own; this is for one that hangs.
        killer = Timer(WITHIN + 30, asking.kill)
        killer.start()
        try:
            assert asking.stdout
            if asking.stdout.readline() == b"ready\n":
                # Until the client has a feeling for how fast the old one answers.
                time.sleep(0.1)
                began = time.monotonic()
                side.swap(new)
                took = time.monotonic() - began
            said, complaint = asking.communicate()
        finally:
            killer.cancel()
            asking.kill()
    if asking.returncode != 0:
        raise sides.SwapError(f"{side.name}: {complaint.decode().strip() or 'the client of the service did not end'}")
    seen = json.loads(said)
    return Swap(seen["last_old"], seen["first_new"], seen["longest_gap"], took)
