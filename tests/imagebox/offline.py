"""Build an image in a network namespace in which nothing answers, on a base that has the distribution's packages."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path

import places
from imagebox import build
from podmanbox import errors

TIMEOUT_S = 300.0


def build_offline(base: build.Image, directory: Path, cache: Path, **variables: str) -> Path:
    """Run disk-image-create --offline with the elements of the test image, and return the tar that it made.

    `variables` are those of the elements. Raise CommandError.
    """
    work = directory / "work"
    work.mkdir()
    tar, log = work / "image.tar", directory / "build.log"
    release = platform.freedesktop_os_release()
    environment = {
        **os.environ,
        "PATH": f"{places.BIN}:{os.environ['PATH']}:/usr/sbin:/sbin",
        "ELEMENTS_PATH": f"{places.ROOT}/elements:{Path(__file__).parent}/elements",
        "PREBUILT_TREE": str(base.tree),
        "PREBUILT_DISTRIBUTION": release["ID"],
        "DIB_RELEASE": release["VERSION_CODENAME"],
        "DIB_PYTHON_VERSION": "3",
        "DIB_IMAGE_CACHE": str(cache),
        "TMP_DIR": str(work),
        **variables,
    }
    argv = ["unshare", "--net", "disk-image-create", "--offline", "-t", "tar", "-o", str(tar), "prebuilt"]
    argv += build.ELEMENTS
    with log.open("w") as said:
        done = subprocess.run(
            argv, cwd=work, env=environment, stdout=said, stderr=said, stdin=subprocess.DEVNULL, timeout=TIMEOUT_S
        )
    if done.returncode != 0:
        raise errors.CommandError(argv, done.returncode, "\n".join(log.read_text(errors="replace").splitlines()[-15:]))
    return tar
