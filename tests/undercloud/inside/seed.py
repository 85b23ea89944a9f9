"""Give Keystone the users, roles and endpoints of the services; runs inside the undercloud venv.

    seed.py STATE_FILE

Running it again adds only what is missing.  STATE_FILE is undercloud.json.
"""

import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from keystoneauth1 import session
from keystoneauth1.identity import v3
from keystoneclient.v3 import client

# Where the optional services listen.
ADDRESS = "127.0.0.1"
REGION = "RegionOne"


@dataclasses.dataclass(frozen=True)
class Endpoint:
    """One service of the catalogue; ``url`` may hold %(project_id)s."""

    name: str
    type: str
    url: str


def main(state_file: str) -> None:
    """Seed the Keystone that the state file describes."""
    state = json.loads(Path(state_file).read_text(encoding="utf-8"))
    passwords, ports = state["secrets"], state["ports"]
    keystone = connect(f"{state['address']}:{ports['keystone']}", passwords["admin"])
    roles = ensure_roles(keystone)
    ensure_service_user(keystone, roles, "heat", passwords["heat_service"])
    ensure_stack_domain(keystone, roles, passwords["stack_domain_admin"])
    ensure_demo_user(keystone, roles, passwords["demo"])
    for name in ("swift", "zaqar"):
        # A state from before there were optional services does not name them.
        if state.get(name):
            ensure_service_user(keystone, roles, name, state[name]["password"])
    for endpoint in endpoints(state):
        ensure_endpoint(keystone, endpoint)


def connect(place: str, password: str) -> Any:
    """Return a Keystone client for the bootstrap administrator."""
    auth = v3.Password(
        auth_url=f"http://{place}/v3",
        username="admin",
        password=password,
        project_name="admin",
        user_domain_id="default",
        project_domain_id="default",
    )
    return client.Client(session=session.Session(auth=auth))


def endpoints(state: dict[str, Any]) -> list[Endpoint]:
    """Return the catalogue entries besides Keystone's own, which the bootstrap made."""
    ports, swift, zaqar = state["ports"], state.get("swift"), state.get("zaqar")
    api = f"http://{state['address']}:{ports['heat']}/v1/%(project_id)s"
    cfn = f"http://{state['address']}:{ports['cfn']}/v1"
    found = [Endpoint("heat", "orchestration", api), Endpoint("heat-cfn", "cloudformation", cfn)]
    if swift:
        store = f"http://{ADDRESS}:{swift['port']}/v1/AUTH_%(project_id)s"
        found.append(Endpoint("swift", "object-store", store))
    if zaqar:
        websocket = f"ws://{ADDRESS}:{zaqar['websocket_port']}"
        found.append(Endpoint("zaqar", "messaging", f"http://{ADDRESS}:{zaqar['port']}"))
        found.append(Endpoint("zaqar-websocket", "messaging-websocket", websocket))
    return found


def ensure_roles(keystone: Any) -> dict[str, Any]:
    """Return all roles by name, with the one that Heat gives to the users it makes for nodes."""
    ensure(keystone.roles, "heat_stack_user", lambda: keystone.roles.create("heat_stack_user"))
    return {role.name: role for role in keystone.roles.list()}


def ensure_service_user(keystone: Any, roles: dict[str, Any], name: str, password: str) -> None:
    """Make the user with which a service checks tokens, and the project "service"."""
    project = ensure_project(keystone, "service")
    user = ensure_user(keystone, name, "default", password)
    for role in ("admin", "service"):
        keystone.roles.grant(roles[role], user=user, project=project)


def ensure_stack_domain(keystone: Any, roles: dict[str, Any], password: str) -> None:
    """Make the domain in which Heat makes one user per server, and the domain's administrator."""
    domain = ensure(keystone.domains, "heat", lambda: keystone.domains.create("heat"))
    user = ensure_user(keystone, "heat_domain_admin", domain.id, password)
    keystone.roles.grant(roles["admin"], user=user, domain=domain)


def ensure_demo_user(keystone: Any, roles: dict[str, Any], password: str) -> None:
    """Make the ordinary user who owns the stacks, in a project of the same name."""
    project = ensure_project(keystone, "demo")
    user = ensure_user(keystone, "demo", "default", password)
    keystone.roles.grant(roles["member"], user=user, project=project)


def ensure_endpoint(keystone: Any, endpoint: Endpoint) -> None:
    """Make a service of the catalogue and its three endpoints."""
    service = ensure(
        keystone.services,
        endpoint.name,
        lambda: keystone.services.create(endpoint.name, type=endpoint.type),
    )
    known = {found.interface for found in keystone.endpoints.list(service=service)}
    for interface in {"public", "internal", "admin"} - known:
        keystone.endpoints.create(service, endpoint.url, interface=interface, region=REGION)


def ensure_project(keystone: Any, name: str) -> Any:
    """Return the project of this name in the default domain."""
    create = keystone.projects.create
    return ensure(keystone.projects, name, lambda: create(name, "default"), domain="default")


def ensure_user(keystone: Any, name: str, domain: str, password: str) -> Any:
    """Return the user of this name in the domain."""
    create = keystone.users.create
    return ensure(
        keystone.users,
        name,
        lambda: create(name, domain=domain, password=password),
        domain=domain,
    )


def ensure(manager: Any, name: str, create: Callable[[], Any], **where: str) -> Any:
    """Return the object of this name, made by ``create`` when there is none."""
    return next((found for found in manager.list(**where) if found.name == name), None) or create()


if __name__ == "__main__":
    main(sys.argv[1])
