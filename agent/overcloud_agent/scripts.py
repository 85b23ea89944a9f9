"""The group script: one function, used by the resident agent and by the hook executable alike."""

from __future__ import annotations

import errno
import json
import math
import os
import signal
from collections.abc import Callable, Mapping

from overcloud_agent import (
    deadlines,
    errors,
    failpoints,
    fit,
    hook_io,
    journald,
    model,
    records,
    redact,
    run,
    script_files,
)

WORKING_VARIABLE = "HEAT_SCRIPT_WORKING"
OUTPUTS_VARIABLE = "HEAT_SCRIPT_OUTPUTS"
JOURNAL_VARIABLE = "HEAT_SCRIPT_JOURNAL"

# Bytes of each of stdout and stderr that the executable keeps, as the agent does by default.
_OUTPUT_LIMIT = 4 * 1024 * 1024
# Characters of a line that reach the log; escapes can make them more.
_LINE_SHOWN = 2000
# The kernel's limit for one string of an environment (execve(2), MAX_ARG_STRLEN).
_LONGEST_VARIABLE = 32 * os.sysconf("SC_PAGESIZE")
# What Heat tells every deployment about itself. It is no secret, and much of it is in every other line.
_OPEN_INPUTS = frozenset(
    {
        "deploy_action",
        "deploy_server_id",
        "deploy_stack_id",
        "deploy_resource_name",
        "deploy_signal_transport",
        "deploy_signal_verb",
    }
)


class Places(records.Record):
    """Where scripts are written to and run in, and where they leave their outputs."""

    working: str
    outputs: str


def places(environ: Mapping[str, str] = os.environ) -> Places:
    """The places that the environment names, else those of heat-agents."""
    working = environ.get(WORKING_VARIABLE) or "/var/lib/heat-config/heat-config-script"
    outputs = environ.get(OUTPUTS_VARIABLE) or "/var/run/heat-config/heat-config-script"
    return Places(working=os.path.abspath(working), outputs=os.path.abspath(outputs))


def run_script(
    deployment: model.Deployment,
    *,
    places: Places,
    timeout: float,
    limit: int,
    began: Callable[[model.Process], None] = lambda _: None,
    live: Callable[[str], None] = lambda _: None,
) -> model.Result:
    """Run the config of a deployment as a script: one process, or none when the config is empty.

    `timeout` is in seconds, `limit` in bytes for each of stdout and stderr. `began` is told the process; `live` is told
    each line of its output while it runs, printable, bounded, and without the values of the inputs. The result has the
    declared outputs that the script left in `<heat_outputs_path>.<name>`. Raises BadInput for what cannot be run, and
    AgentError when the places are not fit to run it in.
    """
    config = _config(deployment)
    variables = _variables(deployment.inputs)
    names = _output_names(deployment)
    if not config.strip():
        return model.succeeded("the config is empty: there is nothing to run")
    script = os.path.join(places.working, deployment.id)
    variables[b"heat_outputs_path"] = os.fsencode(os.path.join(places.outputs, deployment.id))
    with script_files.Directory(places.outputs) as outputs, script_files.Directory(places.working) as working:
        outputs.clear(f"{deployment.id}.")
        working.write_script(deployment.id, config)
        show = _shown(
            live, redact.secrets(entry.value for entry in deployment.inputs if entry.name not in _OPEN_INPUTS)
        )

        def start(*argv: str) -> run.Completed:
            return run.hook(
                argv,
                b"",
                timeout=timeout,
                limit=limit,
                began=began,
                cwd=places.working,
                variables=variables,
                live=show,
            )

        completed = _started(start, script, config)
        # Dying here leaves the deployment `running`: what the script did is done, and nobody knows its result.
        failpoints.reach("hook.ended")
        return _result(completed, timeout, deployment.id, names, outputs)


