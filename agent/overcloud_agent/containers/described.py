"""Containers as Podman describes them, in our terms. Pure: no I/O."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

from overcloud_agent.containers import plan

LABEL_FINGERPRINT = "overcloud-agent.fingerprint"
LABEL_DIGEST = "overcloud-agent.digest"
LABEL_DEPLOYMENT = "overcloud-agent.deployment"
LABEL_REPLACES = "overcloud-agent.replaces"
LABEL_ONE_SHOT = "overcloud-agent.one-shot"
LABEL_CONFIG_ID = "config_id"
LABEL_NAME = "container_name"
LABEL_MANAGED_BY = "managed_by"
LABEL_CONFIG_DATA = "config_data"
LABEL_STACK = "deploy_stack_id"
LABEL_RESOURCE = "deploy_resource_name"
OURSELVES = "overcloud-agent"

# Of Podman's states those in which a container's process is there.
_ALIVE = ("running", "paused")

_FRACTION = re.compile(r"\.(\d{6})\d*")


def inspected(document: dict[str, Any]) -> plan.Container:
    """A container from its inspect document."""
    state = document["State"]
    return plan.Container(
        id=document["Id"],
        image=document["Image"],
        **_of_labels(document["Config"].get("Labels") or {}),
        running=bool(state["Running"]),
        stopping=state["Status"] == "stopping",
        prepared=state["Status"] == "initialized",
        exit_code=int(state.get("ExitCode") or 0),
        restarts=int(document.get("RestartCount") or 0),
        check_timeout=_check_timeout(document["Config"].get("Healthcheck")),
        check_interval=_check_interval(document["Config"].get("Healthcheck")),
        started_at=_epoch(state.get("StartedAt")),
        finished_at=_epoch(state.get("FinishedAt")),
    )


def listed(entry: dict[str, Any]) -> plan.Container:
    """A container from an entry of Podman's list."""
    return plan.Container(
        id=entry["Id"],
        image=entry["ImageID"],
        **_of_labels(entry.get("Labels") or {}),
        running=entry["State"] in _ALIVE,
        stopping=entry["State"] == "stopping",
        prepared=entry["State"] == "initialized",
        exit_code=int(entry.get("ExitCode") or 0),
        # What never happened was in the year 1.
        started_at=max(float(entry.get("StartedAt") or 0), 0.0),
        finished_at=max(float(entry.get("ExitedAt") or 0), 0.0),
    )


def _of_labels(labels: dict[str, str]) -> dict[str, Any]:
    return {
        "digest": labels.get(LABEL_DIGEST, ""),
        "fingerprint": labels.get(LABEL_FINGERPRINT, ""),
        "deployment": labels.get(LABEL_DEPLOYMENT, ""),
        "name": labels.get(LABEL_NAME, ""),
        "config_id": labels.get(LABEL_CONFIG_ID, ""),
        "managed_by": labels.get(LABEL_MANAGED_BY, ""),
        "owner": owner(labels.get(LABEL_STACK, ""), labels.get(LABEL_RESOURCE, "")),
        "replaces": bool(labels.get(LABEL_REPLACES)),
        "predecessor": labels.get(LABEL_REPLACES, ""),
        "one_shot": bool(labels.get(LABEL_ONE_SHOT)),
    }


def owner(stack: str, resource: str) -> str:
    """The resource of Heat that a container of docker-cmd belongs to; empty where that is not known."""
    return f"{stack} {resource}" if stack and resource else ""


def _check_timeout(healthcheck: dict[str, Any] | None) -> float | None:
    if not healthcheck or healthcheck.get("Test") in (None, [], ["NONE"]):
        return None
    # Podman's own default, which it does not write down.
    return (healthcheck.get("Timeout") or 30_000_000_000) / 1e9


def _check_interval(healthcheck: dict[str, Any] | None) -> float:
    return ((healthcheck or {}).get("Interval") or 30_000_000_000) / 1e9


def _epoch(text: str | None) -> float:
    """Podman's RFC 3339 time, with up to nine digits of fraction, as seconds since the epoch; 0 for never."""
    if not text or text.startswith("0001"):
        return 0.0
    return datetime.fromisoformat(_FRACTION.sub(r".\1", text)).timestamp()
