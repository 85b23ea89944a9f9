"""The elements in the CentOS family: an image made of RPMs by dnf, and a node that boots it.

The RPMs' files are Debian's (imagebox/fedora.py); a real Fedora cannot be had here.
"""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import stacks
from imagebox import build, fedora, names, network, node
from podmanbox import commands
from reference import servers

# The first test waits for the images, which take minutes to build.
pytestmark = pytest.mark.timeout(1800)

UNIT = "overcloud-agent.service"
# What the elements install, make or link.
OURS = (
    "etc/os-collect-config.conf",
    "etc/overcloud-agent.conf.d",
    "etc/overcloud-agent-simulator/*",
    "etc/containers/registries.conf.d/*-overcloud-agent*",
    "etc/systemd/system-preset/*",
    "opt/overcloud-agent/*",
    "opt/overcloud-agent/versions/*/bin/*",
    "usr/bin/heat-config-*",
    "usr/lib/systemd/journald.conf.d/*-overcloud-agent*",
    "usr/lib/systemd/system/overcloud-agent*",
    "usr/lib/tmpfiles.d/overcloud-agent*",
    "usr/libexec/heat-config/hooks/*",
    "usr/libexec/os-apply-config/templates/**/*",
    "usr/libexec/os-refresh-config/configure.d/*",
    "usr/libexec/overcloud-agent*/*",
    "usr/local/bin/o*",
    "usr/sbin/overcloud-agent-*",
    "usr/share/bash-completion/completions/overcloud-agent",
    "usr/share/man/man8/*overcloud-agent*",
)
UNITS = {
    UNIT: "enabled",
    "overcloud-agent-settings.path": "enabled",
    "overcloud-agent-simulator.service": "enabled",
    "simulated-service.service": "enabled",
    "podman.socket": "enabled",
    "podman-restart.service": "disabled",
    "podman-auto-update.timer": "disabled",
    "os-collect-config.service": "masked",
}
REGISTRIES = ("docker-registry.service", "docker-distribution.service")


@pytest.fixture(scope="module")
def server(heat_stacks: stacks.Stacks) -> tuple[str, dict[str, Any]]:
    return servers.create(heat_stacks, "node", polling_interval=2)


@pytest.fixture(scope="module")
def booted(
    fedora_image: build.Image, net: network.Network, directory: Path, server: tuple[str, dict[str, Any]]
) -> Iterator[node.ImageNode]:
    """A node of the image that is a server of Heat's; it has nothing but what Heat hands a server."""
    made = node.ImageNode(directory, fedora_image, net)
    made.prepare()
    made.hand_metadata({"os-collect-config": server[1], "deployments": []})
    # Fedora's systemd does this at a first boot; Debian's was built to do half of it, and only enables.
    made.write("etc/systemd/system-preset/10-nodebox.preset", "enable nodebox-cgroups.service\n", 0o644)
    commands.run(["chroot", str(made.root), "systemctl", "preset-all", "--preset-mode=full"], os.environ, 60)
    made.boot()
    yield made
    made.down(wipe=True)


def web(server: str, version: str) -> dict[str, Any]:
    keys = {"image": f"127.0.0.1:5000/service:{version}", "net": "host", "restart": "always"}
    return stacks.together(web=stacks.deployment(server, "container-upgrade", {"web": keys}))


def shown(tree: Path) -> dict[str, tuple[str, str]]:
    """Mode and link of each path that is ours; where the interpreter is does not count."""
    found = {}
    for path in (path for pattern in OURS for path in tree.glob(pattern)):
        link = os.readlink(path) if path.is_symlink() else ""
        if not path.name.startswith("python"):
            found[str(path.relative_to(tree))] = (stat.filemode(path.lstat().st_mode), link)
    return found


def enabled(tree: Path, *units: str) -> list[str]:
    """What systemd has to say of the units in an image."""
    argv = ["systemctl", f"--root={tree}", "is-enabled", *units]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60).stdout.split()


def label(path: Path) -> str:
    return os.getxattr(path, "security.selinux", follow_symlinks=False).decode().rstrip("\0").split(":")[2]


def test_what_the_elements_ask_for_is_installed_by_dnf(booted: node.ImageNode) -> None:
    wanted = set.union(*names.packages("fedora", fedora.RELEASE).values()) - names.BUILD_ONLY
    booted.run(["rpm", "--query", *wanted])
    for name in names.BUILD_ONLY:
        assert booted.run(["rpm", "--query", name], check=False).returncode == 1, name
    # Not because something else needs it: diskimage-builder marks what elements ask for.
    asked = booted.run(["dnf", "repoquery", "--userinstalled", "--queryformat=%{name}\n"]).stdout.split()
    assert wanted <= set(asked)
    assert booted.run(["rpm", "--query", "--file", "/usr/bin/podman"]).stdout.startswith("podman-")
    assert booted.run(["sh", "-c", "command -v dpkg apt-get"], check=False).stdout == ""


