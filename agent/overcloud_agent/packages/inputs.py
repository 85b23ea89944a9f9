"""What a deployment of the group package-update asks for, read and checked. Pure: no I/O.

A superset of the inputs of TripleO's OS::TripleO::Tasks::PackageUpdate (tripleo-heat-templates,
extraconfig/tasks/yum_update.yaml and yum_update.sh, to Ocata), which are deploy_action, update_identifier, command and
command_arguments. docs/package-plan.md says what became of each.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import posixpath
import re
import shlex
from typing import Any, Literal, TypeVar

from overcloud_agent import errors, identifiers, model
from overcloud_agent.packages import model as packages_model

GROUP = "package-update"

# What the old interface may be asked for, and whether packages may be removed for it. apt's `upgrade` never does.
_COMMANDS = {
    "update": False,
    "upgrade": False,
    "dist-upgrade": True,
    "full-upgrade": True,
}
_ARGUMENTS_HINT = "command_arguments takes names of packages, --exclude=NAME and -x NAME"
_NAME = re.compile(r"[A-Za-z0-9*?\[][A-Za-z0-9+._*?\[\]!-]{0,199}")
_IDENTIFIER = re.compile(r"sha256:[0-9a-f]{64}")
# What the agent does anyway, so that it changes nothing to say it.
_GRANTED = ("-y", "--assumeyes", "-q", "--quiet")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Inputs:
    """What a deployment asks for."""

    action: str = ""
    """Heat's: CREATE, UPDATE, ...; empty when it did not say."""
    update_identifier: str = ""
    """Any text; the work is done once for each. Empty: nothing is applied, unless a plan is approved."""
    mode: Literal["plan", "apply"] = "apply"
    plan_identifier: str = ""
    """The plan that is approved; empty: whatever is found is."""
    allow: Literal["update", "upgrade"] = "upgrade"
    selection: packages_model.Selection = dataclasses.field(default_factory=packages_model.Selection)
    restart: Literal["auto", "report", "none"] = "auto"
    reboot: Literal["never", "report", "when-required"] = "report"
    content_trees: tuple[str, ...] | None = None
    """None: those that the node is configured for."""

    @property
    def applies(self) -> bool:
        """Whether anything is to be changed: Heat deletes and suspends stacks, too, and that updates nothing."""
        asked = bool(self.update_identifier or self.plan_identifier)
        return self.mode == "apply" and asked and self.action in ("", "CREATE", "UPDATE")

    @property
    def identifier(self) -> str:
        """For what the work is done once: the update_identifier, else the plan that is approved."""
        return self.update_identifier or self.plan_identifier


def read(deployment: model.Deployment) -> Inputs:
    """The inputs of a deployment. Raises BadInput, with the input's name in its path."""
    return Inputs(
        action=deployment.action,
        update_identifier=_text(deployment, "update_identifier"),
        mode=_choice(deployment, "mode", ("plan", "apply"), "apply"),
        plan_identifier=_plan_identifier(deployment),
        allow=_choice(deployment, "allow", ("update", "upgrade"), "upgrade"),
        selection=_selection(deployment),
        restart=_choice(deployment, "restart", ("auto", "report", "none"), "auto"),
        reboot=_choice(deployment, "reboot", ("never", "report", "when-required"), "report"),
        content_trees=_trees(deployment),
    )


def file_name(identifier: str) -> str:
    """A name for a file about an identifier: what of it can be in one, for people, and its hash.

    The old interface leaves out what cannot, by which `a/b` and `ab` are the same; here they are not.
    """
    readable = re.sub(r"[^A-Za-z0-9_-]+", "-", identifier)[:40].strip("-")
    # Halves of surrogate pairs, which JSON can have, are told apart as well.
    digest = identifiers.of(ascii(identifier)).removeprefix("sha256:")[:32]
    return f"{readable}.{digest}" if readable else digest


def _path(name: str) -> str:
    return f"$.inputs[{name}]"


def _text(deployment: model.Deployment, name: str) -> str:
    """Text as it came; a number, which a template may have made of a time, as it is written."""
    value = deployment.input(name)
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise errors.BadInput(f"expected text, got {_shown(value)}", path=_path(name))
    return str(value)


_Word = TypeVar("_Word", bound=str)


def _choice(deployment: model.Deployment, name: str, words: tuple[_Word, ...], default: _Word) -> _Word:
    text = _text(deployment, name).strip()
    if not text:
        return default
    found = next((word for word in words if word == text), None)
    if found is None:
        raise errors.BadInput(f"{_shown(text)} is not known", path=_path(name), hint=" or ".join(words))
    return found


