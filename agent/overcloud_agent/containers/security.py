"""security_opt of the container format in Podman's form. Pure: no I/O."""

from __future__ import annotations

from typing import Any

from overcloud_agent import errors

_LABELS = ("user:", "role:", "type:", "level:", "filetype:")


def generate(options: list[tuple[str, str]]) -> dict[str, Any]:
    """The SpecGenerator's keys for options as `parse` returns them.

    The annotations are what Podman's command line writes so that `podman inspect` shows the options.
    """
    body: dict[str, Any] = {"selinux_opts": [], "mask": [], "unmask": [], "procfs_opts": [], "annotations": {}}
    for key, value in options:
        if (key, value) == ("label", "nested"):
            body["label_nested"] = True
        elif key == "label":
            body["selinux_opts"].append(value)
            body["annotations"]["io.podman.annotations.label"] = ",label=".join(body["selinux_opts"])
        elif key == "no-new-privileges":
            body["no_new_privileges"] = value == "true" or None
        elif key == "proc-opts":
            body["procfs_opts"] = value.split(",")
        elif key == "mask":
            body["mask"] += value.split(":")
        elif key in ("unmask", "systempaths"):
            body["unmask"].append("ALL" if key == "systempaths" else value)
        else:
            body["seccomp_profile_path" if key == "seccomp" else "apparmor_profile"] = value
            body["annotations"][f"io.podman.annotations.{key}"] = value
    return body


def parse(option: str) -> tuple[str, str]:
    """`KEY=VALUE` (or, as Docker once wrote it, `KEY:VALUE`), or `no-new-privileges`. Raises BadInput."""
    key, _, value = (option if "=" in option else option.replace(":", "=", 1)).partition("=")
    if option == "no-new-privileges":
        value = "true"
    good = {
        "label": value in ("disable", "nested") or value.startswith(_LABELS),
        "no-new-privileges": value in ("true", "false"),
        "systempaths": value == "unconfined",
    }
    if not good.get(key, bool(value) and key in ("seccomp", "apparmor", "mask", "unmask", "proc-opts")):
        hint = "label=, seccomp=, apparmor=, mask=, unmask=, proc-opts=, systempaths=unconfined, no-new-privileges"
        raise errors.BadInput(f"{option!r} is not a security option", hint=hint)
    return key, value
