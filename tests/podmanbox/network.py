"""The box's own default bridge network.

Podman's usual one would share bridge, addresses and firewall rules with any
other Podman of this machine.
"""

import hashlib
import ipaddress
import json

from podmanbox import layout

# Reserved for benchmarks (RFC 2544): neither real networks nor Podman's defaults use it.
_RANGE = ipaddress.ip_network("198.18.0.0/15")
_POOL_PREFIX = 20
SUBNET_PREFIX = 24


def pool(paths: layout.Layout) -> str:
    """Return the address range from which the box's networks get their /24 subnets."""
    pools = list(_RANGE.subnets(new_prefix=_POOL_PREFIX))
    digest = hashlib.sha256(paths.name.encode()).digest()
    return str(pools[digest[0] % len(pools)])


def rename_interface(paths: layout.Layout) -> None:
    """Give the default network's bridge a name that no other Podman comes to.

    Podman numbers bridges (podman1, ...) and sees only those that are up.
    """
    path = paths.networks / f"{paths.name}.json"
    definition = json.loads(path.read_text())
    definition["network_interface"] = paths.name
    path.write_text(json.dumps(definition, indent=1))
