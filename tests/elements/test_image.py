"""An image built from the elements, booted under systemd, with nothing but what Heat hands a server at first boot."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import stacks
from imagebox import build, network, node
from nodebox import guest
from reference import install, servers
from undercloud import box as clouds

# The first test waits for the image, which takes minutes to build.
pytestmark = pytest.mark.timeout(1800)

UNIT = "overcloud-agent.service"
SERVICE = "simulated-service.service"
REGISTRY = "127.0.0.1:5000"

# What a deployment leaves when it runs: a line for each time.
RECORD = '#!/bin/sh\necho "$value" >>/var/lib/ran\nprintf %s "$value" >"$heat_outputs_path.result"\n'


@pytest.fixture(scope="module")
def booted(
    image: build.Image, net: network.Network, heat_stacks: stacks.Stacks, directory: Path
) -> Iterator[node.ImageNode]:
    """A node of the image that is a server of Heat's stack `node`; it boots with a deployment waiting for it."""
    server, occ = servers.create(heat_stacks, "node", polling_interval=2)
    heat_stacks.create("web", whole(server, "1"))
    made = node.ImageNode(directory, image, net)
    made.prepare()
    made.set_offline()
    made.hand_metadata({"os-collect-config": occ, "deployments": []})
    made.boot()
    yield made
    made.down(wipe=True)


def web(server: str, version: str, **upgrade: Any) -> dict[str, Any]:
    """A service in a container, and a script that says which version it is; the script runs before the container."""
    keys = {"image": f"{REGISTRY}/service:{version}", "net": "host", "restart": "always", "upgrade": upgrade}
    parts = stacks.together(
        said=stacks.deployment(server, "script", RECORD, inputs={"value": version}),
        web=stacks.deployment(server, "container-upgrade", {"web": keys}),
    )
    parts["web"]["depends_on"] = ["said"]
    return parts


def whole(server: str, version: str, **upgrade: Any) -> dict[str, Any]:
    """These, and after the container an update of the node's packages, asked for by the version."""
    parts = {**web(server, version, **upgrade), **updated(server, version)}
    parts["update"]["depends_on"] = ["web"]
    return parts


def updated(server: str, identifier: str) -> dict[str, Any]:
    """An update of the node's packages."""
    outputs = [{"name": name} for name in ("change", "restarted", "content_identifiers")]
    inputs = {"update_identifier": identifier}
    return stacks.together(update=stacks.deployment(server, "package-update", "", inputs=inputs, outputs=outputs))


def server_of(heat_stacks: stacks.Stacks) -> str:
    outputs = heat_stacks.heat.stacks.get("node").outputs
    return str({entry["output_key"]: entry["output_value"] for entry in outputs}["id"])


def version_of(booted: node.ImageNode) -> str:
    return booted.run(["podman", "exec", "web", "cat", "/etc/service-version"], check=False).stdout.strip()


def installed(booted: node.ImageNode) -> str:
    """State and version of the simulated service's package."""
    return booted.run(["dpkg-query", "-W", "-f", "${db:Status-Status} ${Version}", "simulated-service"]).stdout


def services(booted: node.ImageNode) -> list[str]:
    """The versions that the simulated service said it is, at each of its starts."""
    said = booted.journal(f"--unit={SERVICE}", "--output=cat", "--identifier=simulated-service").splitlines()
    return [line.split()[-1] for line in said]


def test_it_is_small(image: build.Image) -> None:
    assert image.added_mib < 60


def test_the_build_leaves_nothing_of_the_machine(image: build.Image) -> None:
    """Neither pip's configuration and certificates, nor pip, nor the wheels."""
    for name in ("etc/pip.conf", "root/.config", "root/.cache", "tmp/in_target.d"):
        assert not (image.tree / name).exists(), name
    assert not list(image.tree.glob("opt/overcloud-agent/versions/*/bin/pip*"))
    assert not [path for path in image.tree.glob("tmp/*") if path.suffix == ".whl"]


