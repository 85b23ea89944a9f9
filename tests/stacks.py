"""Stacks in the session's undercloud, through Heat's own client."""

from __future__ import annotations

import contextlib
import time
from typing import Any

from heatclient import client as heatclient
from heatclient import exc
from keystoneauth1 import session
from keystoneauth1.identity import v3

from undercloud import box

TEMPLATE = "2021-04-16"

# The section of os-collect-config's file in which a server's transport is configured.
SECTIONS = {
    "POLL_SERVER_CFN": "cfn",
    "POLL_SERVER_HEAT": "heat",
    "POLL_TEMP_URL": "request",
    "ZAQAR_MESSAGE": "zaqar",
}


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
        # Heat has an internal error when its database, which is SQLite here, is busy for too long.
        again = {"status_code_retries": 5, "retriable_status_codes": [500]}
        self.heat = heatclient.Client("1", session=self._session, region_name=rc.get("OS_REGION_NAME"), **again)

    def close(self) -> None:
        """End the connections; the stacks go with the undercloud, which is faster than to have Heat delete them."""
        self._session.session.close()

    def server(self, name: str, transport: str = "POLL_SERVER_CFN") -> tuple[str, dict[str, str]]:
        """A stack with a server for a node: the server's id and the section that its configuration gets."""
        outputs = {
            "id": {"value": {"get_resource": "server"}},
            "occ": {"value": {"get_attr": ["server", "os_collect_config"]}},
        }
        self.create(name, server(transport), outputs)
        found = self.await_stack(name)
        assert found.stack_status == "CREATE_COMPLETE", found.stack_status_reason
        values = {entry["output_key"]: entry["output_value"] for entry in found.outputs}
        return values["id"], values["occ"][SECTIONS[transport]]

    def await_section(self, name: str, transport: str, within: float = 60.0) -> dict[str, str]:
        """The section for a node of the resource `server` of a stack, as soon as that is there."""
        deadline = time.monotonic() + within
        while True:
            for found in self.heat.resources.list(name):
                if found.resource_name == "server" and found.resource_status == "CREATE_COMPLETE":
                    shown = self.heat.resources.get(name, "server").attributes["os_collect_config"]
                    if shown.get(SECTIONS[transport]):
                        return dict(shown[SECTIONS[transport]])
            assert time.monotonic() < deadline, f"{name} gets no server"
            time.sleep(0.2)

    def await_metadata(self, server: str, within: float = 30.0) -> list[dict[str, Any]]:
        """The deployments of a server, as a node gets them, once there are any."""
        deadline = time.monotonic() + within
        while True:
            found = list(self.heat.software_deployments.metadata(server_id=server))
            if found:
                return found
            assert time.monotonic() < deadline, f"server {server} gets no deployment"
            time.sleep(0.5)

    def create(self, name: str, resources: dict[str, Any], outputs: dict[str, Any] | None = None) -> None:
        template = {"heat_template_version": TEMPLATE, "resources": resources, "outputs": outputs or {}}
        # The conflict is with what an attempt has made that ended in an internal error.
        with contextlib.suppress(exc.HTTPConflict):
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


def server(transport: str = "POLL_SERVER_CFN") -> dict[str, Any]:
    """The resource of a server."""
    properties = {"software_config_transport": transport}
    return {"server": {"type": "OS::Heat::DeployedServer", "properties": properties}}


def deployment(
    server: str | dict[str, str],
    group: str,
    config: object,
    *,
    inputs: dict[str, Any] | None = None,
    signal_transport: str = "CFN_SIGNAL",
    **options: Any,
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
                "signal_transport": signal_transport,
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
