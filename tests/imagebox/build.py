"""Build the test image with disk-image-create, once for each state of the elements and of the agent."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import hashlib
import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import places
from imagebox import later
from nodebox import base, sources
from podmanbox import commands, errors

ELEMENTS = ("overcloud-agent", "overcloud-agent-podman", "overcloud-agent-simulator")
# What the image is made of, besides what diskimage-builder and the distribution have.
SOURCES = ("agent", "docs", "elements", "hooks", "pyproject.toml", "setup.py")
BUILD_TIMEOUT_S = 1500.0

_ADDRESS = re.compile(r"^deb (?:\[[^]]*\] )?(\S+) (\S+) ")
_SIZE = re.compile(r"overcloud-agent: (\S+) adds ([0-9.]+) MiB \(([0-9.]+) MiB on disk\) to an image of ([0-9.]+) MiB")


@dataclasses.dataclass(frozen=True)
class Image:
    """A built image: its file system in ``tree``; ``log`` is the build's."""

    tree: Path
    log: Path
    wheels: Path
    """A directory for `overcloud-agent-version install`: what the image was made from."""

    @property
    def added_mib(self) -> float:
        """What the agent adds to the image's size, as the build says."""
        found = _SIZE.search(self.log.read_text(errors="replace"))
        if not found:
            raise errors.BoxError(f"the build's log {self.log} says nothing of the size")
        return float(found[3])


def build() -> Image:
    """Build the image of this machine's distribution, or find it. Raise BoxError or CommandError."""
    mirrors = _mirrors()
    distribution = platform.freedesktop_os_release()["ID"]
    elements = (f"{distribution}-minimal", "cloud-init", *ELEMENTS)
    return make(places.SHARED / "image", elements, _debian(mirrors), repr(sorted(mirrors.items())))


def make(directory: Path, elements: Sequence[str], variables: Mapping[str, str], made_from: str = "") -> Image:
    """Build an image of `elements` in `directory`, or find it there; `made_from` is what it depends on besides.

    `variables` are disk-image-create's. Raise BoxError or CommandError.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    image = Image(directory / "tree", directory / "build.log", directory / "wheels")
    made_from = _digest([*elements, made_from])
    with exclusive(directory) as key:
        if key.read_text() != made_from:
            key.write_text("")
            _build(directory, image, elements, variables)
            key.write_text(made_from)
    return image


def other_version(image: Image, directory: Path, version: str) -> Path:
    """Wheels like the image's, with the same agent under a later version and schema; returns `directory`."""
    shutil.copytree(image.wheels, directory)
    (wheel,) = directory.glob("overcloud_agent-*.whl")
    wheel.unlink()
    tree = directory / "tree"
    tree.mkdir()
    for name in ("agent", "docs", "hooks"):
        shutil.copytree(places.ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for name in ("LICENSE", "README.md", "pyproject.toml"):
        shutil.copy2(places.ROOT / name, tree)
    later.add_migration(tree)
    setup = (places.ROOT / "setup.py").read_text()
    (tree / "setup.py").write_text(re.sub(r'version="[^"]+"', f'version="{version}"', setup))
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(directory), str(tree)]
    commands.run(pip, os.environ, 300)
    shutil.rmtree(tree)
    return directory


def _build(directory: Path, image: Image, elements: Sequence[str], variables: Mapping[str, str]) -> None:
    begun = time.monotonic()
    work = directory / "work"
    for path in (image.tree, image.wheels, work):
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir()
    environment = {**_environment(directory, work), **variables}
    tar = work / "image.tar"
    argv = [str(places.BIN / "disk-image-create"), "-t", "tar", "-o", str(tar), *elements]
    with image.log.open("w") as log:
        try:
            done = subprocess.run(
                argv,
                cwd=work,
                env=environment,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                timeout=BUILD_TIMEOUT_S,
            )
        except subprocess.TimeoutExpired:
            raise errors.BoxError("the image took too long to build", f"its log is {image.log}") from None
    if done.returncode != 0:
        last = image.log.read_text(errors="replace").splitlines()[-15:]
        raise errors.CommandError(argv, done.returncode, "\n".join(last))
    extract = ["tar", "-C", str(image.tree), "--xattrs", "--xattrs-include=*", "--numeric-owner", "-xf", str(tar)]
    commands.run(extract, os.environ, 300)
    _keep_wheels(directory, image)
    shutil.rmtree(work)
    with image.log.open("a") as log:
        log.write(f"built and unpacked in {time.monotonic() - begun:.0f} seconds\n")


