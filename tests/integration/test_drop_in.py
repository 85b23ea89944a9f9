"""Both stacks really installed, on one node: it moves to ours and back, and nothing runs twice or is lost."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import heatlike
import places
import stacks
from reference import node, servers
from undercloud import box as clouds

PLUG_IN = f"{node.CONFIGURE_D}/55-heat-config"
OURS = [str(places.BIN / "overcloud-agent"), "run"]
RAN = "/var/lib/ran"


@pytest.fixture
def heat_stacks(undercloud: clouds.Undercloud) -> Iterator[stacks.Stacks]:
    made = stacks.Stacks(undercloud)
    yield made
    made.close()


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[node.ReferenceNode]:
    with node.ReferenceNode(tmp_path / "machine") as made:
        yield made


def noting(word: str, more: str = "") -> str:
    return f"#!/bin/sh\necho {word} >> {RAN}\n{more}\n"


def runs(machine: node.ReferenceNode) -> list[str]:
    return machine.path(RAN).read_text().split() if machine.path(RAN).exists() else []


def await_(there: Callable[[], object], machine: node.ReferenceNode, within: float = 30.0) -> None:
    deadline = time.monotonic() + within
    while not there():
        assert time.monotonic() < deadline, machine.log.read_text()[-3000:]
        time.sleep(0.05)


def kept(machine: node.ReferenceNode, directory: str = node.DEPLOYED) -> dict[str, Any]:
    """What heat-config's files hold, by name."""
    return {path.name: json.loads(path.read_text()) for path in machine.path(directory).glob("*.json")}


# To ours and back


@pytest.mark.parametrize("way", ["resident", "plug-in"])
def test_a_node_moves_to_ours_and_back(heat_stacks: stacks.Stacks, machine: node.ReferenceNode, way: str) -> None:
    name = f"moves-{way}"
    server, occ = servers.create(heat_stacks, f"{name}-server", polling_interval=1)

    def stack(**words: str) -> dict[str, Any]:
        made = {key: stacks.deployment(server, "script", noting(word)) for key, word in words.items()}
        return stacks.together(**made)

    def await_stack(status: str) -> None:
        found = heat_stacks.await_stack(name)
        assert found.stack_status == status, (found.stack_status_reason, machine.log.read_text()[-3000:])

    machine.configure(occ)
    machine.start()
    heat_stacks.create(name, stack(a="a", b="b"))
    await_stack("CREATE_COMPLETE")
    machine.stop()

    if way == "plug-in":
        machine.link(PLUG_IN, places.BIN / "55-heat-config")
    machine.start(OURS if way == "resident" else ["os-collect-config"])
    heat_stacks.update(name, stack(a="a", b="b", c="c"))
    await_stack("UPDATE_COMPLETE")
    heat_stacks.update(name, stack(a="a", b="b2", c="c"))
    await_stack("UPDATE_COMPLETE")
    machine.stop()
    assert sorted(runs(machine)[:2]) == ["a", "b"]
    assert runs(machine)[2:] == ["c", "b2"]

    machine.restore()
    machine.start()
    heat_stacks.update(name, stack(a="a", b="b2", c="c", d="d"))
    await_stack("UPDATE_COMPLETE")
    assert runs(machine)[2:] == ["c", "b2", "d"]
    # All that Heat still lists has its file, which is what the reference goes by.
    listed = {entry["id"] for entry in heat_stacks.await_metadata(server)}
    assert listed <= {Path(file).stem for file in kept(machine)}
    assert len(listed) == 4


