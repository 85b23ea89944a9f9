"""Start one program detached from this one: ``detach.py LOG PROGRAM [ARGUMENT ...]``.

A script of its own, run and gone in a moment: so the program is no child of the process that
asked for it, which then never has to reap it, and survives it.  Prints the program's pid.
"""

import subprocess
import sys


def main(log: str, *argv: str) -> None:
    """Start ``argv`` in a session of its own, with no file of ours open but the log."""
    with open(log, "ab") as output:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            cwd="/",
        )
    print(process.pid)


if __name__ == "__main__":
    main(*sys.argv[1:])
