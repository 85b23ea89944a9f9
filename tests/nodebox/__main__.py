"""The command line: ``python3 -m nodebox up|run|down --dir DIR``."""

import argparse
import pathlib
import sys

from nodebox import box
from podmanbox import errors


def parse(argv: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="nodebox", description="A node with systemd and Podman in one directory.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    helps = {"up": "make it and boot it", "run": "run a command on it", "down": "switch it off and remove it"}
    for name, text in helps.items():
        verb = verbs.add_parser(name, help=text, description=text)
        verb.add_argument("--dir", type=pathlib.Path, required=True, help="the node's directory")
        verb.add_argument("--registry", default="", help="HOST:PORT of a registry without TLS")
        if name == "run":
            verb.add_argument("command", nargs=argparse.REMAINDER, help="the command and its arguments")
    return parser.parse_args(argv)


def main(argv: list[str]) -> int:
    """Do what the command line says and return the exit code."""
    arguments = parse(argv)
    node = box.NodeBox(arguments.dir, registry=arguments.registry)
    try:
        if arguments.verb == "up":
            node.up()
        elif arguments.verb == "down":
            node.down(wipe=True)
        else:
            done = node.run(arguments.command, check=False)
            sys.stdout.write(done.stdout)
            sys.stderr.write(done.stderr)
            return done.returncode
    except errors.BoxError as problem:
        print(f"nodebox: {problem}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
