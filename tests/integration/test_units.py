"""Containers under systemd units: a node with systemd as PID 1 and a real Podman, driven as an upgrade drives them."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import places
from nodebox import box as nodeboxes
from podmanbox import box, errors

UNITS = "etc/systemd/system"

# As paunch and tripleo_container_manage wrote it.
TRIPLEO_UNIT = """[Unit]
Description=web container
After=tripleo-container-shutdown.service
Wants=
[Service]
Restart=always
ExecStart=/usr/bin/podman start web
ExecReload=/usr/bin/podman kill --signal HUP web
ExecStop=/usr/bin/podman stop -t 10 web
KillMode=none
Type=forking
PIDFile=/var/run/web.pid
[Install]
WantedBy=multi-user.target
"""


@pytest.fixture(scope="module")
def made(podman: box.PodmanBox) -> Iterator[nodeboxes.NodeBox]:
    node = nodeboxes.NodeBox(places.SCRATCH / "node", registry=podman.registry)
    with node:
        yield node


@pytest.fixture
def node(made: nodeboxes.NodeBox) -> Iterator[nodeboxes.NodeBox]:
    """The module's node; a test's containers and units are removed after it."""
    yield made
    for path in (made.root / UNITS).glob("tripleo_*.service"):
        made.run(["systemctl", "disable", "--now", path.name], check=False)
    made.podman("rm", "--force", "--all", "--time=0")
    for path in (made.root / UNITS).glob("tripleo_*"):
        path.unlink()
    made.run(["systemctl", "daemon-reload"])


def call(node: nodeboxes.NodeBox, *calls: list[Any], config: str = "") -> list[Any]:
    """What the agent's calls returned on the node."""
    script = str(places.ROOT / "tests" / "starter_calls.py")
    return list(json.loads(node.run([sys.executable, script, json.dumps(calls), config]).stdout))


def service(podman: box.PodmanBox, tag: str = "1", **keys: Any) -> dict[str, Any]:
    return {"image": f"{podman.registry}/service:{tag}", "net": "host", "restart": "always", **keys}


def run_it(node: nodeboxes.NodeBox, keys: dict[str, Any]) -> None:
    """Have `web` run under a unit."""
    call(node, ["create", "web", "web", keys], ["install", "web", keys], ["start", "web"], ["settle", "web"])


def shown(node: nodeboxes.NodeBox, prop: str, unit: str = "tripleo_web.service") -> str:
    return node.run(["systemctl", "show", f"--property={prop}", "--value", unit]).stdout.strip()


def inspected(node: nodeboxes.NodeBox, field: str, name: str = "web") -> str:
    return node.podman("inspect", name, "--format", f"{{{{{field}}}}}")


def unit_text(node: nodeboxes.NodeBox) -> str:
    return (node.root / UNITS / "tripleo_web.service").read_text()


def reloads(node: nodeboxes.NodeBox) -> int:
    return node.journal("_PID=1", "--boot").count("Reloading.")


def await_that(there: Callable[[], bool], within: float = 30.0) -> None:
    deadline = time.monotonic() + within
    while not there():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.2)


def runs_under_its_unit(node: nodeboxes.NodeBox) -> bool:
    main = shown(node, "MainPID")
    return main == inspected(node, ".State.ConmonPid") and shown(node, "ActiveState") == "active"


def test_a_container_runs_under_its_unit(node: nodeboxes.NodeBox, podman: box.PodmanBox) -> None:
    assert call(node, ["kind"]) == ["Units"]
    keys = service(podman, systemd_exec_flags={"LimitNOFILE": 1024}, restart="on-failure:3")
    run_it(node, keys)
    assert runs_under_its_unit(node)
    main = shown(node, "MainPID")
    assert node.run(["cat", f"/proc/{main}/comm"]).stdout == "conmon\n"
    assert f"Main PID: {main} (conmon)" in node.run(["systemctl", "status", "tripleo_web"]).stdout
    assert shown(node, "UnitFileState") == "enabled"
    assert shown(node, "LimitNOFILE") == "1024"
    assert shown(node, "Restart") == "on-failure"
    assert inspected(node, ".HostConfig.RestartPolicy.Name") == "no"
    assert inspected(node, ".ConmonPidFile") == "/run/web.pid"
    assert node.run(["systemd-analyze", "verify", "/" + UNITS + "/tripleo_web.service"]).stderr == ""


def test_what_is_installed_already_is_not_loaded_again(node: nodeboxes.NodeBox, podman: box.PodmanBox) -> None:
    keys = service(podman)
    run_it(node, keys)
    before = reloads(node)
    call(node, ["install", "web", keys])
    assert reloads(node) == before
    # An agent that died after it had written the file and before systemd read it.
    path = node.root / UNITS / "tripleo_web.service"
    path.write_text(unit_text(node) + "# other\n")
    call(node, ["install", "web", keys])
    assert reloads(node) == before + 1
    assert shown(node, "NeedDaemonReload") == "no"


