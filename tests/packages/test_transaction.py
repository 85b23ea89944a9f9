"""Transactions without systemd: real processes, which outlive the one that started them."""

from __future__ import annotations

import json
import math
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

import places
from overcloud_agent import errors
from overcloud_agent.packages import model, transaction

# Starts a transaction as the agent does, and is gone before that has ended.
STARTER = """
import json, pathlib, sys
from overcloud_agent.packages import model, transaction
command = model.Command(argv=tuple(json.loads(sys.argv[3])), environment={"SAID": "hello"})
transaction.start(pathlib.Path(sys.argv[1]), command, sys.argv[2], timeout=60, systemd=False)
print("started", flush=True)
"""


def shell(script: str, **environment: str) -> model.Command:
    return model.Command(argv=("/bin/sh", "-c", script), environment=environment)


def start(state: Path, script: str, identifier: str = "one", *, timeout: float = 60) -> None:
    transaction.start(state, shell(script), identifier, timeout=timeout, systemd=False)


def settle(state: Path, identifier: str = "one", *, within: float = 60) -> transaction.Ended | None:
    return transaction.settle(state, identifier, deadline=time.monotonic() + within, alive=lambda: None)


def start_elsewhere(state: Path, script: str, identifier: str = "one") -> None:
    """Start it in a process that has ended when this returns."""
    argv = [sys.executable, "-c", STARTER, str(state), identifier, json.dumps(["/bin/sh", "-c", script])]
    env = {**os.environ, "PYTHONPATH": str(places.ROOT / "agent")}
    done = subprocess.run(argv, env=env, check=True, capture_output=True, text=True, timeout=60)
    assert done.stdout == "started\n"


def carriers(state: Path) -> list[psutil.Process]:
    return [one for one in psutil.process_iter(["cmdline"]) if str(state / "packages") in (one.info["cmdline"] or [])]


def await_that(there: Callable[[], bool], within: float = 30.0) -> None:
    deadline = time.monotonic() + within
    while not there():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.05)


def test_how_it_ended_and_what_it_printed(tmp_path: Path) -> None:
    start(tmp_path, "echo out; echo err >&2; exit 3")
    ended = settle(tmp_path)
    assert ended == transaction.Ended(status=3, timed_out=False, log="out\nerr\n")
    assert settle(tmp_path) == ended, "and it is told again"
    assert settle(tmp_path, "another") is None
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "packages").iterdir()}
    assert set(modes.values()) == {0o600}
    assert transaction.JOB not in modes, "it has an environment"


def test_it_outlives_who_started_it(tmp_path: Path) -> None:
    start_elsewhere(tmp_path, 'sleep 1; echo "$SAID"; exit 4')
    assert settle(tmp_path) == transaction.Ended(status=4, timed_out=False, log="hello\n")


def test_it_does_not_need_the_agent_s_files(tmp_path: Path) -> None:
    """The agent, and its Python's packages, may be replaced while it runs."""
    start_elsewhere(tmp_path, "sleep 0.5")
    (carrier,) = carriers(tmp_path)
    assert carrier.cmdline()[1:3] == ["-I", "-S"]
    (tmp_path / "packages/carrier.py").write_text("nonsense")
    ended = settle(tmp_path)
    assert ended
    assert ended.status == 0


def test_one_that_died_has_no_end_and_can_be_begun_again(tmp_path: Path) -> None:
    start_elsewhere(tmp_path, "sleep 600")
    (carrier,) = carriers(tmp_path)
    for process in (carrier, *carrier.children(recursive=True)):
        process.send_signal(signal.SIGKILL)
    assert settle(tmp_path) is None
    start(tmp_path, "exit 0", "two")
    ended = settle(tmp_path, "two")
    assert ended
    assert ended.status == 0


