"""The options of the agent's own configuration file, with their defaults and what they mean; settings.py reads them."""

from __future__ import annotations

from oslo_config import cfg, types

from overcloud_agent import deadlines

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
    cfg.FloatOpt(
        "shutdown_grace",
        default=60.0,
        min=0.0,
        max=3600.0,
        help="Seconds that a deployment has to come to its end when the machine is rebooted or powered off.",
    ),
    cfg.IntOpt(
        "output_limit",
        default=4 * 1024 * 1024,
        min=1024,
        help="Bytes kept of each of a hook's stdout and stderr; past it the middle is cut.",
    ),
    cfg.StrOpt(
        "silent_hook",
        default="fails",
        choices=["fails", "succeeds"],
        help="What it means that a hook ends with status 0 and prints nothing; heat-config takes it for success.",
    ),
    cfg.StrOpt(
        "os_collect_config_file",
        default="/etc/os-collect-config.conf",
        help="os-collect-config's configuration file, from which the metadata sources are taken.",
    ),
    cfg.StrOpt(
        "deployed_dir",
        default="/var/lib/heat-config/deployed",
        help="Where ID.json and ID.notify.json of what has run are kept, as heat-config does. HEAT_CONFIG_DEPLOYED in"
        " the environment overrides it.",
    ),
    cfg.StrOpt(
        "templates_dir",
        default="",
        help="os-apply-config's templates; empty: where os-apply-config itself looks for them.",
    ),
    cfg.StrOpt(
        "templates_output_dir",
        default="/",
        help="The directory that stands for / in the paths of what os-apply-config's templates make.",
    ),
    cfg.StrOpt(
        "podman_url",
        default="unix:///run/podman/podman.sock",
        help="Podman's API socket. CONTAINER_HOST in the environment overrides it.",
    ),
    cfg.StrOpt(
        "systemd",
        default="auto",
        choices=["auto", "never"],
        help="auto: where systemd is PID 1, containers that are to be kept running get a unit; never: Podman alone.",
    ),
    cfg.StrOpt(
        "unit_prefix",
        default="tripleo",
        regex=r"^[a-zA-Z0-9_.-]*$",
        help="Containers' units are called PREFIX_NAME.service; empty: NAME.service.",
    ),
    cfg.StrOpt("unit_dir", default="/etc/systemd/system", help="Where containers' units are written."),
    cfg.IntOpt("workers", default=4, min=1, max=64, help="Containers that are upgraded at the same time."),
    cfg.IntOpt(
        "keep_previous",
        default=0,
        min=0,
        help="Predecessors of a container that stay after an upgrade, for `overcloud-agent rollback`. The config's"
        " upgrade.keep overrides it.",
    ),
    cfg.FloatOpt(
        "podman_timeout",
        default=60.0,
        min=1.0,
        max=3600.0,
        help="Seconds that Podman may take to answer, beyond what the request itself takes (stopping, pulling).",
    ),
    cfg.StrOpt(
        "update_hooks_dir",
        default="/etc/overcloud-agent/hooks.d",
        help="Where pre-update.d and post-update.d are: executables that are run before and after packages change.",
    ),
    cfg.StrOpt(
        "workflow_dir",
        default="/etc/overcloud-agent/workflow.d",
        help="Where deployers' drop-ins (*.yaml) are that order and limit what is restarted after packages changed.",
    ),
    cfg.FloatOpt(
        "package_lock_wait",
        default=600.0,
        min=0.0,
        max=deadlines.MOST_SECONDS,
        help="Seconds for which another program may hold the package manager's lock before an update gives up.",
    ),
    cfg.FloatOpt(
        "restart_stable_for",
        default=5.0,
        min=0.0,
        max=3600.0,
        help="Seconds that a unit has to stay active after an update has restarted it.",
    ),
    cfg.StrOpt(
        "reboot_command",
        default="systemctl reboot",
        help="What makes the node boot again, for `reboot: when-required`; words as in a shell, which is not used.",
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
    cfg.FloatOpt(
        "deliver_within",
        default=60.0,
        min=0.0,
        max=3600.0,
        help="Seconds that 55-heat-config and heat-config-notify wait for Heat to take results, before they return.",
    ),
    cfg.FloatOpt(
        "cfn_signal_ttl",
        default=900.0,
        min=1.0,
        max=deadlines.MOST_SECONDS,
        help="Seconds for which the URL of a CFN_SIGNAL is valid: Keystone's [credential] auth_ttl, there in minutes.",
    ),
    cfg.StrOpt("packages_root", default="/", regex=r"^/", help="The directory whose packages are looked after."),
    cfg.ListOpt(
        "content_trees",
        item_type=types.String(regex=r"^/"),
        default=["/etc/puppet/modules", "/usr/share/openstack-puppet/modules"],
        help="Directories in packages_root, by absolute path, whose content has an identifier.",
    ),
)
