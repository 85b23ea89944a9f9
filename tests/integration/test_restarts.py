"""What runs code that changes, on this machine's own processes: what maps what, and what only looks like it."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from benchmarks.packages import restarts as benchmark
from overcloud_agent.packages import hosts, processes, restarts

# Maps memory as code that belongs to no file that could be updated, and says when it has.
ODD = """
import ctypes, mmap, os, sys, tempfile, time
code = mmap.PROT_READ | mmap.PROT_EXEC | mmap.PROT_WRITE
memory = os.memfd_create("odd")
os.truncate(memory, 4096)
kept = [mmap.mmap(memory, 4096, prot=code), mmap.mmap(-1, 4096, flags=mmap.MAP_SHARED, prot=code)]
with tempfile.TemporaryFile(dir="/var/tmp") as file:
    file.truncate(4096)
    kept.append(mmap.mmap(file.fileno(), 4096, prot=code))
libc = ctypes.CDLL(None)
libc.shmat.restype = ctypes.c_void_p
segment = libc.shmget(0, ctypes.c_size_t(4096), 0o1700)
assert libc.shmat(segment, None, 0o100000) not in (None, ctypes.c_void_p(-1).value)
libc.shmctl(segment, 0, None)
print(flush=True)
time.sleep(1e6)
"""


@contextlib.contextmanager
def process(*argv: str, env: Mapping[str, str] | None = None) -> Iterator[int]:
    """A process that has said a line; its pid."""
    started = subprocess.Popen(argv, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert started.stdin
    assert started.stdout
    try:
        # `cat` says what it is told, when it has loaded everything.
        with contextlib.suppress(BrokenPipeError):
            started.stdin.write(b"\n")
            started.stdin.flush()
        assert started.stdout.readline() == b"\n"
        yield started.pid
    finally:
        started.kill()
        started.communicate()


def reasons(host: hosts.Host, pid: int, files: Mapping[str, Sequence[str]]) -> list[str]:
    """Why the process is in the table, of old code if it runs any."""
    found = [line for line in restarts.running(host, files) if line.pid == pid]
    return [f"{line.state}: {reason}" for line in found for reason in line.reasons]


def library() -> Path:
    found = [*Path("/usr/lib").glob("*-linux-gnu/libz.so.1"), Path("/usr/lib64/libz.so.1")]
    return next(path for path in found if path.exists())


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root with a library that is reached through a link among the directories, as with a merged /usr."""
    (tmp_path / "usr/lib").mkdir(parents=True)
    (tmp_path / "lib").symlink_to("usr/lib")
    shutil.copy(library(), tmp_path / "usr/lib/liba.so.1")
    shutil.copy(library(), tmp_path / "usr/lib/libb.so.1")
    return tmp_path


FILES = {"liba": ("/lib/liba.so.1",), "libb": ("/lib/libb.so.1",)}


def test_whoever_asks_is_looked_at_only_where_it_is_the_agent_in_its_unit() -> None:
    asking = processes.Process(os.getpid(), "", ())
    command = processes.Table(hosts.Host())
    assert asking.pid not in {one.pid for one in command.processes}
    agent = processes.Table(hosts.Host(own_unit=command.place(asking).unit))
    assert asking.pid in {one.pid for one in agent.processes}


def test_a_mapped_library_of_another_root(root: Path) -> None:
    host = hosts.Host(root=root)
    with process("cat", env={"LD_PRELOAD": f"{root}/usr/lib/liba.so.1", "PATH": "/bin"}) as pid:
        assert reasons(host, pid, FILES) == ["new code: maps /usr/lib/liba.so.1"]
        assert reasons(hosts.Host(), pid, FILES) == []
        (root / "usr/lib/new").write_bytes(library().read_bytes())
        (root / "usr/lib/new").rename(root / "usr/lib/liba.so.1")
        assert reasons(host, pid, FILES) == ["old code: maps /usr/lib/liba.so.1, which was deleted"]
        (affected,) = restarts.after(host=host).affected
        assert (affected.action, affected.name) == ("report", f"cat (pid {pid})")