def test_who_waits_is_asked_whether_it_shall(tmp_path: Path) -> None:
    start(tmp_path, "sleep 2; echo done")

    def alive() -> None:
        raise errors.Interrupted("asked to stop")

    begun = time.monotonic()
    with pytest.raises(errors.Interrupted):
        transaction.settle(tmp_path, "one", deadline=math.inf, alive=alive)
    assert time.monotonic() - begun < 2
    ended = settle(tmp_path)
    assert ended
    assert ended.log == "done\n"


def test_past_its_deadline_it_is_ended(tmp_path: Path) -> None:
    start(tmp_path, "trap 'echo told; exit 5' TERM; sleep 600 & wait", timeout=1)
    assert settle(tmp_path) == transaction.Ended(status=5, timed_out=True, log="told\n")


def test_it_does_not_end_when_it_is_asked_to(tmp_path: Path) -> None:
    """As a shutdown asks: the package manager comes to its end first."""
    start(tmp_path, "sleep 1; echo done")
    (carrier,) = carriers(tmp_path)
    await_that(lambda: bool(carrier.children()))
    carrier.terminate()
    assert settle(tmp_path) == transaction.Ended(status=0, timed_out=False, log="done\n")


def test_what_the_command_leaves_running_holds_nothing(tmp_path: Path) -> None:
    start(tmp_path, "sleep 30 & echo $!")
    ended = settle(tmp_path, within=10)
    assert ended
    os.kill(int(ended.log), signal.SIGKILL)


def test_what_has_not_begun_never_will(tmp_path: Path) -> None:
    """A carrier that is late, as systemd may start it after the agent has died, finds its job gone."""
    place = transaction.directory(tmp_path)
    start(tmp_path, "exit 0", "before")
    settle(tmp_path, "before")
    job = {"identifier": "late", "argv": ["touch", str(tmp_path / "ran")], "environment": {}, "timeout": 9}
    (place / transaction.JOB).write_text(json.dumps(job))
    assert settle(tmp_path, "late") is None
    argv = [sys.executable, "-I", "-S", str(place / "carrier.py"), str(place), "late"]
    assert subprocess.run(argv, timeout=30).returncode == 75
    (place / transaction.JOB).write_text(json.dumps({**job, "identifier": "other"}))
    assert subprocess.run(argv, timeout=30).returncode == 75
    assert not (tmp_path / "ran").exists()


def test_one_at_a_time(tmp_path: Path) -> None:
    start(tmp_path, f"sleep 1; echo first >> {tmp_path}/order")
    start(tmp_path, f"echo second >> {tmp_path}/order", "two")
    settle(tmp_path, "two")
    assert (tmp_path / "order").read_text() == "first\nsecond\n"


def test_a_command_that_is_not_there(tmp_path: Path) -> None:
    transaction.start(tmp_path, model.Command(argv=("/no/such",)), "one", timeout=9, systemd=False)
    ended = settle(tmp_path)
    assert ended
    assert ended.status == 127
    assert "cannot be started" in ended.log


def test_only_the_end_of_much_output_is_told(tmp_path: Path) -> None:
    start(tmp_path, "echo early; seq 1 100000; echo late")
    ended = settle(tmp_path)
    assert ended
    assert ended.log.endswith("100000\nlate\n")
    assert len(ended.log) <= transaction.TAIL
    assert "early" in (tmp_path / "packages" / transaction.LOG).read_text()


def test_no_thread_and_no_process_is_left(tmp_path: Path) -> None:
    start(tmp_path, "exit 0")
    settle(tmp_path)
    await_that(lambda: not carriers(tmp_path))
    assert not [thread for thread in threading.enumerate() if thread.name == "transaction"]


def test_what_a_repository_is_asked_with_is_not_told(tmp_path: Path) -> None:
    start(tmp_path, "echo 'Curl error (7) for http://someone:hid@den@mirror/os?token=hidden'; exit 1")
    ended = settle(tmp_path)
    assert ended
    assert "error (7) for http://***@mirror/os?[removed]" in ended.log
    assert "den" not in ended.log + transaction.last_log(tmp_path)
