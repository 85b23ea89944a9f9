"""Run on a node: carry an update out as the agent does, over the node's real dpkg.

argv[1] is a JSON file: the config file of the agent, the deployment, and what of the plan and of what is asked differs
from one that has all packages in `repository`. The outcome is printed and written beside the file as JSON; SIGTERM
interrupts, with exit code 130.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import pathlib
import shutil
import signal
import sys
import time
from collections.abc import Callable, Collection
from typing import Any

from overcloud_agent import errors, journal, run, settings
from overcloud_agent.containers import steps
from overcloud_agent.packages import model, outcomes, update

CACHE = pathlib.Path("/var/cache/update")


class Dpkg:
    """As much of a package manager as an update needs: what is in `repository` is what shall be installed."""

    name = "dpkg"

    def __init__(self, repository: pathlib.Path) -> None:
        self._repository = repository

    def database(self) -> list[pathlib.Path]:
        return [pathlib.Path("/var/lib/dpkg")]

    def installed(self) -> tuple[model.Installed, ...]:
        text = _query(
            "dpkg-query", "--show", "--showformat=${db:Status-Abbrev} ${Package} ${Architecture} ${Version}\n"
        )
        lines = [line.split() for line in text.splitlines()]
        return tuple(
            model.Installed(name=name, architecture=arch, version=version)
            for status, name, arch, version in lines
            if status == "ii"
        )

    def files(self, names: Collection[str]) -> dict[str, tuple[str, ...]]:
        raise NotImplementedError

    def refresh(self, *, wait: float, alive: Callable[[], None]) -> None:
        raise NotImplementedError

    def pending(self, selection: model.Selection) -> model.Pending:  # noqa: ARG002  Backend's signature
        installed = {package.name: package.version for package in self.installed()}
        changes = []
        for deb in sorted(self._repository.glob("*.deb")):
            name, arch, version = _query(
                "dpkg-deb", "--show", "--showformat=${Package} ${Architecture} ${Version}", str(deb)
            ).split()
            old = installed.get(name, "")
            if old != version:
                kind: model.Kind = "upgrade" if old else "install"
                changes.append(model.Change(name=name, architecture=arch, kind=kind, old=old, new=version))
        return model.Pending(changes=tuple(changes))

    def download(self, pending: model.Pending, *, wait: float, alive: Callable[[], None]) -> None:  # noqa: ARG002
        alive()
        CACHE.mkdir(exist_ok=True)
        for deb in self._repository.glob("*.deb"):
            shutil.copy(deb, CACHE)

    def transaction(self, pending: model.Pending) -> model.Command:
        names = {f"{change.name}_{change.new}_{change.architecture}.deb" for change in pending.changes}
        debs = [str(CACHE / name) for name in sorted(names)]
        return model.Command(
            argv=("dpkg", "--force-confold", "--install", *debs), environment={"DEBIAN_FRONTEND": "noninteractive"}
        )

    def interrupted(self) -> str:
        return " ".join(_query("dpkg", "--audit").split())

    def repair(self) -> model.Command:
        return model.Command(argv=("dpkg", "--force-confold", "--configure", "--pending"))

    def missing(self, pending: model.Pending) -> int:
        raise NotImplementedError

    def lock_holder(self) -> str:
        return ""


def _query(*argv: str) -> str:
    return run.command(argv, timeout=60, limit=1 << 24).stdout.decode()


class Agent:
    """As the agent is: asked to stop by SIGTERM, which counts between two steps."""

    def __init__(self) -> None:
        self.stopping = False
        signal.signal(signal.SIGTERM, self._stop)

    def _stop(self, *_: object) -> None:
        self.stopping = True

    def alive(self) -> None:
        if self.stopping:
            raise errors.Interrupted("asked to stop")


def carry_out(job: dict[str, Any], agent: Agent) -> outcomes.Outcome:
    config = settings.load(pathlib.Path(job["config"]))
    manager = Dpkg(pathlib.Path(job["repository"]))
    with steps.Journalled(config.state_dir, job["deployment"]) as record:
        begun = update.unfinished(record)
        if begun:
            plan, document = begun
        else:
            update.repair(manager, record, config, agent.alive)
            affected = [[model.Affected(**one) for one in batch] for batch in job.get("batches", [])]
            workflow = model.Workflow(batches=tuple(map(tuple, affected)), reboot=tuple(job.get("reboot", ())))
            plan = model.Plan(pending=manager.pending(model.Selection()), classes={}, workflow=workflow)
            document = {"deployment": job["deployment"]}
        asked = outcomes.Asked(deadline=time.monotonic() + job.get("within", 120), **job.get("asked", {}))
        return update.carry_out(
            plan, document, manager=manager, record=record, config=config, asked=asked, alive=agent.alive
        )


def main(path: pathlib.Path) -> int:
    job = json.loads(path.read_text())
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        outcome = dataclasses.asdict(carry_out(job, Agent()))
    except errors.Interrupted:
        return errors.Interrupted.exit_code
    # What the journal says of the identifier counts, not what the outcome does.
    book = journal.Journal.open(settings.load(pathlib.Path(job["config"])).state_dir)
    outcome["recorded"] = book.updated(job.get("asked", {}).get("identifier", "")) is not None
    book.close()
    answers = path.with_suffix(".answers")
    with answers.open("a") as file:
        file.write(json.dumps(outcome) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(pathlib.Path(sys.argv[1])))