def _config(deployment: model.Deployment) -> bytes:
    config = "" if deployment.config is None else deployment.config
    if not isinstance(config, str):
        raise errors.BadInput(
            f"Expected `str`, got JSON {type(config).__name__}", path="$.config", hint="the config is the script's text"
        )
    first = config.partition("\n")[0]
    if first.startswith("#!") and first.endswith("\r"):
        raise errors.BadInput(
            f"the first line of the script ends with a carriage return (\\r): {model.plain(first[:200])}",
            path="$.config",
            hint="the script has the line ends of Windows; save it with those of Unix",
        )
    return config.encode("utf-8", "surrogatepass")


def _variables(inputs: tuple[model.Input, ...]) -> dict[bytes, bytes]:
    """The inputs as environment variables. Raises BadInput, which quotes no value."""
    variables = {}
    for index, entry in enumerate(inputs):
        path = f"$.inputs[{index}]"
        if not entry.name or "=" in entry.name or "\0" in entry.name:
            raise errors.BadInput(
                f"{entry.name[:80]!r} cannot be the name of an environment variable",
                path=f"{path}.name",
                hint="it must not be empty, nor have '=' or a NUL character in it",
            )
        # dict and list as the hook of heat-agents writes them, the rest in the same language.
        text = entry.value if isinstance(entry.value, str) else json.dumps(entry.value)
        name, value = entry.name.encode("utf-8", "surrogatepass"), text.encode("utf-8", "surrogatepass")
        if b"\0" in value:
            raise errors.BadInput(
                f"the value of {model.plain(entry.name)} has a NUL character, which no environment variable can have",
                path=f"{path}.value",
                hint="pass binary data as base64",
            )
        # One for the sign between them, one for the NUL at the end.
        if len(name) + len(value) + 2 > _LONGEST_VARIABLE:
            raise errors.BadInput(
                f"the value of {model.plain(entry.name)} has {len(value)} bytes, too many for an environment variable",
                path=f"{path}.value",
                hint=f"Linux allows {_LONGEST_VARIABLE} with its name; have the script fetch it",
            )
        variables[name] = value
    return variables


def _output_names(deployment: model.Deployment) -> list[str]:
    names = []
    for index, output in enumerate(deployment.outputs):
        path = f"$.outputs[{index}].name"
        if not output.name or output.name.startswith(".") or "/" in output.name or "\0" in output.name:
            raise errors.BadInput(
                f"{output.name[:80]!r} cannot be the name of an output",
                path=path,
                hint="it becomes part of a file's name: no '/', no NUL character, no '.' in front",
            )
        if output.name == model.RESERVED_OUTPUT:
            raise errors.BadInput(
                f"an output cannot be named {output.name}", path=path, hint="Heat would take it for something else"
            )
        names.append(output.name)
    return names


def _shown(live: Callable[[str], None], hidden: tuple[str, ...]) -> Callable[[bytes], None]:
    def show(line: bytes) -> None:
        # Masked before it is cut or escaped: afterwards a value is not found any more.
        text = redact.mask(line.decode(errors="replace"), hidden).strip()
        if text:
            more = " [...]" if len(text) > _LINE_SHOWN else ""
            live(model.plain(text[:_LINE_SHOWN].expandtabs()) + more)

    return show


def _started(start: Callable[..., run.Completed], script: str, config: bytes) -> run.Completed:
    """Run the script by its first line; one that has none by /bin/sh, as shells do. Raises BadInput."""
    try:
        try:
            return start(script)
        except OSError as error:
            if error.errno != errno.ENOEXEC:
                raise
            return start("/bin/sh", script)
    except OSError as error:
        raise _not_started(error, script, config) from None


def _not_started(error: OSError, script: str, config: bytes) -> errors.BadInput:
    first = config.partition(b"\n")[0]
    words = first.removeprefix(b"#!").split()
    if error.errno == errno.ENOENT and first.startswith(b"#!") and words:
        interpreter = model.plain(words[0].decode(errors="replace"))
        return errors.BadInput(
            f"the interpreter {interpreter} of the script is not there",
            path="$.config",
            hint="install it, or correct the script's first line",
        )
    if error.errno == errno.E2BIG:
        return errors.BadInput(
            "the inputs together are too long for an environment", path="$.inputs", hint="have the script fetch them"
        )
    return errors.BadInput(
        f"the script {script} cannot be started: {error.strerror}",
        path="$.config",
        hint="is the program of its first line executable, and its file system not mounted noexec?",
    )


