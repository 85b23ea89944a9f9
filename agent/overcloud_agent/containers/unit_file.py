"""The systemd unit that runs a container, as text. Pure: no I/O.

Names and form are TripleO's (paunch, tripleo_container_manage), so that what looks for `tripleo_NAME.service` finds
it. A unit depends on the container's name alone: whichever container has the name is the one that it starts.
"""

from __future__ import annotations

import re

from overcloud_agent import errors
from overcloud_agent.containers import spec

# What Podman takes for a container that was created without a grace period, in seconds.
DEFAULT_GRACE = 10
# Seconds. Above the grace period Podman needs time to clean up; a node that boots starts everything at once.
STOP_MARGIN, START_LIMIT = 60, 300

_UNIT = re.compile(r"[a-zA-Z0-9:_.\\@-]+\.(service|target|socket|mount|path|timer|device|scope|slice)")
_DEPENDENCY = re.compile(r"[a-zA-Z0-9:_.@-]+")
_DIRECTIVE = re.compile(r"[A-Za-z][A-Za-z0-9]*")

_FORM = """\
# Written by overcloud-agent, which writes it again when the container's config changes. Put what you want to add into
# {unit}.d/*.conf.
[Unit]
Description={name} container
Wants={wants}
After={after}
{limits}
[Service]
Type=forking
PIDFile={pid_file}
Environment=PODMAN_SYSTEMD_UNIT=%n
ExecStart={podman} start {name}
ExecReload={podman} kill --signal HUP {name}
ExecStop={podman} stop --ignore -t {grace} {name}
# Only after something went wrong; when all is well, it would make every stop longer.
ExecStopPost=-/bin/sh -c '[ "$$SERVICE_RESULT" = success ] || exec {podman} stop --ignore -t {grace} {name}'
{restart}
TimeoutStartSec={start_limit}
TimeoutStopSec={stop_limit}
# What is in the unit's own control group is conmon, which goes when Podman has stopped its container.
KillMode=mixed
{extra}
[Install]
WantedBy=multi-user.target
"""

# Podman has systemd keep a container's processes in a scope, which systemd would end at once when the node goes down:
# with SIGTERM, whatever the container's stop signal is, and without regard to what depends on it. After basic.target
# means after all services, which have stopped their containers by then.
SCOPES = """\
# Written by overcloud-agent: when the node goes down, containers are stopped by their units.
[Unit]
Before=basic.target
"""
SCOPES_FILE = "libpod-.scope.d/overcloud-agent.conf"


def wanted(container: spec.Container) -> bool:
    """Whether a container is run by a unit: one that is to be kept running, as paunch has it."""
    policy = (container.restart or "").partition(":")[0]
    return container.action == "run" and container.detach and policy in ("always", "unless-stopped", "on-failure")


def unit(prefix: str, name: str) -> str:
    """The unit's name for a container's; without a prefix they are the same."""
    return f"{prefix}_{name}.service" if prefix else f"{name}.service"


def pid_file(name: str) -> str:
    """Where conmon writes its pid for the unit; the same file as TripleO's (/var/run is /run)."""
    return f"/run/{name}.pid"


def text(container: spec.Container, name: str, *, prefix: str, podman: str) -> str:
    """The unit's file. `podman` is the executable's path.

    Raises BadInput for what cannot be said in a unit file.
    """
    after = [_dependency(entry, prefix) for entry in container.depends_on]
    # These two stop what is left when the node goes down, hence after the containers' own units.
    shutdown = ["paunch-container-shutdown.service", "tripleo-container-shutdown.service"]
    grace = DEFAULT_GRACE if container.stop_grace_period is None else container.stop_grace_period
    limits, restart = _restart(container.restart or "")
    return _FORM.format(
        unit=unit(prefix, name),
        name=name,
        wants=" ".join(["network-online.target", *after]),
        after=" ".join(["network-online.target", *shutdown, *after]),
        limits=limits,
        pid_file=pid_file(name),
        podman=podman,
        grace=grace,
        restart=restart,
        start_limit=START_LIMIT,
        stop_limit=grace + STOP_MARGIN,
        extra="".join(f"{line}\n" for line in _directives(container)),
    )


def _dependency(entry: str, prefix: str) -> str:
    """The unit that an entry of depends_on means: a unit's name as it is, else that of a container."""
    if _UNIT.fullmatch(entry):
        return entry
    if not _DEPENDENCY.fullmatch(entry):
        raise errors.BadInput(f"depends_on: {entry!r} is neither a container nor a unit")
    # Templates also write a TripleO unit's name without its suffix.
    return f"{entry}.service" if prefix and entry.startswith(f"{prefix}_") else unit(prefix, entry)


def _restart(policy: str) -> tuple[str, str]:
    """What of [Unit] and of [Service] stands for Podman's restart policy."""
    name, _, tries = policy.partition(":")
    # systemd gives up on what fails five times in ten seconds; Podman never does, unless it is told how often.
    limits = f"StartLimitIntervalSec=infinity\nStartLimitBurst={int(tries) + 1}\n" if tries else ""
    limits = limits or "StartLimitIntervalSec=0\n"
    if name == "on-failure":
        return limits, "Restart=on-failure\nRestartSec=1"
    # A process that is ended by SIGKILL or SIGTERM has been stopped; that is no failure, and it is restarted anyway.
    return limits, "Restart=always\nRestartSec=1\nSuccessExitStatus=137 143"


def _directives(container: spec.Container) -> list[str]:
    """The lines of systemd_exec_flags. They come last, so that they win where a directive has one value."""
    lines = []
    for key, value in container.systemd_exec_flags.items():
        if not _DIRECTIVE.fullmatch(key):
            raise errors.BadInput(f"systemd_exec_flags: {key!r} is no directive", hint="for example LimitNOFILE")
        lines += [f"{key}={_value(key, one)}" for one in (value if isinstance(value, list) else [value])]
    return lines


def _value(key: str, value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    text = "" if value is None else str(value)
    # A backslash at the end would take the next line in.
    if isinstance(value, (dict, list)) or any(sign in text for sign in "\n\r\0") or text.endswith("\\"):
        raise errors.BadInput(f"systemd_exec_flags: {key} cannot be written as one line", hint="text or a number")
    return text
