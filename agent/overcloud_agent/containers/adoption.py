"""What a container that another tool made is, in our terms, so that it is taken over without a restart. Pure: no I/O.

paunch and tripleo_container_manage leave the config of a container in its label config_data, as JSON and as Python's
text. The docker-cmd hook leaves none: there, the command line by which Podman was asked tells. A container is adopted
only where everything is known: one that is in doubt is replaced, which costs a restart, and never a wrong container.
"""

from __future__ import annotations

import ast
import itertools
import json
import re
import shlex
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

import msgspec

from overcloud_agent import errors
from overcloud_agent.containers import podman_spec, spec, values

DOCKER_CMD = "docker-cmd"

# docker-cmd and paunch call a container so while another one still has its name.
_SUFFIX = re.compile(r"-[a-z0-9]{8}")

# The keys that the docker-cmd hook makes arguments of; it passes over all others.
_ARGUMENTS = {"detach", "env_file", "environment", "net", "pid", "privileged", "restart", "user", "volumes"}
# What it heeds itself, and so leaves no trace of.
_HEEDED = {"image", "command", "action", "exit_codes"}

_ENV = "--env="

# What Podman puts into every container's environment, whoever makes it.
_PODMANS_OWN = {"PATH", "TERM", "HOME", "HOSTNAME", "container"}


def managed_by(document: Mapping[str, Any]) -> str:
    """The tool that made the container, as its label says: paunch, tripleo_ansible, docker-cmd, ...; "" for none."""
    return str(_labels(document).get("managed_by", ""))


def can_adopt(document: Mapping[str, Any]) -> bool:
    """Whether one of the tools made it that containers are taken over from."""
    tool = managed_by(document)
    return tool in ("paunch", "tripleo_ansible", DOCKER_CMD) or tool.startswith("tripleo-")


def find(name: str, listed: Iterable[Mapping[str, Any]]) -> str | None:
    """The name under which the container `name` exists, of what GET /libpod/containers/json tells; None for nowhere.

    It may be NAME-xxxxxxxx: docker-cmd and paunch start a successor under such a name and rename it later. Of several
    the youngest is what the deployer wanted last.
    """
    listed = list(listed)
    suffixed = [entry for entry in listed if _is_suffixed(name, entry)]
    if any(name in entry["Names"] for entry in listed):
        return name
    youngest = max(suffixed, key=lambda entry: str(entry.get("Created", "")), default=None)
    return str(youngest["Names"][0]) if youngest else None


def _is_suffixed(name: str, entry: Mapping[str, Any]) -> bool:
    labels = entry.get("Labels") or {}
    real = str((entry.get("Names") or [""])[0])
    ours = labels.get("container_name") == name and can_adopt({"Config": {"Labels": labels}})
    return ours and _suffixed(real, name)


def _suffixed(real: str, name: str) -> bool:
    return real.startswith(name) and bool(_SUFFIX.fullmatch(real[len(name) :]))


def config_of(document: Mapping[str, Any]) -> spec.Container | None:
    """The config by which a container was made, from an inspect document; None when that is not known.

    It is that of the label config_data: as JSON (paunch, and ours) or as Python's text (tripleo_ansible).
    """
    labels = _labels(document)
    written = _read(str(labels.get("config_data", "")))
    if written is None:
        return None
    if document.get("HostConfig", {}).get("NetworkMode") == "none":
        # tripleo_ansible takes this network where the config names none, so this is what runs.
        written = {"net": "none", **written}
    name = str(labels.get("container_name") or document.get("Name", ""))
    try:
        return spec.parse({name: written})[name]
    except errors.BadInput:
        return None


def fingerprint(
    document: Mapping[str, Any],
    image_digest: str,
    env_files: Callable[[spec.Container], str],
    *,
    wanted: spec.Container | None = None,
    image_environment: Collection[str] | None = None,
) -> str:
    """The fingerprint that spec.fingerprint would give for what runs; "" when it is not known.

    `document` is the container's inspect document, `image_digest` that of the image that it runs. `env_files` reads
    the text of a config's env_files as they are now; it may raise BadInput. `wanted` is the config that the container
    shall have, without which one of docker-cmd is unknown. `image_environment` has the `KEY=value` of the image: with
    it, a variable is noticed that was in an env_file and is there no more.
    """
    if not can_adopt(document):
        return ""
    if managed_by(document) == DOCKER_CMD:
        container = wanted if wanted and made_by_docker_cmd(document, wanted) else None
    else:
        container = config_of(document)
    if container is None or container.action != "run":
        return ""
    try:
        text = env_files(container)
        known = _has_environment(document, container, text, image_environment)
        return spec.fingerprint(container, digest=image_digest, env_files=text) if known else ""
    except errors.BadInput:
        return ""


