"""Debian's package manager: dpkg's database, and apt-get for all that changes.

Packages are named with their architecture and version in all that is asked of apt, and its answers are read from
simulations (`Inst`, `Remv`), `apt-cache show` and `apt-cache policy`: see apt_output.py.
"""

from __future__ import annotations

import fnmatch
import os
import re
import shlex
import shutil
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent import futures
from pathlib import Path

from overcloud_agent import errors, run
from overcloud_agent.packages import apt_locks, apt_output, apt_repair, dpkg, model

# Seconds. A simulation thinks, an update and a download wait for networks, of which apt has timeouts of its own.
_THINKING = 600.0
_UPDATING = 3600.0
_DOWNLOADING = 6 * 3600.0
# How long a transaction waits for a lock that somebody took after we had looked, in seconds.
_LOCK_TIMEOUT = 300
# 5,000 packages have 10 MB of records.
_LIMIT = 1 << 28

_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    # Answers are read, so they are not to be in the node's language.
    "LC_ALL": "C.UTF-8",
    "LANGUAGE": "",
    "DEBIAN_FRONTEND": "noninteractive",
    "APT_LISTCHANGES_FRONTEND": "none",
    "APT_LISTBUGS_FRONTEND": "none",
    "UCF_FORCE_CONFFOLD": "1",
    # What has to restart is the workflow's matter.
    "NEEDRESTART_SUSPEND": "1",
}
_OPTIONS = (
    "-q",
    "-oAPT::Color=0",
    # Some images are told not to keep apt's index, which then takes it seconds to build, each time.
    "-oDir::Cache::pkgcache=pkgcache.bin",
    "-oDir::Cache::srcpkgcache=srcpkgcache.bin",
)
_SIGNED = (
    "-oAPT::Update::Error-Mode=any",
    "-oAcquire::AllowInsecureRepositories=false",
    "-oAcquire::AllowDowngradeToInsecureRepositories=false",
    "-oAcquire::AllowWeakRepositories=false",
)
_UNATTENDED = (
    "-y",
    "-oDpkg::Use-Pty=0",
    "-oDpkg::Options::=--force-confdef",
    "-oDpkg::Options::=--force-confold",
    f"-oDPkg::Lock::Timeout={_LOCK_TIMEOUT}",
)
_KEPT_BACK = "kept back: what it needs cannot be installed"

_PATTERN = re.compile(r"[A-Za-z0-9*?\[][A-Za-z0-9*?\[\]!.+:-]*")


