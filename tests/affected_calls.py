"""Runs on a node: what is affected there, as JSON. Arguments: the verb, and the packages that change (or the units)."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Collection, Mapping

from overcloud_agent.packages import hosts, model, restarts, systemd


def files(packages: Collection[str]) -> dict[str, tuple[str, ...]]:
    found = {}
    for package in packages:
        listed = subprocess.run(["dpkg-query", "-L", package], check=True, capture_output=True, text=True).stdout
        found[package] = tuple(listed.splitlines())
    return found


def containers(_: Collection[str]) -> Mapping[str, str]:
    argv = ["podman", "ps", "--all", "--no-trunc", "--format", "{{.ID}} {{.Names}}"]
    listed = subprocess.run(argv, check=True, capture_output=True, text=True).stdout
    return dict(line.split(None, 1) for line in listed.splitlines())


def main(verb: str, *packages: str) -> None:
    host = hosts.Host(containers=containers)
    if verb in ("before", "removed"):
        changes = [
            model.Change(
                name=name, architecture="all", kind="remove" if verb == "removed" else "upgrade", old="1", new="2"
            )
            for name in packages
        ]
        answer = dataclasses.asdict(restarts.before(files(packages), changes=changes, host=host))
    elif verb == "after":
        answer = dataclasses.asdict(restarts.after(host=host))
    elif verb == "order":
        answer = {"order": sorted(systemd.order_edges(packages))}
    else:
        answer = {"running": [dataclasses.asdict(line) for line in restarts.running(host, files(packages))]}
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
