"""Every option of the agent, read once into frozen objects. Nothing else reads configuration.

Two files are read: the agent's own (`/etc/overcloud-agent.conf`, and `*.conf` in `/etc/overcloud-agent.conf.d`), and
os-collect-config's (`/etc/os-collect-config.conf`), which says where metadata comes from and how often.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from oslo_config import cfg

from overcloud_agent import errors, identifiers, options

if TYPE_CHECKING:
    from overcloud_agent import keystone

CONFIG_FILE = Path("/etc/overcloud-agent.conf")
CONFIG_DIR = Path("/etc/overcloud-agent.conf.d")
# Seconds. An interval of 0 would keep a core and Heat busy for nothing.
SHORTEST_PAUSE = 0.1
CONFIG_VARIABLE = "OVERCLOUD_AGENT_CONFIG"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """The agent's options; options.OPTIONS says what each means. Times are in seconds, sizes in bytes."""

    state_dir: Path
    hooks_dirs: tuple[Path, ...]
    hook_timeout: float
    shutdown_grace: float
    output_limit: int
    silent_hook: str
    """fails or succeeds."""
    os_collect_config_file: Path
    deployed_dir: Path
    templates_dir: Path | None
    """None: where os-apply-config looks for them."""
    templates_output_dir: Path
    notify_command: str = ""
    """What tells Heat a result instead of us: a command that takes heat-config-notify's place; empty for none."""
    podman_url: str
    podman_timeout: float
    workers: int
    keep_previous: int
    systemd: str
    """auto or never."""
    unit_prefix: str
    unit_dir: Path
    update_hooks_dir: Path
    workflow_dir: Path
    package_lock_wait: float
    restart_stable_for: float
    reboot_command: str
    signal_timeout: float
    signal_retry_max: float
    deliver_within: float
    cfn_signal_ttl: float
    packages_root: Path
    content_trees: tuple[Path, ...]
    """Absolute paths in packages_root."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Credentials:
    """What os-collect-config's file has to ask for metadata with, and the agent to deliver late results with."""

    logins: Mapping[str, keystone.Login] = dataclasses.field(default_factory=dict)
    """By section: [heat], [zaqar]."""
    access_key_id: str = ""
    secret_access_key: str = dataclasses.field(default="", repr=False)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Polling:
    """What os-collect-config's own file says: which collectors, in which order, and how often (seconds)."""

    collectors: tuple[str, ...]
    min_interval: float
    max_interval: float
    splay: float = 0.0
    """The first poll waits a random part of this, so that nodes that boot together do not ask together."""
    cachedir: Path = Path("/var/lib/os-collect-config")
    deployment_keys: tuple[str, ...] = ("deployments",)
    """Under which keys of the metadata lists of deployments are."""
    ca_certificate: str | None = None
    """A file that Heat's certificates are verified with; None for the system's."""
    credentials: Credentials = dataclasses.field(default_factory=Credentials)
    identities: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """By collector: a text that tells one server's metadata from another's."""


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
        shutdown_grace=conf.shutdown_grace,
        output_limit=conf.output_limit,
        silent_hook=conf.silent_hook,
        os_collect_config_file=Path(conf.os_collect_config_file),
        deployed_dir=Path(environ.get("HEAT_CONFIG_DEPLOYED") or conf.deployed_dir),
        templates_dir=Path(conf.templates_dir) if conf.templates_dir else None,
        templates_output_dir=Path(conf.templates_output_dir),
        podman_url=environ.get("CONTAINER_HOST") or conf.podman_url,
        podman_timeout=conf.podman_timeout,
        workers=conf.workers,
        keep_previous=conf.keep_previous,
        systemd=conf.systemd,
        unit_prefix=conf.unit_prefix,
        unit_dir=Path(conf.unit_dir),
        update_hooks_dir=Path(conf.update_hooks_dir),
        workflow_dir=Path(conf.workflow_dir),
        package_lock_wait=conf.package_lock_wait,
        restart_stable_for=conf.restart_stable_for,
        reboot_command=conf.reboot_command,
        signal_timeout=conf.signal_timeout,
        signal_retry_max=conf.signal_retry_max,
        deliver_within=conf.deliver_within,
        cfn_signal_ttl=conf.cfn_signal_ttl,
        packages_root=Path(conf.packages_root),
        content_trees=tuple(Path(part) for part in dict.fromkeys(conf.content_trees)),
    )