class Apt:
    """apt and dpkg on one root; see backend.Backend."""

    name = "apt"

    def __init__(self, root: Path) -> None:
        self._root = root
        self._prefix = () if root == Path("/") else ("chroot", str(root))

    def database(self) -> Sequence[Path]:
        """See Backend. dpkg replaces `status`, and has a journal beside it while it works."""
        return (self._root / dpkg.DATABASE / "status", self._root / dpkg.DATABASE / "updates")

    def installed(self) -> tuple[model.Installed, ...]:
        """See Backend; of a package that is half configured the files are there, so it is."""
        return dpkg.installed(self._root)

    def files(self, names: Collection[str]) -> dict[str, tuple[str, ...]]:
        """See Backend and dpkg.files; a name may be `name:architecture`."""
        return dpkg.files(self._root, names)

    def refresh(self, *, wait: float, alive: Callable[[], None]) -> None:
        """See Backend."""
        self._locked(
            ["apt-get", *_OPTIONS, *_SIGNED, "update"],
            apt_locks.LISTS,
            timeout=_UPDATING,
            wait=wait,
            alive=alive,
            what="the repositories could not be read",
        )

    def pending(self, selection: model.Selection) -> model.Pending:
        """See Backend. A package that is held is never changed, also when it is named."""
        known = dpkg.read(self._root)
        excluded = _matching(known, selection.exclude, path="$.exclude")
        chosen = _matching(known, selection.packages or ("*",), path="$.packages", all_known=True)
        # To ask for the version that is there keeps it there.
        stay = [f"{entry.name}:{entry.architecture}={entry.version}" for entry in excluded]
        verb = ["dist-upgrade"] if selection.removals else ["upgrade", "--with-new-pkgs"]
        barred: set[str] = set()
        answer = self._without(barred, selection.exclude, [*verb, *stay])
        steps = list(apt_output.steps(answer))
        if selection.packages:
            names = {known.printed(entry.name, entry.architecture) for entry in chosen}
            wanted = [f"{step.name}={step.new}" for step in steps if step.new and step.name in names]
            remove = () if selection.removals else ("--no-remove",)
            asked = ["install", *remove, *wanted, *stay]
            steps = list(apt_output.steps(self._without(barred, selection.exclude, asked))) if wanted else []
        changing = {step.name for step in steps}
        left = [entry for entry in chosen if known.printed(entry.name, entry.architecture) not in changing]
        # apt-cache is asked of both, and need not be so one after the other.
        with futures.ThreadPoolExecutor(1) as pool:
            changes = pool.submit(lambda: tuple(sorted(self._changes(steps, known))))
            kept = tuple(sorted(self._kept(left, excluded, apt_output.kept(answer), known)))
            return model.Pending(changes=changes.result(), kept=kept)

    def _without(self, barred: set[str], exclude: Iterable[str], arguments: Sequence[str]) -> str:
        """What apt says of a simulation in which nothing comes newly that is excluded, which is added to `barred`.

        What an update would bring is known only from a simulation, so that it is asked again where that is excluded.
        """
        while True:
            # As an argument of a package that is not there, this keeps it away.
            answer = self._simulate([*arguments, *(f"{name}-" for name in sorted(barred))])
            coming = [step for step in apt_output.steps(answer) if not step.old and step.name not in barred]
            more = {step.name for step in coming if _is_named(step.name, step.architecture, exclude)}
            if not more:
                return answer
            barred |= more

    def _changes(self, steps: Sequence[apt_output.Step], known: dpkg.Known) -> Iterator[model.Change]:
        # In the order of apt's lists, which may be compressed: each step back in one is read from its beginning.
        coming = sorted((step for step in steps if step.new), key=lambda step: step.name)
        records = self._records([f"{step.name}={step.new}" for step in coming])
        for step in steps:
            entry = known.find(step.name)
            name, before = step.name.partition(":")[0], entry.size if entry and step.old else 0
            if step.new:
                record = records.get((name, step.architecture, step.new), {})
                yield model.Change(
                    name=name,
                    architecture=step.architecture,
                    kind=apt_output.kind(step.old, step.new),
                    old=step.old,
                    new=step.new,
                    source=dpkg.source(record.get("Source", ""), name),
                    repository=step.repository,
                    download=int(record.get("Size", 0)),
                    growth=int(record.get("Installed-Size", 0)) * 1024 - before,
                    security=apt_output.is_security(step.repository),
                )
            elif entry:
                yield model.Change(
                    name=name,
                    architecture=entry.architecture,
                    kind="remove",
                    old=step.old,
                    source=entry.source,
                    growth=-before,
                )

    def _kept(
        self,
        left: Sequence[dpkg.Entry],
        excluded: Sequence[dpkg.Entry],
        backs: Collection[str],
        known: dpkg.Known,
    ) -> Iterator[model.Kept]:
        """Those of `left` that have an update; apt tells that of what it kept back, and of pins only if it is asked."""
        out, pins = set(excluded), self._has_pins()
        names = {known.printed(entry.name, entry.architecture): entry for entry in left}
        asked = [name for name, entry in names.items() if pins or name in backs or entry.want == "hold" or entry in out]
        for name, policy in self._policies(asked).items():
            new, why = apt_output.update(policy)
            if new and (entry := names.get(name)):
                reason = "held" if entry.want == "hold" else "excluded" if entry in out else why or _KEPT_BACK
                yield model.Kept(
                    name=entry.name, architecture=entry.architecture, old=entry.version, new=new, reason=reason
                )

    def _has_pins(self) -> bool:
        etc = self._root / "etc/apt"
        return (etc / "preferences").exists() or any((etc / "preferences.d").glob("*"))

    def missing(self, pending: model.Pending) -> int:
        """See Backend."""
        directory = self._archives()
        return sum(one.download for one in pending.changes if one.new and not _is_there(directory, one))

    def download(self, pending: model.Pending, *, wait: float, alive: Callable[[], None]) -> None:
        """See Backend. That apt would do exactly what is planned is made sure of before."""
        self._check(pending)
        coming = [change for change in pending.changes if change.new]
        if coming:
            self._check_space(pending)
            self._locked(
                [*self._install(pending), "--download-only", *apt_output.arguments(pending.changes)],
                (*apt_locks.DPKG, *apt_locks.ARCHIVES),
                timeout=_DOWNLOADING,
                wait=wait,
                alive=alive,
                what="packages could not be downloaded",
            )

    def _check(self, pending: model.Pending) -> None:
        """Raises PackageError unless apt would now do what is planned, and nothing more."""
        known = dpkg.read(self._root)
        answer = self._run([*self._install(pending), "-s", *apt_output.arguments(pending.changes)])
        would = {(step.name, step.old, step.new) for step in apt_output.steps(answer)}
        planned = {
            (known.printed(change.name, change.architecture), change.old, change.new) for change in pending.changes
        }
        differing = sorted({name for name, _, _ in would ^ planned})
        if differing:
            raise errors.PackageError(
                f"apt would not do what is planned: {', '.join(differing[:10])}"
                + (f" and {len(differing) - 10} more" if len(differing) > 10 else ""),
                hint="the node or its repositories changed since: make a new plan",
            )

    def _check_space(self, pending: model.Pending) -> None:
        """Raises PackageError where there is no room for the packages that are not there yet."""
        directory, needed = self._archives(), self.missing(pending)
        try:
            free = shutil.disk_usage(directory).free
        except OSError as error:
            raise errors.PackageError(f"cannot look at {directory}: {error.strerror}") from None
        if needed > free:
            raise errors.PackageError(
                f"no room for downloads: {needed} bytes are to come into {directory}, {free} are free",
                hint="make room there, for example with `apt-get clean`",
            )

    def _archives(self) -> Path:
        """Where apt keeps what it has downloaded."""
        told = self._run(["apt-config", "shell", "DIRECTORY", "Dir::Cache::archives/d"])
        (assignment,) = shlex.split(told)
        return self._root / assignment.partition("=")[2].lstrip("/")

    def transaction(self, pending: model.Pending) -> model.Command:
        """See Backend. What comes newly is marked as installed automatically, else marks stay as they are."""
        argv, names = self._install(pending), apt_output.arguments(pending.changes)
        nothing = () if self._is_local(pending) else ("--no-download",)
        return self._command([*argv, *nothing, *names])

    def _is_local(self, pending: model.Pending) -> bool:
        """Whether what is not downloaded is all in file: repositories: apt takes it from there, but not so asked."""
        directory = self._archives()
        if all(not change.new or _is_there(directory, change) for change in pending.changes):
            return False
        told = self._run([*self._install(pending), "--print-uris", *apt_output.arguments(pending.changes)])
        left = [line for line in told.splitlines() if line.startswith("'")]
        return all(line.startswith("'file:") for line in left)

    def _install(self, pending: model.Pending) -> list[str]:
        kinds = {change.kind for change in pending.changes}
        return [
            "apt-get",
            *_OPTIONS,
            *_UNATTENDED,
            # All that is to come is named.
            "--no-install-recommends",
            "-oAPT::Get::AutomaticRemove=false",
            "--mark-auto",
            *(() if "remove" in kinds else ("--no-remove",)),
            *(("--allow-downgrades",) if "downgrade" in kinds else ()),
            *(("--reinstall",) if "reinstall" in kinds else ()),
            "install",
        ]

    def interrupted(self) -> str:
        """See Backend. While another program holds dpkg's lock, what is half done is that program's work."""
        if apt_locks.holder(self._root, apt_locks.DPKG):
            return ""
        found = dpkg.unsettled(dpkg.read(self._root))
        words = [f"{state}: {', '.join(names)}" for state, names in sorted(found.items())]
        if dpkg.journal(self._root):
            words.insert(0, "dpkg was interrupted")
        return "; ".join(words)

    def repair(self) -> model.Command:
        """See Backend. It fetches what must be installed again, which may be a newer version, and removes nothing."""
        broken = [entry for entry in dpkg.read(self._root).entries.values() if entry.state == "half-installed"]
        apt = ["apt-get", *_OPTIONS, *_UNATTENDED, "--no-remove", "--mark-auto", "--fix-broken", "--reinstall"]
        again = apt_repair.again(broken)
        return self._command(["sh", "-c", apt_repair.script(broken), "repair", *apt, "install", *again])

    def lock_holder(self) -> str:
        """See Backend."""
        return apt_locks.holder(self._root, (*apt_locks.DPKG, *apt_locks.LISTS, *apt_locks.ARCHIVES))

    def await_lock(self, *, wait: float, alive: Callable[[], None]) -> None:
        """Wait until nobody installs anything: before `transaction` and `repair`. Raises PackageError: who does."""
        apt_locks.wait(self._root, apt_locks.DPKG, time.monotonic() + wait, alive)

    def _command(self, argv: Sequence[str]) -> model.Command:
        return model.Command(argv=(*self._prefix, *argv), environment=dict(_ENVIRONMENT))

    def _simulate(self, arguments: Sequence[str]) -> str:
        return self._run(["apt-get", *_OPTIONS, "-s", "-V", *arguments])

    def _records(self, names: Sequence[str]) -> dict[tuple[str, str, str], Mapping[str, str]]:
        # Without a name it would be an error.
        return apt_output.records(self._run(["apt-cache", *_OPTIONS, "show", *names])) if names else {}

    def _policies(self, names: Sequence[str]) -> dict[str, apt_output.Policy]:
        # Without a name it would be about the repositories.
        return apt_output.policies(self._run(["apt-cache", *_OPTIONS, "policy", *names])) if names else {}

    def _run(self, argv: Sequence[str]) -> str:
        """What it prints. Raises PackageError when it fails."""
        done = self._start(argv, timeout=_THINKING, alive=lambda: None)
        if done.returncode != 0:
            raise _failed(f"{argv[0]} failed", done)
        return done.stdout.decode(errors="surrogateescape")

    def _locked(
        self,
        argv: Sequence[str],
        locks: Sequence[str],
        *,
        timeout: float,
        wait: float,
        alive: Callable[[], None],
        what: str,
    ) -> None:
        """Run what needs `locks`, when nobody else has them. Raises PackageError."""
        deadline = time.monotonic() + wait
        while True:
            apt_locks.wait(self._root, locks, deadline, alive)
            done = self._start(argv, timeout=timeout, alive=alive)
            if done.returncode == 0:
                return
            failure = _failed(what, done)
            # Somebody was faster than we after the wait.
            if not apt_output.is_locked(failure.message) or time.monotonic() > deadline:
                raise failure

    def _start(self, argv: Sequence[str], *, timeout: float, alive: Callable[[], None]) -> run.Completed:
        variables = {name.encode(): value.encode() for name, value in _ENVIRONMENT.items()}
        try:
            return run.hook(
                [*self._prefix, *argv], b"", timeout=timeout, limit=_LIMIT, variables=variables, alive=alive
            )
        except OSError as error:
            raise errors.PackageError(f"cannot start {argv[0]}: {error.strerror}") from None


