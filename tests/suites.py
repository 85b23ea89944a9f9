"""A tree of another Debian suite than the machine's, made by mmdebstrap from the archive that the machine's apt has."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from nodebox import base, sources
from podmanbox import commands, errors

# What a test node has no use for is half of what dpkg would write.
SLIM = ("path-exclude=/usr/share/doc/*", "path-exclude=/usr/share/man/*", "path-exclude=/usr/share/locale/*")


def archive() -> sources.Source:
    """Debian's archive, as the machine's apt has it. Raise BoxError if apt has none."""
    found = [source for text in base.apt_files() for source in sources.parse(text) if "main" in source.components]
    main = next((source for source in found if "security" not in source.uri), None)
    if not main:
        raise errors.BoxError("apt's sources name no archive of a distribution", "Debian has one")
    return main


def make(tree: Path, suite: str, packages: Sequence[str], *, variant: str = "minbase", slim: bool = False) -> None:
    """Make the tree of `packages` in `tree`. Raise BoxError or CommandError."""
    source = archive()
    # Proxies and the like; the machine's hooks would act on the tree as if it were the machine.
    told = commands.run([str(commands.need("apt-config")), "dump"], os.environ, 30)
    options = tree.with_name(f"{tree.name}-apt.conf")
    # A mirror may be a snapshot, whose list has a date that has passed; its signature is checked all the same.
    options.write_text(
        "".join(f"{line}\n" for line in told.splitlines() if line.startswith("Acquire::"))
        + 'Acquire::Check-Valid-Until "false";\n'
    )
    options.chmod(0o600)
    argv = [
        str(commands.need("mmdebstrap")),
        "--quiet",
        "--mode=root",
        f"--variant={variant}",
        f"--aptopt={options}",
        *(f"--dpkgopt={option}" for option in SLIM if slim),
        f"--include={','.join(packages)}",
        suite,
        str(tree),
        " ".join(["deb", *filter(None, [source.options]), source.uri, suite, "main"]),
    ]
    try:
        commands.run(argv, os.environ, base.MAKING_TIMEOUT_S)
    except errors.CommandError:
        shutil.rmtree(tree, ignore_errors=True)
        raise
    finally:
        options.unlink()