def test_it_boots_finds_its_metadata_and_works(booted: node.ImageNode, heat_stacks: stacks.Stacks) -> None:
    found = heat_stacks.await_stack("web")
    assert found.stack_status == "CREATE_COMPLETE", booted.journal(f"--unit={UNIT}")
    assert version_of(booted) == "1"
    assert booted.run(["systemctl", "is-active", UNIT]).stdout == "active\n"
    assert booted.run(["systemctl", "is-enabled", "os-collect-config.service"], check=False).stdout == "masked\n"
    # The first boot has done what presets say: without them all that can be is enabled.
    off = ["podman-restart.service", "podman-auto-update.timer", "docker-registry.service"]
    assert booted.run(["systemctl", "is-enabled", *off], check=False).stdout.split() == ["disabled"] * 3
    assert "[cfn]" in (booted.root / "etc/os-collect-config.conf").read_text()


def test_what_holds_credentials_is_roots_alone(booted: node.ImageNode) -> None:
    paths = ["/etc/os-collect-config.conf", "/var/run/heat-config/heat-config", "/var/lib/heat-cfntools/cfn-init-data"]
    shown = booted.run(["stat", "--format=%a %U", *paths]).stdout.split("\n")[:-1]
    assert shown == ["600 root"] * 3


def test_all_of_the_agent_can_be_imported(booted: node.ImageNode) -> None:
    """What is left out of the image is missed by nobody."""
    program = """
import importlib, pkgutil, overcloud_agent, os_collect_config
for package in (overcloud_agent, os_collect_config):
    for found in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        # A script is for the distribution's own Python, beside the package manager.
        if "tests" not in found.name and not found.name.endswith(("__main__", "_script")):
            importlib.import_module(found.name)
import heatclient.v1.client, keystoneclient.v3.client, psutil, websocket
"""
    booted.run(["/opt/overcloud-agent/current/bin/python", "-c", program])


def test_verbs_and_hooks_run(booted: node.ImageNode) -> None:
    """What is left out of the image is missed by none of them."""
    config = {"web": {"image": f"{REGISTRY}/service:1", "net": "host"}}
    booted.write("root/web.json", json.dumps(config))
    for verb in ("status", "check", "identifiers", "processes", "packages --no-refresh", "plan /root/web.json"):
        booted.run(["overcloud-agent", *verb.split()])
    assert "web.json: valid" in booted.run(["overcloud-agent", "validate", "/root/web.json"]).stdout
    plan = {"config": config, "inputs": [{"name": "mode", "value": "plan"}]}
    asked: dict[str, Any] = {
        "script": {"config": "#!/bin/sh\necho said\n"},
        "container-upgrade": plan,
        "docker-cmd": plan,
        # It would ask the distribution's repositories, which the node cannot reach.
        "package-update": {"inputs": [{"name": "mode", "value": "nothing"}]},
    }
    for name, entry in asked.items():
        booted.write("root/asked.json", json.dumps({"id": f"by-hand-{name}", "group": name, **entry}))
        hook = f"/usr/libexec/heat-config/hooks/{name} </root/asked.json"
        answer = json.loads(booted.run(["sh", "-c", hook]).stdout)
        assert answer["deploy_status_code"] == (2 if name == "package-update" else 0), (name, answer)


def test_completion_and_man_page_are_there(booted: node.ImageNode) -> None:
    for name in ("usr/share/bash-completion/completions/overcloud-agent", "usr/share/man/man8/overcloud-agent.8"):
        assert (booted.root / name).stat().st_size > 500
    assert booted.run(["overcloud-agent-version"]).stdout.startswith("* ")


def test_settings_come_with_the_metadata(booted: node.ImageNode, heat_stacks: stacks.Stacks) -> None:
    server = server_of(heat_stacks)
    config = {"overcloud-agent": {"workers": 2, "restart_stable_for": 1}}
    heat_stacks.create("settings", stacks.together(own=stacks.deployment(server, "os-apply-config", config)))
    assert heat_stacks.await_stack("settings").stack_status == "CREATE_COMPLETE"
    path = booted.root / "etc/overcloud-agent.conf.d/50-heat.conf"
    assert "workers = 2" in path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600
    booted.await_logged("metadata comes from cfn, local", times=2)


def test_settings_that_cannot_be_are_refused(booted: node.ImageNode, heat_stacks: stacks.Stacks) -> None:
    server = server_of(heat_stacks)
    config = {"overcloud-agent": {"keep_previous": "many"}}
    heat_stacks.create("refused", stacks.together(own=stacks.deployment(server, "os-apply-config", config)))
    found = heat_stacks.await_stack("refused")
    assert found.stack_status == "CREATE_FAILED"
    assert "many" not in (booted.root / "etc/overcloud-agent.conf.d/50-heat.conf").read_text()
    heat_stacks.heat.stacks.delete("refused")