def _matching(known: dpkg.Known, patterns: Iterable[str], *, path: str, all_known: bool = False) -> list[dpkg.Entry]:
    """The installed packages that a pattern names, with or without their architecture.

    Raises BadInput for what cannot be a name, and with `all_known` for a name (not a pattern) that no package has.
    """
    found: dict[dpkg.Entry, None] = {}
    present = known.present()
    for number, pattern in enumerate(patterns):
        at = f"{path}[{number}]"
        if not _PATTERN.fullmatch(pattern):
            raise errors.BadInput(
                f"no package can be called {pattern!r}", path=at, hint="a name as dpkg has it, such as `nova-*`"
            )
        match = re.compile(fnmatch.translate(pattern)).match
        here = [entry for entry in present if match(entry.name) or match(f"{entry.name}:{entry.architecture}")]
        if all_known and not here and not set("*?[") & set(pattern):
            raise errors.BadInput(f"no installed package is called {pattern}", path=at)
        found.update(dict.fromkeys(here))
    return list(found)


def _is_named(name: str, architecture: str, patterns: Iterable[str]) -> bool:
    """Whether one of the patterns names a package, with or without its architecture."""
    names = (name, f"{name.partition(':')[0]}:{architecture}")
    return any(fnmatch.fnmatchcase(one, pattern) for one in names for pattern in patterns)


def _is_there(directory: Path, change: model.Change) -> bool:
    """Whether a package was downloaded already: apt writes an epoch's colon as in a URL."""
    name = f"{change.name}_{change.new.replace(':', '%3a')}_{change.architecture}.deb"
    try:
        return os.stat(directory / name).st_size == change.download
    except OSError:
        return False


def _failed(what: str, done: run.Completed) -> errors.PackageError:
    stderr, stdout = done.stderr.decode(errors="replace"), done.stdout.decode(errors="replace")
    words = apt_output.last_words(stderr, stdout)
    if done.timed_out:
        return errors.PackageError(f"{what} in time: {words}", hint="it may be waiting for a network")
    return errors.PackageError(f"{what}: {words}", hint=apt_output.hint(words))