def _result(
    completed: run.Completed, timeout: float, key: str, names: list[str], directory: script_files.Directory
) -> model.Result:
    stdout = completed.stdout.decode(errors="replace")
    stderr = completed.stderr.decode(errors="replace")
    if completed.output_held:
        # The only line that is logged here. A fifth of what the executable has to load would be for it.
        import logging

        log = logging.getLogger(__name__)
        log.warning("the script %s left a background child that holds its output; the child goes on without it", key)
    if completed.timed_out:
        return deadlines.overdue("script", timeout, stdout=stdout, stderr=stderr)
    outputs: dict[str, object] = {}
    faults = []
    for name in names:
        try:
            value = directory.read(f"{key}.{name}".encode("utf-8", "surrogatepass"), fit.MAX_BODY)
        except errors.AgentError as error:
            faults.append(f"the file of the output {name!r} {error}")
        else:
            if value is not None:
                outputs[name] = value
    status = completed.returncode
    # A success without a value that somebody waits for would be no success.
    if faults:
        return model.failed("\n".join(faults), status=status or 1, stdout=stdout, stderr=stderr, outputs=outputs)
    body = {**outputs, "deploy_stdout": stdout, "deploy_stderr": stderr, "deploy_status_code": status}
    return model.Result(body=body, ok=status == 0, reason=_reason(status))


def _reason(status: int) -> str:
    if status < 0:
        return f"the script was ended by signal {-status}"
    return f"the script exited with status {status}" if status else ""


def describe() -> dict[str, object]:
    """What hooks/script.json says: summary, description, and JSON Schemas of config, inputs and outputs."""
    return {
        "summary": "Run the config as a script.",
        "description": [
            "The script finds each input as an environment variable of its name: text as it is, everything else as",
            "JSON. It leaves the value of an output in the file $heat_outputs_path.NAME. What it writes to stdout and",
            "stderr becomes deploy_stdout and deploy_stderr, its exit status deploy_status_code.",
        ],
        "config": {"type": "string"},
        "inputs": {"type": "object", "additionalProperties": True},
        "outputs": {"type": "object", "additionalProperties": {"type": "string"}},
    }


def main() -> int:
    """The executable; see hook_io. What the script says while it runs goes to systemd's journal, where there is one."""
    return hook_io.answer(_run_here)


def _run_here(deployment: model.Deployment) -> model.Result:
    fields = {
        "SYSLOG_IDENTIFIER": "heat-config-script",
        "PRIORITY": "6",
        "DEPLOYMENT_ID": deployment.id,
        "DEPLOYMENT_NAME": model.plain(deployment.name),
    }
    relay = _Relay()
    with journald.Journal(os.environ.get(JOURNAL_VARIABLE, journald.SOCKET)) as journal:
        return run_script(
            deployment,
            places=places(),
            # Whoever called this hook has a deadline of its own, or wants none.
            timeout=deadlines.timeout(deployment, math.inf),
            limit=_OUTPUT_LIMIT,
            began=relay.began,
            live=lambda line: journal.send({"MESSAGE": line, **fields}),
        )


class _Relay:
    """Passes signals that end this process on to the script, which has a process group of its own.

    The script decides what becomes of it, and its result is still told.
    """

    def __init__(self) -> None:
        self._process: model.Process | None = None
        self._early: int | None = None
        signal.signal(signal.SIGTERM, self._pass_on)
        # An ignored signal would be ignored in the script as well; a handler is not inherited.
        if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
            signal.signal(signal.SIGHUP, lambda *_: None)

    def began(self, process: model.Process) -> None:
        self._process = process
        if self._early:
            self._pass_on(self._early)

    def _pass_on(self, number: int, *_: object) -> None:
        if self._process:
            run.signal_group(self._process.pid, number)
        else:
            self._early = number
