"""The packages of a small node, in versions 1 and 2: what an update of an OpenStack node has in it, in little.

- `libsample1` of the source `sample`: a library that two daemons use;
- `alpha-daemon` and `beta-daemon`: these, each with a unit and a conffile;
- `solo-daemon`: a daemon with a unit, that uses nothing;
- `puppet-module-sample`: Puppet modules;
- `nova-sample`: a Python service, whose major version moves (2:25.0.0-1 to 2:26.0.0-1);
- `linux-image-sample`: a kernel.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import debs

LIBRARY_PATH = "/usr/lib/{triplet}/libsample.so.1"
DAEMONS = ("alpha-daemon", "beta-daemon")
MODULES = "/usr/share/openstack-puppet/modules/sample"

# What Puppet wants to know of a module.
_METADATA: dict[str, object] = {
    "name": "test-sample",
    "author": "test",
    "license": "Apache-2.0",
    "summary": "a sample",
    "source": "https://example.com/sample",
    "dependencies": [],
}

_DAEMON = """\
#!/usr/bin/python3
import ctypes, signal
{load}
print("{name} {version}", flush=True)
signal.pause()
"""
_UNIT = """\
[Unit]
Description={name} {version}

[Service]
ExecStart=/usr/sbin/{name}

[Install]
WantedBy=multi-user.target
"""
# As debhelper's snippets do on a new installation; a restart is left to who updates.
_POSTINST = """\
#!/bin/sh
set -e
if [ "$1" = configure ] && [ -d /run/systemd/system ]; then
    systemctl daemon-reload
    if [ -z "$2" ]; then systemctl enable --now {name}.service; fi
fi
"""


def build(directory: Path, number: int) -> dict[str, Path]:
    """All of them in version `number` (1 or 2); by name, their files."""
    version = f"{number}.0-1"
    made = {
        "libsample1": _library(directory, version),
        "puppet-module-sample": _modules(directory, version),
        "nova-sample": _nova(directory, f"2:{24 + number}.0.0-1"),
        "linux-image-sample": debs.build(
            directory,
            "linux-image-sample",
            version,
            architecture=architecture(),
            files={"/boot/vmlinuz-sample": (0o644, f"kernel {version}\n")},
        ),
        "solo-daemon": _daemon(directory, "solo-daemon", version, library=False),
    }
    return {**made, **{name: _daemon(directory, name, version, library=True) for name in DAEMONS}}


def architecture() -> str:
    """The machine's, by dpkg's name."""
    return _said("dpkg", "--print-architecture")


def library_path() -> str:
    """Where the library is on a node."""
    return LIBRARY_PATH.format(triplet=_triplet())


def _library(directory: Path, version: str) -> Path:
    # Any shared object serves, and what follows after one in its file is ignored: this needs no compiler.
    triplet = _triplet()
    stub = Path(f"/usr/lib/{triplet}/libutil.so.1").read_bytes()
    return debs.build(
        directory,
        "libsample1",
        version,
        architecture=architecture(),
        source="sample",
        fields={"Multi-Arch": "same"},
        files={library_path(): (0o644, stub + f"libsample {version}\n".encode())},
    )


def _triplet() -> str:
    # dpkg-architecture, which knows them all, comes with the packages for developers, as does apt-ftparchive.
    return _said("dpkg-architecture", "-q", "DEB_HOST_MULTIARCH")


def _daemon(directory: Path, name: str, version: str, *, library: bool) -> Path:
    load = f'ctypes.CDLL("{library_path()}")' if library else ""
    return debs.build(
        directory,
        name,
        version,
        depends=f"libsample1 (>= {version})" if library else "",
        files={
            f"/usr/sbin/{name}": (0o755, _DAEMON.format(load=load, name=name, version=version)),
            f"/lib/systemd/system/{name}.service": (0o644, _UNIT.format(name=name, version=version)),
            f"/etc/{name}.conf": (0o644, f"# {name} {version}\n"),
        },
        conffiles=[f"/etc/{name}.conf"],
        scripts={"postinst": _POSTINST.format(name=name)},
    )


def _modules(directory: Path, version: str) -> Path:
    return debs.build(
        directory,
        "puppet-module-sample",
        version,
        files={
            f"{MODULES}/manifests/init.pp": (0o644, f"class sample {{ notice('sample {version}') }}\n"),
            f"{MODULES}/metadata.json": (0o644, json.dumps({**_METADATA, "version": version}) + "\n"),
        },
    )


def _nova(directory: Path, version: str) -> Path:
    module = "/usr/lib/python3/dist-packages/nova_sample.py"
    daemon = "#!/usr/bin/python3\nimport signal, nova_sample\nprint(nova_sample.VERSION, flush=True)\nsignal.pause()\n"
    return debs.build(
        directory,
        "nova-sample",
        version,
        source="nova",
        files={
            "/usr/bin/nova-sample": (0o755, daemon),
            module: (0o644, f'VERSION = "{version}"\n'),
            "/lib/systemd/system/nova-sample.service": (
                0o644,
                _UNIT.format(name="nova-sample", version=version).replace("/usr/sbin", "/usr/bin"),
            ),
        },
        scripts={"postinst": _POSTINST.format(name="nova-sample")},
    )


def _said(*argv: str) -> str:
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()
