"""dnf5's side of dnf.py: its command line tells what it knows."""

from __future__ import annotations

import fnmatch
import tomllib
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from overcloud_agent import errors
from overcloud_agent.packages import dnf5_output, dnf_tool, model, nevras, replay, rpm

_UNMET = "its dependencies are not met"
_LOCKS = "etc/dnf/versionlock.toml"
_NO_EXCLUDES = "--setopt=disable_excludes=*"
_COMING = ("Install", "Upgrade", "Downgrade", "Reinstall")

_Advisories = list[dict[str, Any]]


class Dnf5:
    """Questions to dnf5. All raise PackageError."""

    # `makecache --refresh` alone is content with what the cache has (5.4).
    refreshing = ("--setopt=*.metadata_expire=0", "makecache", "--refresh")
    replaying = ("replay",)
    lasting = "--setopt=*.metadata_expire=never"
    """With it the metadata that a plan was made from is taken as it is, however old."""

    def __init__(self, tool: dnf_tool.Tool) -> None:
        self._tool = tool

    def pending(self, selection: model.Selection) -> model.Pending:
        """What an update would do."""
        exclude = [f"--exclude={name}" for name in selection.exclude]
        words = (*exclude, "upgrade", "--skip-unavailable", *selection.packages)
        told = self._tool.rehearse(*words, aborted=dnf5_output.ABORTED)
        table = dnf5_output.table(told)
        changed = {row.nevra.name for row in table.rows} | {old.name for row in table.rows for old in row.replaces}
        return model.Pending(
            changes=tuple(sorted(self._changes(table.rows))),
            kept=tuple(sorted(self._kept(selection, exclude, changed, table.problems))),
        )

    def leftover(self) -> replay.Leftover:
        """What an interrupted transaction left."""
        number, came = self._unfinished()
        # The same words for packages as in a transaction, from rpm itself.
        there = {
            nevras.Nevra(name=one.name, architecture=one.architecture, version=one.version)
            for one in rpm.installed(self._tool.root)
        }
        done = came & there
        away = dnf_tool.SOME_MAY_BE_AWAY
        duplicates = {package.nevra for package in self._query("--installed", "--duplicates", repositories=away)}
        wanted = [str(package) for package in sorted(done | duplicates)]
        available = self._query("--available", _NO_EXCLUDES, *wanted, repositories=away) if wanted else []
        return replay.Leftover(
            transaction=number,
            done=tuple(sorted(done)),
            duplicates=tuple(sorted(duplicates)),
            repositories={str(package.nevra): package.repository for package in available},
        )

    def dialect(self) -> replay.Dialect:
        """How dnf5 writes transactions down."""
        return replay.dnf5()

    def document(self, path: Path) -> str:
        """What `replay` takes for the file at `path`: the directory that has it."""
        return str(path.parent)

    def _unfinished(self) -> tuple[str, set[nevras.Nevra]]:
        history = dnf5_output.document(self._tool.ask("history", "list", "--json"))
        last = max(history, key=lambda transaction: int(transaction["id"]), default=None)
        if last is None or last["status"] != "Started":
            return "", set()
        told = dnf5_output.document(self._tool.ask("history", "info", str(last["id"]), "--json"))
        came = [package["nevra"] for one in told for package in one["packages"] if package["action"] in _COMING]
        return str(last["id"]), {nevras.parse(name) for name in came}

    def _changes(self, rows: Collection[dnf5_output.Row]) -> Iterator[model.Change]:
        coming = [str(row.nevra) for row in rows if row.kind != "remove"]
        if not rows:
            return
        available = {
            (package.nevra, package.repository): package
            for package in (self._query("--available", *coming) if coming else [])
        }
        there = {package.nevra: package for package in self._query("--installed")}
        repositories = {row.repository for row in rows if row.kind != "remove"}
        advisories = {name: self._advisories(name) for name in sorted(repositories)}
        for row in rows:
            if row.kind == "remove":
                yield _leaving(row.nevra, there)
                continue
            package = available.get((row.nevra, row.repository))
            if package is None:
                raise errors.PackageError(f"dnf5 would install {row.nevra}, and does not know it when asked")
            same = [old for old in row.replaces if old.name == row.nevra.name and row.kind != "install"]
            yield _coming(row, package, there, same, advisories[row.repository])
            # Others in whose place it comes are those that it obsoletes.
            for old in row.replaces:
                if old not in same:
                    yield _leaving(old, there)

    def _advisories(self, repository: str) -> _Advisories:
        told: _Advisories = dnf5_output.document(
            self._tool.ask(f"--repo={repository}", "advisory", "list", "--all", "--json")
        )
        return told

    def _kept(
        self, selection: model.Selection, exclude: list[str], changed: set[str], problems: str
    ) -> Iterator[model.Kept]:
        visible = dnf5_output.newest(self._query(*exclude, "--upgrades"))
        unlocked = dnf5_output.newest(self._query(_NO_EXCLUDES, "--upgrades"))
        every = dnf5_output.newest(self._query(_NO_EXCLUDES, "--upgrades", "--disable-modular-filtering"))
        locked = locks(self._tool.root / _LOCKS)
        there: dict[str, list[str]] = {}
        for one in rpm.installed(self._tool.root):
            there.setdefault(one.name, []).append(one.version)
        for at, package in every.items():
            name = package.nevra.name
            if name in changed or not _selected(name, selection.packages):
                continue
            if at not in unlocked:
                reason = "modular"
            elif at not in visible:
                reason = "versionlocked" if any(fnmatch.fnmatch(name, lock) for lock in locked) else "excluded"
            else:
                reason = _problem(package.nevra, problems)
            yield model.Kept(
                name=name,
                architecture=package.nevra.architecture,
                old=max(there.get(name, [""]), key=nevras.key),
                new=package.nevra.version,
                reason=reason,
            )

    def _query(self, *words: str, repositories: str = dnf_tool.ALL_MUST_ANSWER) -> list[dnf5_output.Available]:
        told = self._tool.ask("repoquery", "--qf", dnf5_output.QUERY, *words, repositories=repositories)
        return dnf5_output.packages(told)