def made_by_docker_cmd(document: Mapping[str, Any], container: spec.Container) -> bool:
    """Whether the hook docker-cmd of heat-agents, given `container`, would have made what `document` describes.

    Its command line is compared, but for the image, which the digest tells better: names of images may be written
    in many ways. False for a container that has keys which that hook passes over, for it cannot have them.
    """
    argv = [str(word) for word in document.get("Config", {}).get("CreateCommand") or []]
    labels = _labels(document)
    name = str(labels.get("container_name", ""))
    named = len(argv) > 3 and (argv[3] == name or _suffixed(argv[3], name))
    said = _label_arguments(labels)
    if (
        labels.get("managed_by") != DOCKER_CMD
        or not named
        or argv[1:3] + argv[4 : 4 + len(said)] != ["run", "--name", *said]
    ):
        return False
    rest = argv[4 + len(said) :]
    options = list(itertools.takewhile(lambda word: word.startswith("--"), rest))
    variables = [word.removeprefix(_ENV) for word in options if word.startswith(_ENV)]
    # `false` is the default: whether it is said makes no difference.
    others = [word for word in options if not word.startswith(_ENV) and word != "--privileged=false"]
    return (
        not _unknown_to_docker_cmd(container)
        # Of a map that hook gives only the names, and Podman takes the values from the hook's own environment.
        and all("=" in variable for variable in variables)
        and values.pairs(variables) == values.pairs(container.environment)
        and others == _run_arguments(container)
        and rest[len(options) + 1 :] == _command(container)
    )


def _unknown_to_docker_cmd(container: spec.Container) -> bool:
    given = {key for key in msgspec.to_builtins(container) if spec.is_identity(key)}
    return bool(given - _ARGUMENTS - _HEEDED)


def _label_arguments(labels: Mapping[str, str]) -> list[str]:
    keys = ("deploy_stack_id", "deploy_resource_name", "config_id", "container_name", "managed_by")
    return [argument for key in keys for argument in ("--label", f"{key}={labels.get(key)}")]


def _run_arguments(container: spec.Container) -> list[str]:
    files = [container.env_file] if isinstance(container.env_file, str) else container.env_file
    texts = {"net": container.net, "pid": container.pid, "restart": container.restart, "user": container.user}
    given = {key: f"--{key}={value}" for key, value in texts.items() if value is not None}
    arguments = [
        "--detach=true" if container.detach else "",
        *(f"--env-file={path}" for path in files if path),
        given.get("net", ""),
        given.get("pid", ""),
        "--privileged=true" if container.privileged else "",
        given.get("restart", ""),
        given.get("user", ""),
        *(f"--volume={volume}" for volume in container.volumes if volume),
    ]
    return [argument for argument in arguments if argument]


def _command(container: spec.Container) -> list[str] | None:
    """The words of the command; None where that hook splits a text elsewhere than we do."""
    if isinstance(container.command, list):
        return container.command
    words = (container.command or "").split()
    try:
        return words if words == shlex.split(container.command or "") else None
    except ValueError:
        return None


def _labels(document: Mapping[str, Any]) -> dict[str, str]:
    return dict(document.get("Config", {}).get("Labels") or {})


def _read(text: str) -> dict[str, Any] | None:
    """The text of config_data as a map: JSON, or literals of Python, which are read and never run."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        try:
            found = ast.literal_eval(text)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            return None
    return found if isinstance(found, dict) and all(isinstance(key, str) for key in found) else None


def _has_environment(
    document: Mapping[str, Any], container: spec.Container, text: str, image_environment: Collection[str] | None
) -> bool:
    """Whether the container has the variables that its env_files give now: they may have been changed since."""
    if not container.env_file:
        return True
    has = values.pairs(list(document.get("Config", {}).get("Env") or []))
    over = podman_spec.environment(container.environment, "")
    given = {key: value for key, value in podman_spec.environment({}, text).items() if key not in over}
    if any(has.get(key) != value for key, value in given.items()):
        return False
    if image_environment is None:
        return True
    explained = {*given, *over, *values.pairs(list(image_environment)), *_PODMANS_OWN}
    return set(has) <= explained
