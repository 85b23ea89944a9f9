"""The executable script: real stdin, real scripts. "The original" is the hook of heat-agents 13.0.0."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

import nodes
import places
from overcloud_agent import scripts

HOOK = places.BIN / "script"
# What a test writes into a script as an input must not be found where only the script's author may look.
CANARY = "canary-7f3a"


class Node:
    """The two directories of the hook, and the hook."""

    def __init__(self, root: Path) -> None:
        self.working = root / "working"
        self.outputs = root / "outputs"
        self.environ = {
            **os.environ,
            scripts.WORKING_VARIABLE: str(self.working),
            scripts.OUTPUTS_VARIABLE: str(self.outputs),
            scripts.JOURNAL_VARIABLE: str(root / "journal"),
        }
        self.stderr = ""

    def run(self, config: object, *inputs: tuple[str, Any], outputs: list[str] | None = None, **more: Any) -> Any:
        """What the hook answers; it always ends with 0, and stdout has nothing but the answer."""
        document = deployment(config, *inputs, outputs=outputs, **more)
        done = subprocess.run(
            [HOOK], input=document, env=self.environ, cwd="/", capture_output=True, text=True, timeout=60
        )
        self.stderr = done.stderr
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr
        return json.loads(done.stdout)

    def start(self, config: object, *inputs: tuple[str, Any], argv: tuple[str, ...] = ()) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [*argv, str(HOOK)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=self.environ, text=True
        )
        assert process.stdin
        process.stdin.write(deployment(config, *inputs))
        process.stdin.close()
        process.stdin = None
        return process


def deployment(config: object, *inputs: tuple[str, Any], outputs: list[str] | None = None, **more: Any) -> str:
    document = {
        "id": "d1",
        "group": "script",
        "config": config,
        "inputs": [{"name": name, "value": value} for name, value in inputs],
        "outputs": [{"name": name} for name in outputs or []],
        **more,
    }
    return json.dumps(document)


def answer(process: subprocess.Popen[str]) -> Any:
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    return json.loads(said)


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


def sh(*lines: str) -> str:
    return "\n".join(["#!/bin/sh", *lines, ""])


def test_the_contract_of_heat_agents(node: Node) -> None:
    node.environ["FROM_PARENT"] = "kept"
    config = sh(
        'printf %s "$foo" > "$heat_outputs_path.one"',
        'echo "$0 $# $PWD $heat_outputs_path $FROM_PARENT"',
        "cat",
        "echo story >&2",
        "exit 3",
    )
    said = node.run(config, ("foo", "bar  baz\n"), outputs=["one", "two"])
    script, outputs = node.working / "d1", node.outputs / "d1"
    assert said == {
        "one": "bar  baz\n",
        "deploy_stdout": f"{script} 0 {node.working} {outputs} kept\n",
        "deploy_stderr": "story\n",
        "deploy_status_code": 3,
    }
    assert script.read_text() == config
    assert script.stat().st_mode & 0o7777 == 0o700
    assert [path.stat().st_mode & 0o7777 for path in (node.working, node.outputs)] == [0o700, 0o700]
    assert list(node.working.iterdir()) == [script], "nothing else is left there"


def test_a_signal_that_ends_a_script_is_a_negative_status(node: Node) -> None:
    said = node.run(sh("kill -9 $$"))
    assert said == {"deploy_stdout": "", "deploy_stderr": "", "deploy_status_code": -9}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (5, "5"),
        (1.5, "1.5"),
        (True, "true"),
        (None, "null"),
        ({"a": [1, None]}, '{"a": [1, null]}'),
        ([], "[]"),
        ("", ""),
        ("é 'x' $y", "é 'x' $y"),
    ],
)
def test_a_value_of_any_type_is_text_or_json(node: Node, value: object, text: str) -> None:
    """Defect 29: a number, a boolean and null end the original with a traceback."""
    assert node.run(sh('printf %s "$v"'), ("v", value))["deploy_stdout"] == text


def test_half_a_surrogate_pair_is_no_trouble(node: Node) -> None:
    said = node.run(sh('printf %s "$v" | wc -c', "# \udc80\ud800"), ("v", "\ud800"), outputs=["\udfff"])
    assert (said["deploy_stdout"].strip(), said["deploy_status_code"]) == ("3", 0)


def test_nothing_of_an_older_longer_script_is_run(node: Node) -> None:
    """Defect 30: the original writes over the beginning of the older file."""
    node.run(sh("echo one", "echo two", "echo three"))
    assert node.run("#!/bin/sh\necho new\n")["deploy_stdout"] == "new\n"


def test_what_lies_in_the_place_of_the_script_is_replaced_and_not_followed(node: Node, tmp_path: Path) -> None:
    node.run(sh("true"))
    precious = tmp_path / "precious"
    precious.write_text("precious")
    for name in ("d1", ".d1"):
        (node.working / name).unlink(missing_ok=True)
        (node.working / name).symlink_to(precious)
    assert node.run(sh("echo new"))["deploy_stdout"] == "new\n"
    assert precious.read_text() == "precious"
    assert not (node.working / "d1").is_symlink()


def test_no_output_of_an_earlier_run_is_told(node: Node, tmp_path: Path) -> None:
    """Defect 30: the original tells what it finds."""
    node.run(sh("echo old > $heat_outputs_path.one"), outputs=["one"])
    precious = tmp_path / "precious"
    precious.write_text("precious")
    (node.outputs / "d1.two").symlink_to(precious)
    (node.outputs / "d11.one").write_text("another deployment's")
    said = node.run(sh("ls $heat_outputs_path.* 2>&1 | wc -l"), outputs=["one", "two"])
    assert said == {"deploy_stdout": "1\n", "deploy_stderr": "", "deploy_status_code": 0}, "ls complains in one line"
    assert precious.read_text() == "precious"
    assert (node.outputs / "d11.one").exists()


@pytest.mark.parametrize("name", ["../x", "a/b", ".x", "", "a\0b", "unset_hook"])
def test_names_of_outputs_that_lead_elsewhere_are_refused(node: Node, name: str) -> None:
    """Defect 30: the original opens any path."""
    said = node.run(sh("echo ran"), outputs=["fine", name])
    assert (said["deploy_status_code"], said["deploy_stdout"]) == (2, "")
    assert said["deploy_stderr"].startswith("$.outputs[1].name: ")


def test_the_bytes_of_an_output_are_told_as_far_as_they_are_text(node: Node) -> None:
    config = sh(r"printf 'a\r\n\377b' > $heat_outputs_path.one", r"printf '\377'", r"printf '\376' >&2")
    said = node.run(config, outputs=["one"])
    assert (said["one"], said["deploy_stdout"], said["deploy_stderr"]) == ("a\r\n\ufffdb", "\ufffd", "\ufffd")


@pytest.mark.parametrize(
    ("command", "fault"),
    [
        ("mkfifo $heat_outputs_path.one", "is not a regular file"),
        ("ln -s /dev/zero $heat_outputs_path.one", "is not a regular file"),
        ("ln -s /etc/passwd $heat_outputs_path.one", "is not a regular file"),
        ("mkdir $heat_outputs_path.one", "is not a regular file"),
        ("truncate -s 5G $heat_outputs_path.one", "has more than 1000000 bytes"),
    ],
)
def test_an_output_that_is_no_readable_file_fails_the_deployment(node: Node, command: str, fault: str) -> None:
    said = node.run(sh(command, "echo two > $heat_outputs_path.two", "echo out"), outputs=["one", "two"])
    assert said["deploy_stderr"].startswith(f"the file of the output 'one' {fault}")
    assert (said["deploy_status_code"], said["deploy_stdout"], said["two"]) == (1, "out\n", "two\n")
    assert "one" not in said


@pytest.mark.parametrize("which", ["working", "outputs"])
def test_a_directory_that_others_can_write_to_is_refused(node: Node, which: str) -> None:
    directory = node.working if which == "working" else node.outputs
    directory.mkdir()
    directory.chmod(0o777)
    said = node.run(sh("echo ran"))
    assert (said["deploy_status_code"], said["deploy_stdout"]) == (1, "")
    assert f"{directory} (owner 0, mode 0777) can be written to by others" in said["deploy_stderr"]
    directory.chmod(0o755)
    os.chown(directory, 12345, -1)
    assert "(owner 12345, mode 0755)" in node.run(sh("echo ran"))["deploy_stderr"]
    directory.rmdir()
    directory.write_text("")
    said = node.run(sh("echo ran"))
    assert f"cannot make the directory {directory}" in said["deploy_stderr"]


def test_a_directory_in_the_place_of_the_script_is_told(node: Node) -> None:
    (node.working / "d1").mkdir(parents=True)
    node.working.chmod(0o700)
    said = node.run(sh("echo ran"))
    assert f"cannot write the script {node.working}/d1: Is a directory" in said["deploy_stderr"]


@pytest.mark.parametrize("config", [None, "", " \n\n"])
def test_an_empty_config_runs_nothing(node: Node, config: object) -> None:
    """The original ends with "Exec format error"."""
    said = node.run(config, outputs=["one"])
    assert (said["deploy_status_code"], said["deploy_stderr"]) == (0, "")
    assert "nothing to run" in said["deploy_stdout"]
    assert not node.working.exists()


def test_a_script_without_a_first_line_is_run_by_the_shell(node: Node) -> None:
    """The original ends with "Exec format error"."""
    said = node.run('echo "$0 $# $v"; exit 4\n', ("v", "x"))
    assert (said["deploy_stdout"], said["deploy_status_code"]) == (f"{node.working}/d1 0 x\n", 4)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ("#!/bin/sh\r\necho ran\r\n", r"the first line of the script ends with a carriage return (\r): #!/bin/sh\r"),
        ("#!/nonexistent/python -u\n", "the interpreter /nonexistent/python of the script is not there"),
        ("#!/etc\necho ran\n", "cannot be started: Permission denied"),
        ({"a": 1}, "Expected `str`, got JSON dict"),
    ],
)
def test_a_config_that_cannot_be_run_is_told_why(node: Node, config: object, said: str) -> None:
    answer = node.run(config)
    assert (answer["deploy_status_code"], answer["deploy_stdout"]) == (2, "")
    assert answer["deploy_stderr"].startswith("$.config: ")
    assert said in answer["deploy_stderr"]


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("", CANARY, "$.inputs[1].name: '' cannot be the name of an environment variable"),
        ("a=b", CANARY, "$.inputs[1].name: 'a=b' cannot"),
        ("a\0b", CANARY, r"$.inputs[1].name: 'a\x00b' cannot"),
        ("v", f"{CANARY}\0", "$.inputs[1].value: the value of v has a NUL character"),
        ("v", CANARY * 20000, "$.inputs[1].value: the value of v has 220000 bytes, too many"),
    ],
)
def test_an_input_that_no_process_can_be_given_is_told(node: Node, name: str, value: str, said: str) -> None:
    answer = node.run(sh("echo ran"), ("fine", "x"), (name, value))
    assert (answer["deploy_status_code"], answer["deploy_stdout"]) == (2, "")
    assert answer["deploy_stderr"].startswith(said)
    assert CANARY not in answer["deploy_stderr"]


def test_inputs_that_are_too_long_together_are_told(node: Node) -> None:
    said = node.run(sh("echo ran"), *((f"v{number}", "x" * 100_000) for number in range(100)))
    assert "$.inputs: the inputs together are too long" in said["deploy_stderr"]


def test_a_name_that_a_shell_cannot_use_is_passed_on(node: Node) -> None:
    said = node.run("#!/usr/bin/env python3\nimport os\nprint(os.environ['my-input.x'])\n", ("my-input.x", "1"))
    assert said["deploy_stdout"] == "1\n"


def test_no_input_is_logged(node: Node) -> None:
    """Defect 25: the original logs each input, passwords too, and the whole output."""
    said = node.run(sh('echo "$password"; echo "$password" >&2'), ("password", CANARY), ("deploy_password", CANARY))
    assert said["deploy_stdout"] == said["deploy_stderr"] == f"{CANARY}\n", "Heat gets what the script said"
    assert CANARY not in node.stderr


def test_a_background_child_that_holds_the_output_holds_nobody_up(node: Node, tmp_path: Path) -> None:
    """The original waits for the child."""
    begun = time.monotonic()
    said = node.run(sh(f"sleep 60 & echo $! > {tmp_path}/child", "echo done"))
    assert (said["deploy_stdout"], said["deploy_status_code"]) == ("done\n", 0)
    assert time.monotonic() - begun < 10
    assert "left a background child" in node.stderr
    child = int((tmp_path / "child").read_text())
    assert nodes.is_running(child), "a service that a script starts goes on"
    os.kill(child, signal.SIGKILL)


def test_past_its_deadline_a_script_is_ended(node: Node, tmp_path: Path) -> None:
    config = sh(f"sleep 60 & echo $! > {tmp_path}/child", "echo before", "wait")
    said = node.run(config, options={"timeout": 0.5})
    assert said["deploy_status_code"] == 124
    assert said["deploy_stderr"] == "the script was ended: it ran longer than its deadline of 0.5 seconds"
    assert said["deploy_stdout"] == "before\n"
    assert not nodes.is_running(int((tmp_path / "child").read_text()))
    assert (
        "$.options.timeout: 'soon' is not a timeout" in node.run(sh(""), options={"timeout": "soon"})["deploy_stderr"]
    )


def test_no_signal_is_ignored_in_a_script(node: Node) -> None:
    """Defect 24: os-collect-config ignores SIGHUP, and so did everything that it started; Python ignores SIGPIPE."""
    process = node.start(sh("grep SigIgn /proc/self/status"), argv=("/bin/sh", "-c", 'trap "" HUP; exec "$0"'))
    ignored = int(answer(process)["deploy_stdout"].split()[1], 16)
    assert not ignored & (1 << (signal.SIGHUP - 1) | 1 << (signal.SIGPIPE - 1)), hex(ignored)


def test_sigterm_is_the_scripts_and_its_result_is_told(node: Node, tmp_path: Path) -> None:
    fifo = tmp_path / "ready"
    os.mkfifo(fifo)
    process = node.start(sh("trap 'echo cleaned up; exit 7' TERM", "sleep 60 &", f"echo > {fifo}", "wait"))
    fifo.read_bytes()
    process.send_signal(signal.SIGTERM)
    said = answer(process)
    assert (said["deploy_stdout"], said["deploy_status_code"]) == ("cleaned up\n", 7)


def test_a_result_fits_what_heat_takes(node: Node) -> None:
    said = node.run(sh("head -c 3000000 /dev/zero | tr '\\0' x"))
    assert said["deploy_status_code"] == 0
    assert "characters cut here" in said["deploy_stdout"]
    assert len(json.dumps(said)) <= 1_000_000
