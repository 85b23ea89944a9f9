"""The processes of a host: what code each has mapped, when it began, where it belongs. One pass over /proc.

proc(5) for the formats. What ends while it is looked at, and what may not be looked at, is left out.
"""

from __future__ import annotations

import dataclasses
import os
import re
import time
from collections.abc import Iterator

from overcloud_agent.packages import cgroups, hosts, mounts

DELETED = " (deleted)"
# An executable mapping of a file: device, inode, path. Data that is mapped (locales, caches) is no code.
_CODE = re.compile(rb"\n\S+ ..x. \S+ (\S+) (\d+) +(/.*)")
# What is named so is no file of a package: shared and anonymous memory, devices, generated code.
_NO_FILE = re.compile(
    r"^/(?:memfd:|SYSV|dev/|drm(?:\s|$)|\[aio\]|i915|anon_hugepage|proc/|sys/)"
    r"|/orcexec\.\w+(?: \(deleted\))?$|/#\d+(?: \(deleted\))?$|/jna\d+\.tmp(?: \(deleted\))?$"
)


@dataclasses.dataclass(frozen=True)
class Mapped:
    """A file that is mapped as code: its path in the process's mount namespace, and which file that was."""

    path: str
    deleted: bool
    device: str
    inode: int


@dataclasses.dataclass(frozen=True)
class Process:
    """A process with a program: `exe` is the program's path without the mark that it was deleted."""

    pid: int
    exe: str
    code: tuple[Mapped, ...]

    @property
    def name(self) -> str:
        """The program's name."""
        return self.exe.rpartition("/")[2]