def test_a_stack_is_updated_and_the_power_is_cut_twice(booted: node.ImageNode, heat_stacks: stacks.Stacks) -> None:
    """In the gate of the container's successor, and when a package is being configured."""
    server = server_of(heat_stacks)
    container = booted.podman("inspect", "web", "--format", "{{.Id}}")
    created = heat_stacks.answer("web", "update")
    assert created["change"] == "none"
    booted.publish("2+slow")
    heat_stacks.update("web", whole(server, "2", gate={"stable_for": 4}))
    # The old one is stopped, and the new one has not passed its gate yet.
    booted.await_that(lambda: version_of(booted) == "2", "the new container does not start")
    booted.cut_power()
    booted.boot()
    configured = booted.root / "var/lib/simulated-service.configured"
    booted.await_that(lambda: "2+slow" in configured.read_text(), "the package is not configured")
    booted.cut_power()
    booted.boot()
    found = heat_stacks.await_stack("web")
    assert found.stack_status == "UPDATE_COMPLETE", booted.journal(f"--unit={UNIT}")
    assert version_of(booted) == "2"
    assert (booted.root / "var/lib/ran").read_text().split() == ["1", "2"], "each ran once"
    assert booted.podman("ps", "--all", "--format", "{{.Names}}").split() == ["web"]
    assert booted.podman("inspect", "web", "--format", "{{.Id}}") != container
    assert booted.shown("tripleo_web.service", "ActiveState") == "active"
    # dpkg runs again what it was cut off in, and nothing more.
    assert configured.read_text().split() == ["1", "2+slow", "2+slow"]
    assert installed(booted) == "installed 2+slow"
    assert services(booted)[-1] == "2+slow"
    answer = heat_stacks.answer("web", "update")
    assert answer["change"] == "update"
    assert answer["content_identifiers"] != created["content_identifiers"], "the Puppet modules changed"


def test_a_package_that_fails_is_repaired_by_the_next(booted: node.ImageNode, heat_stacks: stacks.Stacks) -> None:
    server = server_of(heat_stacks)
    runs = services(booted)
    booted.publish("3+broken")
    heat_stacks.create("packages", updated(server, "three"))
    assert heat_stacks.await_stack("packages").stack_status == "CREATE_FAILED"
    said = heat_stacks.answer("packages", "update")["deploy_stderr"]
    assert "simulated-service" in said
    assert "post-installation script" in said
    assert installed(booted) == "half-configured 3+broken"
    assert services(booted) == runs, "what runs is left alone"

    booted.publish("4")
    booted.run(["apt-get", "-qq", "update"])
    planned = booted.run(["overcloud-agent", "plan"]).stdout
    assert re.search(r"restart +│ simulated-service\.service", planned), planned
    before = booted.shown(SERVICE, "MainPID")
    heat_stacks.update("packages", updated(server, "four"))
    assert heat_stacks.await_stack("packages").stack_status == "UPDATE_COMPLETE", booted.journal(f"--unit={UNIT}")
    assert heat_stacks.answer("packages", "update")["restarted"] == [SERVICE]
    assert (installed(booted), services(booted)[-1]) == ("installed 4", "4")
    assert booted.shown(SERVICE, "MainPID") != before


def test_a_hung_agent_is_restarted(booted: node.ImageNode, heat_stacks: stacks.Stacks) -> None:
    # As in the unit, only sooner.
    booted.write(f"etc/systemd/system/{UNIT}.d/soon.conf", "[Service]\nWatchdogSec=4\n", 0o644)
    booted.run(["systemctl", "daemon-reload"])
    booted.run(["systemctl", "restart", UNIT])
    pid = booted.shown(UNIT, "MainPID")
    booted.run(["kill", f"-{signal.SIGSTOP.name[3:]}", pid])
    booted.await_shown(UNIT, "NRestarts", "1")
    booted.await_shown(UNIT, "ActiveState", "active")
    assert booted.shown(UNIT, "MainPID") != pid
    assert "Watchdog timeout" in booted.journal(f"--unit={UNIT}")
    (booted.root / f"etc/systemd/system/{UNIT}.d/soon.conf").unlink()
    booted.run(["systemctl", "daemon-reload"])
    server = server_of(heat_stacks)
    heat_stacks.create("after", stacks.together(one=stacks.deployment(server, "script", "#!/bin/sh\nexit 0\n")))
    assert heat_stacks.await_stack("after").stack_status == "CREATE_COMPLETE"


