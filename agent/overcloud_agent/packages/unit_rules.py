"""What is to be done with a systemd unit or a process that runs code which changes. Pure: no I/O."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Mapping
from typing import Literal

Action = Literal["restart", "reload", "report"]

PROPERTIES = (
    "ActiveState",
    "CanReload",
    "DropInPaths",
    "ExecMainStartTimestampMonotonic",
    "ExecStart",
    "FragmentPath",
    "KillMode",
    "RefuseManualStart",
    "RefuseManualStop",
    "Transient",
    "Type",
)

# What a restart would cost more than old code does: sessions, network connections, guests, all that talks on the bus.
LEFT_ALONE = {
    "dbus.service": "all that talks on the bus would lose it",
    "dbus-broker.service": "all that talks on the bus would lose it",
    "systemd-logind.service": "sessions would lose their devices",
    "elogind.service": "sessions would lose their devices",
    "user@*.service": "it is a user's session",
    "user-runtime-dir@*.service": "it is a user's session",
    "getty@*.service": "it is a user's session",
    "*-getty@*.service": "it is a user's session",
    "emergency.service": "it is a user's session",
    "rescue.service": "it is a user's session",
    "display-manager.service": "it is a user's session",
    "gdm*.service": "it is a user's session",
    "lightdm.service": "it is a user's session",
    "sddm.service": "it is a user's session",
    "xdm.service": "it is a user's session",
    "NetworkManager.service": "the network could go",
    "systemd-networkd.service": "the network could go",
    "networking.service": "the network could go",
    "network.service": "the network could go",
    "wpa_supplicant*.service": "the network could go",
    "openvswitch*.service": "the network could go",
    "ovs-vswitchd.service": "the network could go",
    "ovsdb-server.service": "the network could go",
    "openvpn*.service": "the network could go",
    "*swan*.service": "the network could go",
    "iscsid.service": "disks could go",
    "multipathd.service": "disks could go",
    "corosync.service": "the node would leave its cluster",
    "pacemaker.service": "the node would leave its cluster",
    "docker.service": "its containers would stop",
    "systemd-nspawn@*.service": "it is a machine of its own",
    "lxcfs.service": "it serves files to containers that run",
    "apt-daily*.service": "it is at work, and ends by itself",
    "packagekit.service": "it may be at work on packages",
    "unattended-upgrades.service": "it may be at work on packages",
}
# These run containers: to restart them is to restart what is in them.
CONTAINER_TOOLS = frozenset(
    {
        "aardvark-dns",
        "catatonit",
        "conmon",
        "crun",
        "fuse-overlayfs",
        "netavark",
        "pasta",
        "podman",
        "rootlessport",
        "runc",
        "slirp4netns",
    }
)
# What only a boot replaces without harm, when it still runs old code.
REBOOT = ("dbus.service", "dbus-broker.service", "init.scope")


def decide(unit: str, facts: Mapping[str, str], *, own: str, reload: Iterable[str], report: Iterable[str]) -> Action:
    """What to do with a unit, by systemd's facts about it (PROPERTIES; none when systemd could not be asked)."""
    if why_left_alone(unit, facts, own=own, report=report):
        return "report"
    if facts.get("CanReload") == "yes" and _matches(unit, reload):
        return "reload"
    return "restart"


def why_left_alone(unit: str, facts: Mapping[str, str], *, own: str, report: Iterable[str]) -> str:
    """Why a unit is only reported, in words; empty when it may be restarted."""
    if unit == own:
        return "the agent restarts itself when all else is done"
    if unit.startswith("session-") and unit.endswith(".scope"):
        return "it is a user's session"
    if not unit.endswith(".service"):
        return "systemd did not start it, and cannot start it again" if unit.endswith(".scope") else "it is no service"
    for pattern, why in LEFT_ALONE.items():
        if fnmatch.fnmatchcase(unit, pattern):
            return why
    if _matches(unit, report):
        return "the operator restarts it"
    if facts.get("Type") == "oneshot":
        return "it is at work, and ends by itself"
    if facts.get("Transient") == "yes":
        return "it has no file to be started from again"
    if "yes" in (facts.get("RefuseManualStop"), facts.get("RefuseManualStart")):
        return "its unit refuses to be restarted by hand"
    return ""


def active(facts: Mapping[str, str]) -> bool:
    """Whether a unit is one that a change of its files concerns: a service that runs, and does not just come to be."""
    return facts.get("ActiveState") in ("active", "reloading") and facts.get("Type") != "oneshot"


def spares_children(facts: Mapping[str, str]) -> bool:
    """Whether a restart of the unit leaves processes running: those that Neutron's agents serve networks with."""
    return facts.get("KillMode") in ("process", "none")


def command(facts: Mapping[str, str]) -> list[str]:
    """The command line of a service's first ExecStart, its program as a path; empty when it has none.

    systemctl prints `{ path=/usr/bin/x ; argv[]=/usr/bin/x -a b ; ignore_errors=no ; ... }`.
    """
    line = facts.get("ExecStart", "").partition("\n")[0]
    path = line.partition("path=")[2].partition(" ;")[0]
    arguments = line.partition("argv[]=")[2].partition(" ; ignore_errors=")[0].split()
    return [path, *arguments[1:]] if path else []


def serves_containers(command: list[str]) -> bool:
    """Whether a command line is that of a tool which runs containers."""
    return bool(command) and command[0].rpartition("/")[2] in CONTAINER_TOOLS


def _matches(unit: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch.fnmatchcase(unit, pattern) for pattern in patterns)
