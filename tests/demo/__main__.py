"""The command line: `python -m demo --scratch DIR`. Exit status 0 when every check held."""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

from demo import errors, show, stage, story
from podmanbox import errors as box_errors
from undercloud import errors as cloud_errors


def main() -> int:
    parser = argparse.ArgumentParser(prog="demo", description=__doc__)
    parser.add_argument("--scratch", type=Path, required=True, help="where it may put files, in a directory `demo`")
    directory = parser.parse_args().scratch.absolute() / "demo"
    for number in stage.SIGNALS:
        signal.signal(number, _stop)
    screen = show.Screen()
    try:
        with stage.built(directory, screen) as setting:
            rows = story.tell(setting, screen)
    except _Stopped as stopped:
        screen.failed(f"stopped by {signal.Signals(stopped.number).name}")
        return 128 + stopped.number
    except (errors.DemoError, box_errors.BoxError, cloud_errors.UndercloudError) as error:
        screen.failed(error.message, error.hint)
        screen.say(f"  logs: {directory / 'logs'}")
        return 1
    screen.results(rows)
    screen.say(f"All checks held. {screen.elapsed:.0f} s in all; the logs are in {directory / 'logs'}.")
    return 0


class _Stopped(BaseException):
    """A signal asked the demo to stop. No Exception, so that nothing on the way takes it for a failure."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def _stop(number: int, _frame: object) -> None:
    # The first signal is enough: a second one must not interrupt the cleaning up.
    stage.ignore_signals()
    raise _Stopped(number)


if __name__ == "__main__":
    sys.exit(main())
