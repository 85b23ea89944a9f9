"""os-apply-config as a library: what its templates make of the node's metadata, written safely.

The templates and their control files are os-apply-config's own. Written is by us, because it gives new files the mode
0644, and some of them hold credentials.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from overcloud_agent import errors, files, redact

log = logging.getLogger(__name__)

# Where os-apply-config looks for metadata before it looks at the files it is given.
_FALLBACK = [
    "/var/cache/heat-cfntools/last_metadata",
    "/var/lib/heat-cfntools/cfn-init-data",
    "/var/lib/cloud/data/cfn-init-data",
]

# They hold pre-signed URLs and passwords, whatever mode a template asks for.
_SECRET = frozenset({"/etc/os-collect-config.conf", "/var/run/heat-config/heat-config"})


def default_directory() -> Path:
    """Where os-apply-config looks for templates on this node."""
    from os_apply_config import apply_config

    return Path(apply_config.templates_dir())


def metadata_files(environ: Mapping[str, str] = os.environ) -> list[Path]:
    """The files that os-apply-config would take the node's metadata from. Raises BadInput."""
    from os_apply_config import apply_config

    if environ.get("OS_CONFIG_FILES"):
        return [Path(part) for part in environ["OS_CONFIG_FILES"].split(":") if part]
    for listing in (apply_config.OS_CONFIG_FILES_PATH, apply_config.OS_CONFIG_FILES_PATH_OLD):
        try:
            listed = apply_config.load_list_from_json(listing)
        except (OSError, ValueError) as error:
            raise errors.BadInput(redact.text(error), path=listing) from None
        if listed:
            return [Path(part) for part in listed]
    return []


def merged(paths: Sequence[Path], deployments: list[object] | None) -> dict[str, Any]:
    """The node's metadata as os-apply-config merges it; `deployments`, already merged by id, replaces its list.

    os-apply-config takes the list of the last file that has one, so that of another source would be lost.
    Raises BadInput.
    """
    from os_apply_config import collect_config, config_exception

    try:
        parsed = list(collect_config.parse_configs(collect_config.read_configs([*_FALLBACK, *map(str, paths)])))
    except (config_exception.ConfigException, ValueError) as error:
        raise errors.BadInput(redact.text(error)) from None
    if deployments:
        for content in parsed:
            # It merges by deep copies, which of thousands of deployments take longer than all the rest.
            if isinstance(content, dict):
                content.pop("deployments", None)
    config = dict(collect_config.merge_configs(parsed))
    if deployments:
        config["deployments"] = deployments
    return config


def render(config: dict[str, Any], directory: Path, output: Path) -> list[str]:
    """Render every template in `directory` into `output`, which stands for `/`; returns the paths that changed.

    All are rendered before any is written. Raises BadInput when one cannot be, and names it.
    """
    from os_apply_config import apply_config

    if not directory.is_dir():
        return []
    tree = {path: _rendered(template, path, config) for template, path in apply_config.template_paths(str(directory))}
    changed = [path for path in sorted(tree) if _write(output / path.lstrip("/"), path, tree[path])]
    for path in changed:
        log.info("os-apply-config: wrote %s", path)
    return changed


def _rendered(template: str, path: str, config: dict[str, Any]) -> Any:
    """What os-apply-config makes of one template, its body as bytes."""
    from os_apply_config import apply_config, config_exception

    try:
        made = apply_config.build_tree([(template, path)], config)[path]
        made.body = made.body.encode()
        return made
    except config_exception.ConfigException:
        # The exception may quote what a script printed, hence what it was given.
        why = ""
    # The rest of what templates and their control files can be wrong with comes as whatever YAML, the template engine,
    # Unicode and the system raise.
    except Exception as error:
        why = f": {type(error).__name__}"
    raise errors.BadInput(f"the template {template} cannot be rendered{why}", hint="try os-apply-config -v")


def _write(target: Path, path: str, made: Any) -> bool:
    """Write one file as os-apply-config's control file says; False when it was like that already."""
    body = made.body
    try:
        if not made.allow_empty and not body:
            existed = target.exists()
            target.unlink(missing_ok=True)
            return existed
        mode, uid, gid = _access(target, path, made)
        if target.is_file() and target.read_bytes() == body and target.stat().st_mode & 0o7777 == mode:
            return False
        target.parent.mkdir(parents=True, exist_ok=True)
        files.write(target, body, mode=mode, uid=uid, gid=gid)
        return True
    except OSError as error:
        raise errors.BadInput(f"cannot write {path}: {error.strerror}") from None


def _access(target: Path, path: str, made: Any) -> tuple[int, int, int]:
    """Mode, owner and group: those of the control file, else those that the file has, else os-apply-config's."""
    status = target.stat() if target.exists() else None
    mode = 0o600 if path in _SECRET else made.mode or (status.st_mode & 0o7777 if status else 0o644)
    uid = made.owner if made.owner is not None else status.st_uid if status else os.geteuid()
    gid = made.group if made.group is not None else status.st_gid if status else os.getegid()
    return mode, uid, gid
