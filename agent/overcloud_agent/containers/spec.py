"""The config of the group container-upgrade: typed, checked, and with an identity. Pure: no I/O.

The keys are those that paunch and tripleo_container_manage accept, plus `upgrade`. A key that is not known is an
error: a misspelt one would be a container that silently lacks something.
"""

from __future__ import annotations

import difflib
import re
from typing import Annotated, Any, Literal

import msgspec

from overcloud_agent import errors, identifiers
from overcloud_agent.containers import addresses, documents, loose, order, podman_spec, values
from overcloud_agent.containers import schema as schemas

# The names of the containers that stand in during an upgrade.
NEXT, OLD, GONE, FAILED, MIGRATE = documents.SUFFIXES

# What parse adds to a container; these are no keys of the format.
_HIDDEN = ("name", "step", "path")

# A change of these does not change what runs, so it must not replace a container.
_NOT_IDENTITY = (
    *_HIDDEN,
    "upgrade",
    "start_order",
    "depends_on",
    "stop_grace_period",
    "check_interval",
    "systemd_exec_flags",
    "exit_codes",
    "pre_stop_exec",
    "config_volume",
)

# What an exec uses; other keys have no effect on it.
_EXEC_KEYS = (*_HIDDEN, "action", "command", "user", "privileged", "environment", "exit_codes", "start_order")

# A day at most: a gate holds up every deployment behind it.
Seconds = Annotated[float, msgspec.Meta(ge=0, le=86400)]
WholeSeconds = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1, extra_json_schema=loose.DURATION)]
Argv = Annotated[list[str], msgspec.Meta(min_length=1)]
Entries = Annotated[list[str], msgspec.Meta(extra_json_schema=loose.GAPS)]
Words = str | list[str]
Listed = str | Entries
Pairs = dict[str, str | int | float | bool | None] | Entries
ExitCode = Annotated[int, msgspec.Meta(ge=0, le=255)]


