"""The configuration files of a box, as text.

What is in them is decided by pure functions; ``write`` and ``install_wrapper``
put it in place.
"""

import json
import pathlib
import shutil
from collections.abc import Mapping

from podmanbox import errors, layout, machine, network

# Podman keeps the conmon of a finished exec for 300 s by default; a box must
# be able to go down without waiting for that.
EXIT_COMMAND_DELAY_S = 2
WRAPPER_NAME = "runtime-wrapper"


def toml(sections: Mapping[str, Mapping[str, object]]) -> str:
    """Return TOML for sections of strings, integers, booleans and lists of strings.

    JSON's notation for these values is TOML's too.
    """
    lines: list[str] = []
    for section, values in sections.items():
        lines.append(f"[{section}]")
        lines += [f"{key} = {json.dumps(value)}" for key, value in values.items()]
    return "\n".join(lines) + "\n"


def containers_conf(paths: layout.Layout, facts: machine.Machine, default: str) -> str:
    """Return containers.conf, with no more workarounds than ``facts`` call for.

    ``default`` is the name of the default network, "" for Podman's own.
    """
    # Podman would pass the proxies of our environment to every container.
    containers: dict[str, object] = {"http_proxy": False}
    # static_dir is left to its default, a directory in the graph root: Podman does
    # not hand it to the cleanup that it runs when a container ends, which would
    # look for another database, fail, and leave the container half stopped.
    engine: dict[str, object] = {
        "tmp_dir": str(paths.tmp),
        "volume_path": str(paths.volumes),
        "image_copy_tmp_dir": str(paths.tmp),
        "exit_command_delay": EXIT_COMMAND_DELAY_S,
    }
    runtimes: dict[str, object] = {}
    if machine.files_instead_of_journal(facts):
        containers["log_driver"] = "k8s-file"
        engine["events_logger"] = "file"
        engine["events_logfile_path"] = str(paths.tmp / "events.log")
    if machine.runc_is_needed(facts):
        engine["cgroup_manager"] = "cgroupfs"
    runtime = machine.runtime(facts)
    if runtime is not None:
        wrapped = machine.limits_must_be_lowered(facts)
        engine["runtime"] = runtime.name
        runtimes[runtime.name] = [str(paths.lib / WRAPPER_NAME if wrapped else runtime)]
    networks: dict[str, object] = {
        "network_backend": "netavark",
        "network_config_dir": str(paths.networks),
    }
    if default:
        networks["default_network"] = default
    pool: dict[str, object] = {"base": network.pool(paths), "size": network.SUBNET_PREFIX}
    sections = {"containers": containers, "engine": engine, "engine.runtimes": runtimes}
    return toml(sections | {"network": networks, "[network.default_subnet_pools]": pool})


def storage_conf(paths: layout.Layout, facts: machine.Machine) -> str:
    """Return storage.conf."""
    return toml(
        {
            "storage": {
                "driver": machine.storage_driver(facts),
                "graphroot": str(paths.storage),
                "runroot": str(paths.runroot),
            }
        }
    )


def registries_conf(registry: str) -> str:
    """Return registries.conf: plain HTTP for the host of ``registry``, and no search elsewhere.

    All of the host's ports count, so that a relay may stand in front of the registry.
    """
    head = "unqualified-search-registries = []\n"
    host = registry.rpartition(":")[0]
    return head + toml({"[registry]": {"location": host, "insecure": True}})


def registry_yml(storage: pathlib.Path, registry: str) -> str:
    """Return the configuration of the registry at ``registry`` ("HOST:PORT"); JSON is YAML."""
    return json.dumps(
        {
            "version": 0.1,
            "log": {"level": "warn"},
            "storage": {
                "filesystem": {"rootdirectory": str(storage)},
                "delete": {"enabled": True},
            },
            "http": {"addr": registry},
        },
        indent=1,
    )


def write(paths: layout.Layout, facts: machine.Machine, default: str, registry: str) -> None:
    """Write all configuration files; ``default`` is the default network, "" for Podman's own."""
    files = {
        "containers.conf": containers_conf(paths, facts, default),
        "storage.conf": storage_conf(paths, facts),
        "registries.conf": registries_conf(registry),
        "registry.yml": registry_yml(paths.registry, registry),
    }
    for name, text in files.items():
        (paths.conf / name).write_text(text)


def install_wrapper(paths: layout.Layout, facts: machine.Machine) -> None:
    """Put the runtime wrapper into the box if this machine needs one.

    Beside it goes a symbolic link that tells it the real runtime. Raise BoxError if there is none.
    """
    if not machine.limits_must_be_lowered(facts):
        return
    real = machine.runtime(facts)
    if real is None:
        raise errors.BoxError("no OCI runtime is installed", "run tests/packages.sh as root")
    wrapper = paths.lib / WRAPPER_NAME
    shutil.copyfile(pathlib.Path(__file__).with_name("runtime_wrapper.py"), wrapper)
    wrapper.chmod(0o755)
    link = paths.lib / "runtime"
    link.unlink(missing_ok=True)
    link.symlink_to(real)
