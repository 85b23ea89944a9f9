"""Restart detection beside `needrestart -b` and `dnf needs-restarting`, on the same 200 processes.

    python -m benchmarks.packages.restarts [--processes N] [--rounds N] [--json]

They have a /proc of their own (a PID namespace, which needs root), so that what else runs on the machine has no part in
it. Of the processes three in four are daemons with twenty libraries, the others Python programs; a library and a module
of some were replaced. The figures of the agent are those of a call in the resident agent, and of a whole new process.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from overcloud_agent.packages import hosts, restarts

NEEDRESTART = ("needrestart", "-b", "-r", "l")
DNF = ("dnf", "needs-restarting")
_FRESH = "from overcloud_agent.packages import hosts, restarts; restarts.after(host=hosts.Host())"
_PYTHON = "import email, json, logging, sqlite3, ssl, sys, time\nimport beside\nprint(flush=True)\ntime.sleep(1e6)\n"
# Every so many daemons use the library that is replaced, and programs the module.
_EVERY = 5


@dataclasses.dataclass
class Row:
    """Samples of one side, in seconds."""

    side: str
    samples: list[float] = dataclasses.field(default_factory=list)

    @property
    def median(self) -> float:
        return statistics.median(self.samples)


@dataclasses.dataclass(frozen=True)
class Found:
    """Processes with old code: how many the other tool finds, and which of them the agent does not."""

    ours: int
    theirs: int
    missed: list[int]


def measure(processes: int = 200, rounds: int = 7) -> list[Row]:
    """Rows of all sides there are, ours first; the rounds of the sides alternate."""
    return run_apart(processes, rounds)[0]


def run_apart(processes: int, rounds: int) -> tuple[list[Row], Found]:
    """Measure and compare with a /proc of our own."""
    argv = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
    argv += [sys.executable, "-m", "benchmarks.packages.restarts", "--here"]
    done = _run(*argv, f"--processes={processes}", f"--rounds={rounds}")
    if done.returncode != 0:
        raise SystemExit(f"the benchmark of restarts failed: {done.stderr.strip()}")
    told = json.loads(done.stdout)
    return [Row(**row) for row in told["rows"]], Found(**told["found"])


def _here(processes: int, rounds: int) -> tuple[list[Row], Found]:
    with scene(processes):
        rows = _measure(rounds)
        return rows, compare() if shutil.which("needrestart") else Found(0, 0, [])


def _measure(rounds: int) -> list[Row]:
    sides: dict[str, Callable[[], object]] = {
        "overcloud-agent, resident": lambda: restarts.after(host=hosts.Host()),
        "overcloud-agent, new process": lambda: _run(sys.executable, "-c", _FRESH),
    }
    if shutil.which("needrestart"):
        sides["needrestart -b"] = lambda: _run(*NEEDRESTART)
    if shutil.which("dnf") and _run(*DNF).returncode == 0:
        sides["dnf needs-restarting"] = lambda: _run(*DNF)
    rows = {side: Row(side) for side in sides}
    for number in range(rounds + 1):
        for side, call in sides.items():
            begun = time.perf_counter()
            call()
            # The first round fills the caches of the kernel, for all of them.
            if number:
                rows[side].samples.append(time.perf_counter() - begun)
    return list(rows.values())


def compare() -> Found:
    """What needrestart finds, and what of it the agent misses, on the processes as they are."""
    told = _run(*NEEDRESTART, "-v").stderr
    theirs = {int(pid) for pid in re.findall(r"#(\d+) uses (?:obsolete|deleted|non-existing)", told)}
    # Processes in containers have files of their own, which needrestart takes for the host's; and a program in memory
    # alone (memfd_create(2)) is deleted from its beginning.
    no_files = {pid for pid in theirs if not _on_our_root(pid) or _exe(pid).startswith("/memfd:")}
    ours = {line.pid for line in restarts.running(hosts.Host()) if line.state == "old code"}
    return Found(ours=len(ours), theirs=len(theirs), missed=sorted(theirs - no_files - ours))


def _on_our_root(pid: int) -> bool:
    try:
        there = os.stat(f"/proc/{pid}/root/")
    except OSError:
        return False
    here = os.stat("/")
    return (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)


def _exe(pid: int) -> str:
    try:
        return os.readlink(f"/proc/{pid}/exe")
    except OSError:
        return ""


@contextlib.contextmanager
def scene(processes: int) -> Iterator[None]:
    """Processes, some of which run old code. In /opt: code in temporary directories counts for no tool."""
    directory = Path(tempfile.mkdtemp(prefix="overcloud-agent-benchmark-", dir="/opt"))
    started: list[subprocess.Popen[bytes]] = []
    try:
        _furnish(directory)
        started.extend(_start(directory, number) for number in range(processes))
        for process in started:
            # A program says that it has loaded all; a daemon is there when it has become one.
            if process.stdout:
                process.stdout.readline()
        _replace(directory / "libold.so")
        _replace(directory / "old/beside.py")
        yield
    finally:
        for process in started:
            process.kill()
            process.communicate()
        shutil.rmtree(directory)


def _furnish(directory: Path) -> None:
    library = next(Path("/usr/lib").glob("*/libz.so.1"), None) or Path("/usr/lib64/libz.so.1")
    shutil.copy(library, directory / "libold.so")
    for name in ("old", "new"):
        (directory / name).mkdir()
        (directory / name / "program.py").write_text(_PYTHON)
        (directory / name / "beside.py").write_text("import base64\n")


def _start(directory: Path, number: int) -> subprocess.Popen[bytes]:
    old = number % _EVERY == 0
    if number % 4 == 3:
        program = directory / ("old" if number % (4 * _EVERY) == 3 else "new") / "program.py"
        # The distribution's Python, because needrestart knows no other.
        return subprocess.Popen(["/usr/bin/python3", str(program)], stdout=subprocess.PIPE, cwd=program.parent)
    libraries = [*_libraries(), *([str(directory / "libold.so")] if old else [])]
    # `cat` has loaded its libraries when it hands on what it was given.
    process = subprocess.Popen(
        ["cat"],
        env={"LD_PRELOAD": ":".join(libraries), "PATH": os.defpath},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdin
    process.stdin.write(b"\n")
    process.stdin.flush()
    return process


def _libraries() -> list[str]:
    names = ["z", "crypto", "ssl", "lzma", "bz2", "expat", "sqlite3", "ffi", "uuid", "blkid", "mount", "selinux"]
    names += ["pcre2-8", "cap", "gcrypt", "gpg-error", "lz4", "zstd", "systemd", "tinfo"]
    places = (*Path("/usr/lib").glob("*-linux-gnu"), Path("/usr/lib64"))
    found = [next((str(one) for place in places for one in place.glob(f"lib{name}.so.*")), "") for name in names]
    return [one for one in found if one]


def _replace(path: Path) -> None:
    """Put a copy of a file in its place, as a package manager does."""
    copy = path.with_name(f".{path.name}.new")
    shutil.copy(path, copy)
    copy.rename(path)


def _run(*argv: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run(argv, env=env, capture_output=True, text=True, stdin=subprocess.DEVNULL)


def main() -> int:
    """Measure, compare, print; 1 when a process is missed."""
    parser = argparse.ArgumentParser(prog="benchmarks.packages.restarts")
    parser.add_argument("--processes", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    rows, found = (_here if arguments.here else run_apart)(arguments.processes, arguments.rounds)
    if arguments.json or arguments.here:
        print(json.dumps({"rows": [dataclasses.asdict(row) for row in rows], "found": dataclasses.asdict(found)}))
    else:
        for row in rows:
            ratio = row.median / rows[0].median
            print(f"{row.side:30} {row.median * 1e3:8.1f} ms  {ratio:5.1f}x  (most {max(row.samples) * 1e3:.1f} ms)")
        print(f"old code: ours {found.ours}, needrestart {found.theirs}, missed {found.missed}")
    return 1 if found.missed and not arguments.here else 0


if __name__ == "__main__":
    sys.exit(main())
