"""What the agent works with, typed and validated at the border. Pure: no I/O.

The shapes follow what Heat's engine puts into a server's metadata (heat/engine/service_software_config.py): an entry
of `deployments` is a *derived config*, one for each action of a SoftwareDeployment.
"""

from __future__ import annotations

import json
import re

from overcloud_agent import errors, nesting, records, redact

# A type checker takes this name for true; see records.py.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Heat's ids are UUIDs; operators and tests use other words. A path separator or a leading dot never gets in, because
# the hooks' own contract makes file names of ids.
# A file's name has 255 bytes at most, and those around an id (.ID.notify.json.PID.new) have to fit.
_ID = re.compile(r"[0-9A-Za-z_-][0-9A-Za-z._-]{0,199}")

# Heat takes a signal with this key for "clear the breakpoint", not for a result (heat/engine/resource.py).
RESERVED_OUTPUT = "unset_hook"

# Inputs by which Heat tells the agent where the answer goes. They are used by the agent itself, so they must be text.
_SIGNAL_INPUTS = (
    "deploy_action",
    "deploy_signal_transport",
    "deploy_signal_id",
    "deploy_signal_verb",
)


# What an entry may have, and of which types; with none, any JSON.
_ENTRY: dict[str, tuple[type, ...]] = {"name": (str,), "type": (str,)}
_INPUT = {**_ENTRY, "value": ()}
_OUTPUT = {**_ENTRY, "error_output": (bool,)}
_DEPLOYMENT: dict[str, tuple[type, ...]] = {
    "id": (str,),
    "name": (str,),
    "group": (str, type(None)),
    "creation_time": (str,),
    "config": (),
    "inputs": (list,),
    "outputs": (list,),
    "options": (dict, type(None)),
}
_EXPECTED = "an entry of deployments is an object with id, name, group, config, inputs, outputs and options"


class Input(records.Record):
    """One input; `value` is raw JSON of any type, whatever `type` says: Heat does not convert."""

    name: str
    type: str = "String"
    value: Any = ""


class Output(records.Record):
    """One declared output; a value for one with `error_output` makes Heat fail the deployment."""

    name: str
    type: str = "String"
    error_output: bool = False


class Deployment(records.Record):
    """One entry of the `deployments` list."""

    id: str
    name: str = ""
    group: str | None = None
    creation_time: str = ""
    config: Any = None
    inputs: tuple[Input, ...] = ()
    outputs: tuple[Output, ...] = ()
    options: dict[str, Any] | None = None

    def input(self, name: str) -> Any:
        """The value of the input `name`; None when there is no such input."""
        return next((entry.value for entry in self.inputs if entry.name == name), None)

    @property
    def action(self) -> str:
        """CREATE, UPDATE, DELETE, SUSPEND, RESUME; empty when Heat did not say."""
        return self.input("deploy_action") or ""


class Result(records.Record):
    """The outcome of one deployment: the signal's body, and whether Heat will take it as a failure."""

    body: dict[str, Any]
    ok: bool
    reason: str = ""
    """One line for people: why it failed; empty when it did not."""


class Target(records.Record):
    """Where a result goes: what of Heat's deploy_* inputs says so. `url` (pre-signed) and `password` are secret."""

    transport: str
    url: str = ""
    verb: str = "POST"
    stack_id: str = ""
    """`name/uuid`, each part quoted as in a URL."""
    resource_name: str = ""
    auth_url: str = ""
    user_id: str = ""
    password: str = ""
    project_id: str = ""
    region_name: str = ""
    queue_id: str = ""

    @property
    def endpoint(self) -> str:
        """Scheme, host and port of who is asked first; the same for all targets that share the fate of a server."""
        return redact.endpoint(self.auth_url or self.url)


class Process(records.Record):
    """A process, told from a later one with the same number by when it was created (see run.created)."""

    pid: int
    created: float


def parse_deployment(document: object) -> Deployment:
    """Validate one entry of the `deployments` list.

    Raises BadInput with the JSON path, relative to the entry, of the first thing that is wrong.
    """
    found = records.read(document, _DEPLOYMENT, required="id", path="$", hint=_EXPECTED)
    for key, kind, shape in (("inputs", Input, _INPUT), ("outputs", Output, _OUTPUT)):
        hint = f"{key} are a list of objects with at least a name"
        entries = [
            records.read(entry, shape, required="name", path=f"$.{key}[{index}]", hint=hint)
            for index, entry in enumerate(found.get(key, ()))
        ]
        found[key] = tuple(kind(**entry) for entry in entries)
    deployment = Deployment(**found)
    if not is_id(deployment.id):
        raise errors.BadInput(
            f"{deployment.id[:80]!r} is not an id",
            path="$.id",
            hint="letters, digits, '.', '_' and '-' are allowed, 200 at most, and no '.' in front",
        )
    for index, entry in enumerate(deployment.inputs):
        if entry.name in _SIGNAL_INPUTS and not isinstance(entry.value, str):
            raise errors.BadInput(
                f"Expected `str`, got `{records.json_type(entry.value)}`",
                path=f"$.inputs[{index}].value",
                hint=f"{entry.name} is set by Heat and is always text",
            )
    return deployment


