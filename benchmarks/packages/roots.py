"""A root with many RPMs, none of which has files: only rpm's database matters."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

_SPEC = """\
Name: bench
Version: 1
Release: 1
Summary: bench
License: Apache-2.0
BuildArch: noarch
%description
bench
"""
_SUBPACKAGE = """\
%package -n python3-bench-{number}
Summary: bench
%description -n python3-bench-{number}
bench
%files -n python3-bench-{number}
"""


@contextlib.contextmanager
def with_rpms(directory: Path, count: int) -> Iterator[Path]:
    """Make it in `directory`. While it is used, rpm finds its database in the usual place: Debian's has it at home."""
    root, made, home = directory / "root", directory / "rpms", directory / "home"
    (root / "var/lib/rpm").mkdir(parents=True)
    home.mkdir()
    (home / ".rpmmacros").write_text("%_dbpath /var/lib/rpm\n")
    spec = directory / "bench.spec"
    spec.write_text(_SPEC + "".join(_SUBPACKAGE.format(number=number) for number in range(count)))
    before = os.environ.get("HOME", "/")
    os.environ["HOME"] = str(home)
    try:
        _run("rpmbuild", "-bb", "--quiet", f"--define=_topdir {directory}/build", f"--define=_rpmdir {made}", str(spec))
        packages = sorted(str(path) for path in made.rglob("*.rpm"))
        _run("rpm", "--root", str(root), "--install", "--justdb", "--nodeps", "--noscripts", *packages)
        yield root
    finally:
        os.environ["HOME"] = before


def _run(*argv: str) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=600)
    if done.returncode:
        raise RuntimeError(f"{argv[0]}: {done.stderr}")
