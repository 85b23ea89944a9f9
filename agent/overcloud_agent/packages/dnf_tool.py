"""Running dnf and dnf5 on one root; what they say when they fail becomes a PackageError with a hint."""

from __future__ import annotations

import dataclasses
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from overcloud_agent import errors, redact, run
from overcloud_agent.packages import dnf_locks

# Bytes: an answer about all packages of a large distribution.
LIMIT = 256 * 1024 * 1024
# Seconds for a question that needs no network, and for all downloads.
ASKING = 600.0
FETCHING = 6 * 3600.0

# In English, as they are looked at by programs; a node's own aliases of commands are for people.
ENVIRONMENT = {"LC_ALL": "C.UTF-8", "LANGUAGE": "", "DNF_DISABLE_ALIASES": "1"}

# A repository that nobody can reach must not look like one that has nothing new; what was interrupted is found out
# and ended without it, though.
ALL_MUST_ANSWER = "--setopt=*.skip_if_unavailable=0"
SOME_MAY_BE_AWAY = "--setopt=*.skip_if_unavailable=1"
# What dnf says when it gives up at a lock at once; its exit code is 200.
_LOCKED = re.compile(r"already locked by|Failed to obtain .*lock|Could not (?:obtain|acquire) .*lock", re.IGNORECASE)
# dnf 4 may print all that it knows of a repository.
_SECRET_LINE = re.compile(r"(?:proxy_)?(?:username|password)\s*[:=]")
_LAST_LINES = 6

_HINTS = (
    (
        r"No space left|Failed writing|more space needed|needs \S+ (?:more space|on the)|not enough .*space",
        "make room on the file system of {root}/var/cache, and on those that the packages go to",
    ),
    (
        r"signature verif|bad \S*\s?signature|(?:GPG|OpenPGP) check failed|not signed|signature \S+ failed|public key"
        r"|key\S* \S+ not (?:installed|correct)|signature check|not correct for this package",
        "look whether the key in the repository's gpgkey= is that of who signed it; do not switch the check off",
    ),
    (
        r"Curl error|Failed to download|Cannot download|mirrors were|Usable URL|no cache for",
        "look whether the node reaches the addresses of its repositories ({root}/etc/yum.repos.d)",
    ),
    (r"rpmdb|database disk image", "`rpm --rebuilddb` makes a damaged database anew"),
    (
        r"nothing provides|conflicts with|cannot install|resolve the transaction|conflicting requests",
        "exclude what cannot be installed, or give the repositories what it needs",
    ),
)


@dataclasses.dataclass(frozen=True)
class Tool:
    """`program` (dnf or dnf5) on `root`."""

    root: Path
    program: str

    def argv(self, *words: str) -> tuple[str, ...]:
        """The command line with `words`; it asks nothing."""
        root = ("--installroot", str(self.root)) if self.root != Path("/") else ()
        return (self.program, *root, "-y", *words)

    def ask(self, *words: str, repositories: str = ALL_MUST_ANSWER) -> str:
        """What it answers, without network. Raises PackageError."""
        return self.answer(self.argv("--cacheonly", repositories, *words))

    def rehearse(self, *words: str, aborted: str) -> str:
        """All that it says to people of what it would do; `aborted` is how it says that it was kept from doing it."""
        argv = self.argv("--cacheonly", ALL_MUST_ANSWER, "--assumeno", *words)
        ended = self._run(argv, b"", ASKING, None)
        if ended.returncode != 0 and aborted not in _text(ended):
            raise self._failure(argv, ended)
        return _text(ended)

    def answer(self, argv: Sequence[str], *, stdin: bytes = b"") -> str:
        """What any program answers, as `ask`."""
        ended = self._run(argv, stdin, ASKING, None)
        if ended.returncode != 0:
            raise self._failure(argv, ended)
        return ended.stdout.decode(errors="surrogateescape")

    def fetch(self, words: Sequence[str], *, wait: float, alive: Callable[[], None]) -> None:
        """Have it do something with the network, when nobody holds its locks. Raises PackageError."""
        argv = self.argv("--setopt=exit_on_lock=1", *words)
        deadline = time.monotonic() + wait
        while True:
            dnf_locks.wait(self.root, max(deadline - time.monotonic(), 0), alive)
            ended = self._run(argv, b"", FETCHING, alive)
            if ended.returncode == 0:
                return
            # Somebody took the lock after we had looked, and is waited for as well.
            if not _LOCKED.search(_text(ended)) or time.monotonic() > deadline:
                raise self._failure(argv, ended)

    def _run(
        self, argv: Sequence[str], stdin: bytes, timeout: float, alive: Callable[[], None] | None
    ) -> run.Completed:
        variables = {key.encode(): value.encode() for key, value in ENVIRONMENT.items()}
        try:
            return run.hook(argv, stdin, timeout=timeout, limit=LIMIT, variables=variables, alive=alive)
        except OSError as error:
            raise errors.PackageError(f"{argv[0]} cannot be started: {error}", hint="is it installed?") from error

    def _failure(self, argv: Sequence[str], ended: run.Completed) -> errors.PackageError:
        if ended.timed_out:
            return errors.PackageError(f"{self.program} took too long", hint=f"see what `{' '.join(argv)}` waits for")
        return failure(self.program, self.root, _text(ended), ended.returncode)


def failure(program: str, root: Path, output: str, status: int) -> errors.PackageError:
    """What a program's last words come to. Pure."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    lines = [line for line in lines if not _SECRET_LINE.match(line)]
    last = redact.text(" / ".join(lines[-_LAST_LINES:])) or f"it ended with {status}"
    hint = next(
        (hint for pattern, hint in _HINTS if re.search(pattern, output, re.IGNORECASE)),
        f"see {root / 'var/log'} for its log",
    )
    return errors.PackageError(f"{program}: {last}", hint=hint.format(root=str(root).rstrip("/")))


def _text(ended: run.Completed) -> str:
    """All that was said, complaints last."""
    return (ended.stdout + b"\n" + ended.stderr).decode(errors="replace")
