"""Run by the reference venv's interpreter in a copy of heat-agents: its test suite, with the names of what passed.

python suite.py RESULT      writes {"passed": [...], "skipped": [...], "failed": [...]} to the file RESULT
"""

from __future__ import annotations

import json
import sys
import unittest
from pathlib import Path


class Result(unittest.TextTestResult):
    passed: list[str]

    def startTestRun(self) -> None:
        self.passed = []
        super().startTestRun()

    def addSuccess(self, test: unittest.TestCase) -> None:
        self.passed.append(test.id())
        super().addSuccess(test)


def main(result: Path) -> int:
    suite = unittest.defaultTestLoader.discover("tests", top_level_dir=".")
    run = unittest.TextTestRunner(resultclass=Result).run(suite)
    assert isinstance(run, Result)
    outcome = {
        "passed": sorted(run.passed),
        "skipped": sorted(test.id() for test, _ in run.skipped),
        "failed": sorted(test.id() for test, _ in [*run.failures, *run.errors]),
    }
    result.write_text(json.dumps(outcome))
    return 0 if run.wasSuccessful() else 1


if __name__ == "__main__":
    sys.path.insert(0, ".")
    sys.exit(main(Path(sys.argv[1])))