def locks(path: Path) -> list[str]:
    """The names in dnf5's list of locked versions, which may have wildcards. Raises PackageError."""
    try:
        found = tomllib.loads(path.read_text()).get("packages", [])
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise errors.PackageError(f"{path} cannot be read: {error}", hint="dnf5 versionlock writes it") from error
    return [str(package.get("name", "")) for package in found]


def _selected(name: str, patterns: Iterable[str]) -> bool:
    return not patterns or any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def _problem(package: nevras.Nevra, problems: str) -> str:
    # `nothing provides X needed by NEVRA from REPOSITORY`: the line about the package itself.
    told = [line.removeprefix("- ") for line in problems.splitlines() if line.startswith("- ") and str(package) in line]
    return told[0] if told else _UNMET


def _leaving(package: nevras.Nevra, there: Mapping[nevras.Nevra, dnf5_output.Available]) -> model.Change:
    known = there.get(package)
    return model.Change(
        name=package.name,
        architecture=package.architecture,
        kind="remove",
        old=package.version,
        source=known.source if known else "",
        growth=-known.size if known else 0,
    )


def _coming(
    row: dnf5_output.Row,
    package: dnf5_output.Available,
    there: Mapping[nevras.Nevra, dnf5_output.Available],
    replaced: Collection[nevras.Nevra],
    advisories: _Advisories,
) -> model.Change:
    old = next(iter(replaced), None)
    known = there.get(old) if old else None
    return model.Change(
        name=row.nevra.name,
        architecture=row.nevra.architecture,
        kind=row.kind,
        old=old.version if old else "",
        new=row.nevra.version,
        source=package.source,
        repository=package.repository,
        download=package.download,
        growth=package.size - (known.size if known else 0),
        security=_security(row.nevra, old, advisories),
        cause="Dependency" if row.dependency else "",
    )


def _security(new: nevras.Nevra, old: nevras.Nevra | None, advisories: _Advisories) -> bool | None:
    """Whether a security advisory is about this version, or one between it and the old."""
    if not advisories:
        return None
    for advisory in advisories:
        about = nevras.parse(advisory["nevra"])
        if (
            advisory["type"] == "security"
            and (about.name, about.architecture) == (new.name, new.architecture)
            and nevras.compare(about.version, new.version) <= 0
            and (old is None or nevras.compare(about.version, old.version) > 0)
        ):
            return True
    return False
