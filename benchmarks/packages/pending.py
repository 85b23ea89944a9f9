"""What an update would change, against the tools that tell it without doing it."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import rpmroots
import rpms
from benchmarks.deployments import figures
from benchmarks.packages import sides
from overcloud_agent.packages import apt as apt_backend
from overcloud_agent.packages import backend, model

_TITLE = "by what the repositories had (aim: at least 0.91x)"


def apt(to: figures.Figures, directory: Path, runs: int) -> None:
    """Of this machine, by its own lists."""
    manager = apt_backend.Apt(Path("/"))
    reference = sides.shell("apt-get -s -qq dist-upgrade", directory)
    sides.alternate(to, "Pending updates, this machine's apt", reference, {_TITLE: lambda: _pending(manager)}, runs)


def dnf(to: figures.Figures, count: int, runs: int) -> None:
    """Of a root with `count` RPMs, all of which have an update. The first asks both for what the repository has."""
    names = [f"bench-package-{number:04}" for number in range(count)]
    with rpmroots.made("dnf") as root:
        built = root.directory / "many"
        for name, version in (("base", "1"), ("updates", "2")):
            offered = rpms.repository(root.served / name, rpms.build_many(built, names, version))
            root.use(offered, name, (root.served / name).as_uri())
            if version == "1":
                root.install("bench-package-*")
        command = [
            "env",
            f"HOME={root.variables['HOME']}",
            "dnf",
            "--installroot",
            str(root.path),
            "-q",
            "check-update",
        ]
        reference = sides.shell(shlex.join(command), root.directory)
        ours = {_TITLE: lambda: _pending(root.backend)}
        # Debian's rpm looks there for where its database is.
        before, os.environ["HOME"] = os.environ.get("HOME", "/"), root.variables["HOME"]
        try:
            root.backend.refresh(wait=10, alive=lambda: None)
            sides.alternate(to, f"Pending updates, {count} RPMs", reference, ours, runs)
        finally:
            os.environ["HOME"] = before


def _pending(manager: backend.Backend) -> None:
    if not manager.pending(model.Selection()).changes and manager.name == "dnf":
        raise RuntimeError("dnf found nothing")