def test_a_killed_container_is_started_again(node: nodeboxes.NodeBox, podman: box.PodmanBox) -> None:
    run_it(node, service(podman))
    started = inspected(node, ".State.StartedAt")
    node.run(["kill", "-9", inspected(node, ".State.Pid")])
    await_that(lambda: inspected(node, ".State.StartedAt") != started)
    await_that(lambda: runs_under_its_unit(node))
    assert shown(node, "NRestarts") == "1"


def test_the_gate_sees_what_systemd_starts_again(node: nodeboxes.NodeBox, podman: box.PodmanBox) -> None:
    broken = service(podman, "broken")
    run_it(node, broken)
    with pytest.raises(errors.CommandError, match=r"GateError: web (ended|restarted)"):
        call(node, ["gate", "web", 5])
    await_that(lambda: int(shown(node, "NRestarts")) > 5)  # the default limit is five
    call(node, ["stop", "web", None])
    restarts = shown(node, "NRestarts")
    assert shown(node, "ActiveState") in ("inactive", "failed")
    time.sleep(2)
    assert shown(node, "NRestarts") == restarts


def test_a_reboot_brings_the_container_back(node: nodeboxes.NodeBox, podman: box.PodmanBox) -> None:
    run_it(node, service(podman))
    identity, started = inspected(node, ".Id"), inspected(node, ".State.StartedAt")
    node.reboot()
    await_that(lambda: runs_under_its_unit(node))
    assert inspected(node, ".Id") == identity
    assert inspected(node, ".State.StartedAt") != started


def test_a_shutdown_stops_containers_with_their_own_signal_and_in_order(
    node: nodeboxes.NodeBox, podman: box.PodmanBox
) -> None:
    node.run(["mkdir", "-p", "/srv/order"])
    containers: dict[str, dict[str, Any]] = {"db": {}, "web": {"depends_on": ["db"]}}
    for name, keys in containers.items():
        say = f"echo {name} INT >>/order/told; sleep 1; echo {name} ends >>/order/told; exit 0"
        command = f"trap '{say}' INT; trap 'echo {name} TERM >>/order/told; exit 0' TERM; while :; do sleep 0.1; done"
        full = service(
            podman, command=["sh", "-c", command], stop_signal="SIGINT", volumes=["/srv/order:/order"], **keys
        )
        call(node, ["create", name, name, full], ["install", name, full], ["start", name])
    node.reboot()
    told = (node.root / "srv/order/told").read_text().splitlines()
    assert told == ["web INT", "web ends", "db INT", "db ends"]
    assert "ordering cycle" not in node.journal("_PID=1")


def test_a_power_cut_too(node: nodeboxes.NodeBox, podman: box.PodmanBox) -> None:
    run_it(node, service(podman))
    node.cut_power()
    node.boot()
    await_that(lambda: runs_under_its_unit(node))


def test_a_successor_takes_the_name_and_the_unit(node: nodeboxes.NodeBox, podman: box.PodmanBox) -> None:
    old, new = service(podman), service(podman, "2")
    run_it(node, old)
    before, text = reloads(node), unit_text(node)
    call(node, ["create", "web.next", "web", new], ["stop", "web", 10], ["rename", "web", "web.old"])
    assert shown(node, "ActiveState") == "inactive"
    call(node, ["rename", "web.next", "web"], ["install", "web", new], ["start", "web"], ["gate", "web", 1.5])
    assert runs_under_its_unit(node)
    assert node.podman("exec", "web", "cat", "/etc/service-version") == "2"
    assert shown(node, "NRestarts") == "0"
    assert inspected(node, ".State.Running", "web.old") == "false"
    call(node, ["settle", "web"], ["remove", "web.old"])
    assert runs_under_its_unit(node), "the pid file of the two is the same"
    assert (reloads(node), unit_text(node)) == (before, text)


def test_the_way_back_brings_the_old_unit_back(node: nodeboxes.NodeBox, podman: box.PodmanBox) -> None:
    run_it(node, service(podman))
    text, identity = unit_text(node), inspected(node, ".Id")
    broken = service(podman, "broken", stop_grace_period=30)
    call(node, ["create", "web.next", "web", broken], ["stop", "web", 10], ["rename", "web", "web.old"])
    call(node, ["rename", "web.next", "web"], ["install", "web", broken], ["start", "web"])
    assert shown(node, "TimeoutStopUSec") == "1min 30s"
    call(node, ["stop", "web", 30], ["rename", "web", "web.failed"], ["rename", "web.old", "web"])
    call(node, ["restore", "web"], ["start", "web"], ["gate", "web", 1])
    assert runs_under_its_unit(node)
    assert (unit_text(node), inspected(node, ".Id")) == (text, identity)
    assert call(node, ["restore", "web"]) == [None]
    assert unit_text(node) == text


