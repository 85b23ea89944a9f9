"""What a script says while it runs: in the journal's socket, and as the resident agent hears it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import places
from overcloud_agent import model, scripts

PASSWORD = "s3cret-passphrase"


def deployment(config: str, *inputs: tuple[str, object]) -> bytes:
    entries = [{"name": name, "value": value} for name, value in inputs]
    made = {"id": "d1", "name": "web\nstep 1", "group": "script", "config": config, "inputs": entries}
    return json.dumps(made).encode()


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "journal"))
        sock.settimeout(20)
        yield sock


def start(tmp_path: Path, stdin: bytes) -> subprocess.Popen[bytes]:
    environ = {
        **os.environ,
        scripts.WORKING_VARIABLE: str(tmp_path / "working"),
        scripts.OUTPUTS_VARIABLE: str(tmp_path / "outputs"),
        scripts.JOURNAL_VARIABLE: str(tmp_path / "journal"),
    }
    process = subprocess.Popen(
        [places.BIN / "script"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environ
    )
    assert process.stdin
    process.stdin.write(stdin)
    process.stdin.close()
    process.stdin = None
    return process


def test_lines_are_in_the_journal_while_the_script_runs(tmp_path: Path, journal: socket.socket) -> None:
    fifo = tmp_path / "go-on"
    os.mkfifo(fifo)
    config = f'#!/bin/sh\necho "login $password"\ncat {fifo}\nprintf "\\033[1mlast" >&2\n'
    process = start(tmp_path, deployment(config, ("password", PASSWORD), ("deploy_action", "CREATE")))
    assert journal.recv(65536).decode().splitlines() == [
        "MESSAGE=login ***",
        "SYSLOG_IDENTIFIER=heat-config-script",
        "PRIORITY=6",
        "DEPLOYMENT_ID=d1",
        "DEPLOYMENT_NAME=web\\nstep 1",
    ]
    assert process.poll() is None
    fifo.write_text("")
    assert journal.recv(65536).startswith(b"MESSAGE=\\x1b[1mlast\n")
    stdout, stderr = process.communicate(timeout=20)
    assert PASSWORD.encode() in stdout, "Heat gets what the script said"
    assert stderr == b""


def test_a_journal_that_does_not_read_holds_nobody_up(tmp_path: Path, journal: socket.socket) -> None:
    journal.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    process = start(tmp_path, deployment("#!/bin/sh\nseq 20000\n"))
    stdout, _ = process.communicate(timeout=30)
    assert b'19999\\n20000\\n"' in stdout


def hear(tmp_path: Path, config: str, *inputs: tuple[str, object]) -> tuple[list[str], model.Result]:
    heard: list[str] = []
    result = scripts.run_script(
        model.parse_deployment(json.loads(deployment(config, *inputs))),
        places=scripts.Places(working=str(tmp_path / "working"), outputs=str(tmp_path / "outputs")),
        timeout=30.0,
        limit=1 << 20,
        live=heard.append,
    )
    return heard, result


def test_the_agent_hears_each_line_bounded_and_printable(tmp_path: Path) -> None:
    program = """#!/bin/sh
echo one; echo; printf 'two\\r\\n'; printf 'a\\tb\\377\\033\\n'
head -c 5000 /dev/zero | tr '\\0' y; echo
head -c 200000 /dev/zero | tr '\\0' x; echo
printf end
"""
    heard, result = hear(tmp_path, program)
    assert heard[:3] == ["one", "two", "a       b\ufffd\\x1b"]
    assert heard[3] == "y" * 2000 + " [...]"
    assert heard[4:] == ["[a line of 200000 bytes is not shown]", "end"]
    assert len(result.body["deploy_stdout"]) > 205000, "Heat gets all of it"


def test_no_value_of_an_input_is_heard_wherever_it_is_cut(tmp_path: Path) -> None:
    """A value longer than a line that is shown, in lines, inside JSON, quoted by `set -x`, at every place of a line."""
    long = "".join(f"{number:05d}" for number in range(10_000, 30_000))
    inputs = {
        "long": long,
        "key": "-----BEGIN\nMIIEvQIBADAN\nBgkqhkiG9w0B\n-----END",
        "deep": {"db": [{"password": "deep-secret"}], "port": 5672, "on": True},
        "quoted": "it's-quoted",
        "url": "http://heat:8000/v1/signal/x?Signature=abcdef",
    }
    program = """#!/bin/bash
echo "$long"; echo "$long$long"
echo "$key"; echo "$deep"; echo "path is /v1/signal/x?Signature=abcdef"
set -x
: "$quoted" "$key"
set +x
for n in $(seq 1990 2010); do head -c $n /dev/zero | tr '\\0' .; echo "deep-secret"; done
echo "on: true port 5672"
"""
    heard, result = hear(tmp_path, program, *inputs.items())
    assert result.ok, result.body["deploy_stderr"]
    said = "\n".join(heard)
    # Each is as short as what a cut or a quote could have left over.
    for part in ("MIIEvQ", "BgkqhkiG", "deep-s", "s-quoted", "Signature", "abcdef", long[:20], long[50_000:50_020]):
        assert part not in said, part
    assert "on: true port 5672" in heard


def test_the_script_is_the_only_process(tmp_path: Path) -> None:
    begun: list[model.Process] = []
    result = scripts.run_script(
        model.Deployment(id="d1", config="#!/bin/sh\necho $$ $PPID\n"),
        places=scripts.Places(working=str(tmp_path / "working"), outputs=str(tmp_path / "outputs")),
        timeout=30.0,
        limit=1 << 20,
        began=begun.append,
    )
    assert result.body["deploy_stdout"] == f"{begun[0].pid} {os.getpid()}\n"
    assert len(begun) == 1


def test_a_failure_has_its_reason(tmp_path: Path) -> None:
    assert hear(tmp_path, "exit 3")[1].reason == "the script exited with status 3"
    assert hear(tmp_path, "kill -9 $$")[1].reason == "the script was ended by signal 9"
    assert hear(tmp_path, "exit 0")[1].reason == ""
