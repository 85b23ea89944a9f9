"""The small images that tests and demo upgrade between: a service that tells its version, and ones that fail."""

from __future__ import annotations

from podmanbox import box, image

# A shell as PID 1 has to be told to go when it is asked to.
_SERVE = "trap 'exit 0' TERM; echo serving {version}; while :; do sleep 0.2; done"


def build_service(podman: box.PodmanBox, name: str, version: str) -> str:
    """Push REGISTRY/`name`, a service that runs and stops as asked; returns its digest."""
    return podman.build(
        name,
        {"etc/service-version": f"{version}\n"},
        image.ImageConfig(command=("/bin/sh", "-c", _SERVE.format(version=version)), stop_signal="SIGTERM"),
    )


def build_checked(podman: box.PodmanBox, name: str) -> str:
    """Push REGISTRY/`name`, a service whose image has a healthcheck that never passes; returns its digest."""
    config = image.ImageConfig(
        command=("/bin/sh", "-c", _SERVE.format(version="checked")),
        stop_signal="SIGTERM",
        healthcheck=image.Healthcheck("echo no database; exit 1"),
    )
    return podman.build(name, {"etc/service-version": "checked\n"}, config)


def build_broken(podman: box.PodmanBox, name: str) -> str:
    """Push REGISTRY/`name`, which says why and ends at once; returns its digest."""
    command = "echo 'cannot read /etc/service.conf: no such file' >&2; exit 7"
    return podman.build(
        name, {"etc/service-version": "broken\n"}, image.ImageConfig(command=("/bin/sh", "-c", command))
    )