def test_the_way_back_to_what_had_no_unit(node: nodeboxes.NodeBox, podman: box.PodmanBox) -> None:
    never = node.root / "etc/never.conf"
    never.write_text("[DEFAULT]\nsystemd = never\n")
    keys = service(podman)
    assert (
        call(node, ["kind"], ["create", "web", "web", keys], ["start", "web"], config="/etc/never.conf")[0] == "Direct"
    )
    assert inspected(node, ".HostConfig.RestartPolicy.Name") == "always"
    call(node, ["create", "web.next", "web", keys], ["stop", "web", 10], ["rename", "web", "web.old"])
    call(node, ["rename", "web.next", "web"], ["install", "web", keys], ["start", "web"])
    assert runs_under_its_unit(node)
    call(node, ["stop", "web", 10], ["rename", "web", "web.failed"], ["rename", "web.old", "web"])
    call(node, ["restore", "web"], ["start", "web"])
    assert inspected(node, ".State.Running") == "true"
    assert call(node, ["manages", "web"]) == [False]
    assert shown(node, "LoadState") == "not-found"


def tripleo(node: nodeboxes.NodeBox, podman: box.PodmanBox) -> None:
    """Have `web` run as TripleO leaves it."""
    image = f"{podman.registry}/service:1"
    node.podman("create", "--name=web", "--conmon-pidfile=/var/run/web.pid", image)
    (node.root / UNITS / "tripleo_web.service").write_text(TRIPLEO_UNIT)
    check = "[Service]\nType=oneshot\nExecStart=/usr/bin/podman exec web true\n"
    (node.root / UNITS / "tripleo_web_healthcheck.service").write_text(check)
    (node.root / UNITS / "tripleo_web_healthcheck.timer").write_text(
        "[Timer]\nOnActiveSec=3600\n[Install]\nWantedBy=timers.target\n"
    )
    node.run(["systemctl", "enable", "--now", "tripleo_web.service", "tripleo_web_healthcheck.timer"])


def test_a_unit_of_tripleo_s_is_taken_over(node: nodeboxes.NodeBox, podman: box.PodmanBox) -> None:
    tripleo(node, podman)
    assert call(node, ["manages", "web"]) == [True]
    new = service(podman, "2")
    call(node, ["create", "web.next", "web", new], ["stop", "web", 10], ["rename", "web", "web.old"])
    call(node, ["rename", "web.next", "web"], ["install", "web", new], ["start", "web"])
    assert runs_under_its_unit(node)
    assert shown(node, "KillMode") == "mixed"
    call(node, ["stop", "web", 10], ["rename", "web", "web.failed"], ["rename", "web.old", "web"])
    call(node, ["restore", "web"], ["start", "web"])
    assert runs_under_its_unit(node)
    assert unit_text(node) == TRIPLEO_UNIT
    assert node.podman("exec", "web", "cat", "/etc/service-version") == "1"


def test_what_is_uninstalled_leaves_nothing(node: nodeboxes.NodeBox, podman: box.PodmanBox) -> None:
    tripleo(node, podman)
    call(node, ["install", "web", service(podman)], ["stop", "web", None], ["uninstall", "web"])
    assert not list((node.root / UNITS).rglob("tripleo_*"))
    assert shown(node, "LoadState") == "not-found"
    assert shown(node, "LoadState", "tripleo_web_healthcheck.timer") == "not-found"
    assert "tripleo" not in node.run(["systemctl", "list-unit-files"]).stdout


def test_a_container_that_is_not_kept_running_has_no_unit(node: nodeboxes.NodeBox, podman: box.PodmanBox) -> None:
    run_it(node, service(podman))
    once = service(podman, restart="no")
    call(node, ["stop", "web", None], ["remove", "web"], ["create", "web", "web", once], ["install", "web", once])
    assert call(node, ["manages", "web"], ["start", "web"])[0] is False
    assert inspected(node, ".State.Running") == "true"


def test_a_unit_that_cannot_start_says_why(node: nodeboxes.NodeBox, podman: box.PodmanBox) -> None:
    call(node, ["install", "web", service(podman)])
    with pytest.raises(
        errors.CommandError, match=r"EngineError: cannot start web; Job for .*Active: .*no container with"
    ):
        call(node, ["start", "web"])


def test_a_masked_unit_is_left_masked(node: nodeboxes.NodeBox, podman: box.PodmanBox) -> None:
    node.run(["systemctl", "mask", "tripleo_web.service"])
    with pytest.raises(errors.CommandError, match="is masked"):
        call(node, ["install", "web", service(podman)])
    assert (node.root / UNITS / "tripleo_web.service").is_symlink()
