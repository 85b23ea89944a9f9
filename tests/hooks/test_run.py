"""run.hook with real processes; and who starts the agent's own executable."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import nodes
import places
from overcloud_agent import errors, model, run

PLENTY = 1 << 20


def shell(script: str, stdin: bytes = b"", *, timeout: float = 20.0, limit: int = PLENTY) -> run.Completed:
    return run.hook(["/bin/sh", "-c", script], stdin, timeout=timeout, limit=limit)


def test_stdin_goes_in_and_both_outputs_come_out() -> None:
    done = shell("cat; echo story >&2; exit 3", b"x" * 300_000)
    assert (done.returncode, done.stdout, done.stderr) == (3, b"x" * 300_000, b"story\n")
    assert not done.timed_out
    assert not done.output_held


def test_a_hook_need_not_read_its_input() -> None:
    assert shell("exit 0", b"x" * 300_000).returncode == 0


def test_past_the_deadline_the_whole_group_is_ended(tmp_path: Path) -> None:
    begun = time.monotonic()
    script = f"sleep 60 & echo $! > {tmp_path}/child; echo before; trap '' TERM; sleep 60; sleep 60"
    done = shell(script, timeout=0.5)
    assert done.timed_out
    assert done.stdout == b"before\n"
    assert time.monotonic() - begun < run.TERM_GRACE + 5
    assert not nodes.is_running(int((tmp_path / "child").read_text()))


def test_a_background_child_that_holds_the_output_holds_nobody_up(tmp_path: Path) -> None:
    begun = time.monotonic()
    done = shell(f"echo answer; sleep 60 & echo $! > {tmp_path}/child")
    assert done.output_held
    assert done.stdout == b"answer\n"
    assert time.monotonic() - begun < run.PIPE_GRACE + 5
    child = int((tmp_path / "child").read_text())
    assert nodes.is_running(child), "a service that a script starts may go on"
    os.kill(child, 9)


def test_output_is_bounded_and_the_cut_is_named() -> None:
    done = shell("printf begin; head -c 2000000 /dev/zero | tr '\\0' x; printf end", limit=10_000)
    assert done.stdout.startswith(b"beginx")
    assert done.stdout.endswith(b"xend")
    assert b"[... 1990008 bytes cut here by overcloud-agent ...]" in done.stdout
    assert len(done.stdout) < 10_100


def test_a_directory_and_variables_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEPT", "kept")
    monkeypatch.setenv("CHANGED", "before")
    argv = ["/bin/sh", "-c", 'echo "$PWD $KEPT $CHANGED"']
    done = run.hook(argv, b"", timeout=20, limit=PLENTY, cwd=tmp_path, variables={b"CHANGED": b"\xff"})
    assert done.stdout == f"{tmp_path} kept ".encode() + b"\xff\n"


def test_lines_are_handed_on_while_the_hook_runs() -> None:
    heard: list[bytes] = []
    script = f"""
    printf 'o'; sleep 0.1; printf 'ne\\n\\ntwo\\n'; echo story >&2
    head -c {run.LINE_LIMIT} /dev/zero; echo; head -c {run.LINE_LIMIT + 1} /dev/zero; echo; printf end
    """
    done = run.hook(["/bin/sh", "-c", script], b"", timeout=20, limit=PLENTY, live=heard.append)
    heard.remove(b"story")
    too_long = f"[a line of {run.LINE_LIMIT + 1} bytes is not shown]".encode()
    assert heard == [b"one", b"", b"two", bytes(run.LINE_LIMIT), too_long, b"end"]
    assert len(done.stdout) > 2 * run.LINE_LIMIT


def test_whoever_listens_and_fails_leaves_no_hook_behind(tmp_path: Path) -> None:
    def listen(line: bytes) -> None:
        raise ValueError(line.decode())

    with pytest.raises(ValueError, match=r"^[0-9]+$") as stopped:
        run.hook(["/bin/sh", "-c", "echo $$; sleep 60"], b"", timeout=20, limit=PLENTY, live=listen)
    assert not nodes.is_running(int(str(stopped.value)))


def test_signals_are_not_ignored_in_a_hook() -> None:
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        # The tests themselves were started by nohup.
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
    program = "import signal; print([n for n in (1, 13, 15) if signal.getsignal(n) is signal.SIG_IGN])"
    done = run.hook([sys.executable, "-S", "-c", program], b"", timeout=20, limit=PLENTY)
    # Python itself ignores SIGPIPE (13) at its start.
    assert done.stdout == b"[13]\n"


def test_a_leftover_is_ended_with_its_group_and_nothing_else_is(tmp_path: Path) -> None:
    begun: list[model.Process] = []
    with pytest.raises(ValueError, match="stop here"):
        run.hook(["/bin/sleep", "60"], b"", timeout=20, limit=PLENTY, began=lambda process: stop_at(begun, process))
    assert not nodes.is_running(begun[0].pid), "whatever goes wrong, no hook is left behind"
    leader = subprocess.Popen(["/bin/sh", "-c", "sleep 60 & wait"], start_new_session=True)
    identity = model.Process(pid=leader.pid, created=run.created(leader.pid))
    assert not run.end_leftover(model.Process(pid=leader.pid, created=identity.created - 100)), (
        "an older process had this number"
    )
    assert leader.poll() is None
    assert run.end_leftover(identity)
    assert leader.wait(10) == -15
    assert not run.end_leftover(identity)


def test_a_leftover_is_known_after_the_clock_was_set(tmp_path: Path) -> None:
    """With the clock, the kernel's word for when the node booted changes; here, for whoever ends the leftover."""
    stat = Path("/proc/stat").read_text()
    (tmp_path / "stat").write_text(re.sub(r"(?m)^btime .*$", f"btime {int(time.time()) - 3600}", stat))
    begun: list[model.Process] = []
    program = "import sys; from overcloud_agent import model, run; "
    program += "print(run.end_leftover(model.Process(pid=int(sys.argv[1]), created=float(sys.argv[2]))))"

    def end(process: model.Process) -> None:
        begun.append(process)
        words = [sys.executable, "-c", program, str(process.pid), repr(process.created)]
        script = f"mount --bind {tmp_path}/stat /proc/stat && exec {shlex.join(words)}"
        ended = subprocess.run(
            ["unshare", "--mount", "/bin/sh", "-c", script], capture_output=True, text=True, timeout=20
        )
        assert ended.stdout == "True\n", ended.stderr

    done = run.hook(["/bin/sleep", "60"], b"", timeout=20, limit=PLENTY, began=end)
    assert (done.returncode, len(begun)) == (-15, 1)


