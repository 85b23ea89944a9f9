"""A clock that tests set: libfaketime stands between a process and its clock, but not the monotonic one."""

from __future__ import annotations

from pathlib import Path


def env(clock: Path) -> dict[str, str]:
    """Variables that make a process take its time from `clock`, a file with an offset such as `+0` or `-50m`."""
    libraries = sorted(Path("/usr").glob("lib*/**/libfaketimeMT.so.1"))
    assert libraries, "libfaketime is missing; `make packages` installs it"
    return {
        "LD_PRELOAD": str(libraries[0]),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        # The same in the words of older versions.
        "DONT_FAKE_MONOTONIC": "1",
    }
