"""The host whose processes and units are looked at: where it is, how its containers are called, what is left alone."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

from overcloud_agent.packages import systemd

Show = Callable[[Sequence[str], Collection[str]], dict[str, dict[str, str]]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Host:
    """A host. Patterns are shell wildcards on names of units (`neutron-*.service`)."""

    root: Path = Path("/")
    """The file system that the packages are in; paths of files are those within it."""
    proc: Path = Path("/proc")
    containers: Callable[[Collection[str]], Mapping[str, str]] = lambda _: {}
    """The names of the containers with these ids (64 hexadecimal digits); who is missing there is not ours."""
    show: Show = systemd.show
    """Asks systemd; see systemd.show."""
    own_unit: str = "overcloud-agent.service"
    """The agent's own unit: it is reported, and restarts itself when everything else is done."""
    reload: tuple[str, ...] = ()
    """Units that take new code by a reload (such as one that executes itself again)."""
    report: tuple[str, ...] = ()
    """Units that are left to the operator, on top of those that the agent knows (see unit_rules)."""

    def path(self, path: str) -> str:
        """Where an absolute path of the root is for this process."""
        return path if str(self.root) == "/" else f"{self.root}{path}"

    @property
    def booted(self) -> bool:
        """Whether systemd runs there (sd_booted(3))."""
        return os.path.isdir(self.path("/run/systemd/system"))


class Names:
    """The names of files in a root, with the links among their directories followed.

    dpkg lists `/lib/x86_64-linux-gnu/libc.so.6`, where a process maps `/usr/lib/x86_64-linux-gnu/libc.so.6`.
    """

    def __init__(self, host: Host) -> None:
        self._host = host
        self._directories: dict[str, str] = {"": "", "/": ""}

    def real(self, path: str) -> str:
        """The path with its directories' links followed, and not its own: both names of a library are a package's."""
        directory, _, name = path.rpartition("/")
        return f"{self._directory(directory)}/{name}"

    def target(self, path: str) -> str:
        """The path with all links followed."""
        return self._directory(path) or "/"

    def _directory(self, path: str, depth: int = 0) -> str:
        known = self._directories.get(path)
        if known is not None:
            return known
        above, _, name = path.rpartition("/")
        parent = self._directory(above, depth)
        real = f"{parent}/{name}"
        try:
            link = os.readlink(self._host.path(real))
        except OSError:
            pass
        else:
            # As many as the kernel follows (path_resolution(7)).
            if depth < 40:
                real = self._directory(os.path.normpath(os.path.join(parent or "/", link)).rstrip("/"), depth + 1)
        self._directories[path] = real
        return real
