"""The command line: ``python3 -m undercloud install|up|down|status|openrc --dir DIR``."""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from undercloud import box, configs, errors, processes, services
from undercloud import state as states

_ABOUT = "A real Keystone and a real Heat on loopback (Swift and Zaqar too), for trying things and for tests."


def main(argv: Sequence[str]) -> int:
    """Run one command; return the exit status: 0, 1 for an error, 3 for "not running"."""
    arguments = _parser().parse_args(argv)
    undercloud = box.Undercloud(arguments.dir, arguments.auth_ttl, arguments.services)
    command: Callable[[box.Undercloud, argparse.Namespace], int] = arguments.command
    try:
        return command(undercloud, arguments)
    except errors.UndercloudError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="undercloud", description=_ABOUT)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add(commands, "install", _install, "install the packages (up does so when needed)")
    _add(commands, "up", _up, "start everything, and say how to use it")
    down = _add(commands, "down", _down, "stop everything, and keep the databases")
    down.add_argument("--wipe", action="store_true", help="drop all state but the venv")
    _add(commands, "status", _status, "say what runs, and where (exit status 3: not running)")
    _add(commands, "openrc", _openrc, "print the client's environment")
    return parser


def _add(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    command: Callable[[box.Undercloud, argparse.Namespace], int],
    text: str,
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=text, description=text)
    parser.set_defaults(command=command)
    parser.add_argument("--dir", type=Path, required=True, help="where everything is kept")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.add_argument(
        "--auth-ttl",
        type=_minutes,
        metavar="MINUTES",
        help="how long a node's signed request counts as fresh (Keystone's default: 15)",
    )
    parser.add_argument(
        "--with",
        dest="services",
        action="append",
        choices=states.OPTIONAL,
        default=[],
        help="run this service too, from now on (again for another)",
    )
    return parser


def _minutes(text: str) -> int:
    value = int(text) if text.isascii() and text.isdigit() else 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of minutes from 1 up")
    return value


def _install(undercloud: box.Undercloud, arguments: argparse.Namespace) -> int:
    undercloud.install()
    venv = str(undercloud.layout.venv)
    print(json.dumps({"venv": venv}) if arguments.json else f"installed in {venv}")
    return 0


def _up(undercloud: box.Undercloud, arguments: argparse.Namespace) -> int:
    undercloud.up()
    return _report(undercloud, arguments.json)


def _down(undercloud: box.Undercloud, arguments: argparse.Namespace) -> int:
    undercloud.down(wipe=arguments.wipe)
    if arguments.json:
        print(json.dumps({"running": False}))
    return 0


def _status(undercloud: box.Undercloud, arguments: argparse.Namespace) -> int:
    _report(undercloud, arguments.json)
    return 0 if undercloud.running() else 3


def _openrc(undercloud: box.Undercloud, arguments: argparse.Namespace) -> int:
    if arguments.json:
        print(json.dumps(undercloud.openrc, indent=2))
    else:
        print(configs.openrc_text(undercloud.layout, undercloud.state), end="")
    return 0


def _report(undercloud: box.Undercloud, as_json: bool) -> int:
    """Print where the undercloud is reached; no secrets."""
    facts = _facts(undercloud)
    print(json.dumps(facts, indent=2) if as_json else _text(undercloud))
    return 0


def _facts(undercloud: box.Undercloud) -> dict[str, object]:
    pids: dict[str, int | None] = {}
    for service in services.table(undercloud.layout, undercloud.state):
        process = processes.alive(service.pid_file)
        pids[service.name] = process.pid if process else None
    return {
        "running": undercloud.running(),
        "pids": pids,
        "keystone_url": undercloud.keystone_url,
        "heat_url": undercloud.heat_url,
        "cfn_url": undercloud.cfn_url,
        "urls": undercloud.urls,
        "openrc": str(undercloud.layout.openrc_file),
        "openstack": str(undercloud.openstack),
        "logs": str(undercloud.logs),
        "auth_ttl": undercloud.state.auth_ttl,
    }


def _text(undercloud: box.Undercloud) -> str:
    table = services.table(undercloud.layout, undercloud.state)
    lines = [
        f"running   {'yes' if undercloud.running() else 'no'}",
        f"Keystone  {undercloud.keystone_url}",
        f"Heat      {undercloud.heat_url}",
        f"CFN API   {undercloud.cfn_url}",
        *(f"{title:9} {url}" for title, url in undercloud.urls.items()),
        *(f"log       {service.log}" for service in table),
    ]
    if undercloud.running():
        lines += ["", "Use it:", f"  . {undercloud.layout.openrc_file}", "  openstack stack list"]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
