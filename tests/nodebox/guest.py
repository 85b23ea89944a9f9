"""What a node needs inside, and how systemd-nspawn is called, decided from facts about the machine."""

import pathlib
import shutil
import sys
from collections.abc import Sequence

from podmanbox import config, machine

# In the node.
_LIB = pathlib.Path("/usr/local/lib/nodebox")
STORAGE = pathlib.Path("/var/lib/containers")

_WRITABLE_CGROUPS = """\
[Unit]
Description=Let containers have control groups (cgroup v1)
DefaultDependencies=no
Before=sysinit.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -c 'for one in /sys/fs/cgroup/*/; do mount -o remount,rw,bind "$one" || :; done'

[Install]
WantedBy=sysinit.target
"""


def containers_conf(facts: machine.Machine) -> str:
    """Return containers.conf for Podman in the node."""
    runtime = "crun" if facts.unified_cgroups else "runc"
    path = "/usr/bin/crun" if facts.unified_cgroups else "/usr/sbin/runc"
    if machine.limits_must_be_lowered(facts):
        path = str(_LIB / config.WRAPPER_NAME)
    return config.toml(
        {
            # The node shares the machine's network, where bridges and firewall rules would be the machine's.
            "containers": {"netns": "host", "http_proxy": False},
            "engine": {"runtime": runtime, "exit_command_delay": config.EXIT_COMMAND_DELAY_S},
            "engine.runtimes": {runtime: [path]},
        }
    )


def storage_conf(facts: machine.Machine) -> str:
    """Return storage.conf for Podman in the node, whose storage is on the machine's own file system."""
    return config.toml(
        {
            "storage": {
                "driver": machine.storage_driver(facts),
                "graphroot": str(STORAGE / "storage"),
                "runroot": "/run/containers/storage",
            }
        }
    )


def furnish(root: pathlib.Path, facts: machine.Machine, name: str, registry: str) -> None:
    """Write into the node's file system what makes it a node; ``registry`` ("HOST:PORT") may be empty."""
    etc = root / "etc"
    (etc / "hostname").write_text(f"{name}\n")
    # systemd gives an empty one a new identity at the first boot.
    (etc / "machine-id").write_text("")
    containers = etc / "containers"
    containers.mkdir(exist_ok=True)
    (containers / "containers.conf").write_text(containers_conf(facts))
    (containers / "storage.conf").write_text(storage_conf(facts))
    if registry:
        (containers / "registries.conf").write_text(config.registries_conf(registry))
    if machine.limits_must_be_lowered(facts):
        lib = root / _LIB.relative_to("/")
        lib.mkdir(parents=True, exist_ok=True)
        wrapper = pathlib.Path(shutil.copy(_wrapper_source(), lib / config.WRAPPER_NAME))
        wrapper.chmod(0o755)
        (lib / "runtime").symlink_to("/usr/bin/crun" if facts.unified_cgroups else "/usr/sbin/runc")
    if not facts.unified_cgroups:
        units = etc / "systemd/system"
        (units / "nodebox-cgroups.service").write_text(_WRITABLE_CGROUPS)
        wants = units / "sysinit.target.wants"
        wants.mkdir(exist_ok=True)
        (wants / "nodebox-cgroups.service").symlink_to("/etc/systemd/system/nodebox-cgroups.service")


def _wrapper_source() -> pathlib.Path:
    return pathlib.Path(config.__file__).with_name("runtime_wrapper.py")


def python_paths() -> list[pathlib.Path]:
    """Return what has to be in a node so that this Python, with its packages, runs there, too.

    The distribution's own Python is there in any case.
    """
    prefixes = [pathlib.Path(sys.prefix), pathlib.Path(sys.base_prefix)]
    return [path for path in dict.fromkeys(prefixes) if path != pathlib.Path("/usr")]


def nspawn(
    program: pathlib.Path,
    facts: machine.Machine,
    *,
    root: pathlib.Path,
    name: str,
    storage: pathlib.Path,
    shared: Sequence[pathlib.Path],
    network: pathlib.Path | None = None,
) -> list[str]:
    """Return the command line that boots the node; ``shared`` is there read-only, under the same paths.

    ``network`` is the network namespace of the node; without one it has the machine's.
    """
    # Where systemd is not PID 1, nobody can give the node a control group of its own.
    keep = [] if facts.systemd_is_init else ["--keep-unit"]
    own_network = [f"--network-namespace-path={network}"] if network else []
    return [
        str(program),
        "--quiet",
        f"--directory={root}",
        f"--machine={name}",
        "--register=no",
        *keep,
        *own_network,
        "--console=pipe",
        "--notify-ready=yes",
        "--resolv-conf=off",
        "--timezone=off",
        # Containers in a container: the kernel's keyrings and everything that a plain machine's root may.
        "--capability=all",
        "--system-call-filter=add_key keyctl bpf",
        f"--bind={storage}:{STORAGE}",
        *(f"--bind-ro={path}:{path}:norbind" for path in shared),
        "--boot",
    ]  # fmt: skip