class Healthcheck(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """How the container's health is tested. Durations are seconds, or text such as `1m30s`."""

    test: Words
    interval: float | str = 30
    timeout: float | str = 30
    retries: int = 3
    start_period: float | str = 0


class Gate(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """What a new container has to show before the old one is given up."""

    healthy_within: Seconds = 60
    """Seconds in which it has to become healthy, where a healthcheck is configured."""
    stable_for: Seconds = 2
    """Seconds that it has to run without a restart."""
    exec: list[str] = []
    """A command in the new container that has to succeed."""
    http: str = ""
    """A URL that has to answer 2xx or 3xx."""
    tcp: str = ""
    """`HOST:PORT` that has to take a connection."""
    within: Seconds = 60
    """Seconds in which `exec`, `http` and `tcp` have to."""
    exits_within: Seconds = 3600
    """With `detach: false`: seconds in which it has to end."""


class Local(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A command that is run on the node, not in a container."""

    hook: Argv


class Upgrade(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """How this container is upgraded; the one key that is ours."""

    drain: list[Argv | Local] = []
    """Commands in the old container, or on the node, before it is stopped."""
    drain_within: Seconds = 300
    migrate: list[Argv] = []
    """Commands in a container of the new image, before the new container serves."""
    migrate_within: Seconds = 3600
    gate: Gate = Gate()
    rollback: Literal["auto", "never"] = "auto"
    keep: Annotated[int, msgspec.Meta(ge=0)] | None = None
    """Previous containers to keep; None is the agent's setting."""


class Container(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """One container of the config, or one command in a container (`action: exec`)."""

    image: Annotated[str, msgspec.Meta(extra_json_schema=loose.TEXT)] = ""
    action: Literal["run", "exec"] = "run"
    annotation: Pairs = {}
    cap_add: Entries = []
    cap_drop: Entries = []
    check_interval: float | str | None = None
    command: Words | None = None
    config_volume: str | None = None
    cpu_shares: int | None = None
    cpuset_cpus: str | None = None
    depends_on: Entries = []
    detach: bool = True
    device: Entries = []
    entrypoint: Words | None = None
    env_file: Listed = []
    environment: Pairs = {}
    etc_hosts: bool | Pairs = True
    exit_codes: tuple[ExitCode, ...] = (0,)
    extra_hosts: Pairs = []
    group_add: Annotated[list[str | int], msgspec.Meta(extra_json_schema=loose.GAPS)] = []
    healthcheck: Healthcheck | None = None
    hostname: str | None = None
    interactive: bool = False
    ipc: str | None = None
    log_tag: str | None = None
    mem_limit: str | int | None = None
    mem_swappiness: int | None = None
    memswap_limit: str | int | None = None
    net: Listed | None = None
    pid: str | None = None
    pids_limit: int | None = None
    pre_stop_exec: Words | None = None
    privileged: bool = False
    remove: bool = False
    restart: str | None = None
    security_opt: Listed = []
    start_order: int = 0
    stop_grace_period: WholeSeconds | None = None
    stop_signal: str | int | None = None
    sysctl: Pairs = {}
    systemd_exec_flags: dict[str, Any] = {}
    tty: bool = False
    ulimit: Listed = []
    upgrade: Upgrade = Upgrade()
    user: str | int | None = None
    uts: str | None = None
    volumes: Entries = []
    volumes_from: Entries = []
    name: str = ""
    step: int | None = None
    """Of the step dictionary that it came from; None without one."""
    path: str = "$.config"
    """Where it is in the config, as a JSON path."""

    @property
    def argv(self) -> list[str]:
        """`command` as words; of an exec, the first is the container's name."""
        return values.words(self.command or [])


def written(container: Container) -> dict[str, Any]:
    """A container's keys as plain data, without what parse has added."""
    plain = msgspec.to_builtins(container)
    return {key: plain[key] for key in KEYS if key in plain}


def is_identity(key: str) -> bool:
    """Whether a change of `key` changes what runs, and so replaces a container."""
    return key not in _NOT_IDENTITY


KEYS = tuple(field for field in Container.__struct_fields__ if field not in _HIDDEN)
"""The keys of the format."""


def parse(config: object) -> dict[str, Container]:
    """The containers of a config (an object, or its JSON or YAML text) by name, in the order they are to be started.

    The config is a map of names, or of TripleO's steps to maps of names. Raises BadInput with the JSON path; when
    several containers have a mistake, with each one's first.
    """
    containers, mistakes = check(config)
    if len(mistakes) > 1:
        raise errors.BadInput("; ".join(str(mistake) for mistake in mistakes))
    if mistakes:
        raise mistakes[0]
    return containers


def check(config: object) -> tuple[dict[str, Container], list[errors.BadInput]]:
    """The containers that are right, in order, and the first mistake of each that is not.

    Raises BadInput where the config as a whole cannot be understood.
    """
    containers: dict[str, Container] = {}
    mistakes: list[errors.BadInput] = []
    kind = msgspec.inspect.type_info(Container)
    for entry in documents.entries(config):
        try:
            containers[entry.name] = _container(entry, kind)
        except errors.BadInput as mistake:
            mistakes.append(mistake)
        # What Python itself cannot read: more digits than it takes for a number, or an infinite one.
        except (ArithmeticError, ValueError, RecursionError):
            mistakes.append(
                errors.BadInput(
                    "it has a value that cannot be read", path=entry.path, hint="is there a number that is none?"
                )
            )
    containers = dict(sorted(containers.items(), key=lambda item: (*order.group(item[1]), item[0])))
    if not mistakes:
        try:
            order.waves(containers)
        except errors.BadInput as mistake:
            mistakes.append(mistake)
    return containers, mistakes


def waves(containers: dict[str, Container]) -> list[list[str]]:
    """Lists of names, each of which may be worked on in parallel once the lists before it are done.

    Steps come before start_order, and that before what depends on what (`depends_on`, `volumes_from`, namespaces
    `container:NAME`, and the container that an exec is in). Raises BadInput as `parse` does.
    """
    return order.waves(containers)


def steps(config: object) -> dict[str, int]:
    """The step of each container of a step dictionary; empty for a config that is none. Raises BadInput."""
    return {entry.name: entry.step for entry in documents.entries(config) if entry.step is not None}


_STRUCTS: dict[tuple[type[msgspec.Struct], str], type[msgspec.Struct]] = {
    (Container, "healthcheck"): Healthcheck,
    (Container, "upgrade"): Upgrade,
    (Upgrade, "drain"): Local,
    (Upgrade, "gate"): Gate,
}


def _container(entry: documents.Entry, kind: msgspec.inspect.Type) -> Container:
    """One container, checked. Raises BadInput for the first mistake, or for everything that is misspelt."""
    unknown = _unknown_keys(entry.keys, Container, entry.path)
    if unknown:
        raise errors.BadInput("; ".join(unknown))
    keys = loose.loosen(entry.keys, kind, entry.path)
    if isinstance(keys, dict):
        keys = {**keys, "name": entry.name, "path": entry.path, "step": entry.step}
    try:
        container = msgspec.convert(keys, Container)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at ")
        raise errors.BadInput(message, path=entry.path + path.strip("`").removeprefix("$")) from None
    try:
        _check(container)
    except errors.BadInput as mistake:
        raise _placed(mistake, entry, container) from None
    return container


def _unknown_keys(entry: object, struct: type[msgspec.Struct], path: str) -> list[str]:
    if isinstance(entry, list):
        return [line for index, one in enumerate(entry) for line in _unknown_keys(one, struct, f"{path}[{index}]")]
    if not isinstance(entry, dict):
        return []
    fields = [field for field in struct.__struct_fields__ if struct is not Container or field not in _HIDDEN]
    found = []
    for key, value in entry.items():
        if key in fields:
            nested = _STRUCTS.get((struct, key))
            found += _unknown_keys(value, nested, f"{path}.{key}") if nested else []
        else:
            nearest = difflib.get_close_matches(str(key), fields, n=1, cutoff=0.5)
            found.append(f"{path}.{key} is not a known key" + (f" (nearest: {nearest[0]})" if nearest else ""))
    return found


def _placed(mistake: errors.BadInput, entry: documents.Entry, container: Container) -> errors.BadInput:
    """The mistake without the position in a list that parse made shorter: what was written has another."""
    match = re.fullmatch(re.escape(entry.path) + r"\.(\w+)\[\d+\]", mistake.path)
    if not match or not isinstance(entry.keys, dict):
        return mistake
    written, read = entry.keys.get(match[1]), getattr(container, match[1])
    if isinstance(written, list) and len(written) == len(read) and not any(isinstance(one, list) for one in written):
        return mistake
    path = f"{entry.path}.{match[1]}"
    return errors.BadInput(mistake.message.removeprefix(f"{mistake.path}: "), path=path, hint=mistake.hint)


def _check(container: Container) -> None:
    """Raises BadInput for a value that means nothing, or that Podman would refuse."""
    path = container.path
    if container.action == "exec":
        with values.at(f"{path}.command"):
            if len(container.argv) < 2:
                raise errors.BadInput(
                    "an exec needs a command", hint="the container's name, then the words, e.g. [db, mysqladmin, ping]"
                )
    elif not container.image.strip() or container.image.startswith("-"):
        said = f"{container.image!r} is not an image" if container.image else "the image is missing"
        raise errors.BadInput(said, path=f"{path}.image", hint="for example registry/nova-api:2025.2")
    podman_spec.generate(container, name=container.name, image=container.image, labels={}, env_files="")
    with values.at(f"{path}.pre_stop_exec"):
        values.words(container.pre_stop_exec or [])
    _check_gate(container.upgrade.gate, f"{path}.upgrade.gate")


def _check_gate(gate: Gate, path: str) -> None:
    with values.at(f"{path}.http"):
        if gate.http:
            addresses.of_url(gate.http)
    with values.at(f"{path}.tcp"):
        if gate.tcp:
            addresses.of_tcp(gate.tcp)
    if gate.exec and not gate.exec[0].strip():
        raise errors.BadInput("a command begins with a program", path=f"{path}.exec")


def notes(containers: dict[str, Container], *, units: bool) -> list[str]:
    """What of the config has no effect, for the deployment's stdout; `units`: systemd runs containers on this node."""
    found = [
        f"{name}: systemd_exec_flags has no effect: no systemd unit runs the container"
        for name, container in containers.items()
        if container.systemd_exec_flags and not (units and container.restart)
    ]
    for name, container in containers.items():
        given = [key for key in msgspec.to_builtins(container) if key not in _EXEC_KEYS]
        if container.action == "exec" and given:
            found.append(f"{name}: {', '.join(sorted(given))} has no effect on an exec")
    return found


def fingerprint(container: Container, *, digest: str, env_files: str) -> str:
    """The identity of what would run: `sha256:<hex>` over the canonical spec, the image digest and the env files' text.

    Defaults are left out of the canonical form, so a key that a later version adds changes no fingerprint.
    """
    canonical = {key: value for key, value in msgspec.to_builtins(container).items() if key not in _NOT_IDENTITY}
    # The tag may be written in many ways and may move; what counts is the content that it stands for.
    canonical["image"] = digest
    if env_files:
        canonical["env_file"] = env_files
    return identifiers.of(canonical)


def schema() -> dict[str, Any]:
    """The JSON Schema of the config: a map of container names to Container, or a step dictionary."""
    (container,), components = msgspec.json.schema_components([Container], ref_template="#/$defs/{name}")
    return schemas.of(container, components, _HIDDEN, documents.STEP_PATTERN)