def test_the_build_succeeds_without_complaints(fedora_image: build.Image) -> None:
    log = fedora_image.log.read_text(errors="replace")
    assert "scriptlet failed" not in log
    assert fedora_image.added_mib < 60


def test_both_families_are_the_same(image: build.Image, fedora_image: build.Image) -> None:
    """The same files with the same modes, the same links, the same units, and the same at the first boot."""
    here, there = shown(image.tree), shown(fedora_image.tree)
    assert len(here) > 60
    assert there == here
    for tree in (image.tree, fedora_image.tree):
        assert enabled(tree, *UNITS) == list(UNITS.values())
        assert "enabled" not in enabled(tree, *REGISTRIES)


def test_labels(fedora_image: build.Image) -> None:
    """diskimage-builder labels what is in an image by its policy: systemd and the agent may run what is ours."""
    tree = fedora_image.tree
    (version,) = tree.glob("opt/overcloud-agent/versions/*")
    wanted = {
        version / "bin/overcloud-agent": "bin_t",
        next(version.glob("lib/python3*/site-packages/msgspec/_core*.so")): "lib_t",
        tree / "opt/overcloud-agent/current": "usr_t",
        tree / "usr/libexec/overcloud-agent-simulator/registry": "bin_t",
        tree / "usr/libexec/os-refresh-config/configure.d/20-os-apply-config": "bin_t",
        tree / "usr/sbin/overcloud-agent-mode": "bin_t",
        # As this policy calls it; Fedora's says systemd_unit_file_t.
        tree / "usr/lib/systemd/system/overcloud-agent.service": "systemd_unit_t",
        tree / "etc/os-collect-config.conf": "etc_t",
    }
    assert {path: label(path) for path in wanted} == wanted


def test_presets_leave_the_units_as_they_are(booted: node.ImageNode) -> None:
    states = booted.run(["systemctl", "is-enabled", *UNITS], check=False).stdout.split()
    assert states == list(UNITS.values())
    assert booted.run(["systemctl", "is-active", UNIT]).stdout == "active\n"
    assert booted.run(["systemctl", "is-enabled", REGISTRIES[1]], check=False).stdout == "disabled\n"


def test_a_container_is_upgraded(
    booted: node.ImageNode, heat_stacks: stacks.Stacks, server: tuple[str, dict[str, Any]]
) -> None:
    heat_stacks.create("web", web(server[0], "1"))
    assert heat_stacks.await_stack("web").stack_status == "CREATE_COMPLETE", booted.journal(f"--unit={UNIT}")
    assert booted.podman("exec", "web", "cat", "/etc/service-version") == "1"
    heat_stacks.update("web", web(server[0], "2"))
    assert heat_stacks.await_stack("web").stack_status == "UPDATE_COMPLETE", booted.journal(f"--unit={UNIT}")
    assert booted.podman("exec", "web", "cat", "/etc/service-version") == "2"
    assert booted.shown("tripleo_web.service", "ActiveState") == "active"


def test_packages_are_updated(
    booted: node.ImageNode, heat_stacks: stacks.Stacks, server: tuple[str, dict[str, Any]]
) -> None:
    """By dnf, from the simulator's repository; a second time there is nothing to do."""
    booted.run(["overcloud-agent-simulator", "publish", "2"])

    def asked(identifier: str) -> dict[str, Any]:
        inputs, outputs = {"update_identifier": identifier}, [{"name": "change"}]
        return stacks.together(
            update=stacks.deployment(server[0], "package-update", "", inputs=inputs, outputs=outputs)
        )

    def history() -> str:
        return booted.run(["dnf", "history", "list", "--reverse"]).stdout

    heat_stacks.create("packages", asked("one"))
    assert heat_stacks.await_stack("packages").stack_status == "CREATE_COMPLETE", booted.journal(f"--unit={UNIT}")
    assert heat_stacks.answer("packages", "update")["change"] == "update"
    assert booted.run(["rpm", "--query", "simulated-service"]).stdout == "simulated-service-2-1.noarch\n"
    assert booted.journal("--unit=simulated-service", "--output=cat").count("simulated-service 2\n") == 1, "restarted"
    before = history()
    heat_stacks.update("packages", asked("two"))
    assert heat_stacks.await_stack("packages").stack_status == "UPDATE_COMPLETE", booted.journal(f"--unit={UNIT}")
    assert heat_stacks.answer("packages", "update")["change"] == "none"
    assert history() == before