def _plan_identifier(deployment: model.Deployment) -> str:
    text = _text(deployment, "plan_identifier").strip()
    if text and not _IDENTIFIER.fullmatch(text):
        raise errors.BadInput(
            f"{_shown(text)} is no plan's identifier",
            path=_path("plan_identifier"),
            hint="sha256: and 64 hexadecimal digits, as mode: plan answers it",
        )
    return text


def _selection(deployment: model.Deployment) -> packages_model.Selection:
    more, excluded = _arguments(_text(deployment, "command_arguments"))
    named = _listed(deployment, "packages") or []
    exclude = _listed(deployment, "exclude") or []
    for name, given in (("packages", named), ("exclude", exclude)):
        for index, one in enumerate(given):
            _check_name(one, f"{_path(name)}[{index}]")
    return packages_model.Selection(
        packages=tuple(sorted({*named, *more})),
        exclude=tuple(sorted({*exclude, *excluded})),
        removals=_removals(_text(deployment, "command").strip()),
    )


def _removals(command: str) -> bool:
    if command and command not in _COMMANDS:
        near = difflib.get_close_matches(command, _COMMANDS, n=1)
        raise errors.BadInput(
            f"the command {_shown(command)} is none of an update",
            path=_path("command"),
            hint=f"nearest: {near[0]}" if near else f"one of {', '.join(_COMMANDS)}",
        )
    return _COMMANDS[command or "update"]


def _arguments(text: str) -> tuple[list[str], list[str]]:
    """Packages, and those excluded, of what the old interface put on yum's command line."""
    path = _path("command_arguments")
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise errors.BadInput(f"the text cannot be split into words: {error}", path=path) from None
    named: list[str] = []
    excluded: list[str] = []
    rest = iter(words)
    for word in rest:
        option, equals, value = word.partition("=")
        if word in _GRANTED:
            continue
        if option in ("--exclude", "-x"):
            excluded += _split(value if equals else next(rest, ""), word, path)
        elif word.startswith("-x"):
            excluded += _split(word.removeprefix("-x"), word, path)
        elif word.startswith("-"):
            raise errors.BadInput(f"the option {_shown(word)} is not taken over", path=path, hint=_ARGUMENTS_HINT)
        else:
            named.append(word)
    for one in (*named, *excluded):
        _check_name(one, path)
    return named, excluded


def _split(value: str, option: str, path: str) -> list[str]:
    names = [name for name in value.split(",") if name]
    if not names:
        raise errors.BadInput(f"{_shown(option)} names no package", path=path, hint="for example --exclude=kernel*")
    return names


def _check_name(name: str, path: str) -> None:
    if not _NAME.fullmatch(name):
        raise errors.BadInput(
            f"{_shown(name)} is no package's name",
            path=path,
            hint="names as they are installed, with * ? [...] as wildcards; no versions, groups, files or URLs",
        )


def _trees(deployment: model.Deployment) -> tuple[str, ...] | None:
    given = _listed(deployment, "content_trees")
    if given is None:
        return None
    for index, one in enumerate(given):
        if not one.startswith("/") or "\0" in one or ".." in one.split("/"):
            raise errors.BadInput(
                f"{_shown(one)} is no directory's path",
                path=f"{_path('content_trees')}[{index}]",
                hint="an absolute path, for example /etc/puppet/modules",
            )
    # Two leading slashes mean something else to POSIX, and nothing else here.
    return tuple(sorted({"/" + posixpath.normpath(one).lstrip("/") for one in given}))


def _listed(deployment: model.Deployment, name: str) -> list[str] | None:
    """A list, JSON text of one, or text with commas and white space in between; None when it is not given."""
    value = deployment.input(name)
    if isinstance(value, str):
        value = _of_text(value, name)
    if value is None or value == "":
        return None
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise errors.BadInput(
            f"expected a list of names, got {_shown(value)}",
            path=_path(name),
            hint='a list, or text such as "nova-api, nova-common"',
        )
    # Heat's conditions leave empty places.
    return [one.strip() for one in value if one.strip()]


def _of_text(text: str, name: str) -> Any:
    """A package's name can begin with a bracket, as a wildcard, so that JSON is only what is JSON's list."""
    if not text.strip():
        return None
    if text.lstrip().startswith("["):
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            if text.rstrip().endswith("]") and '"' in text:
                raise errors.BadInput(
                    "the text begins as a JSON list and is none", path=_path(name), hint='["nova-api", "nova-common"]'
                ) from None
    return [one for one in re.split(r"[,\s]+", text) if one]


def _shown(value: object) -> str:
    """A value for a message, not longer than a line."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