def test_a_sandbox_s_paths_are_not_the_host_s(root: Path) -> None:
    a, b = root / "usr/lib/liba.so.1", root / "usr/lib/libb.so.1"
    program = f"mount --bind {b} {a} && LD_PRELOAD={a} exec cat"
    files = {"liba": [str(a)], "libb": [str(b)]}
    with process("unshare", "--mount", "sh", "-c", program) as pid:
        assert reasons(hosts.Host(), pid, files) == [f"new code: maps {b}"]


def test_memory_is_no_file(root: Path) -> None:
    with process(sys.executable, "-c", ODD) as pid:
        maps = Path(f"/proc/{pid}/maps").read_text()
        assert "/memfd:odd (deleted)" in maps
        assert "/dev/zero (deleted)" in maps
        assert "/SYSV" in maps
        assert [why for why in reasons(hosts.Host(), pid, {}) if "maps" in why] == []


def test_what_an_interpreter_loads(root: Path) -> None:
    script = root / "usr/bin/serve"
    script.parent.mkdir()
    modules = root / "usr/lib/python3/dist-packages"
    (modules / "api").mkdir(parents=True)
    (modules / "api/__init__.py").write_text("")
    (modules / "api/late.py").write_text("def late():\n    from deep import down\n")
    for name in ("deep", "unrelated", "plugin"):
        (modules / f"{name}.py").write_text("down = 1\n")
    (modules / "plugin-1.dist-info").mkdir()
    (modules / "plugin-1.dist-info/entry_points.txt").write_text("[api.plugins]\nx = plugin:X\n")
    script.write_text(f"import sys, time\nsys.path.insert(0, {str(modules)!r})\nimport api\nprint(flush=True)\n")
    with script.open("a") as file:
        file.write("time.sleep(1e6)\n")
    there = "/usr/lib/python3/dist-packages"
    names = ("deep", "unrelated", "plugin")
    files = {"serve": ("/usr/bin/serve",), **{name: (f"{there}/{name}.py",) for name in names}}
    host = hosts.Host(root=root)
    with process("/usr/bin/python3", str(script)) as pid:
        found = {line.pid: line for line in restarts.running(host, files)}[pid]
        assert found.packages == ("deep", "plugin", "serve")
        assert found.state == "new code"
        (modules / "unrelated.py").write_text("down = 2\n")
        assert {line.pid: line.state for line in restarts.running(host, files)}[pid] == "new code"
        (modules / "deep.py").write_text("down = 2\n")
        assert reasons(host, pid, files) == [f"old code: loads {there}/deep.py, which is newer"]


def test_a_program_that_is_not_in_a_file_may_load_anything(root: Path) -> None:
    module = root / "usr/lib/python3/dist-packages/some.py"
    module.parent.mkdir(parents=True)
    module.write_text("")
    files = {"some": ("/usr/lib/python3/dist-packages/some.py",)}
    with process("/usr/bin/python3", "-c", "import time; print(flush=True); time.sleep(1e6)") as pid:
        expected = ["new code: could load some from /usr/lib/python3/dist-packages"]
        assert reasons(hosts.Host(root=root), pid, files) == expected


def test_a_perl_program_s_modules(root: Path) -> None:
    script, module = root / "usr/bin/serve", root / "usr/share/perl5/Demo/Thing.pm"
    for path in (script, module):
        path.parent.mkdir(parents=True)
    module.write_text("package Demo::Thing;\n1;\n")
    script.write_text(f"use lib '{root}/usr/share/perl5';\nuse Demo::Thing;\n$| = 1;\nprint qq(\\n);\nsleep 1e6;\n")
    files = {"demo": ("/usr/share/perl5/Demo/Thing.pm",), "other": ("/usr/share/perl5/Other.pm",)}
    with process("perl", str(script)) as pid:
        assert reasons(hosts.Host(root=root), pid, files) == ["new code: loads Demo from /usr/share/perl5"]


def test_the_benchmark_finds_what_needrestart_finds() -> None:
    rows, found = benchmark.run_apart(processes=20, rounds=1)
    assert found.theirs
    assert found.ours >= found.theirs
    assert found.missed == []
    assert {"overcloud-agent, resident", "needrestart -b"} <= {row.side for row in rows}