class Table:
    """All processes of a host at one moment; what few are asked for is read when it is."""

    def __init__(self, host: hosts.Host) -> None:
        self.host = host
        self._proc = f"{host.proc}/"
        self._known: dict[tuple[bytes, bytes, bytes], Mapped | None] = {}
        self._here = self._link("self/ns/mnt")
        self._root = _identity(str(host.root))
        self._views: dict[int, str] = {}
        self._mounts: dict[str, list[mounts.Mount]] = {}
        self._prefix = cgroups.prefix(self._text("1/cgroup"))
        self._booted = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
        # Whoever asks has ended before anything is restarted, unless it is the agent, in its unit.
        self.processes = tuple(
            process
            for process in self._read_all()
            if process.pid != os.getpid() or self.place(process).unit == host.own_unit
        )

    def host_path(self, process: Process, path: str) -> str:
        """The path, in the host's root, of what has `path` in the process's view; empty when it is not the host's.

        A process in another mount namespace on the same root (a unit with PrivateTmp) sees the host's files, but
        for what is mounted there, one on a root of its own (a container) only what is mounted there from the host.
        """
        view = self._view(process)
        if view == "here":
            above = "" if str(self.host.root) == "/" else str(self.host.root)
            return path.removeprefix(above) if path.startswith(f"{above}/") else ""
        if view == "same root" and not self.plain:
            return path
        there = self._mountinfo(f"{process.pid}/")
        found = mounts.on_host(path, there, self._mountinfo("self/"), own_root=view == "own root")
        above = "" if str(self.host.root) == "/" else str(self.host.root)
        return found.removeprefix(above) if found.startswith(f"{above}/") else ""

    def contained(self, process: Process) -> bool:
        """Whether the process has a root of its own."""
        return self._view(process) == "own root"

    def place(self, process: Process) -> cgroups.Place:
        """The unit and the container that it belongs to."""
        return cgroups.place(self._text(f"{process.pid}/cgroup"), self._prefix)

    def started(self, process: Process) -> float:
        """When it began, in seconds since the epoch; infinite when it has ended.

        The kernel counts that in hundredths. It is the end of that hundredth: a program needs longer to read its files.
        """
        # The name, in parentheses, can have anything in it.
        fields = self._text(f"{process.pid}/stat").rpartition(")")[2].split()
        return self._booted + (int(fields[19]) + 1) / os.sysconf("SC_CLK_TCK") if len(fields) > 19 else float("inf")

    @property
    def plain(self) -> bool:
        """Whether the host's root is this process's own, so that the host's paths are paths here."""
        return str(self.host.root) == "/"

    @property
    def booted(self) -> float:
        """When the kernel began, in seconds since the epoch."""
        return self._booted

    def arguments(self, process: Process) -> list[str]:
        """Its command line, which it may have written over."""
        return self._text(f"{process.pid}/cmdline").rstrip("\0").split("\0")

    def variable(self, process: Process, name: str) -> str:
        """A variable of the environment that it was started with; empty when it has none of that name."""
        for one in self._text(f"{process.pid}/environ").split("\0"):
            if one.startswith(f"{name}="):
                return one.partition("=")[2]
        return ""

    def directory(self, process: Process) -> str:
        """Its working directory."""
        return self._link(f"{process.pid}/cwd")

    def open_files(self, process: Process) -> Iterator[str]:
        """The paths of its open files; that of a deleted one ends with DELETED."""
        try:
            numbers = os.listdir(f"{self._proc}{process.pid}/fd")
        except OSError:
            return
        for number in numbers:
            target = self._link(f"{process.pid}/fd/{number}")
            if target.startswith("/"):
                yield target

    def same_file(self, process: Process, mapped: Mapped, path: str) -> bool:
        """Whether what is mapped is the file that this path (of the reader) has now; true when it cannot be told.

        maps has the device and the inode of the file system below an overlay, stat those of the overlay: where they
        differ, the kernel's own link to the mapped file decides.
        """
        try:
            now = os.stat(path)
        except OSError:
            return False
        known = f"{os.major(now.st_dev):02x}:{os.minor(now.st_dev):02x}"
        # The device of an overlay, or of a subvolume of btrfs, has the major number 0 and is not the one that maps has.
        if now.st_ino == mapped.inode and (known == mapped.device or known.startswith("00:")):
            return True
        try:
            there = os.stat(self._map_file(process, mapped))
        except OSError:
            return known.startswith("00:")
        return (there.st_dev, there.st_ino) == (now.st_dev, now.st_ino)

    def _map_file(self, process: Process, mapped: Mapped) -> str:
        shown = mapped.path + (DELETED if mapped.deleted else "")
        for line in self._text(f"{process.pid}/maps").splitlines():
            fields = line.split(None, 5)
            if len(fields) == 6 and fields[5] == shown and fields[4] == str(mapped.inode):
                first, last = (one.lstrip("0") or "0" for one in fields[0].split("-"))
                return f"{self._proc}{process.pid}/map_files/{first}-{last}"
        raise FileNotFoundError(shown)

    def _read_all(self) -> Iterator[Process]:
        for name in os.listdir(self._proc):
            if name.isdigit():
                try:
                    # Kernel threads have none.
                    exe = os.readlink(f"{self._proc}{name}/exe")
                    with open(f"{self._proc}{name}/maps", "rb", buffering=0) as file:
                        text = file.readall()
                except OSError:
                    continue
                yield Process(int(name), exe.removesuffix(DELETED), tuple(self._code(text)))

    def _code(self, text: bytes) -> Iterator[Mapped]:
        # As tuples of bytes they are compared fast; most files are mapped by many processes.
        for key in dict.fromkeys(_CODE.findall(b"\n" + text)):
            if key not in self._known:
                self._known[key] = _mapped(key)
            mapped = self._known[key]
            if mapped:
                yield mapped

    def _view(self, process: Process) -> str:
        view = self._views.get(process.pid)
        if view is None:
            if self._link(f"{process.pid}/ns/mnt") == self._here:
                view = "here"
            elif _identity(f"{self._proc}{process.pid}/root/") == self._root:
                view = "same root"
            else:
                view = "own root"
            self._views[process.pid] = view
        return view

    def _mountinfo(self, which: str) -> list[mounts.Mount]:
        namespace = self._link(f"{which}ns/mnt")
        if namespace not in self._mounts:
            self._mounts[namespace] = mounts.read(self._text(f"{which}mountinfo"))
        return self._mounts[namespace]

    def _link(self, name: str) -> str:
        try:
            return os.readlink(self._proc + name)
        except OSError:
            return ""

    def _text(self, name: str) -> str:
        try:
            with open(self._proc + name, "rb", buffering=0) as file:
                return os.fsdecode(file.readall())
        except OSError:
            return ""


def _mapped(key: tuple[bytes, bytes, bytes]) -> Mapped | None:
    device, inode, raw = key
    path = os.fsdecode(raw)
    if _NO_FILE.search(path):
        return None
    # The kernel writes a line's end as an octal number.
    path = path.replace("\\012", "\n")
    return Mapped(path.removesuffix(DELETED), path.endswith(DELETED), os.fsdecode(device), int(inode))


def _identity(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino
