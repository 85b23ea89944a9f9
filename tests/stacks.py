"""Stacks in the session's undercloud, through Heat's own client."""

from __future__ import annotations

import time
from typing import Any

from heatclient import client as heatclient
from keystoneauth1 import session
from keystoneauth1.identity import v3

from undercloud import box

TEMPLATE = "2021-04-16"


class Stacks:
    """Creates stacks and waits for them."""

    def __init__(self, cloud: box.Undercloud) -> None:
        rc = cloud.openrc
        auth = v3.Password(
            auth_url=rc["OS_AUTH_URL"],
            username=rc["OS_USERNAME"],
            password=rc["OS_PASSWORD"],
            project_name=rc["OS_PROJECT_NAME"],
            user_domain_id="default",
            project_domain_id="default",
        )
        self._session = session.Session(auth=auth)
        self.heat = heatclient.Client("1", session=self._session, region_name=rc.get("OS_REGION_NAME"))

    def close(self) -> None:
        """End the connections; the stacks go with the undercloud, which is faster than to have Heat delete them."""
        self._session.session.close()

    def server(self, name: str) -> tuple[str, dict[str, str]]:
        """A stack with a server for a node: the server's id and the [cfn] section of its configuration."""
        resources = {
            "server": {
                "type": "OS::Heat::DeployedServer",
                "properties": {"software_config_transport": "POLL_SERVER_CFN"},
            }
        }
        outputs = {
            "id": {"value": {"get_resource": "server"}},
            "occ": {"value": {"get_attr": ["server", "os_collect_config"]}},
        }
        self.create(name, resources, outputs)
        found = self.await_stack(name)
        assert found.stack_status == "CREATE_COMPLETE", found.stack_status_reason
        values = {entry["output_key"]: entry["output_value"] for entry in found.outputs}
        return values["id"], values["occ"]["cfn"]

    def create(self, name: str, resources: dict[str, Any], outputs: dict[str, Any] | None = None) -> None:
        template = {"heat_template_version": TEMPLATE, "resources": resources, "outputs": outputs or {}}
        self.heat.stacks.create(stack_name=name, template=template)

    def update(self, name: str, resources: dict[str, Any]) -> None:
        template = {"heat_template_version": TEMPLATE, "resources": resources}
        self.heat.stacks.update(name, template=template)

    def await_stack(self, name: str, within: float = 120.0) -> Any:
        """The stack once nothing of it is in progress."""
        deadline = time.monotonic() + within
        while True:
            found = self.heat.stacks.get(name)
            if not found.stack_status.endswith("IN_PROGRESS"):
                return found
            assert time.monotonic() < deadline, f"{name} is still {found.stack_status}"
            time.sleep(0.5)

    def answer(self, name: str, resource: str) -> dict[str, Any]:
        """What the node answered for a deployment, as Heat keeps it."""
        key = self.heat.resources.get(name, resource).physical_resource_id
        return dict(self.heat.software_deployments.get(key).output_values)


def deployment(
    server: str, group: str, config: object, *, inputs: dict[str, Any] | None = None, **options: Any
) -> dict[str, dict[str, Any]]:
    """The two resources of one deployment, `config` and `deployment`; text makes a software config, else structured."""
    kind = "Software" if isinstance(config, str) else "Structured"
    outputs = [{"name": name} for name in ("result", "changed", "containers")]
    return {
        "config": {
            "type": f"OS::Heat::{kind}Config",
            "properties": {"group": group, "config": config, "outputs": outputs, **options},
        },
        "deployment": {
            "type": f"OS::Heat::{kind}Deployment",
            "properties": {
                "server": server,
                "config": {"get_resource": "config"},
                "input_values": inputs or {},
                "signal_transport": "CFN_SIGNAL",
            },
        },
    }


def together(**parts: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Several deployments in one stack: each named as its keyword, its config with `_config` after it."""
    resources: dict[str, Any] = {}
    for name, part in parts.items():
        resources[f"{name}_config"] = part["config"]
        properties = {**part["deployment"]["properties"], "config": {"get_resource": f"{name}_config"}}
        resources[name] = {**part["deployment"], "properties": properties}
    return resources
