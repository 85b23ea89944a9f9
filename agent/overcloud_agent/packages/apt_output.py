"""What apt's tools print, in the C locale. Pure: no I/O."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping

from overcloud_agent import redact
from overcloud_agent.packages import dpkg, model

# `Inst name:arch [old] (new Label:version/suite, ... [arch])` of apt-get -s; of an installation without [old].
_INST = re.compile(r"Inst (\S+)(?: \[([^\]]+)\])? \((\S+)(?: (.*?))? \[([^\] ]+)\]\)")
_REMV = re.compile(r"(?:Remv|Purg) (\S+) \[([^\]]+)\]")
_KEPT = ("The following packages have been kept back:", "The following upgrades have been deferred due to phasing:")
_KEPT_LINE = re.compile(r"   (\S+) \((\S+) => (\S+)\)")
# Suites of Debian and Ubuntu that have nothing but security updates: `bookworm-security`, `jammy-infra-security`.
_SECURITY = re.compile(r"-security\b")

_WORDS = 2000


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """A line of a simulation: a package that changes. Names have their architecture if it is a foreign one."""

    name: str
    old: str
    new: str = ""
    architecture: str = ""
    repository: str = ""


def steps(text: str) -> Iterator[Step]:
    """What `apt-get -s` would do, each package once."""
    found: dict[str, Step] = {}
    for line in text.splitlines():
        if match := _INST.match(line):
            name, old, new, repository, architecture = match.groups(default="")
            # What has to go for a while, to come back in its new version, is an upgrade.
            gone = found[name].old if name in found else ""
            found[name] = Step(name=name, old=old or gone, new=new, repository=repository, architecture=architecture)
        elif match := _REMV.match(line):
            found.setdefault(match[1], Step(name=match[1], old=match[2]))
    return iter(found.values())


def kept(text: str) -> dict[str, tuple[str, str]]:
    """What `apt-get -V` keeps back: by name, the version that is installed and the one that could be."""
    found: dict[str, tuple[str, str]] = {}
    inside = False
    for line in text.splitlines():
        if match := _KEPT_LINE.match(line):
            if inside:
                found[match[1]] = match[2], match[3]
        else:
            inside = line in _KEPT
    return found


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Policy:
    """What `apt-cache policy` says of a package."""

    installed: str = ""
    candidate: str = ""
    versions: tuple[tuple[str, int, bool], ...] = ()
    """Each known version, newest first, with its priority, and whether it is rolled out in phases."""


# What a version has of which no pin and no repository says otherwise: apt_preferences(5).
_PRIORITY = 500
_VERSION = re.compile(r" (?:\*\*\*|   ) (\S+) (-?\d+)(.*)")


def policies(text: str) -> dict[str, Policy]:
    """The answer of `apt-cache policy`, by name."""
    found: dict[str, Policy] = {}
    for name, lines in _paragraphs(text):
        installed = candidate = ""
        versions: list[tuple[str, int, bool]] = []
        for line in lines:
            if match := _VERSION.match(line):
                versions.append((match[1], int(match[2]), "(phased " in match[3]))
            elif line.startswith("  Installed: "):
                installed = _version(line)
            elif line.startswith("  Candidate: "):
                candidate = _version(line)
        found[name] = Policy(installed=installed, candidate=candidate, versions=tuple(versions))
    return found


def _paragraphs(text: str) -> Iterator[tuple[str, list[str]]]:
    """Names at the beginning of a line, each with the lines below it."""
    for paragraph in re.split(r"\n(?=\S)", text):
        name, *lines = paragraph.split("\n")
        if name.strip():
            yield name.removesuffix(":"), lines


def _version(line: str) -> str:
    version = line.partition(": ")[2]
    return "" if version == "(none)" else version


def update(policy: Policy) -> tuple[str, str]:
    """The version that a package could have, and why it does not come by itself: `phased`, `pinned` or nothing.

    What has the priority of an unasked-for suite (backports) is no update: it comes to nobody. Empty when there is
    none.
    """
    for version, priority, phased in policy.versions:
        if dpkg.compare(version, policy.installed) <= 0:
            break
        if version == policy.candidate:
            return version, "phased" if phased else ""
        if priority < 0 or priority >= _PRIORITY:
            return version, "pinned"
    return "", ""


def records(text: str) -> dict[tuple[str, str, str], Mapping[str, str]]:
    """The answer of `apt-cache show`: by name, architecture and version, the fields of one line each."""
    found: dict[tuple[str, str, str], Mapping[str, str]] = {}
    for stanza in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in stanza.splitlines() if ": " in line and not line[0].isspace())
        key = fields.get("Package", ""), fields.get("Architecture", ""), fields.get("Version", "")
        # The first is the one that apt takes; another repository may have the same version.
        found.setdefault(key, fields)
    return found


def is_security(repository: str) -> bool | None:
    """Whether one of the suites, as a simulation names them, has only security updates; others do not say."""
    return True if _SECURITY.search(repository) else None


def kind(old: str, new: str) -> model.Kind:
    """What a change from one version to another is; an empty one stands for none."""
    if not new:
        return "remove"
    if not old:
        return "install"
    order = dpkg.compare(new, old)
    return "upgrade" if order > 0 else "downgrade" if order < 0 else "reinstall"


def last_words(stderr: str, stdout: str) -> str:
    """The errors that a tool of apt or dpkg printed, without passwords; of what prints none, its last lines."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    said = [line[3:] for line in lines if line.startswith("E: ")]
    # That a signature is wrong is a warning, of which only the consequence is an error.
    said += [line[3:] for line in lines if line.startswith("W: ") and "GPG error" in line]
    said += [line for line in lines if line.startswith("dpkg: error")]
    said = said or lines[-3:] or [line.strip() for line in stdout.splitlines() if line.strip()][-3:]
    return redact.text("; ".join(dict.fromkeys(said)))[:_WORDS]


# In this order: what comes first is the cause of what comes later.
_HINTS: tuple[tuple[tuple[str, ...], str], ...] = (
    (
        ("No space left on device", "enough free space"),
        "make room for downloads, for example with `apt-get clean`",
    ),
    (
        ("NO_PUBKEY", "BADSIG", "EXPKEYSIG", "REVKEYSIG", "not signed", "no longer signed", "signature", "NODATA"),
        "a repository must be signed with a key that this node trusts: Signed-By in its entry in /etc/apt names it",
    ),
    (
        ("Could not connect", "Could not resolve", "Failed to fetch", "Unable to connect", "imed out"),
        "see that the repository can be reached, and its address in /etc/apt/sources.list and sources.list.d",
    ),
    (("dpkg was interrupted", "unmet dependencies", "reinstalled"), "`dpkg --configure -a`, `apt-get -f install`"),
    (("Could not get lock", "was locked by another"), "let the other program end, and try again"),
    (("were disqualified", "was not found", "Unable to locate"), "the repositories changed: make a new plan"),
)


def hint(words: str) -> str:
    """What can be done about it; empty when that is not known."""
    return next((hint for signs, hint in _HINTS if any(sign in words for sign in signs)), "")


def is_locked(words: str) -> bool:
    """Whether a tool could not work because another one held a lock."""
    return "Could not get lock" in words or "Unable to acquire the dpkg frontend lock" in words


def arguments(changes: Iterable[model.Change]) -> list[str]:
    """What names exactly these changes to apt-get install."""
    return [
        f"{change.name}:{change.architecture}={change.new}" if change.new else f"{change.name}:{change.architecture}-"
        for change in changes
    ]
