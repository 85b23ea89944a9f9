"""A node that boots the image, and gets at its first boot what Heat hands a server, and nothing else."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from email.mime import multipart, text
from pathlib import Path
from typing import Any

from imagebox import build, network
from nodebox import box
from podmanbox import commands

AGENT = "--unit=overcloud-agent.service"
FIRST_METADATA = "var/lib/heat-cfntools/cfn-init-data"
# Debian has no presets, which enables all. The node's network is there before the node is, and networkd would make it
# anew; for iSCSI a container's kernel may have nothing, and systemd waits a minute and a half for that.
UNFIT = (
    "iscsid.service",
    "iscsid.socket",
    "systemd-networkd-wait-online.service",
    "systemd-networkd.service",
    "systemd-networkd.socket",
)
# Where cloud-init looks for the content of a config drive that is no device.
CONFIG_DRIVE = "var/lib/cloud/seed/config_drive"


class ImageNode(box.NodeBox):
    """A node of the image on a network of its own; ``shared`` is there read-only, under the same paths."""

    def __init__(
        self, directory: Path, image: build.Image, net: network.Network, *, shared: tuple[Path, ...] = ()
    ) -> None:
        super().__init__(directory, tree=image.tree, shared=shared, network=net.namespace)

    def prepare(self) -> None:
        """Make a new node, whose first boot is one for systemd, too: presets are applied."""
        super().prepare()
        # diskimage-builder leaves it so.
        self.write("etc/machine-id", "uninitialized\n")
        for unit in UNFIT:
            (self.root / "etc/systemd/system" / unit).symlink_to("/dev/null")

    def write(self, inside: str, content: str, mode: int = 0o600) -> None:
        """Write a file of the node, and make the directories above it."""
        path = self.root / inside
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=mode)
        path.write_text(content)

    def set_mode(self, mode: str) -> None:
        """Resident or plug-in, while the node is off."""
        commands.run(["chroot", str(self.root), "/usr/sbin/overcloud-agent-mode", mode], os.environ, 30)

    def set_offline(self) -> None:
        """Without the distribution's repositories, while the node is off: there is nothing behind its network."""
        commands.run(["chroot", str(self.root), "/usr/sbin/overcloud-agent-simulator", "offline"], os.environ, 30)

    def publish(self, version: str) -> None:
        """Have the node's own repository offer a version of the simulated service."""
        self.run(["overcloud-agent-simulator", "publish", version])

    def hand_metadata(self, metadata: dict[str, Any]) -> None:
        """What Heat's part of cloud-init's user data does at the first boot."""
        self.write(FIRST_METADATA, json.dumps(metadata))

    def hand_config_drive(self, metadata: dict[str, Any], part_handler: str) -> None:
        """A config drive as Nova makes it of Heat's user data, in which `part_handler` is Heat's own.

        It is a directory where cloud-init looks for what was on a drive: a container has no devices to look for.
        """
        user_data = multipart.MIMEMultipart()
        for content, kind, name in (
            (part_handler, "part-handler", "part-handler.py"),
            (json.dumps(metadata), "x-cfninitdata", "cfn-init-data"),
        ):
            part = text.MIMEText(content, kind)
            part.add_header("Content-Disposition", "attachment", filename=name)
            user_data.attach(part)
        about = {"uuid": "5e5f4c9e-0000-4000-8000-000000000001", "name": "node", "hostname": "node"}
        self.write(f"{CONFIG_DRIVE}/openstack/latest/meta_data.json", json.dumps(about))
        self.write(f"{CONFIG_DRIVE}/openstack/latest/user_data", user_data.as_string())
        # The network is there before the node is.
        self.write("etc/cloud/cloud.cfg.d/90-network.cfg", "network: {config: disabled}\n", 0o644)

    def shown(self, unit: str, name: str) -> str:
        """A property of a unit."""
        return self.run(["systemctl", "show", f"--property={name}", "--value", unit]).stdout.strip()

    def await_shown(self, unit: str, name: str, wanted: str, within: float = 60.0) -> None:
        """Wait until a property of a unit has a value."""
        deadline = time.monotonic() + within
        while (value := self.shown(unit, name)) != wanted:
            assert time.monotonic() < deadline, f"{unit}: {name} is {value}, not {wanted}"
            time.sleep(0.2)

    def await_that(self, there: Callable[[], bool], what: str, within: float = 60.0) -> None:
        """Wait until something is so; `what` is the complaint when it never is."""
        deadline = time.monotonic() + within
        while not there():
            assert time.monotonic() < deadline, f"{what}\n{self.journal(AGENT)[-4000:]}"
            time.sleep(0.2)

    def await_logged(self, said: str, times: int = 1) -> None:
        """Wait until the agent has said something, so many times."""
        self.await_that(lambda: self.journal(AGENT).count(said) >= times, f"it never says {said!r}")

    def copy_in(self, directory: Path, inside: str) -> None:
        """Copy a directory to the node."""
        shutil.copytree(directory, self.root / inside.lstrip("/"))

    def status(self) -> dict[str, Any]:
        """What `overcloud-agent status` says."""
        return dict(json.loads(self.run(["overcloud-agent", "status", "--json"]).stdout))
