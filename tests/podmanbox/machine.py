"""What this machine can do, and which workarounds follow from that.

``look`` reads the facts, everything else decides on facts alone. A machine
that is kind to Podman gets no workaround at all.
"""

import dataclasses
import pathlib
import resource

from podmanbox import commands

# Podman asks for this many open files per container if nobody says otherwise.
PODMAN_NOFILE = 1048576
CAP_SYS_RESOURCE = 24
# The kernel's sun_path holds 108 bytes, of which the last is the NUL.
SOCKET_PATH_MAX = 107


@dataclasses.dataclass(frozen=True)
class Machine:
    """The facts about a machine that Podman's configuration depends on."""

    nofile_hard: int  # hard RLIMIT_NOFILE; -1 is unlimited
    effective_caps: int  # bit mask, as in /proc/self/status
    unified_cgroups: bool  # cgroup v2 alone, neither v1 nor hybrid
    systemd_is_init: bool
    journald: bool
    filesystem: str  # type of the file system that holds the box
    crun: pathlib.Path | None
    runc: pathlib.Path | None


def look(directory: pathlib.Path) -> Machine:
    """Read the facts about this machine, for a box in ``directory``."""
    status = pathlib.Path("/proc/self/status").read_text()
    mounts = pathlib.Path("/proc/self/mountinfo").read_text()
    return Machine(
        nofile_hard=resource.getrlimit(resource.RLIMIT_NOFILE)[1],
        effective_caps=effective_caps(status),
        unified_cgroups=pathlib.Path("/sys/fs/cgroup/cgroup.controllers").exists(),
        systemd_is_init=pathlib.Path("/proc/1/comm").read_text().strip() == "systemd",
        journald=pathlib.Path("/run/systemd/journal/socket").exists(),
        filesystem=filesystem_of(directory, mounts),
        crun=commands.find("crun"),
        runc=commands.find("runc"),
    )


def effective_caps(status: str) -> int:
    """Return the effective capabilities named by the text of a /proc/PID/status."""
    for line in status.splitlines():
        key, _, value = line.partition(":")
        if key == "CapEff":
            return int(value, 16)
    return 0


def filesystem_of(path: pathlib.Path, mountinfo: str) -> str:
    """Return the type of the file system that holds ``path``, or "" if unknown.

    ``mountinfo`` is the text of /proc/self/mountinfo. Where mounts are stacked
    the last one counts.
    """
    best, kind = -1, ""
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        target = pathlib.Path(before.split()[4].replace("\\040", " "))
        depth = len(target.parts)
        if path.is_relative_to(target) and depth >= best:
            best, kind = depth, after.split()[0]
    return kind


def limits_must_be_lowered(machine: Machine) -> bool:
    """Say if OCI runtimes would fail on Podman's rlimits, which are beyond our hard limit."""
    enough = machine.nofile_hard < 0 or machine.nofile_hard >= PODMAN_NOFILE
    return not enough and not machine.effective_caps >> CAP_SYS_RESOURCE & 1


def runc_is_needed(machine: Machine) -> bool:
    """Say if runc with the cgroupfs manager is called for.

    crun refuses hybrid and v1 cgroups, and the systemd cgroup manager needs systemd as PID 1.
    """
    return not (machine.unified_cgroups and machine.systemd_is_init)


def files_instead_of_journal(machine: Machine) -> bool:
    """Say if container logs and events must go to files, there being no journald."""
    return not machine.journald


def storage_driver(machine: Machine) -> str:
    """Return the storage driver: the kernel refuses an overlay on top of an overlay."""
    return "vfs" if machine.filesystem == "overlay" else "overlay"


def runtime(machine: Machine) -> pathlib.Path | None:
    """Return the OCI runtime to configure, None to leave the choice to Podman.

    With a wrapper Podman has no choice left, so its own first choice is repeated here.
    """
    if runc_is_needed(machine):
        return machine.runc
    if limits_must_be_lowered(machine):
        return machine.crun or machine.runc
    return None


def socket_path_fits(path: pathlib.Path) -> bool:
    """Say if the kernel can bind a UNIX socket at ``path``."""
    return len(bytes(path)) <= SOCKET_PATH_MAX
