"""Describe small images and lay out what they are built from."""

import dataclasses
import io
import json
import pathlib
import subprocess
import tarfile
from collections.abc import Mapping

from podmanbox import errors

BASE = "localhost/podmanbox/base:1"


@dataclasses.dataclass(frozen=True)
class Healthcheck:
    """A command that tells, by exit code 0 or not, if a container is healthy.

    ``command`` is a shell command line; times are in seconds.
    """

    command: str
    interval_s: float = 30.0
    timeout_s: float = 30.0
    retries: int = 3
    start_period_s: float = 0.0


@dataclasses.dataclass(frozen=True)
class ImageConfig:
    """What an image says about the containers made from it."""

    command: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] = ()
    env: Mapping[str, str] = dataclasses.field(default_factory=dict)
    labels: Mapping[str, str] = dataclasses.field(default_factory=dict)
    ports: tuple[int, ...] = ()
    healthcheck: Healthcheck | None = None
    # A shell as PID 1 ignores SIGTERM unless it traps it, and Podman then waits 10 s.
    stop_signal: str = "SIGKILL"


def dockerfile(config: ImageConfig) -> str:
    """Return the Dockerfile for ``config`` with the image's files in the directory "files"."""
    lines = [f"FROM {BASE}", "COPY files/ /", f"STOPSIGNAL {config.stop_signal}"]
    lines += [f"ENV {key}={quoted(value)}" for key, value in config.env.items()]
    lines += [f"LABEL {quoted(key)}={quoted(value)}" for key, value in config.labels.items()]
    lines += [f"EXPOSE {port}" for port in config.ports]
    check = config.healthcheck
    if check is not None:
        # Podman refuses a start period of 0, which is what it takes anyway.
        start = f" --start-period={check.start_period_s:g}s" if check.start_period_s else ""
        lines.append(
            f"HEALTHCHECK --interval={check.interval_s:g}s --timeout={check.timeout_s:g}s"
            f" --retries={check.retries}{start}"
            f" CMD {json.dumps(['/bin/sh', '-c', check.command])}"
        )
    if config.entrypoint:
        lines.append(f"ENTRYPOINT {json.dumps(config.entrypoint)}")
    if config.command:
        lines.append(f"CMD {json.dumps(config.command)}")
    return "\n".join(lines) + "\n"


def quoted(value: str) -> str:
    """Return a value of ENV or LABEL so that a Dockerfile takes it literally.

    Raise BoxError for a line break, which a Dockerfile has no notation for.
    """
    if "\n" in value:
        raise errors.BoxError(f"an image's variable or label has a line break: {value!r}")
    for special in ("\\", '"', "$"):
        value = value.replace(special, "\\" + special)
    return f'"{value}"'


def write_context(directory: pathlib.Path, files: Mapping[str, str], config: ImageConfig) -> None:
    """Write the build context: the Dockerfile, and ``files`` by their paths in the image.

    Scripts, known by their "#!", become executable. Raise BoxError for a path
    that leads out of the image.
    """
    (directory / "Dockerfile").write_text(dockerfile(config))
    root = directory / "files"
    root.mkdir()
    for name, content in files.items():
        inside = pathlib.PurePosixPath("/", name)
        if ".." in inside.parts:
            raise errors.BoxError(f"{name} is not a path inside the image")
        path = root / inside.relative_to("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        path.chmod(0o755 if content.startswith("#!") else 0o644)


def base_tar(busybox: pathlib.Path) -> bytes:
    """Return the root file system of the base image: a static busybox under all its names."""
    done = subprocess.run([str(busybox), "--list"], capture_output=True, text=True, check=True)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name in ("bin", "dev", "etc", "proc", "root", "run", "sys", "tmp", "var"):
            tar.addfile(_entry(name, tarfile.DIRTYPE, 0o1777 if name == "tmp" else 0o755))
        program = _entry("bin/busybox", tarfile.REGTYPE, 0o755)
        program.size = busybox.stat().st_size
        with busybox.open("rb") as stream:
            tar.addfile(program, stream)
        for applet in sorted(set(done.stdout.split()) - {"busybox"}):
            link = _entry(f"bin/{applet}", tarfile.SYMTYPE, 0o777)
            link.linkname = "busybox"
            tar.addfile(link)
        _add_text(tar, "etc/passwd", "root:x:0:0:root:/root:/bin/sh\n")
        _add_text(tar, "etc/group", "root:x:0:\n")
    return buffer.getvalue()


def _entry(name: str, kind: bytes, mode: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type = kind
    entry.mode = mode
    return entry


def _add_text(tar: tarfile.TarFile, name: str, text: str) -> None:
    entry = _entry(name, tarfile.REGTYPE, 0o644)
    entry.size = len(text)
    tar.addfile(entry, io.BytesIO(text.encode()))