def _parse(files: list[Path], directories: list[Path]) -> cfg.ConfigOpts:
    conf = cfg.ConfigOpts()
    conf.register_opts(options.OPTIONS)
    try:
        conf(
            args=[],
            project="overcloud-agent",
            default_config_files=[str(path) for path in files],
            default_config_dirs=[str(path) for path in directories],
            use_env=False,
        )
        for option in options.OPTIONS:
            conf[option.dest]
    except (cfg.Error, ValueError) as error:
        where = ", ".join(str(path) for path in (*files, *directories))
        raise errors.SettingsError(str(error), path=where, hint="see docs/configuration.md for the options") from None
    return conf


# The options of os-collect-config's [DEFAULT] section that the agent goes by (os_collect_config/collect.py). Those that
# are not here are for its daemon. Its sections are its collectors' own: see `prepare_collector`.
_COLLECT_OPTIONS = (
    cfg.MultiStrOpt("collectors", default=["heat_local", "ec2", "cfn", "heat", "request", "local", "zaqar"]),
    cfg.StrOpt("cachedir", default="/var/lib/os-collect-config"),
    cfg.FloatOpt("min_polling_interval", default=1.0),
    cfg.FloatOpt("polling_interval", default=30.0),
    cfg.FloatOpt("splay", default=0.0),
    cfg.MultiStrOpt("deployment_key", default=["deployments"]),
)
# What of the collectors' sections the agent needs itself.
_LOGIN_OPTIONS = ("auth_url", "user_id", "password", "project_id", "region_name")
_SECTIONS = {
    "cfn": ("ca_certificate", "access_key_id", "secret_access_key", "stack_name", "path"),
    "heat": (*_LOGIN_OPTIONS, "stack_id", "resource_name"),
    "zaqar": (*_LOGIN_OPTIONS, "ca_file", "queue_id"),
    "request": ("metadata_url",),
}
# Which of these say whose metadata a source serves. Addresses and credentials may change for one and the same server.
_WHOSE = {"cfn": ("stack_name", "path"), "heat": ("stack_id", "resource_name"), "zaqar": ("queue_id",)}


def load_collectors(settings: Settings, *, collecting: bool = True) -> Polling:
    """Fill os-collect-config's own (global) configuration, which its collectors read, and return what paces them.

    Called again, it reads the file again. Raises SettingsError as `load` does, and then leaves what is in force. Who is
    not going to collect need not pay for loading the collectors, which tell what their sections may hold.
    """
    path = settings.os_collect_config_file
    # A file with a mistake must not spoil the configuration in force, so it is read into another object first. That
    # one has the collectors' options which the agent needs itself; in the global one they are the collectors' own.
    own = cfg.ConfigOpts()
    for section, names in _SECTIONS.items():
        own.register_opts([(cfg.MultiStrOpt if name == "path" else cfg.StrOpt)(name) for name in names], group=section)
    try:
        polling = _read_polling(_parse_collect(own, path))
    except (cfg.Error, ValueError) as error:
        raise _wrong_collect_file(error, path) from None
    if collecting:
        _check_sections(path, polling.collectors)
    conf = cfg.CONF
    conf.clear()
    _parse_collect(conf, path)
    # The collectors' merger turns each os-apply-config deployment into a file of its own and fails the whole source
    # over one malformed entry. The agent takes the list as it came instead.
    conf.set_override("deployment_key", [])
    return polling


def _parse_collect(conf: cfg.ConfigOpts, path: Path) -> cfg.ConfigOpts:
    conf.register_opts(_COLLECT_OPTIONS)
    files = [str(path)] if path.exists() else []
    try:
        conf(args=[], project="os-collect-config", default_config_files=files, default_config_dirs=[])
        for option in _COLLECT_OPTIONS:
            conf[option.dest]
    # oslo.config ends the process over some mistakes, as a program that has just been started would.
    except (cfg.Error, ValueError, SystemExit) as error:
        raise _wrong_collect_file(error, path) from None
    return conf


