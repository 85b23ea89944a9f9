"""os-collect-config's configuration file, from what Heat says of a server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def text(occ: Mapping[str, Any]) -> str:
    """The file for the attribute `os_collect_config` of a server: options, a list of collectors, and sections."""
    lines = ["[DEFAULT]", f"command = {occ.get('command', 'os-refresh-config')}"]
    lines += [f"collectors = {name}" for name in occ.get("collectors", [])]
    lines += _options({key: value for key, value in occ.items() if key != "command"})
    for name, section in occ.items():
        if isinstance(section, dict):
            lines += ["", f"[{name}]", *_options(section)]
    return "\n".join(lines) + "\n"


def _options(values: Mapping[str, Any]) -> list[str]:
    # A $ begins a reference to another option; Heat says null of what was and is no more.
    plain = {key: value for key, value in values.items() if value is not None and not isinstance(value, (dict, list))}
    return [f"{key} = {str(value).replace('$', '$$')}" for key, value in plain.items()]