def is_id(text: str) -> bool:
    """Whether `text` can be a deployment's id, and hence part of a file's name."""
    return bool(_ID.fullmatch(text))


def identify(document: object) -> str:
    """The key under which the journal keeps an entry, valid or not.

    An entry without a usable id gets one from its content, so that it is answered once, too.
    """
    if isinstance(document, dict) and isinstance(document.get("id"), str) and document["id"]:
        return plain(document["id"])
    # Hashes are slow to load, and hooks need none.
    from overcloud_agent import identifiers

    return f"no-id-{identifiers.of(document).removeprefix('sha256:')[:32]}"


def describe(document: object) -> tuple[str, str]:
    """Name and group of an entry as far as it has them, for people."""
    if not isinstance(document, dict):
        return "", ""
    name, group = document.get("name"), document.get("group")
    return (plain(name) if isinstance(name, str) else "", plain(group) if isinstance(group, str) else "")


def plain(text: str) -> str:
    """`text` for one line of a log, a status or a database: what is not printable is written as an escape.

    JSON can hold half a surrogate pair, which is no Unicode, and line breaks, which would be lines of their own.
    """
    # Nearly every text is, and thousands of ids and names in one list come here.
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)


def target_of(document: object) -> Target | None:
    """Where the result of an entry goes, taken from whatever of it can be read; None when nowhere.

    Tolerant on purpose: an entry that makes no sense must be answered all the same. An entry that does not name its
    transport is taken as heat-config-notify takes it: by the inputs that are there.
    """
    # Half a surrogate pair cannot be written down, nor be part of any address.
    values = {name: text.encode(errors="backslashreplace").decode() for name, text in _texts(document).items()}
    transport = values.get("deploy_signal_transport") or _transport_by_inputs(values)
    if transport == "NO_SIGNAL":
        return None
    presigned = transport not in ("HEAT_SIGNAL", "ZAQAR_SIGNAL")
    return Target(
        transport=transport,
        url=values.get("deploy_signal_id", "") if presigned else "",
        verb="PUT" if values.get("deploy_signal_verb") == "PUT" else "POST",
        stack_id=values.get("deploy_stack_id", ""),
        resource_name=values.get("deploy_resource_name", ""),
        queue_id=values.get("deploy_queue_id", ""),
        **{
            key: "" if presigned else values.get(f"deploy_{key}", "")
            for key in ("auth_url", "user_id", "password", "project_id", "region_name")
        },
    )


def _transport_by_inputs(values: dict[str, str]) -> str:
    if values.get("deploy_signal_id"):
        return "CFN_SIGNAL"
    if values.get("deploy_queue_id"):
        return "ZAQAR_SIGNAL"
    return "HEAT_SIGNAL" if values.get("deploy_auth_url") else "NO_SIGNAL"


def _texts(document: object) -> dict[str, str]:
    """The inputs of an entry that are text, by name."""
    inputs = document.get("inputs") if isinstance(document, dict) else None
    return {
        entry["name"]: entry["value"]
        for entry in (inputs if isinstance(inputs, list) else ())
        if isinstance(entry, dict) and isinstance(entry.get("name"), str) and isinstance(entry.get("value"), str)
    }


def error_outputs(document: object) -> list[str]:
    """The names of the outputs of an entry that Heat takes for the reason of a failure."""
    outputs = document.get("outputs") if isinstance(document, dict) else None
    return [
        entry["name"]
        for entry in (outputs if isinstance(outputs, list) else ())
        if isinstance(entry, dict) and entry.get("error_output") and isinstance(entry.get("name"), str)
    ]


def lineage(document: object) -> str:
    """What all the entries have in common that Heat makes, one after the other, for one SoftwareDeployment.

    A derived config is made anew for every action, with a new id; the stack and the resource stay. Empty when the
    entry does not say.
    """
    values = _texts(document)
    stack, resource = values.get("deploy_stack_id", ""), values.get("deploy_resource_name", "")
    return plain(f"{stack}/{resource}") if stack and resource else ""


