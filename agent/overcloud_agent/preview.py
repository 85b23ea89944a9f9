"""What `overcloud-agent plan` and `packages` tell: what would change on this node, of containers and of packages."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from overcloud_agent import settings, validate
from overcloud_agent.packages import inputs


@dataclasses.dataclass(frozen=True, kw_only=True)
class Preview:
    """What would change; None for what was not asked for."""

    containers: dict[str, Any] | None = None
    packages: dict[str, Any] | None = None
    identifiers: dict[str, str] = dataclasses.field(default_factory=dict)

    @property
    def changes(self) -> bool:
        """Whether anything would."""
        containers = self.containers is not None and self.containers["changes"]
        return bool(containers or (self.packages is not None and self.packages["packages"]))

    def document(self) -> dict[str, Any]:
        """For --json: the one document, or both by their names."""
        packages = None if self.packages is None else {**self.packages, "identifiers": self.identifiers}
        if self.containers is not None and packages is not None:
            return {"containers": self.containers, "packages": packages}
        return self.containers or packages or {}

    def show(self) -> None:
        """Print it for people, on one page."""
        if self.containers is not None:
            from overcloud_agent.containers import preview_table

            preview_table.show(self.containers)
        if self.packages is not None:
            from overcloud_agent.packages import table

            table.show(self.packages, self.identifiers)


def collect(file: Path | None, config: settings.Settings, *, packages: bool) -> Preview:
    """What FILE would change, and packages if asked for or if there is no FILE. Raises BadInput and PackageError."""
    if file is None:
        return of_packages(config)
    deployment = validate.deployment_in(file)
    if deployment.group == inputs.GROUP:
        return of_packages(config, inputs.read(deployment))
    from overcloud_agent.containers import planning

    containers = planning.plan_deployment(deployment, config)
    return dataclasses.replace(of_packages(config) if packages else Preview(), containers=containers)


def of_packages(config: settings.Settings, asked: inputs.Inputs | None = None, *, refresh: bool = True) -> Preview:
    """What would change of packages, by what a deployment asks for, or of all. Raises PackageError."""
    from overcloud_agent.packages import hook, plan, planning, select

    asked = asked or inputs.Inputs()
    manager = select.backend(config.packages_root)
    found = planning.find(manager, asked.selection, config, restart=asked.restart, refresh=refresh)
    current = hook.current(manager, asked, config)
    shown = {"packages": current.packages, **current.content, "containers": current.containers or "-"}
    return Preview(packages=plan.document(found), identifiers={**shown, "plan": plan.plan_identifier(found)})
