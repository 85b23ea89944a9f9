"""The service that is swapped: a static web server that starts at once and tells its version; and where it is."""

from __future__ import annotations

import dataclasses
import ipaddress
import json
import socket
from pathlib import Path

from podmanbox import box, image

VERSIONS = ("v1", "v2")
HOST = "host"


@dataclasses.dataclass(frozen=True)
class Service:
    """One container's service: its network (HOST, or a bridge's name), and the addresses that it may have there."""

    name: str
    network: str
    addresses: tuple[str, ...]
    port: int

    @property
    def command(self) -> list[str]:
        """What runs in the container."""
        return ["/bin/httpd", "-f", "-p", str(self.port), "-h", "/www"]


def build(podman: box.PodmanBox) -> dict[str, str]:
    """Put all versions into the registry, and into local storage as if they had been pulled; returns their digests."""
    digests = {}
    for version in VERSIONS:
        # PID 1 without a handler ignores SIGTERM; and a service that needs time to end would hide what is measured.
        config = image.ImageConfig(command=("/bin/sleep", "86400"), stop_signal="SIGKILL")
        digests[version] = podman.build(f"swap:{version}", {"www/version": version}, config)
        podman.podman("pull", "--quiet", reference(podman, version))
    return digests


def reference(podman: box.PodmanBox, version: str) -> str:
    """The image of a version, by its tag."""
    return f"{podman.registry}/swap:{version}"


def other(version: str) -> str:
    """The version that comes next: swaps go to and fro."""
    return VERSIONS[1 - VERSIONS.index(version)]


def on_host(name: str) -> Service:
    """A service on the host's network, at a free port."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return Service(name, HOST, ("127.0.0.1",), taken.getsockname()[1])


def on_bridge(podman: box.PodmanBox, name: str) -> Service:
    """A service on a bridge network of its own, with one of two addresses: the successor may get the other one.

    A second container keeps the bridge, which Podman would else remove and make anew in every swap. The host, which is
    where the client is, forgets within about 0.1 s which of the two is where: else it would, for most of a minute, send
    to the hardware address of a container that is gone, whoever swapped it.
    """
    network = f"swap-{name}"
    podman.podman("network", "create", "--disable-dns", network)
    (found,) = json.loads(podman.podman("network", "inspect", network))
    subnet = ipaddress.ip_network(found["subnets"][0]["subnet"])
    podman.podman("network", "rm", network)
    addresses = [str(subnet[8]), str(subnet[9])]
    options = ("--disable-dns", "--subnet", str(subnet), "--ip-range", f"{addresses[0]}/31")
    podman.podman("network", "create", *options, network)
    keeper = ("--detach", "--name", f"{network}-keeper", "--net", f"{network}:ip={subnet[5]}")
    podman.podman("run", *keeper, reference(podman, VERSIONS[0]))
    neighbours = Path("/proc/sys/net/ipv4/neigh", found["network_interface"])
    for option, value in {"base_reachable_time_ms": 100, "delay_first_probe_time": 0, "retrans_time_ms": 10}.items():
        (neighbours / option).write_text(str(value))
    return Service(name, network, tuple(addresses), 80)
