"""What a registry has under an image's reference, without pulling it: digest, and bytes that a pull would fetch.

Podman's API cannot tell. GET /libpod/manifests/REFERENCE/json of Podman 4.3 answers for an image that is no list with
`manifests: null`, or an error, and for a list without the sizes of layers. So skopeo is asked, which uses the same
registries.conf, certificates and credentials as Podman does; a node without it has plans without these two facts.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
import shutil
from collections.abc import Collection, Mapping
from typing import Any

from overcloud_agent import redact, run
from overcloud_agent.containers import pulls

# Seconds for one question to a registry, and bytes of its longest answer: a registry takes manifests of up to 4 MiB.
TIMEOUT = 30.0
_LIMIT = 16 * 1024 * 1024

_DIGEST = re.compile(r"@(sha256:[0-9a-f]{64})$")
_TAG = re.compile(r":[^/:]+$")

# What the kernel calls an architecture, and Go, whose words are in images.
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "armv6l": "arm", "i686": "386"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Held:
    """What local storage has."""

    images: Mapping[str, str]
    """Digests by names: RepoTags and RepoDigests of GET /libpod/images/json."""
    layers: Collection[str] | None = None
    """RootFS.Layers of all images, which are the digests of layers unpacked; None when nobody looked."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Found:
    """What is known of one reference; None for what is not."""

    digest: str | None = None
    """As Podman calls it: that of the list, where the reference is one of many architectures."""
    bytes_to_pull: int | None = None
    note: str = ""
    """Why something is not known, or is only a bound; for people."""


class _Unknown(Exception):
    """The registry did not tell; the text says why."""


def look_up(reference: str, held: Held, *, architecture: str = "", timeout: float = TIMEOUT) -> Found:
    """What the registry has under `reference` now. Takes up to four questions of `timeout` seconds each.

    `architecture` is that of the node as Go calls it (amd64), or empty for the kernel's. Nothing is raised: what is
    not known has a note.
    """
    pinned = _DIGEST.search(reference)
    digest = pinned.group(1) if pinned else None
    if digest in held.images.values():
        return Found(digest=digest, bytes_to_pull=0)
    if reference.startswith("localhost/"):
        local = held.images.get(reference) or held.images.get(f"{reference}:latest")
        return Found(digest=local, bytes_to_pull=0 if local else None, note="" if local else "there is no such image")
    try:
        skopeo = _Skopeo(reference, timeout)
        raw = skopeo.manifest()
    except _Unknown as reason:
        return Found(digest=digest, note=f"the registry was not asked: {reason}")
    # The digest of a manifest is that of its bytes.
    digest = "sha256:" + hashlib.sha256(raw).hexdigest()
    if digest in held.images.values():
        return Found(digest=digest, bytes_to_pull=0)
    try:
        manifest = _one_of(skopeo, _document(raw), architecture or _ours())
        return _weigh(digest, manifest, skopeo, held.layers)
    except _Unknown as reason:
        return Found(digest=digest, note=f"how much is to be pulled is not known: {reason}")


def _ours() -> str:
    machine = os.uname().machine
    return _ARCHITECTURES.get(machine, machine)


def _one_of(skopeo: _Skopeo, document: Mapping[str, Any], architecture: str) -> Mapping[str, Any]:
    """The manifest of the image itself, where the reference is a list of one for each architecture."""
    if "manifests" not in document:
        return document
    for entry in document["manifests"]:
        platform = entry.get("platform") or {}
        if (platform.get("os"), platform.get("architecture")) == ("linux", architecture):
            return _document(skopeo.manifest(str(entry.get("digest", ""))))
    raise _Unknown(f"it has no image for linux/{architecture}")


def _weigh(digest: str, manifest: Mapping[str, Any], skopeo: _Skopeo, held: Collection[str] | None) -> Found:
    try:
        sizes = [int(layer["size"]) for layer in manifest["layers"]]
    except (LookupError, TypeError, ValueError):
        raise _Unknown("its manifest is in a format without sizes") from None
    everything = Found(digest=digest, bytes_to_pull=sum(sizes), note="at most, for all layers are counted")
    if held is None:
        return everything
    try:
        # The config names the layers as local storage does; in the manifest they are compressed.
        names = _document(skopeo.config())["rootfs"]["diff_ids"]
    except (_Unknown, LookupError, TypeError):
        return everything
    if len(names) != len(sizes):
        return everything
    missing = {name: size for name, size in zip(names, sizes, strict=True) if name not in held}
    return Found(digest=digest, bytes_to_pull=sum(missing.values()))


def _document(raw: bytes) -> Mapping[str, Any]:
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise _Unknown("the registry's answer is no manifest")
    return document


class _Skopeo:
    """Questions about one reference."""

    def __init__(self, reference: str, timeout: float) -> None:
        if not pulls.names_registry(reference):
            # Podman looks a short name up in registries.conf; skopeo takes it for one of docker.io.
            raise _Unknown(f"{reference} does not name its registry")
        program = shutil.which("skopeo")
        if not program:
            raise _Unknown("skopeo is not installed")
        configuration = os.environ.get("CONTAINERS_REGISTRIES_CONF")
        # Podman heeds this variable; skopeo has to be told.
        self._argv = [program, *(["--registries-conf", configuration] if configuration else []), "inspect"]
        # It takes a tag or a digest, and of the two the digest counts.
        self._repository = _TAG.sub("", _DIGEST.sub("", reference))
        pinned = _DIGEST.search(reference)
        self._reference = self._repository + pinned.group() if pinned else reference
        self._timeout = timeout

    def manifest(self, digest: str = "") -> bytes:
        """The manifest, byte for byte: of the reference, or of another digest in its repository."""
        return self._ask("--raw", f"docker://{f'{self._repository}@{digest}' if digest else self._reference}")

    def config(self) -> bytes:
        """The config of the image; skopeo itself picks the one of the node's architecture."""
        return self._ask("--config", "--raw", f"docker://{self._reference}")

    def _ask(self, *words: str) -> bytes:
        try:
            done = run.hook([*self._argv, *words], b"", timeout=self._timeout, limit=_LIMIT)
        except OSError as error:
            raise _Unknown(f"skopeo cannot be started: {error.strerror}") from None
        if done.timed_out:
            raise _Unknown(f"the registry did not answer within {self._timeout:g} seconds")
        if done.returncode != 0:
            said = done.stderr.decode(errors="replace").strip().splitlines() or [""]
            raise _Unknown(redact.text(_message(said[-1])))
        return done.stdout


def _message(line: str) -> str:
    """The message of one of skopeo's lines `time="..." level=fatal msg="..."`."""
    match = re.search(r'msg=("(?:[^"\\]|\\.)*")', line)
    try:
        return str(json.loads(match.group(1))) if match else line
    except ValueError:
        return line
