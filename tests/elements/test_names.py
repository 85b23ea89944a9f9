"""What the elements ask for has each distribution's own names; diskimage-builder's own programs map them."""

from __future__ import annotations

import pytest

from imagebox import names

AGENT, PODMAN, SIMULATOR = "overcloud-agent", "overcloud-agent-podman", "overcloud-agent-simulator"
CONTAINERS = {"aardvark-dns", "ca-certificates", "catatonit", "crun", "netavark", "podman", "python3"}
FAMILIES = {
    "debian": {AGENT: ["mawk"], SIMULATOR: ["busybox-static", "docker-registry", "gpg"]},
    "redhat": {AGENT: ["gawk"], SIMULATOR: ["busybox", "docker-distribution", "gnupg2", *names.BUILD_ONLY]},
}


@pytest.mark.parametrize(
    ("distribution", "release", "python", "packages"),
    [
        ("debian", "bookworm", "3.11", {AGENT: "python3", PODMAN: "iptables", SIMULATOR: "runc"}),
        ("debian", "trixie", "3.13", {AGENT: "python3", PODMAN: "nftables", SIMULATOR: "runc"}),
        ("ubuntu", "noble", "3.12", {AGENT: "python3", PODMAN: "iptables", SIMULATOR: "runc"}),
        # Its python3 is 3.9.
        ("centos", "9-stream", "3.12", {AGENT: "python3.12", PODMAN: "iptables-nft", SIMULATOR: "runc"}),
        # It has runc no more.
        ("centos", "10-stream", "3.12", {AGENT: "python3", PODMAN: "nftables", SIMULATOR: ""}),
        ("fedora", "42", "3.13", {AGENT: "python3", PODMAN: "nftables", SIMULATOR: "runc"}),
    ],
)
def test_packages(distribution: str, release: str, python: str, packages: dict[str, str]) -> None:
    family = FAMILIES["debian" if distribution in ("debian", "ubuntu") else "redhat"]
    wanted = {
        AGENT: {"ca-certificates", "findutils", "systemd", packages[AGENT], *family[AGENT]},
        PODMAN: {*CONTAINERS, packages[PODMAN]},
        SIMULATOR: {"tar", packages[SIMULATOR], *family[SIMULATOR]} - {""},
    }
    assert names.packages(distribution, release) == wanted
    assert names.python(distribution, release) == python


@pytest.mark.parametrize("distribution", ["debian", "ubuntu", "centos", "fedora"])
def test_services(distribution: str) -> None:
    registry = "docker-registry" if distribution in ("debian", "ubuntu") else "docker-distribution"
    wanted = {
        "docker-registry": registry,
        "os-collect-config": "os-collect-config",
        "overcloud-agent": "overcloud-agent",
        "podman-socket": "podman.socket",
    }
    assert names.services(distribution) == wanted
