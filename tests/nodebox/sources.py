"""What a machine's apt says about its distribution's archives, as one-line entries. Pure."""

import dataclasses
from collections.abc import Iterable, Iterator

# The distribution's own suites and components; what other vendors offer is not for a test node.
SUITES = ("", "-updates", "-security")
COMPONENTS = ("main", "universe")


@dataclasses.dataclass(frozen=True)
class Source:
    """One archive: the options of its entry, its address, its suites and components."""

    options: str
    uri: str
    suites: tuple[str, ...]
    components: tuple[str, ...]


def lines(texts: Iterable[str], codename: str) -> list[str]:
    """Return the "deb ..." lines for the release ``codename`` from the texts of apt's sources files."""
    wanted = [codename + suite for suite in SUITES]
    found = [
        line
        for text in texts
        for source in parse(text)
        for suite in source.suites
        if suite in wanted and (line := _entry(source, suite))
    ]
    return list(dict.fromkeys(found))


def _entry(source: Source, suite: str) -> str:
    components = [part for part in source.components if part in COMPONENTS]
    if "main" not in components:
        return ""
    return " ".join(["deb", *filter(None, [source.options]), source.uri, suite, *components])


def parse(text: str) -> Iterator[Source]:
    """Read a file of one-line entries, or of stanzas (deb822)."""
    kept = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    if any(line.split(":")[0].lower() == "types" for line in kept):
        for stanza in "\n".join(kept).split("\n\n"):
            yield from _stanza(stanza)
    else:
        for line in kept:
            yield from _line(line)


def _line(line: str) -> Iterator[Source]:
    kind, _, rest = line.strip().partition(" ")
    if kind != "deb":
        return
    options = ""
    if rest.lstrip().startswith("["):
        options, _, rest = rest.lstrip().partition("]")
        options += "]"
    uri, suite, *components = [*rest.split(), "", ""][: max(len(rest.split()), 2)]
    yield Source(options, uri, (suite,), tuple(components))


def _stanza(stanza: str) -> Iterator[Source]:
    fields: dict[str, str] = {}
    key = ""
    for line in stanza.splitlines():
        if line[:1].isspace():
            fields[key] = f"{fields.get(key, '')}\n{line.strip()}"
        else:
            key, _, value = line.partition(":")
            key = key.strip().lower()
            fields[key] = value.strip()
    if "deb" not in fields.get("types", "").split() or fields.get("enabled", "yes").lower() == "no":
        return
    keyring = fields.get("signed-by", "")
    # A key that stands in the file itself has no notation in one line; apt's trusted keys are used then.
    options = f"[signed-by={keyring}]" if keyring.startswith("/") else ""
    for uri in fields.get("uris", "").split():
        yield Source(options, uri, tuple(fields.get("suites", "").split()), tuple(fields.get("components", "").split()))
