"""Every option of the agent, read once into frozen objects. Nothing else reads configuration.

Two files are read: the agent's own (`/etc/overcloud-agent.conf`, and `*.conf` in `/etc/overcloud-agent.conf.d`), and
os-collect-config's (`/etc/os-collect-config.conf`), which says where metadata comes from and how often.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

from oslo_config import cfg

from overcloud_agent import deadlines, errors

CONFIG_FILE = Path("/etc/overcloud-agent.conf")
CONFIG_DIR = Path("/etc/overcloud-agent.conf.d")
# Seconds. An interval of 0 would keep a core and Heat busy for nothing.
SHORTEST_PAUSE = 0.1
CONFIG_VARIABLE = "OVERCLOUD_AGENT_CONFIG"

OPTIONS = (
    cfg.StrOpt(
        "state_dir",
        default="/var/lib/overcloud-agent",
        help="Directory of the journal and the lock; created with mode 0700.",
    ),
    cfg.ListOpt(
        "hooks_dirs",
        default=["/usr/libexec/heat-config/hooks", "/var/lib/heat-config/hooks"],
        help="Where hooks are looked for, in this order. HEAT_CONFIG_HOOKS in the environment comes before them.",
    ),
    cfg.FloatOpt(
        "hook_timeout",
        default=3600.0,
        min=1.0,
        max=deadlines.MOST_SECONDS,
        help="Seconds that a deployment may take. The option `timeout` of a software config overrides it.",
    ),
    cfg.IntOpt(
        "output_limit",
        default=4 * 1024 * 1024,
        min=1024,
        help="Bytes kept of each of a hook's stdout and stderr; past it the middle is cut.",
    ),
    cfg.StrOpt(
        "os_collect_config_file",
        default="/etc/os-collect-config.conf",
        help="os-collect-config's configuration file, from which the metadata sources are taken.",
    ),
    cfg.StrOpt(
        "podman_url",
        default="unix:///run/podman/podman.sock",
        help="Podman's API socket. CONTAINER_HOST in the environment overrides it.",
    ),
    cfg.FloatOpt(
        "signal_timeout", default=30.0, min=1.0, max=3600.0, help="Seconds that one attempt to signal may take."
    ),
    cfg.FloatOpt(
        "signal_retry_max",
        default=300.0,
        min=1.0,
        max=3600.0,
        help="Longest pause, in seconds, between attempts to signal.",
    ),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """The agent's options; OPTIONS says what each means. Times are in seconds, sizes in bytes."""

    state_dir: Path
    hooks_dirs: tuple[Path, ...]
    hook_timeout: float
    output_limit: int
    os_collect_config_file: Path
    podman_url: str
    signal_timeout: float
    signal_retry_max: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Polling:
    """What os-collect-config's own file says: which collectors, in which order, and how often (seconds)."""

    collectors: tuple[str, ...]
    min_interval: float
    max_interval: float
    ca_certificate: str | None = None
    """A file that Heat's certificates are verified with; None for the system's."""


def load(config_file: Path | None = None, *, environ: Mapping[str, str] = os.environ) -> Settings:
    """Read the agent's options.

    `config_file` (or OVERCLOUD_AGENT_CONFIG) replaces the default file and directory. Raises SettingsError when a
    file that was asked for is missing, cannot be parsed, or holds a value that an option does not allow.
    """
    named = config_file or (Path(environ[CONFIG_VARIABLE]) if environ.get(CONFIG_VARIABLE) else None)
    if named:
        files, directories = [named], []
    else:
        files = [CONFIG_FILE] if CONFIG_FILE.exists() else []
        directories = [CONFIG_DIR] if CONFIG_DIR.is_dir() else []
    conf = _parse(files, directories)
    hooks = [part for part in environ.get("HEAT_CONFIG_HOOKS", "").split(":") if part] + conf.hooks_dirs
    return Settings(
        state_dir=Path(conf.state_dir),
        hooks_dirs=tuple(Path(part) for part in hooks),
        hook_timeout=conf.hook_timeout,
        output_limit=conf.output_limit,
        os_collect_config_file=Path(conf.os_collect_config_file),
        podman_url=environ.get("CONTAINER_HOST") or conf.podman_url,
        signal_timeout=conf.signal_timeout,
        signal_retry_max=conf.signal_retry_max,
    )


def _parse(files: list[Path], directories: list[Path]) -> cfg.ConfigOpts:
    conf = cfg.ConfigOpts()
    conf.register_opts(OPTIONS)
    try:
        conf(
            args=[],
            project="overcloud-agent",
            default_config_files=[str(path) for path in files],
            default_config_dirs=[str(path) for path in directories],
            use_env=False,
        )
        for option in OPTIONS:
            conf[option.dest]
    except (cfg.Error, ValueError) as error:
        where = ", ".join(str(path) for path in (*files, *directories))
        raise errors.SettingsError(str(error), path=where, hint="see docs/configuration.md for the options") from None
    return conf


def load_collectors(settings: Settings) -> Polling:
    """Fill os-collect-config's own (global) configuration, which its collectors read, and return what paces them.

    Called again, it reads the file again. Raises SettingsError as `load` does.
    """
    # os-collect-config brings lxml, keystoneclient and heatclient: hooks must not pay for these imports.
    from os_collect_config import collect

    conf = cfg.CONF
    path = settings.os_collect_config_file
    files = {"default_config_files": [str(path)] if path.exists() else [], "default_config_dirs": []}
    # A file with a mistake must not spoil the configuration in force, so it is read into another object first.
    _try_out(collect, path, files)
    conf.clear()
    if "cfn" not in conf:
        collect.setup_conf()
    conf(args=[], project="os-collect-config", **files)
    # Its merger turns each os-apply-config deployment into a file of its own and fails the whole source over one
    # malformed entry. The agent takes the list as it came instead.
    conf.set_override("deployment_key", [])
    conf.set_override("deployment_key", [], group="cfn")
    return Polling(
        collectors=tuple(conf.collectors),
        min_interval=max(conf.min_polling_interval, SHORTEST_PAUSE),
        max_interval=max(conf.polling_interval, SHORTEST_PAUSE),
        ca_certificate=conf.cfn.ca_certificate,
    )


def _try_out(collect: ModuleType, path: Path, files: dict[str, list[str]]) -> None:
    """Read every value of os-collect-config's file once. Raises SettingsError for the first that is wrong."""
    trial = cfg.ConfigOpts()
    trial.register_opts(collect.opts)
    for name, module in collect.COLLECTORS.items():
        trial.register_opts(module.opts, group=name)
    try:
        trial(args=[], project="os-collect-config", **files)
        for option in collect.opts:
            trial[option.dest]
        for name, module in collect.COLLECTORS.items():
            for option in module.opts:
                trial[name][option.dest]
    # oslo.config ends the process over some mistakes, as a program that has just been started would.
    except (cfg.Error, ValueError, SystemExit) as error:
        raise errors.SettingsError(
            str(error) or "it cannot be understood",
            path=str(path),
            hint="a literal $ is written $$; see the file's format in os-collect-config",
        ) from None
