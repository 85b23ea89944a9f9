"""An image of the CentOS family, by diskimage-builder's own elements for Fedora, from a repository that is made here.

Fedora cannot be downloaded everywhere, so the repository has Debian's files under Fedora's names (fedora.py). All else
is real: yum-minimal makes a root of RPMs, dnf in that installs what the elements ask for.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import places
import served
import suites
from imagebox import build, fedora, rpmtree

_REPOSITORY = """\
[made-here]
name=Debian's files under Fedora's names
baseurl={address}
enabled=1
gpgcheck=0
"""


def repository() -> Path:
    """The repository, made once. Raise BoxError or CommandError."""
    directory = places.SHARED / "fedora"
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    made_from = _made_from()
    with build.exclusive(directory) as key:
        if key.read_text() != made_from:
            key.write_text("")
            rpmtree.make(directory)
            key.write_text(made_from)
    return directory / "repository"


def image() -> build.Image:
    """Build the image, or find it. Raise BoxError or CommandError."""
    made = repository()
    directory = places.SHARED / "fedora-image"
    repositories = directory / "repositories"
    repositories.mkdir(mode=0o700, parents=True, exist_ok=True)
    with served.at(made) as address:
        # By this name yum-minimal knows it for one of the build, which is not for the image.
        (repositories / "dib-mirror.repo").write_text(_REPOSITORY.format(address=address))
        return build.make(directory, ("fedora-minimal", *build.ELEMENTS), _variables(repositories), _made_from())


def _variables(repositories: Path) -> dict[str, str]:
    local = "127.0.0.1,localhost"
    return {
        "DIB_RELEASE": fedora.RELEASE,
        "DIB_YUM_MINIMAL_BOOTSTRAP_REPOS": str(repositories),
        # yum-minimal writes macros of rpm there; pip's configuration stays where it is.
        "HOME": str(repositories.parent),
        "XDG_CONFIG_HOME": os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config"),
        **{name: f"{os.environ.get(name, '')},{local}".lstrip(",") for name in ("no_proxy", "NO_PROXY")},
    }


def _made_from() -> str:
    sources = [Path(module.__file__ or "").read_bytes() for module in (fedora, rpmtree, suites)]
    return hashlib.sha256(b"\0".join([*sources, repr(suites.archive()).encode()])).hexdigest()