def chosen(document: dict[str, Any]) -> dict[str, Any] | None:
    """The entry with what it asks for now: of a SoftwareComponent's configs the first that is for its action.

    Its tool is the group that runs it. None when there is nothing to do for this action. An entry of another group is
    returned as it came. Raises BadInput.
    """
    if document.get("group") != "component":
        return document
    config = document.get("config")
    configs = config.get("configs") if isinstance(config, dict) else None
    if not isinstance(configs, list):
        raise errors.BadInput("Expected a list", path="$.config.configs", hint="a component has actions, config, tool")
    action = _texts(document).get("deploy_action", "")
    for index, entry in enumerate(configs):
        if not isinstance(entry, dict) or not isinstance(entry.get("actions"), list):
            raise errors.BadInput("Expected a list", path=f"$.config.configs[{index}].actions")
        if action in entry["actions"]:
            if not isinstance(entry.get("tool"), str):
                raise errors.BadInput("Expected `str`", path=f"$.config.configs[{index}].tool", hint="a hook's name")
            return {**document, "group": entry["tool"], "config": entry.get("config", "")}
    return None


def hook_document(document: dict[str, Any]) -> dict[str, Any]:
    """The entry as a hook gets it on stdin: as it came, but text where an input says String.

    Existing hooks rely on Python's str() here (55-heat-config of heat-agents does this: None becomes "None", a dict
    its Python form). Inputs of other types stay JSON.
    """
    entries = document.get("inputs") or []
    converted = [
        {**entry, "value": str(entry["value"])}
        if entry.get("type") == "String" and "value" in entry and not isinstance(entry["value"], str)
        else entry
        for entry in entries
    ]
    return {**document, "inputs": converted} if "inputs" in document else document


def succeeded(stdout: str, *, stderr: str = "", outputs: dict[str, Any] | None = None) -> Result:
    """A result that Heat takes as success."""
    body = {**(outputs or {}), "deploy_stdout": stdout, "deploy_stderr": stderr, "deploy_status_code": 0}
    return Result(body=body, ok=True)


def failed(
    reason: str, *, status: int = 1, stdout: str = "", stderr: str = "", outputs: dict[str, Any] | None = None
) -> Result:
    """A result that Heat takes as failure; `reason` leads deploy_stderr, where Heat's users look first."""
    text = f"{reason}\n{stderr}" if stderr else reason
    body = {**(outputs or {}), "deploy_stdout": stdout, "deploy_stderr": text, "deploy_status_code": status}
    return Result(body=body, ok=False, reason=reason.splitlines()[0] if reason else "failed")


def failed_by(error: errors.AgentError) -> Result:
    """The result that says in the error's own words why the deployment could not be carried out."""
    return failed(str(error), status=error.exit_code)


def interpret(returncode: int, stdout: str, stderr: str) -> Result:
    """What a hook's exit status and output mean.

    A hook answers with one JSON object on stdout. An exit status that is not 0 fails the deployment whatever the
    JSON claims, and so does an answer that cannot be understood: a success that nobody claimed would let a rolling
    update go on to the next batch.
    """
    if not stdout.strip():
        reason = f"the hook exited with status {returncode} and printed no result; expected one JSON object on stdout"
        return failed(reason, status=returncode or 1, stderr=stderr)
    try:
        body = json.loads(stdout)
    except ValueError as error:
        reason = f"the hook exited with status {returncode} and what it printed is not JSON: {error}"
        return failed(reason, status=returncode or 1, stdout=stdout, stderr=stderr)
    except RecursionError:
        return _too_deep(returncode, stderr)
    if not isinstance(body, dict):
        reason = f"the hook printed a JSON {records.json_type(body)}; expected one JSON object"
        return failed(reason, status=returncode or 1, stdout=stdout, stderr=stderr)
    if not nesting.is_shallow(body):
        return _too_deep(returncode, stderr)
    if RESERVED_OUTPUT in body:
        reason = f"the hook's result has an output named {RESERVED_OUTPUT}, which Heat would take for something else"
        return failed(reason, status=returncode or 1, stderr=stderr)
    return _judge(returncode, body)


def _too_deep(returncode: int, stderr: str) -> Result:
    reason = f"the hook exited with status {returncode} and its result is nested over {nesting.DEEPEST} levels deep"
    return failed(reason, status=returncode or 1, stderr=stderr)


def claims_success(body: dict[str, Any]) -> bool:
    """Whether Heat takes a signal's body as success (heat/engine/service_software_config.py)."""
    status = body.get("deploy_status_code")
    return not status or str(status) == "0"


def _judge(returncode: int, body: dict[str, Any]) -> Result:
    if returncode == 0:
        ok = claims_success(body)
        return Result(
            body=body, ok=ok, reason="" if ok else f"deploy_status_code {str(body['deploy_status_code'])[:20]}"
        )
    reason = f"the hook exited with status {returncode}"
    if claims_success(body):
        said = str(body.get("deploy_stderr") or "")
        stderr = f"{reason}, although its result claims success\n{said}"
        body = {**body, "deploy_stderr": stderr, "deploy_status_code": returncode}
    return Result(body=body, ok=False, reason=reason)
