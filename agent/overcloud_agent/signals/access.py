"""What a node reaches Heat with, as far as its configuration says."""

from __future__ import annotations

import dataclasses

from overcloud_agent import settings


@dataclasses.dataclass(frozen=True, kw_only=True)
class Access:
    """What a node is configured to reach Heat with. `cfn_signal_ttl`: seconds that a CFN URL is taken to be valid."""

    ca_certificate: str | None = None
    credentials: settings.Credentials = dataclasses.field(default_factory=settings.Credentials)
    cfn_signal_ttl: float = 900.0


def of(config: settings.Settings, polling: settings.Polling) -> Access:
    """What the configuration has of that."""
    return Access(
        ca_certificate=polling.ca_certificate,
        credentials=polling.credentials,
        cfn_signal_ttl=config.cfn_signal_ttl,
    )