# The image has no unit for it: that is for the element that brings os-collect-config.
COLLECT = """\
[Service]
ExecStart={bin}/os-collect-config
Environment=PATH={bin}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C

[Install]
WantedBy=multi-user.target
"""


def test_the_same_image_as_a_plug_in(
    image: build.Image, net: network.Network, heat_stacks: stacks.Stacks, booted: node.ImageNode
) -> None:
    """The reference os-collect-config, os-refresh-config and os-apply-config run ours; then it becomes resident."""
    reference = install.install()
    # There is one address for a node.
    booted.power_off()
    server, occ = servers.create(heat_stacks, "plug-in", polling_interval=1)
    heat_stacks.create("plugged", web(server, "1"))
    shared = (reference.venv, *guest.python_paths())
    other = node.ImageNode(booted.directory.with_name("plug-node"), image, net, shared=shared)
    other.prepare()
    try:
        other.hand_metadata({"os-collect-config": occ, "deployments": []})
        other.write("usr/lib/systemd/system/os-collect-config.service", COLLECT.format(bin=reference.bin), 0o644)
        # As the element does it when the image is built with DIB_OVERCLOUD_AGENT_MODE=plug-in.
        other.set_mode("plug-in")
        other.boot()
        found = heat_stacks.await_stack("plugged")
        assert found.stack_status == "CREATE_COMPLETE", other.journal("--unit=os-collect-config")[-5000:]
        assert other.run(["systemctl", "is-active", UNIT], check=False).stdout == "inactive\n"
        assert "secret_access_key" in (other.root / "etc/os-collect-config.conf").read_text()
        # Nothing is resident that would have to be restarted; the next call is the other version.
        versions = other.root / "opt/overcloud-agent/versions"
        (versions / "twin").symlink_to(next(path.name for path in versions.iterdir()))
        other.run(["overcloud-agent-version", "use", "twin"])
        assert other.run(["systemctl", "is-active", UNIT], check=False).stdout == "inactive\n"
        other.run(["overcloud-agent-mode", "resident"])
        heat_stacks.update("plugged", web(server, "2"))
        found = heat_stacks.await_stack("plugged")
        assert found.stack_status == "UPDATE_COMPLETE", other.journal(f"--unit={UNIT}")[-5000:]
        assert version_of(other) == "2"
        assert (other.root / "var/lib/ran").read_text().split() == ["1", "2"], "each ran once"
        assert other.run(["systemctl", "is-active", "os-collect-config"], check=False).stdout == "inactive\n"
    finally:
        other.down(wipe=True)
        booted.boot()


def states(booted: node.ImageNode) -> list[str]:
    return [row["state"] for row in booted.status()["deployments"]]


def test_a_config_drive(
    image: build.Image,
    net: network.Network,
    cloud: clouds.Undercloud,
    heat_stacks: stacks.Stacks,
    booted: node.ImageNode,
) -> None:
    """cloud-init reads it, and Heat's own part handler puts the metadata where the agent looks."""
    # There is one address for a node.
    booted.power_off()
    (handler,) = cloud.layout.venv.glob("lib/python3*/site-packages/heat/cloudinit/part_handler.py")
    server, occ = servers.create(heat_stacks, "drive", polling_interval=2)
    heat_stacks.create(
        "by-drive", stacks.together(one=stacks.deployment(server, "script", RECORD, inputs={"value": "d"}))
    )
    other = node.ImageNode(booted.directory.with_name("drive-node"), image, net)
    other.prepare()
    try:
        other.hand_config_drive({"os-collect-config": occ, "deployments": []}, handler.read_text())
        other.boot()
        found = heat_stacks.await_stack("by-drive")
        assert found.stack_status == "CREATE_COMPLETE", other.journal()[-5000:]
        assert json.loads((other.root / node.FIRST_METADATA).read_text())["os-collect-config"] == occ
    finally:
        other.down(wipe=True)
        booted.boot()
