"""Run by the reference venv's interpreter in a copy of heat-agents: its test suite, with the names of what passed.

python suite.py RESULT      writes {"passed": [...], "skipped": [...], "failed": [...]} to the file RESULT
"""

from __future__ import annotations

import json
import sys
import unittest
from collections.abc import Iterator
from pathlib import Path


def main(result: Path) -> int:
    suite = unittest.defaultTestLoader.discover("tests", top_level_dir=".")
    # Counted before, because a suite forgets its tests as it runs them.
    every = set(names(suite))
    run = unittest.TextTestRunner().run(suite)
    skipped = {test.id() for test, _ in run.skipped}
    failed = {test.id() for test, _ in [*run.failures, *run.errors]}
    outcome = {"passed": every - skipped - failed, "skipped": skipped, "failed": failed}
    result.write_text(json.dumps({kind: sorted(found) for kind, found in outcome.items()}))
    return 0 if run.wasSuccessful() else 1


def names(suite: unittest.TestSuite) -> Iterator[str]:
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from names(test)
        else:
            yield test.id()


if __name__ == "__main__":
    sys.path.insert(0, ".")
    sys.exit(main(Path(sys.argv[1])))
