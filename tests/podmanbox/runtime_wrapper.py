#!/usr/bin/python3 -IS
"""Stand between Podman and its OCI runtime and lower limits that nobody here may set.

Podman asks for 1048576 open files in every container. Without CAP_SYS_RESOURCE
no process may go beyond its own hard limits, so runtimes fail. This program
edits config.json (or the process file of an exec) to what is allowed, then
becomes the real runtime, which is what the symbolic link "runtime" beside it
points at. It is copied into the box and started for every container: hence
-IS and few imports, and nothing that Python 3.9 would not understand.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import sys

UNLIMITED = -1


def lower_limits(process: dict[str, object], hard_limit: dict[str, int]) -> bool:
    """Lower an OCI process's rlimits to ``hard_limit`` (type: limit, -1 unlimited).

    Return whether anything had to change.
    """
    changed = False
    rlimits = process.get("rlimits")
    for entry in rlimits if isinstance(rlimits, list) else []:
        allowed = hard_limit.get(entry["type"], UNLIMITED)
        for key in ("hard", "soft"):
            if allowed != UNLIMITED and not 0 <= entry[key] <= allowed:
                entry[key] = allowed
                changed = True
    return changed


def raise_oom_score(process: dict[str, object], floor: int) -> bool:
    """Raise an OCI process's oomScoreAdj to ``floor``, our own; return whether it changed."""
    wanted = process.get("oomScoreAdj")
    if isinstance(wanted, int) and wanted < floor:
        process["oomScoreAdj"] = floor
        return True
    return False


def hard_limits() -> dict[str, int]:
    """Return this process's hard limits by their names, -1 for unlimited."""
    names = [name for name in dir(resource) if name.startswith("RLIMIT_")]
    return {name: resource.getrlimit(getattr(resource, name))[1] for name in names}


def option(arguments: list[str], *names: str) -> str | None:
    """Return the value of an option given as "--name value" or "--name=value"."""
    for index, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        if name in names and equals:
            return value
        if argument in names and index + 1 < len(arguments):
            return arguments[index + 1]
    return None


def process_file(arguments: list[str]) -> str | None:
    """Return the file that describes the process which this command line would start."""
    if "create" in arguments or "run" in arguments:
        return os.path.join(option(arguments, "--bundle", "-b") or ".", "config.json")
    if "exec" in arguments:
        return option(arguments, "--process", "-p")
    return None


def rewrite(path: str) -> None:
    """Edit the description of a process in place."""
    with open(path) as stream:
        document = json.load(stream)
    # config.json has the process inside, the file of an exec is the process.
    process = document.get("process", document)
    with open("/proc/self/oom_score_adj") as stream:
        floor = int(stream.read())
    lowered = lower_limits(process, hard_limits())
    if raise_oom_score(process, floor) or lowered:
        with open(path + ".new", "w") as stream:
            json.dump(document, stream)
        os.replace(path + ".new", path)


def main(arguments: list[str]) -> None:
    """Edit what is about to be started, then become the real runtime."""
    real = os.readlink(os.path.join(os.path.dirname(os.path.abspath(__file__)), "runtime"))
    path = process_file(arguments)
    if path is not None:
        # The runtime has the better message for a file that cannot be read.
        with contextlib.suppress(OSError):
            rewrite(path)
    os.execv(real, [real, *arguments])


if __name__ == "__main__":
    main(sys.argv[1:])
