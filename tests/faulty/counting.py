"""A hook that tells afterwards what ran, how often, and when."""

from __future__ import annotations

import time
from pathlib import Path

import nodes

GROUP = "json-file"
"""A group whose work the agent takes for repeatable: after a SIGKILL it resumes such a deployment."""

# Shell built-ins only, so that a thousand runs cost little. The id is taken from the document on stdin, which is one
# line of JSON (none when the agent was killed before it had written it); /proc/uptime is read because the shell has no
# clock of its own.
_BODY = """
read -r line || [ "$line" ] || exit 1
line=${{line#*\\"id\\":}}; line=${{line#*\\"}}; id=${{line%%\\"*}}
read -r now _ < /proc/uptime
echo "$now $id" >> {runs}
while [ -e {hold} ]; do sleep 0.05; done
read -r now _ < /proc/uptime
echo "$now $id" >> {ends}
echo '{{"deploy_stdout": "fine", "deploy_status_code": 0, "result": "'$id'"}}'
"""


class Counter:
    """Installs the hook on `node` and reads what it wrote; while `hold` exists, the hook does not end."""

    def __init__(self, node: nodes.Node) -> None:
        self._runs = node.directory / "runs"
        self.hold: Path = node.directory / "hold"
        self._ends = node.directory / "ends"
        self._runs.touch()
        self._ends.touch()
        node.hook(GROUP, _BODY.format(runs=self._runs, ends=self._ends, hold=self.hold))

    def runs(self) -> dict[str, list[float]]:
        """When each deployment was begun, by id; `now` is the clock."""
        return _read(self._runs)

    def ends(self) -> dict[str, list[float]]:
        """When each deployment's hook was about to print its result, by id."""
        return _read(self._ends)


def _read(path: Path) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for line in path.read_text().splitlines():
        when, key = line.split()
        found.setdefault(key, []).append(float(when))
    return found


def now() -> float:
    """The clock of Counter.runs, which counts hundredths."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
