"""The file system that every node starts from: the machine's own distribution, made once by mmdebstrap."""

import contextlib
import fcntl
import hashlib
import os
import pathlib
import platform
import shutil
from collections.abc import Iterator, Sequence

from nodebox import sources
from podmanbox import commands, errors

PACKAGES = (
    "aardvark-dns",
    "ca-certificates",
    "catatonit",
    "conmon",
    "crun",
    "dbus",
    "iproute2",
    "iptables",
    "netavark",
    "podman",
    "procps",
    "python3",
    "runc",
    "systemd",
    "systemd-sysv",
)
MAKING_TIMEOUT_S = 900.0


def make(directory: pathlib.Path, packages: Sequence[str] = PACKAGES) -> pathlib.Path:
    """Make the tree with ``packages`` in ``directory``, or find it there, and return its path.

    Raise BoxError where there is no apt, CommandError if mmdebstrap fails.
    """
    codename = platform.freedesktop_os_release().get("VERSION_CODENAME", "")
    entries = sources.lines(apt_files(), codename)
    if not codename or not entries:
        raise errors.BoxError("apt's sources name no archive of this machine's release", "Debian and Ubuntu have them")
    tree, key = directory / "tree", directory / "made-from"
    made_from = hashlib.sha256("\n".join([*packages, *entries]).encode()).hexdigest()
    with _exclusive(directory):
        if key.exists() and key.read_text() == made_from:
            return tree
        key.unlink(missing_ok=True)
        shutil.rmtree(tree, ignore_errors=True)
        _mmdebstrap(codename, tree, entries, directory / "apt.conf", packages)
        key.write_text(made_from)
    return tree


def apt_files() -> list[str]:
    """Return the texts of apt's sources files on this machine."""
    etc = pathlib.Path("/etc/apt")
    parts = sorted(etc.glob("sources.list.d/*.list")) + sorted(etc.glob("sources.list.d/*.sources"))
    return [path.read_text() for path in (etc / "sources.list", *parts) if path.is_file()]


def _mmdebstrap(
    codename: str, tree: pathlib.Path, entries: list[str], options: pathlib.Path, packages: Sequence[str]
) -> None:
    # Proxies and the like; the machine's hooks (DPkg::...) would act on the tree as if it were the machine.
    dump = commands.run([str(commands.need("apt-config")), "dump"], os.environ, 30)
    options.write_text("".join(f"{line}\n" for line in dump.splitlines() if line.startswith("Acquire::")))
    options.chmod(0o600)
    argv = [
        str(commands.need("mmdebstrap")),
        "--quiet",
        "--mode=root",
        "--variant=minbase",
        f"--aptopt={options}",
        f"--include={','.join(packages)}",
        codename,
        str(tree),
        *entries,
    ]
    commands.run(argv, os.environ, MAKING_TIMEOUT_S)


@contextlib.contextmanager
def _exclusive(directory: pathlib.Path) -> Iterator[None]:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
