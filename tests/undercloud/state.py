"""What one undercloud remembers between runs: its ports, its passwords and its settings.

The ports must stay the same because they stand in Keystone's catalogue and in the metadata that
nodes were given; the passwords because they stand in the databases.
"""

import dataclasses
import json
import random
import secrets
import socket
from collections.abc import Collection

from undercloud import errors
from undercloud import layout as layouts

OPTIONAL = ("swift", "zaqar")
"""The services that an undercloud has only if somebody asks for them."""

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
class Swift:
    """The object store: the ports of its proxy and of the three servers behind it, and its user's password."""

    port: int
    object_port: int
    container_port: int
    account_port: int
    password: str


@dataclasses.dataclass(frozen=True)
class Zaqar:
    """The message queue: its ports, those of its notifications and its Redis, and passwords."""

    port: int
    websocket_port: int
    notification_port: int
    redis_port: int
    password: str
    redis_password: str
    signing_key: str


@dataclasses.dataclass(frozen=True)
class State:
    """Everything in undercloud.json; ``auth_ttl`` is in minutes, None for Keystone's default.

    ``address`` is where Keystone and Heat listen; the optional services listen on loopback alone.

    An optional service is None unless it was asked for.
    """

    ports: Ports
    secrets: Secrets
    auth_ttl: int | None
    address: str = layouts.ADDRESS
    swift: Swift | None = None
    zaqar: Zaqar | None = None

    @property
    def services(self) -> tuple[str, ...]:
        """The names of the optional services that this undercloud has."""
        return tuple(name for name in OPTIONAL if getattr(self, name) is not None)

    @property
    def keystone_root(self) -> str:
        """Keystone's address as the catalogue has it.

        It must not end in /v3, because Heat appends /v3/ec2tokens to the catalogue's address.
        """
        return f"http://{self.address}:{self.ports.keystone}"

    @property
    def keystone_url(self) -> str:
        """Keystone's version 3 API, the value of OS_AUTH_URL."""
        return f"{self.keystone_root}/v3"

    @property
    def heat_root(self) -> str:
        """The root of the Heat API."""
        return f"http://{self.address}:{self.ports.heat}"

    @property
    def cfn_root(self) -> str:
        """The root of Heat's CloudFormation API, where nodes poll and signal."""
        return f"http://{self.address}:{self.ports.cfn}"

    @property
    def urls(self) -> dict[str, str]:
        """The root addresses of the optional services that this undercloud has, by their title."""
        urls: dict[str, str] = {}
        if self.swift:
            urls["Swift"] = f"http://{layouts.ADDRESS}:{self.swift.port}"
        if self.zaqar:
            urls["Zaqar"] = f"http://{layouts.ADDRESS}:{self.zaqar.port}"
            urls["Websocket"] = f"ws://{layouts.ADDRESS}:{self.zaqar.websocket_port}"
        return urls


def load(layout: layouts.Layout) -> State | None:
    """Return the stored state, or None when there is none; raise UndercloudError if unreadable."""
    try:
        text = layout.state_file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    try:
        stored = json.loads(text)
        # A state from before there were optional services has none of them.
        swift, zaqar = stored.get("swift"), stored.get("zaqar")
        return State(
            ports=Ports(**stored["ports"]),
            secrets=Secrets(**stored["secrets"]),
            auth_ttl=stored["auth_ttl"],
            address=stored.get("address", layouts.ADDRESS),
            swift=Swift(**swift) if swift else None,
            zaqar=Zaqar(**zaqar) if zaqar else None,
        )
    except (ValueError, KeyError, TypeError) as error:
        raise errors.UndercloudError(
            f"{layout.state_file} does not hold the state of an undercloud ({error}).",
            "start afresh with 'down --wipe', or use another directory.",
        ) from error


def store(layout: layouts.Layout, state: State) -> None:
    """Write the state with mode 0600."""
    text = json.dumps(dataclasses.asdict(state), indent=2)
    layouts.write_private(layout.state_file, text + "\n")


def create(auth_ttl: int | None, address: str = layouts.ADDRESS) -> State:
    """Return a new state with free ports on the address and fresh passwords."""
    return State(
        ports=Ports(*_free_ports(3, address=address)),
        secrets=Secrets(
            admin=secrets.token_hex(16),
            demo=secrets.token_hex(16),
            heat_service=secrets.token_hex(16),
            stack_domain_admin=secrets.token_hex(16),
            # Heat wants exactly 32 characters here.
            heat_encryption_key=secrets.token_hex(16),
        ),
        auth_ttl=auth_ttl,
        address=address,
    )


def with_services(state: State, names: Collection[str]) -> State:
    """Return the state with these optional services; what it has already stays as it is."""
    if "swift" in names and state.swift is None:
        state = dataclasses.replace(state, swift=_create_swift(_ports_of(state)))
    if "zaqar" in names and state.zaqar is None:
        state = dataclasses.replace(state, zaqar=_create_zaqar(_ports_of(state)))
    return state


def port_is_free(port: int, address: str = layouts.ADDRESS) -> bool:
    """Tell whether a service could listen on this port now."""
    with socket.socket() as probe:
        # As the services do: connections in TIME_WAIT from an earlier run do not matter.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError:
            return False
    return True


def _create_swift(taken: Collection[int]) -> Swift:
    ports = _free_ports(4, taken)
    return Swift(
        port=ports[0],
        object_port=ports[1],
        container_port=ports[2],
        account_port=ports[3],
        password=secrets.token_hex(16),
    )


def _create_zaqar(taken: Collection[int]) -> Zaqar:
    ports = _free_ports(4, taken)
    return Zaqar(
        port=ports[0],
        websocket_port=ports[1],
        notification_port=ports[2],
        redis_port=ports[3],
        password=secrets.token_hex(16),
        redis_password=secrets.token_hex(16),
        signing_key=secrets.token_hex(16),
    )


def _free_ports(count: int, but: Collection[int] = (), address: str = layouts.ADDRESS) -> list[int]:
    candidates = random.sample(_PORTS_TO_TRY, 100)
    free = [port for port in candidates if port not in but and port_is_free(port, address)]
    if len(free) < count:
        raise errors.UndercloudError(f"{count} free ports on {address} were not found.")
    return free[:count]


def _ports_of(state: State) -> set[int]:
    # Those of services that do not run look free.
    groups = [dataclasses.asdict(group) for group in (state.ports, state.swift, state.zaqar) if group]
    return {value for group in groups for value in group.values() if isinstance(value, int)}
