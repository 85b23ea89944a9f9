"""What a deployment of containers says besides its config. Pure: no I/O."""

from __future__ import annotations

import dataclasses

from overcloud_agent import errors, model
from overcloud_agent.containers import described, docker_cmd, spec


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """What a deployment says besides its config."""

    deployment: str
    config_id: str
    complete: bool
    bootstrap: bool
    migration: str
    labels: dict[str, str] = dataclasses.field(default_factory=dict)
    """What each container gets besides our own labels."""

    @property
    def owner(self) -> str:
        """The resource whose containers these are all, as docker-cmd has it; else empty."""
        return described.owner(
            self.labels.get(described.LABEL_STACK, ""), self.labels.get(described.LABEL_RESOURCE, "")
        )

    def label(self, step: int | None) -> str:
        """The label config_id of a container, of TripleO's step if the config has steps."""
        return f"tripleo_step{step}" if step else self.config_id


def read(deployment: model.Deployment) -> Job:
    """The inputs of container-upgrade. Raises BadInput."""
    config_id = deployment.input("config_id") or ""
    complete = _flag(deployment, "complete")
    if complete and not config_id and not spec.steps(deployment.config):
        raise errors.BadInput(
            "complete says that the config has all containers of its config_id, which is missing",
            path="$.inputs",
            hint="give the input config_id, too",
        )
    labels = docker_cmd.labels(deployment) if deployment.group == docker_cmd.GROUP else {}
    return Job(
        labels=labels,
        deployment=deployment.id,
        config_id=str(config_id or deployment.id),
        # A deployment of docker-cmd has all of its containers.
        complete=complete or (all(labels.values()) and bool(labels)),
        bootstrap=_flag(deployment, "bootstrap"),
        migration=str(deployment.input("migrate_identifier") or ""),
    )


def _flag(deployment: model.Deployment, name: str) -> bool:
    value = deployment.input(name)
    found = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False, "": False, "none": False}
    text = str(value).strip().lower()
    if text not in found:
        raise errors.BadInput(f"the input {name} is {value!r}", path="$.inputs", hint="true or false")
    return found[text]
