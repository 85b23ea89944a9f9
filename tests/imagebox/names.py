"""What the elements ask for in each distribution, by diskimage-builder's own programs."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

import places
from imagebox import build

ELEMENTS = places.ROOT / "elements"
# What rpm systems have while the image is built, and not after that.
BUILD_ONLY = frozenset({"createrepo_c", "rpm-build", "rpm-sign"})


def packages(distribution: str, release: str) -> dict[str, set[str]]:
    """The packages that each element installs, by the names that a distribution has for them."""
    environment = {**os.environ, "ARCH": "amd64", "DISTRO_NAME": distribution, "DIB_RELEASE": release}
    with tempfile.TemporaryDirectory() as scratch:
        squashed = Path(scratch, "packages.json")
        elements = ["--elements", " ".join(build.ELEMENTS), "--path", str(ELEMENTS)]
        _run("package-installs/bin/package-installs-squash", [*elements, str(squashed)], environment)
        asked = json.loads(squashed.read_text())["install.d"]["install"]
    found = {}
    for element in build.ELEMENTS:
        wanted = [name for name, whose in asked if whose == element]
        map_file = str(ELEMENTS / element / "pkg-map")
        found[element] = set(_run("pkg-map/bin/pkg-map", ["--pkg-map", map_file, *wanted], environment).split())
    return found


def services(distribution: str) -> dict[str, str]:
    """What svc-map makes of the names in the elements' svc-map files."""
    paths = {name: str(ELEMENTS / name) for name in build.ELEMENTS}
    with tempfile.TemporaryDirectory() as scratch:
        Path(scratch, "tmp").mkdir()
        more = {"IMAGE_ELEMENT_YAML": json.dumps(paths), "TMP_MOUNT_PATH": scratch, "DISTRO_NAME": distribution}
        _run("svc-map/extra-data.d/10-merge-svc-map-files", [], {**os.environ, **more})
        # It is a map of one line for each service.
        lines = Path(scratch, "tmp/svc-map-services").read_text().splitlines()
    return {name: service for name, _, service in (line.partition(": ") for line in lines)}


def python(distribution: str, release: str) -> str:
    """The version of the Python for which wheels are fetched."""
    script = f". {ELEMENTS}/overcloud-agent/environment.d/*.bash; echo $DIB_OVERCLOUD_AGENT_PYTHON"
    environment = {"PATH": os.environ["PATH"], "DISTRO_NAME": distribution, "DIB_RELEASE": release}
    done = subprocess.run(["bash", "-euc", script], env=environment, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def _run(program: str, arguments: list[str], environment: Mapping[str, str]) -> str:
    # They are Python without a suffix, or with the interpreter of whoever installed them.
    builder = importlib.util.find_spec("diskimage_builder")
    assert builder and builder.origin
    path = Path(builder.origin).parent / "elements" / program
    argv = [str(places.BIN / "python"), str(path), *arguments]
    done = subprocess.run(argv, env=dict(environment), capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout
