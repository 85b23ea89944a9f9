"""The side `podman auto-update`: a generated unit on a node with systemd, which has the machine's network."""

from __future__ import annotations

from typing import ClassVar

from benchmarks.container_swap import service, sides
from nodebox import box as nodeboxes
from podmanbox import box

_TAG = "auto"


class AutoUpdate:
    """The image's tag moves in the registry; Podman pulls it and restarts the unit, which makes a container anew."""

    name: ClassVar[str] = "podman auto-update"

    def __init__(self, podman: box.PodmanBox, where: service.Service, node: nodeboxes.NodeBox) -> None:
        self.service = where
        self._podman = podman
        self._node = node
        self._made = False

    def prepare(self, version: str) -> None:
        """Move the tag, as who publishes an image does."""
        moved = service.reference(self._podman, _TAG)
        self._podman.podman("tag", service.reference(self._podman, version), moved)
        self._podman.podman("push", "--quiet", moved)

    def swap(self, version: str) -> None:
        if not self._made:
            self._install()
            self._made = True
            return
        done = self._node.run(["podman", "auto-update", "--format", "{{.Updated}}"], check=False)
        if done.returncode or done.stdout.split() != ["true"]:
            raise sides.SwapError(f"podman auto-update to {version} said {done.stdout!r}, {done.stderr!r}")

    def _install(self) -> None:
        name = self.service.name
        options = ("--name", name, "--net", "host", "--label", "io.containers.autoupdate=registry")
        self._node.podman("create", *options, service.reference(self._podman, _TAG), *self.service.command)
        unit = self._node.podman("generate", "systemd", "--new", "--name", name)
        self._node.podman("rm", name)
        (self._node.root / f"etc/systemd/system/{name}.service").write_text(unit + "\n")
        self._node.run(["systemctl", "daemon-reload"])
        self._node.run(["systemctl", "start", f"{name}.service"])
