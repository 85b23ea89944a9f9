"""Remove what a box leaves on the machine outside its directory.

The rules of the box's own networks go with its last container. What stays is
common to everyone who uses netavark: chains without any network in them, and
/run/netns mounted on itself. Both are removed only if the box brought them
(see ``state.State``) and nobody uses them; whoever needs them makes them anew.
"""

import os
import pathlib

from podmanbox import commands, errors

NETNS = pathlib.Path("/run/netns")

_MASQ = "-A NETAVARK-HOSTPORT-MASQ"
# The rules that netavark writes for no network in particular, by table. They
# start with these words.
_COMMON = {
    "filter": ("-A FORWARD -m comment --comment netavark", "-A NETAVARK_ISOLATION_3 -j DROP"),
    "nat": (
        "-A PREROUTING -m addrtype --dst-type LOCAL -j NETAVARK-HOSTPORT-DNAT",
        "-A OUTPUT -m addrtype --dst-type LOCAL -j NETAVARK-HOSTPORT-DNAT",
        "-A POSTROUTING -j NETAVARK-HOSTPORT-MASQ",
        f"{_MASQ} -m comment --comment netavark portfw masq mark -m mark",
        "-A NETAVARK-HOSTPORT-SETMARK -j MARK",
    ),
}


def netavark_is_here() -> bool:
    """Say if any chain of netavark's exists."""
    return any("NETAVARK" in rules for rules in _tables().values())


def remove_netavark() -> bool:
    """Remove netavark's common chains unless a network uses them; say if they are gone."""
    tables = _tables()
    plans = {table: removal(table, rules) for table, rules in tables.items()}
    if any(plan is None for plan in plans.values()):
        return False
    for table, plan in plans.items():
        for arguments in plan or []:
            _iptables("iptables", "-w", "-t", table, *arguments)
    return True


def removal(table: str, rules: str) -> list[list[str]] | None:
    """Return the iptables arguments that remove netavark's chains from a table.

    ``rules`` is the output of ``iptables -t TABLE -S``. Return None if there is
    a rule that belongs to some network, so that nothing must be touched.
    """
    ours = [line for line in rules.splitlines() if "NETAVARK" in line]
    chains = [line.split()[1] for line in ours if line.startswith("-N ")]
    jumps: list[list[str]] = []
    for line in ours:
        if line.startswith("-N "):
            continue
        if not line.replace('"', "").startswith(_COMMON[table]):
            return None
        if not line.startswith("-A NETAVARK"):
            # Comments have spaces; quoting is as simple as that in netavark's rules.
            jumps.append(["-D", *_words(line)[1:]])
    flushes = [["-F", chain] for chain in chains]
    return jumps + flushes + [["-X", chain] for chain in chains]


def _words(line: str) -> list[str]:
    parts = line.split('"')
    words: list[str] = []
    for index, part in enumerate(parts):
        words += [part] if index % 2 else part.split()
    return words


def _tables() -> dict[str, str]:
    return {table: _iptables("iptables", "-w", "-t", table, "-S") for table in _COMMON}


def _iptables(*argv: str) -> str:
    """Run iptables; where it is missing or refuses there is nothing to see or to remove."""
    program = commands.find(argv[0])
    if program is None:
        return ""
    try:
        return commands.run([str(program), *argv[1:]], os.environ, 30)
    except errors.CommandError:
        return ""


def mounts_below(path: pathlib.Path) -> list[pathlib.Path]:
    """Return the mount points at ``path`` and below, the innermost first."""
    found: list[pathlib.Path] = []
    for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines():
        target = pathlib.Path(line.split()[4].replace("\\040", " "))
        if target.is_relative_to(path):
            found.append(target)
    return sorted(found, key=lambda target: len(target.parts), reverse=True)


def unmount_below(path: pathlib.Path) -> None:
    """Unmount everything at ``path`` and below; raise CommandError if something is in use."""
    umount = str(commands.need("umount"))
    for target in mounts_below(path):
        commands.run([umount, str(target)], os.environ, 30)


def netns_is_mounted() -> bool:
    """Say if /run/netns is mounted on itself, as Podman and iproute2 do for shared namespaces."""
    return NETNS in mounts_below(NETNS)


def remove_netns() -> None:
    """Undo the mount of /run/netns unless there are named network namespaces."""
    if NETNS.is_dir() and not any(NETNS.iterdir()):
        unmount_below(NETNS)
        NETNS.rmdir()