def test_what_the_reference_lost_is_delivered(
    heat_stacks: stacks.Stacks, heat: heatlike.HeatLike, machine: node.ReferenceNode
) -> None:
    """One signal that met a busy server, and one deployment that a power cut took the answer from."""
    server, occ = servers.create(heat_stacks, "lost-server", polling_interval=1)
    # Only the notifier goes through a proxy, which answers as a server that is overloaded.
    heat.refuse_with = [503] * 1000
    proxy = f"unset no_proxy; export http_proxy={heat.url}"
    machine.write("/var/lib/notifier", f'#!/bin/sh\n{proxy}\nexec heat-config-notify "$@"\n', 0o755)
    machine.configure(occ)
    machine.start(env={"HEAT_CONFIG_NOTIFY": "/var/lib/notifier"})
    inputs = {"value": "a word"}
    script = noting("lost", 'printf %s "$value" > $heat_outputs_path.result')
    heat_stacks.create("lost", stacks.together(one=stacks.deployment(server, "script", script, inputs=inputs)))
    await_(lambda: heat.tried, machine)
    script = noting("killed", "touch /var/lib/began; sleep 600")
    heat_stacks.create("killed", stacks.together(one=stacks.deployment(server, "script", script)))
    await_(machine.path("/var/lib/began").exists, machine)
    machine.crash()
    tried = len(heat.tried)
    assert heat_stacks.heat.stacks.get("lost").stack_status == "CREATE_IN_PROGRESS"

    begun = time.monotonic()
    machine.start(OURS)
    found = heat_stacks.await_stack("lost", within=40)
    assert found.stack_status == "CREATE_COMPLETE", machine.log.read_text()[-3000:]
    assert heat_stacks.answer("lost", "one")["result"] == "a word"
    assert heat_stacks.await_stack("killed").stack_status == "CREATE_FAILED"
    assert "interrupted" in heat_stacks.answer("killed", "one")["deploy_stderr"]
    assert time.monotonic() - begun < 20
    assert runs(machine) == ["lost", "killed"]
    assert len(heat.tried) == tried


# Other callers


def download(machine: node.ReferenceNode, document: dict[str, Any], **env: str) -> int:
    """What TripleO's config-download does with one deployment; the status that it ends with."""
    path = f"/var/lib/heat-config/tripleo-config-download/{document['name']}-{document['id']}"
    machine.write(path, json.dumps([document]), 0o644)
    done = machine.run([PLUG_IN], {"HEAT_SHELL_CONFIG": path, **env})
    assert done.returncode == 0, done.stderr
    directory = env.get("HEAT_CONFIG_DEPLOYED", node.DEPLOYED)
    status = kept(machine, directory)[f"{document['id']}.notify.json"]["deploy_status_code"]
    assert isinstance(status, int)
    return status


def test_config_download_finds_the_same(heat: heatlike.HeatLike, tmp_path: Path) -> None:
    failing = noting("failing", "[ -e /var/lib/mended ] || exit 3")
    inputs = [{"name": "number", "type": "String", "value": 7}]
    documents = [heat.deployment(key, "script", noting(key), inputs=inputs) for key in ("one", "two")]
    documents.append(heat.deployment("failing", "script", failing))
    for document in documents:
        transport = next(entry for entry in document["inputs"] if entry["name"] == "deploy_signal_transport")
        transport["value"] = "NO_SIGNAL"
        document["inputs"] = [entry for entry in document["inputs"] if not entry["name"].startswith("deploy_signal_")]
        document["inputs"].append(transport)
    found = []
    for side in ("reference", "ours"):
        with node.ReferenceNode(tmp_path / side) as machine:
            if side == "ours":
                machine.link(PLUG_IN, places.BIN / "55-heat-config")
            statuses = [download(machine, document) for document in (*documents, *documents)]
            # A failed one is run again: its file is removed before.
            machine.write("/var/lib/mended", "")
            machine.path(f"{node.DEPLOYED}/failing.json").unlink()
            statuses += [download(machine, document) for document in documents]
            # Check mode has a directory of its own.
            statuses.append(download(machine, documents[0], HEAT_CONFIG_DEPLOYED="/var/lib/check"))
            found.append((statuses, runs(machine), kept(machine), kept(machine, "/var/lib/check")))
    assert found[0][:2] == ([0, 0, 3, 0, 0, 3, 0, 0, 0, 0], ["one", "two", "failing", "failing", "one"])
    assert _without_times(found[0]) == _without_times(found[1])


def _without_times(found: object) -> object:
    """The hooks' own logs begin with the time; what a hook logs is in its answer when it fails."""
    if isinstance(found, dict):
        return {key: _without_times(value) for key, value in found.items()}
    if isinstance(found, (list, tuple)):
        return [_without_times(value) for value in found]
    return found
