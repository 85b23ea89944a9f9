"""The command line: ``python3 -m podmanbox up|down|status --dir DIR``."""

import argparse
import pathlib
import shlex
import sys

from podmanbox import box, errors


def parse(argv: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="podmanbox", description="A private Podman with an image registry in one directory."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    helps = {
        "up": "start it, and print the environment that leads there",
        "down": "remove its containers and stop it",
        "status": "print what runs; exit code 3 if not all of it does",
    }
    for name, text in helps.items():
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("--dir", type=pathlib.Path, required=True, help="the box's directory")
        if name == "down":
            command.add_argument("--wipe", action="store_true", help="remove the directory too")
    return parser.parse_args(argv)


def show(it: box.PodmanBox) -> None:
    """Print the environment as shell code, and the addresses as comments in it."""
    lines = [f"export {key}={shlex.quote(value)}" for key, value in it.env.items()]
    lines.append(f"# socket:   {it.socket_url} ({_runs(it.service_running())})")
    lines.append(f"# registry: {it.registry} ({_runs(it.registry_running())})")
    print("\n".join(lines))


def _runs(yes: bool) -> str:
    return "running" if yes else "stopped"


def main(argv: list[str]) -> int:
    """Do what the command line says and return the exit code."""
    arguments = parse(argv)
    it = box.PodmanBox(arguments.dir)
    try:
        if arguments.command == "down":
            it.down(wipe=arguments.wipe)
            return 0
        if arguments.command == "up":
            it.up()
        show(it)
    except errors.BoxError as problem:
        print(f"podmanbox: {problem}", file=sys.stderr)
        return 1
    return 0 if it.running() else 3


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