def _keep_wheels(directory: Path, image: Image) -> None:
    """Put beside each other what the build handed to the image, newest first."""
    cache = directory / "cache" / "overcloud-agent"
    for kind in ("wheels", "agent"):
        newest = max(cache.glob(f"{kind}-*"), key=lambda path: path.stat().st_mtime)
        for wheel in newest.glob("*.whl"):
            shutil.copy2(wheel, image.wheels)
    pins = [path.name.split("-")[:2] for path in image.wheels.iterdir() if not path.name.startswith("overcloud_agent")]
    lines = [f"{name}=={version}\n" for name, version in pins if name != "pip"]
    (image.wheels / "requirements.txt").write_text("".join(sorted(lines)))


def _environment(directory: Path, work: Path) -> dict[str, str]:
    """disk-image-create's: caches and temporary files in the directory."""
    return {
        **os.environ,
        "PATH": f"{places.BIN}:{os.environ['PATH']}:/usr/sbin:/sbin",
        "ELEMENTS_PATH": str(places.ROOT / "elements"),
        "DIB_IMAGE_CACHE": str(directory / "cache"),
        "DIB_PYTHON_VERSION": "3",
        "TMP_DIR": str(work),
    }


def _debian(mirrors: Mapping[str, str]) -> dict[str, str]:
    """Mirrors from the machine's apt."""
    release = platform.freedesktop_os_release()["VERSION_CODENAME"]
    security = mirrors.get(f"{release}-security", "")
    return {
        "DIB_RELEASE": release,
        "DIB_DISTRIBUTION_MIRROR": mirrors[release],
        **({"DIB_DEBIAN_SECURITY_MIRROR": security} if security else {}),
        "DIB_DEBIAN_USE_DEBOOTSTRAP_CACHE": "1",
        "DIB_DEBOOTSTRAP_CACHE": "1",
    }


def _mirrors() -> dict[str, str]:
    """The address of each suite, as the machine's own apt has it."""
    release = platform.freedesktop_os_release().get("VERSION_CODENAME", "")
    found = [_ADDRESS.match(line) for line in sources.lines(base.apt_files(), release)]
    mirrors = {match[2]: match[1] for match in reversed(found) if match}
    if release not in mirrors:
        raise errors.BoxError("apt's sources name no archive of this machine's release", "Debian and Ubuntu have them")
    return mirrors


def _digest(more: Sequence[str]) -> str:
    total = hashlib.sha256(importlib.metadata.version("diskimage-builder").encode())
    total.update(repr(more).encode())
    for name in SOURCES:
        top = places.ROOT / name
        for path in sorted(top.rglob("*")) if top.is_dir() else [top]:
            if path.is_file() and not _is_by_the_way(path):
                total.update(f"{path.relative_to(places.ROOT)} {path.stat().st_mode:o}\0".encode())
                total.update(path.read_bytes())
    return total.hexdigest()


def _is_by_the_way(path: Path) -> bool:
    return "__pycache__" in path.parts or path.parent.name.endswith(".egg-info") or path.suffix in (".md", ".rst")


@contextlib.contextmanager
def exclusive(directory: Path) -> Iterator[Path]:
    """The file that says what the image was made from, locked: another test session may be at it."""
    key = directory / "made-from"
    with key.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield key