def stop_at(begun: list[model.Process], process: model.Process) -> None:
    begun.append(process)
    raise ValueError("stop here")


def test_a_hook_cannot_speak_to_systemd_in_the_agents_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/systemd/notify")
    monkeypatch.setenv("KEPT", "yes")
    assert shell('echo "$KEPT $NOTIFY_SOCKET"').stdout == b"yes \n"


def test_what_cannot_be_started_is_an_oserror(tmp_path: Path) -> None:
    (tmp_path / "hook").write_text("no shebang")
    (tmp_path / "hook").chmod(0o755)
    with pytest.raises(OSError, match="Exec format"):
        run.hook([str(tmp_path / "hook")], b"", timeout=5, limit=PLENTY)


def test_who_waits_may_have_it_left(tmp_path: Path) -> None:
    calls = 0

    def alive() -> None:
        nonlocal calls
        calls += 1
        if (tmp_path / "child").exists() and calls > 2:
            raise errors.Interrupted("asked to stop")

    script = f"sleep 60 & echo $! > {tmp_path}/child.new; mv {tmp_path}/child.new {tmp_path}/child; wait"
    with pytest.raises(errors.Interrupted):
        run.hook(["/bin/sh", "-c", script], b"", timeout=60, limit=PLENTY, alive=alive)
    gone_by = time.monotonic() + 10
    while nodes.is_running(int((tmp_path / "child").read_text())):
        assert time.monotonic() < gone_by, "what was started is ended"
        time.sleep(0.01)


def test_who_presses_control_c_is_told_so(tmp_path: Path) -> None:
    config, file = tmp_path / "agent.conf", tmp_path / "file"
    config.write_text(f"[DEFAULT]\nstate_dir = {tmp_path}\n")
    os.mkfifo(file)
    argv = [str(places.BIN / "overcloud-agent"), "--config-file", str(config), "validate", str(file)]
    # Once the file is open, the verb reads, and waits.
    with subprocess.Popen(argv, stderr=subprocess.PIPE) as process, file.open("w"):
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=30)[1]
    assert (process.returncode, said) == (130, b"overcloud-agent: interrupted\n")


NOBODY = """
import os, pathlib, sys
from overcloud_agent import log, settings
from overcloud_agent.packages import planning
config = settings.load(pathlib.Path(sys.argv[1]))
log.setup()
os.setuid(int(sys.argv[2]))
planning.host(config)
"""


@pytest.mark.parametrize("user", [0, 65534])
def test_who_is_not_root_is_told_what_is_missing(tmp_path: Path, user: int) -> None:
    config = tmp_path / "agent.conf"
    config.write_text(f"[DEFAULT]\nstate_dir = {tmp_path}\n")
    argv = [sys.executable, "-c", NOBODY, str(config), str(user)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True)
    assert ("only root can look at all processes" in done.stderr) is (user != 0)
