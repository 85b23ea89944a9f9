"""The last good content of every source, in os-collect-config's cache directory.

The files are those of os-collect-config, so what reads them (os-apply-config, hooks) finds what it knows: one
`<key>.json` for each key that a source has, one for the config of each deployment of the groups os-apply-config and
Heat::Ungrouped, and `os_config_files.json`, the list of them in order. Unlike there, a source that does not answer
stays in the list, files hold no more than they must (0600, no `.orig` and `.last` beside them), and what left the
metadata is removed. `sources.json` in the state directory says which keys are whose.
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from overcloud_agent import collect, errors, files, merge, model

log = logging.getLogger(__name__)

# Groups whose config is metadata for os-apply-config's templates; Heat calls the group Heat::Ungrouped when a config
# has none.
TEMPLATE_GROUPS = ("os-apply-config", "Heat::Ungrouped")

# What the cache has files for already, or reads itself.
_RESERVED = frozenset({"cfn", "heat", "request", "zaqar", "heat_local", "ec2", "os_config_files", ""})


class Metadata:
    """What the node knows. All methods raise SourceError when the cache cannot be written."""

    def __init__(
        self,
        cachedir: Path,
        state_dir: Path,
        sources: Sequence[str],
        deployment_keys: Sequence[str],
        identities: Mapping[str, str] | None = None,
    ) -> None:
        """`identities` tells whose metadata each source serves: what it served of another server does not count."""
        self._labels = {source: f"{source} {(identities or {}).get(source, '')}".strip() for source in sources}
        self._cachedir = cachedir
        self._index = state_dir / "sources.json"
        self._deployment_keys = deployment_keys
        stored = _read(self._index)
        known = stored if isinstance(stored, dict) else {}
        self._keys: dict[str, list[str] | None] = {
            source: self._whole(known.get(self._labels[source])) for source in sources
        }

    def _whole(self, keys: object) -> list[str] | None:
        """The keys of a source if all that they stand for is there still: a cache may have been emptied."""
        names = [str(key) for key in keys] if isinstance(keys, list) else [""]
        return names if all(isinstance(_read(self._path(name)), dict) for name in names) else None

    def heard(self, source: str) -> bool:
        """Whether the source has ever answered."""
        return self._keys.get(source) is not None

    def has(self, source: str) -> bool:
        """Whether what the source answered last is still there."""
        keys = self._keys.get(source)
        return keys is not None and all(self._path(key).exists() for key in keys)

    def update(self, source: str, content: collect.Content) -> None:
        """Keep what a source answered; it is safe from a power cut when this returns."""
        keys = [_file_key(key, source) for key, _ in content]
        try:
            files.private_directory(self._cachedir)
            for key, (_, metadata) in zip(keys, content, strict=True):
                files.write(self._path(key), json.dumps(metadata).encode())
            self._keys[source] = keys
            kept = {self._labels[name]: names for name, names in self._keys.items()}
            files.write(self._index, json.dumps(kept).encode())
        except OSError as error:
            raise errors.SourceError(
                f"cannot keep what it answered in {self._cachedir}: {error.strerror}", hint="is the disk full?"
            ) from None

    def lists(self) -> dict[str, list[object] | None]:
        """The deployments of each source, as it lists them; None for one that has never answered.

        What was kept and cannot be read is as if it had never come: nothing follows from it.
        """
        return {source: self._deployments(keys) for source, keys in self._keys.items()}

    def _deployments(self, keys: list[str] | None) -> list[object] | None:
        contents = [_read(self._path(key)) for key in keys or ()]
        if keys is None or not all(isinstance(content, dict) for content in contents):
            return None
        return [document for content in contents for name in self._deployment_keys for document in _list(content, name)]

    def publish(self, listed: Mapping[str, merge.Listed]) -> list[Path]:
        """Write what is in the merged list for os-apply-config, and the list of all files; returns that list."""
        before = _read(self._path("os_config_files"))
        names: list[str] = []
        for source, keys in self._keys.items():
            names += [name for name in keys or () if name not in names]
            names += self._write_configs(source, listed)
        paths = [self._path(name) for name in names]
        try:
            files.private_directory(self._cachedir)
            files.write(self._path("os_config_files"), json.dumps([str(path) for path in paths]).encode())
            for text in before if isinstance(before, list) else ():
                if isinstance(text, str) and Path(text).parent == self._cachedir and Path(text) not in paths:
                    Path(text).unlink(missing_ok=True)
        except OSError as error:
            raise errors.SourceError(f"cannot write {self._cachedir}: {error.strerror}") from None
        return paths

    def _write_configs(self, source: str, listed: Mapping[str, merge.Listed]) -> list[str]:
        """Write the configs of one source's deployments that are metadata themselves; returns their keys."""
        names: list[str] = []
        taken = {key for keys in self._keys.values() for key in keys or ()}
        for entry in listed.values():
            document = entry.document
            if entry.source == source and is_for_templates(document) and isinstance(document, dict):
                # What is wrong with one of them is told when it is answered.
                with contextlib.suppress(errors.BadInput, OSError):
                    name = template_key(document)
                    if name in taken:
                        log.warning("%s: a file of the local metadata has that name, and stays", name)
                        continue
                    files.write(self._path(name), json.dumps(document.get("config")).encode())
                    names.append(name)
        return names

    def _path(self, key: str) -> Path:
        return self._cachedir / f"{key}.json"


def is_for_templates(document: object) -> bool:
    """Whether a deployment's config is metadata for os-apply-config's templates."""
    return isinstance(document, dict) and (document.get("group") or "Heat::Ungrouped") in TEMPLATE_GROUPS


def template_key(document: Mapping[str, Any]) -> str:
    """The name under which such a deployment's config is kept. Raises BadInput when its own name makes none."""
    name = document.get("name")
    key = name if isinstance(name, str) else ""
    if key in _RESERVED or key.startswith(".") or set(key) & set("/:\0") or len(key) > 200:
        raise errors.BadInput(
            f"{model.plain(key[:80])!r} cannot be the name of a deployment of the group os-apply-config",
            path="$.name",
            hint="it becomes a file's name: without '/' and ':', no '.' in front, and not a collector's name",
        )
    if not isinstance(document.get("config"), dict):
        raise errors.BadInput("Expected `object`", path="$.config", hint="it is merged into the node's metadata")
    return key


def _file_key(key: str, source: str) -> str:
    """A collector's key as part of a file's name; the local collector's are names of files already.

    One that is another collector's name would take its place.
    """
    if key.startswith(".") or set(key) & set("/\0") or (key in _RESERVED and key != source):
        raise errors.SourceError(f"{model.plain(key)!r} cannot be part of a file's name")
    return key


def _read(path: Path) -> Any:
    """The JSON in a file; None when there is none."""
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None


def _list(content: object, name: str) -> list[object]:
    listed = content.get(name) if isinstance(content, dict) else None
    return listed if isinstance(listed, list) else []
