"""The config of the group container-upgrade: typed, checked, and with an identity. Pure: no I/O.

The keys are those that paunch and tripleo_container_manage accept, plus `upgrade`. A key that is not known is an
error: a misspelt one would be a container that silently lacks something.
"""

from __future__ import annotations

import difflib
import json
import re
from typing import Annotated, Any, Literal

import msgspec

from overcloud_agent import errors, identifiers

# Podman's own rule for names. The suffixes are ours, for the containers that stand in during an upgrade.
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")
NEXT, OLD, GONE, FAILED = ".next", ".old", ".gone", ".failed"

# A change of these does not change what runs, so it must not replace a container.
_NOT_IDENTITY = ("upgrade", "start_order", "depends_on", "stop_grace_period", "check_interval", "systemd_exec_flags")

# A day at most: a gate holds up every deployment behind it.
Seconds = Annotated[float, msgspec.Meta(ge=0, le=86400)]
Words = str | list[str]
Pairs = dict[str, str | int | float | bool | None] | list[str]


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


class Upgrade(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """How this container is upgraded; the one key that is ours."""

    drain: list[list[str]] = []
    migrate: list[list[str]] = []
    gate: Gate = Gate()
    rollback: Literal["auto", "never"] = "auto"


class Container(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """One container of the config."""

    image: str
    action: Literal["run", "exec"] = "run"
    annotation: Pairs = {}
    cap_add: list[str] = []
    cap_drop: list[str] = []
    check_interval: float | str | None = None
    command: Words | None = None
    cpu_shares: int | None = None
    cpuset_cpus: str | None = None
    depends_on: list[str] = []
    detach: bool = True
    device: list[str] = []
    entrypoint: Words | None = None
    env_file: Words = []
    environment: Pairs = {}
    etc_hosts: bool = True
    exit_codes: tuple[int, ...] = (0,)
    extra_hosts: Pairs = []
    group_add: list[str | int] = []
    healthcheck: Healthcheck | None = None
    hostname: str | None = None
    interactive: bool = False
    ipc: str | None = None
    log_tag: str | None = None
    mem_limit: str | int | None = None
    mem_swappiness: int | None = None
    memswap_limit: str | int | None = None
    net: Words | None = None
    pid: str | None = None
    pids_limit: int | None = None
    pre_stop_exec: str | None = None
    privileged: bool = False
    remove: bool = False
    restart: str | None = None
    security_opt: Words = []
    start_order: int = 0
    stop_grace_period: int | None = None
    stop_signal: str | int | None = None
    sysctl: Pairs = {}
    systemd_exec_flags: dict[str, Any] = {}
    tty: bool = False
    ulimit: Words = []
    upgrade: Upgrade = Upgrade()
    user: str | int | None = None
    uts: str | None = None
    volumes: list[str] = []
    volumes_from: list[str] = []


def parse(config: object) -> dict[str, Container]:
    """The containers of a config (an object, or its JSON or YAML text) by name, in the order they are to be started.

    Raises BadInput with the JSON path, naming everything that is misspelt at once.
    """
    document = load(config)
    unknown = [line for name, entry in document.items() for line in _unknown_keys(entry, Container, f"$.config.{name}")]
    if unknown:
        raise errors.BadInput("; ".join(unknown))
    containers = {name: _convert(name, entry) for name, entry in document.items()}
    for name, container in containers.items():
        _check(name, container)
    return dict(sorted(containers.items(), key=lambda item: (item[1].start_order, item[0])))


def load(config: object) -> dict[str, Any]:
    """The config as a mapping of names. Raises BadInput when it is none, or its text is neither JSON nor YAML."""
    document = _load_text(config) if isinstance(config, str) else config
    if not isinstance(document, dict) or not document:
        found = "empty" if not document else f"a {type(document).__name__}"
        raise errors.BadInput(
            f"the config is {found}", path="$.config", hint="expected a map of container names to their keys"
        )
    for name in document:
        if not isinstance(name, str) or not _NAME.fullmatch(name) or name.endswith((NEXT, OLD, GONE, FAILED)):
            raise errors.BadInput(
                f"{name!r} cannot be a container's name",
                path="$.config",
                hint=f"letters, digits, '_', '.', '-'; the endings {NEXT}, {OLD}, {GONE}, {FAILED} are the agent's own",
            )
    return document


def _load_text(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        # Deployers write YAML too; its parser is only loaded where it is needed.
        import yaml

        try:
            return yaml.safe_load(text)
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
            raise errors.BadInput(f"the config is neither JSON nor YAML{where}", path="$.config") from None


_NESTED: dict[tuple[type[msgspec.Struct], str], type[msgspec.Struct]] = {
    (Container, "healthcheck"): Healthcheck,
    (Container, "upgrade"): Upgrade,
    (Upgrade, "gate"): Gate,
}


def _unknown_keys(entry: object, struct: type[msgspec.Struct], path: str) -> list[str]:
    if not isinstance(entry, dict):
        return []
    fields = struct.__struct_fields__
    found = []
    for key, value in entry.items():
        if key in fields:
            nested = _NESTED.get((struct, key))
            found += _unknown_keys(value, nested, f"{path}.{key}") if nested else []
        else:
            nearest = difflib.get_close_matches(str(key), fields, n=1, cutoff=0.5)
            found.append(f"{path}.{key} is not a known key" + (f" (nearest: {nearest[0]})" if nearest else ""))
    return found


def _convert(name: str, entry: object) -> Container:
    try:
        return msgspec.convert(entry, Container)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at ")
        where = "$.config." + name + path.strip("`").removeprefix("$")
        raise errors.BadInput(message, path=where) from None


def _check(name: str, container: Container) -> None:
    """Refuse, before anything is touched, what this version of the agent would have to leave out."""
    refused = {
        "action: exec": container.action == "exec",
        "detach: false": not container.detach,
        "remove: true": container.remove,
        "pre_stop_exec": bool(container.pre_stop_exec),
        "upgrade.drain": bool(container.upgrade.drain),
        "upgrade.migrate": bool(container.upgrade.migrate),
    }
    asked = [key for key, wanted in refused.items() if wanted]
    if asked:
        raise errors.BadInput(
            f"this version of the agent cannot do {', '.join(asked)}",
            path=f"$.config.{name}",
            hint="nothing was changed; leave it out, or use a later version",
        )
    if not container.image.strip() or container.image.startswith("-"):
        raise errors.BadInput(f"{container.image!r} is not an image", path=f"$.config.{name}.image")


def notes(containers: dict[str, Container]) -> list[str]:
    """What of the config has no effect with this agent, for the deployment's stdout."""
    return [
        f"{name}: systemd_exec_flags has no effect: the agent starts containers itself, not through systemd units"
        for name, container in containers.items()
        if container.systemd_exec_flags
    ]


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
    """The JSON Schema of the config: a map of container names to Container."""
    (container,), components = msgspec.json.schema_components([Container], ref_template="#/$defs/{name}")
    return {"type": "object", "minProperties": 1, "additionalProperties": container, "$defs": components}
