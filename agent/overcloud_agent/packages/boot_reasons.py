"""Why a node must boot again: what cannot be replaced while it runs."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from overcloud_agent.packages import hosts, model

# Names of packages, Debian's and Fedora's.
_PACKAGES = {
    "the kernel": re.compile(
        r"^(?:linux-image-(?!.*-dbg).+|linux-modules-.+"
        r"|kernel(?:-(?:core|modules(?:-core)?|rt(?:-core)?|64k(?:-core)?|uek(?:-core)?|lt|ml|default))?)$"
    ),
    "the C library": re.compile(r"^(?:libc6|glibc|musl)$"),
    "systemd": re.compile(r"^(?:systemd|systemd-sysv|libsystemd-shared)$"),
    "D-Bus": re.compile(r"^(?:dbus|dbus-daemon|dbus-broker)$"),
    "microcode": re.compile(r"^(?:(?:intel|amd64)-microcode|microcode_ctl|amd-ucode-firmware)$"),
    "firmware": re.compile(r"^(?:linux-firmware|firmware-.+)$"),
}
_MICROCODE = ("/lib/firmware/intel-ucode", "/lib/firmware/amd-ucode")
# What a release of a kernel begins with, up to its flavour, and the words in it.
_NUMBERS = re.compile(r"\d+(?:[.-](?:rc)?\d+)*")
_WORDS = re.compile(r"[a-z]+")
_KERNEL_FILE = re.compile(r"^(?:/boot/vmlinuz-|(?:/usr)?/lib/modules/)([^/]+)")


def before(files: Mapping[str, Sequence[str]], changes: Iterable[model.Change]) -> tuple[str, ...]:
    """What in an update makes a boot necessary, sorted."""
    release = os.uname().release
    found = set()
    for change in changes:
        runs = any(_release(path) == release for path in files.get(change.name, ()))
        # An old kernel may go; the one that runs takes its modules with it.
        if change.kind == "remove" and not runs:
            continue
        what = next((what for what, pattern in _PACKAGES.items() if pattern.match(change.name)), "")
        if what or runs:
            versions = " to ".join(version for version in (change.old, change.new) if version)
            found.add(f"{change.name} ({what or 'the kernel'}): {change.kind} {versions}".strip())
    return tuple(sorted(found))


def after(host: hosts.Host, booted: float) -> tuple[str, ...]:
    """What runs since the boot and has been replaced on disk, sorted; `booted` in seconds since the epoch."""
    return tuple(sorted({*_kernel(host, booted), *_microcode(host, booted), *_required(host)}))


def _kernel(host: hosts.Host, booted: float) -> Iterator[str]:
    running = os.uname().release
    boot = Path(host.path("/boot"))
    images = {path.name.removeprefix("vmlinuz-"): path for path in boot.glob("vmlinuz-*") if "rescue" not in path.name}
    # Fedora has them with the modules, and a system without /boot (an image's) may have them there, too.
    for path in Path(host.path("/lib/modules")).glob("*/vmlinuz"):
        images.setdefault(path.parent.name, path)
    if not images:
        return
    newer = [release for release in images if is_newer(release, running)]
    if newer:
        yield f"the kernel {running} runs, {max(newer, key=version_key)} is installed"
    elif running in images and _changed(images[running]) > booted:
        yield f"the kernel {running} was replaced after it had been booted"


def _microcode(host: hosts.Host, booted: float) -> Iterator[str]:
    for directory in _MICROCODE:
        paths = Path(host.path(directory)).glob("*")
        if any(_changed(path) > booted for path in paths):
            yield f"microcode in {directory} is newer than the boot"


def _required(host: hosts.Host) -> Iterator[str]:
    """What packages themselves say (Debian Policy has it as /run/reboot-required)."""
    mark = Path(host.path("/run/reboot-required"))
    if not mark.exists():
        return
    try:
        names = sorted(set((mark.parent / "reboot-required.pkgs").read_text().split()))
    except OSError:
        names = []
    yield f"{', '.join(names) or 'a package'} asks for it (/run/reboot-required)"


def is_newer(release: str, running: str) -> bool:
    """Whether a kernel is newer than the one that runs, and not only another flavour of it, or a copy. Pure.

    A node that has 6.1.0-25-amd64 and 6.1.0-25-rt-amd64 would boot for each update, into the one that it is set to.
    """
    same = _NUMBERS.findall(release)[:1] == _NUMBERS.findall(running)[:1]
    if same and _WORDS.findall(release) != _WORDS.findall(running):
        return False
    return version_key(release) > version_key(running)


def version_key(release: str) -> list[tuple[int, int, str]]:
    """A key that sorts releases of kernels: numbers as numbers, and a release candidate before its release. Pure."""
    parts = re.findall(r"\d+|[a-z]+", release)
    # A word is less than the end, which is less than a number: 6.1-rc1 < 6.1 < 6.1.1.
    words = [(1, int(part), "") if part.isdigit() else (-1 if part == "rc" else 0, 0, part) for part in parts]
    return [*words, (0, 0, "")]


def _release(path: str) -> str:
    found = _KERNEL_FILE.match(path)
    return found[1] if found else ""


def _changed(path: Path) -> float:
    try:
        return path.stat().st_ctime
    except OSError:
        return 0.0
