"""dnf 4's side of dnf.py: a script that dnf's own Python runs tells what dnf knows."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

from overcloud_agent import errors
from overcloud_agent.packages import dnf_tool, model, nevras, replay

_SCRIPT = Path(__file__).with_name("dnf4_script.py")
# RHEL 8 has it elsewhere; the first line of dnf says where.
_PYTHON = "/usr/bin/python3"
_SHEBANG = re.compile(rb"#!\s*(\S*python\S*)")


class Dnf4:
    """Questions to dnf 4. All raise PackageError."""

    refreshing = ("makecache", "--refresh")
    replaying = ("history", "replay")
    lasting = "--setopt=*.metadata_expire=-1"
    """With it the metadata that a plan was made from is taken as it is, however old."""

    def __init__(self, tool: dnf_tool.Tool) -> None:
        self._tool = tool
        self._format = ""

    def pending(self, selection: model.Selection) -> model.Pending:
        """What an update would do."""
        told = self._ask({"ask": "pending", "packages": selection.packages, "exclude": selection.exclude})
        return model.Pending(
            changes=tuple(sorted(model.Change(**change) for change in told["changes"])),
            kept=tuple(sorted(model.Kept(**kept) for kept in told["kept"])),
        )

    def leftover(self) -> replay.Leftover:
        """What an interrupted transaction left."""
        told = self._ask({"ask": "state"})
        return replay.Leftover(
            transaction=told["transaction"],
            done=tuple(sorted(nevras.parse(name) for name in told["done"])),
            duplicates=tuple(sorted(nevras.parse(name) for name in told["duplicates"])),
            repositories=told["repositories"],
        )

    def dialect(self) -> replay.Dialect:
        """How this dnf writes transactions down."""
        if not self._format:
            self._ask({"ask": "state"})
        return replay.dnf4(self._format)

    def document(self, path: Path) -> str:
        """What `replay` takes for the file at `path`."""
        return str(path)

    def _ask(self, question: dict[str, Any]) -> dict[str, Any]:
        # -I: nothing of the agent's environment or directory is for the system's Python.
        argv = [interpreter(shutil.which(self._tool.program)), "-I", str(_SCRIPT)]
        answer = self._tool.answer(argv, stdin=json.dumps({**question, "root": str(self._tool.root)}).encode())
        try:
            told: dict[str, Any] = json.loads(answer)
        except ValueError as error:
            raise errors.PackageError(f"dnf answered with what is no JSON: {answer[:200]!r}") from error
        self._format = told["format"]
        return told


def interpreter(program: str | None) -> str:
    """The Python that dnf runs on, and that has its bindings."""
    if program:
        with open(program, "rb") as file:
            found = _SHEBANG.match(file.readline(256))
        if found:
            return found[1].decode()
    return _PYTHON
