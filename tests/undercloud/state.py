"""What one undercloud remembers between runs: its ports, its passwords and its settings.

The ports must stay the same because they stand in Keystone's catalogue and in the metadata that
nodes were given; the passwords because they stand in the databases.
"""

import dataclasses
import json
import random
import secrets
import socket

from undercloud import errors
from undercloud import layout as layouts

_PORTS_TO_TRY = range(20000, 32000)
# The kernel takes the source ports of outgoing connections from 32768 upwards.  A port from that
# range could be in use by anybody's connection when the undercloud comes up again.


@dataclasses.dataclass(frozen=True)
class Ports:
    """The loopback TCP ports of the services."""

    keystone: int
    heat: int
    cfn: int


@dataclasses.dataclass(frozen=True)
class Secrets:
    """Generated passwords (hexadecimal, so no configuration format needs quoting) and keys."""

    admin: str
    demo: str
    heat_service: str
    stack_domain_admin: str
    heat_encryption_key: str


@dataclasses.dataclass(frozen=True)
class State:
    """Everything in undercloud.json; ``auth_ttl`` is in minutes, None for Keystone's default."""

    ports: Ports
    secrets: Secrets
    auth_ttl: int | None

    @property
    def keystone_root(self) -> str:
        """Keystone's address as the catalogue has it.

        It must not end in /v3, because Heat appends /v3/ec2tokens to the catalogue's address.
        """
        return f"http://{layouts.ADDRESS}:{self.ports.keystone}"

    @property
    def keystone_url(self) -> str:
        """Keystone's version 3 API, the value of OS_AUTH_URL."""
        return f"{self.keystone_root}/v3"

    @property
    def heat_root(self) -> str:
        """The root of the Heat API."""
        return f"http://{layouts.ADDRESS}:{self.ports.heat}"

    @property
    def cfn_root(self) -> str:
        """The root of Heat's CloudFormation API, where nodes poll and signal."""
        return f"http://{layouts.ADDRESS}:{self.ports.cfn}"


def load(layout: layouts.Layout) -> State | None:
    """Return the stored state, or None when there is none; raise UndercloudError if unreadable."""
    try:
        text = layout.state_file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    try:
        stored = json.loads(text)
        return State(Ports(**stored["ports"]), Secrets(**stored["secrets"]), stored["auth_ttl"])
    except (ValueError, KeyError, TypeError) as error:
        raise errors.UndercloudError(
            f"{layout.state_file} does not hold the state of an undercloud ({error}).",
            "start afresh with 'down --wipe', or use another directory.",
        ) from error


def store(layout: layouts.Layout, state: State) -> None:
    """Write the state with mode 0600."""
    text = json.dumps(dataclasses.asdict(state), indent=2)
    layouts.write_private(layout.state_file, text + "\n")


def create(auth_ttl: int | None) -> State:
    """Return a new state with free ports and fresh passwords."""
    return State(
        ports=_free_ports(),
        secrets=Secrets(
            admin=secrets.token_hex(16),
            demo=secrets.token_hex(16),
            heat_service=secrets.token_hex(16),
            stack_domain_admin=secrets.token_hex(16),
            # Heat wants exactly 32 characters here.
            heat_encryption_key=secrets.token_hex(16),
        ),
        auth_ttl=auth_ttl,
    )


def port_is_free(port: int) -> bool:
    """Tell whether a service could listen on this loopback port now."""
    with socket.socket() as probe:
        # As the services do: connections in TIME_WAIT from an earlier run do not matter.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((layouts.ADDRESS, port))
        except OSError:
            return False
    return True


def _free_ports() -> Ports:
    candidates = random.sample(_PORTS_TO_TRY, 100)
    free = [port for port in candidates if port_is_free(port)]
    if len(free) < 3:
        raise errors.UndercloudError("No three free ports on loopback were found.")
    return Ports(*free[:3])