def _check_sections(path: Path, names: tuple[str, ...]) -> None:
    """Read every value of the collectors' sections once. What is no collector is told when it is to be asked."""
    trial = _parse_collect(cfg.ConfigOpts(), path)
    for name in names:
        with contextlib.suppress(ImportError, AttributeError, ValueError):
            options = importlib.import_module(f"os_collect_config.{name}").opts
            trial.register_opts(options, group=name)
            try:
                for option in options:
                    trial[name][option.dest]
            except (cfg.Error, ValueError) as error:
                raise _wrong_collect_file(error, path) from None


def _wrong_collect_file(error: BaseException, path: object) -> errors.SettingsError:
    return errors.SettingsError(
        str(error) or "it cannot be understood",
        path=str(path),
        hint="a literal $ is written $$; see the file's format in os-collect-config",
    )


def _read_polling(conf: cfg.ConfigOpts) -> Polling:
    return Polling(
        collectors=tuple(_names(conf.collectors)),
        min_interval=max(conf.min_polling_interval, SHORTEST_PAUSE),
        max_interval=max(conf.polling_interval, SHORTEST_PAUSE),
        splay=max(conf.splay, 0.0),
        cachedir=Path(conf.cachedir),
        deployment_keys=tuple(conf.deployment_key),
        ca_certificate=conf.cfn.ca_certificate,
        credentials=_credentials(conf),
        identities={name: _identity(conf, name) for name in _SECTIONS},
    )


def _identity(conf: cfg.ConfigOpts, section: str) -> str:
    """A short text that is another one for another server."""
    if section == "request":
        # A pre-signed URL may be signed anew for the same object.
        values = [urlsplit(conf.request.metadata_url or "").path]
    else:
        values = [str(conf[section][name]) for name in _WHOSE[section]]
    return identifiers.of(values).removeprefix("sha256:")[:16]


def _credentials(conf: cfg.ConfigOpts) -> Credentials:
    """What of the node's own credentials is complete."""
    logins = {
        section: _login(conf, section)
        for section in ("heat", "zaqar")
        if all(conf[section][name] for name in _LOGIN_OPTIONS if name != "region_name")
    }
    key, secret = conf.cfn.access_key_id, conf.cfn.secret_access_key
    return Credentials(logins=logins, access_key_id=key or "", secret_access_key=secret or "")


def _login(conf: cfg.ConfigOpts, section: str) -> keystone.Login:
    # It brings requests, which a node without credentials of its own may have no use for in this run.
    from overcloud_agent import keystone

    return keystone.Login(
        *(conf[section][name] or "" for name in _LOGIN_OPTIONS),
        ca_certificate=(conf.zaqar.ca_file if section == "zaqar" else None) or conf.cfn.ca_certificate,
    )


def _names(collectors: list[str]) -> list[str]:
    """The collectors' names. Old templates wrote the whole list as one JSON text, over which the reference ends."""
    names: list[str] = []
    for text in collectors:
        try:
            listed = json.loads(text) if text.startswith("[") else [text]
        except ValueError:
            listed = [text]
        names += [str(name) for name in listed]
    return list(dict.fromkeys(names))


def prepare_collector(module: ModuleType, name: str) -> cfg.ConfigOpts:
    """Make one of os-collect-config's modules find its section, and return its configuration.

    Raises SettingsError when a value there is wrong.
    """
    conf = cfg.CONF
    try:
        conf.register_opts(module.opts, group=name)
        if name == "cfn":
            conf.set_override("deployment_key", [], group="cfn")
        for option in module.opts:
            conf[name][option.dest]
    except (cfg.Error, ValueError) as error:
        raise _wrong_collect_file(error, f"[{name}]") from None
    return conf


def old_deployed_dir(environ: Mapping[str, str] = os.environ) -> Path:
    """Where older versions of heat-config kept the files that are in `deployed_dir` now."""
    return Path(environ.get("HEAT_CONFIG_DEPLOYED_OLD") or "/var/run/heat-config/deployed")
