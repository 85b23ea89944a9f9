"""Servers in Heat for nodes that are configured with the whole of what Heat says, whatever the transport."""

from __future__ import annotations

from typing import Any

import stacks


def create(
    heat: stacks.Stacks, name: str, transport: str = "POLL_SERVER_CFN", **options: object
) -> tuple[str, dict[str, Any]]:
    """A stack with a server: the server's id, and its attribute `os_collect_config` with which a node is configured.

    `options` are os-collect-config's, e.g. polling_interval. They are in the server's metadata, because the reference
    chain writes a node's configuration anew from there.
    """
    server = {
        "type": "OS::Heat::DeployedServer",
        "properties": {"software_config_transport": transport},
        "metadata": {"os-collect-config": options},
    }
    outputs = {
        "id": {"value": {"get_resource": "server"}},
        "occ": {"value": {"get_attr": ["server", "os_collect_config"]}},
    }
    heat.create(name, {"server": server}, outputs)
    found = heat.await_stack(name)
    assert found.stack_status == "CREATE_COMPLETE", found.stack_status_reason
    values = {entry["output_key"]: entry["output_value"] for entry in found.outputs}
    return values["id"], values["occ"]
