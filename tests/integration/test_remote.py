"""Digests and sizes that a real registry tells through skopeo, compared with what Podman then pulls."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from overcloud_agent.containers import remote
from podmanbox import box

NOTHING = remote.Held(images={}, layers=())

needs_skopeo = pytest.mark.skipif(not shutil.which("skopeo"), reason="`make packages` installs skopeo")


@pytest.fixture
def empty(podman: box.PodmanBox, monkeypatch: pytest.MonkeyPatch) -> Iterator[box.PodmanBox]:
    """The session's Podman without the images of the registry, and its registries.conf."""
    for key, value in podman.env.items():
        monkeypatch.setenv(key, value)
    forget(podman)
    yield podman
    forget(podman)


def forget(podman: box.PodmanBox) -> None:
    podman.remove_containers()
    for image in json.loads(podman.podman("images", "--format", "json")):
        if any(name.startswith(podman.registry) for name in image.get("Names") or []):
            podman.podman("rmi", "--force", image["Id"])


def held(podman: box.PodmanBox) -> remote.Held:
    """What local storage has, as the engine would tell it."""
    images: dict[str, str] = {}
    layers: set[str] = set()
    for image in json.loads(podman.podman("images", "--format", "json")):
        document: dict[str, Any] = json.loads(podman.podman("image", "inspect", image["Id"]))[0]
        for name in [*(document["RepoTags"] or []), *(document["RepoDigests"] or [])]:
            images[name] = document["Digest"]
        layers |= set(document["RootFS"]["Layers"])
    return remote.Held(images=images, layers=layers)


def digest_when_pulled(podman: box.PodmanBox, reference: str) -> str:
    podman.podman("pull", "-q", reference)
    return str(json.loads(podman.podman("image", "inspect", reference))[0]["Digest"])


def fetched(podman: box.PodmanBox, since: int) -> int:
    """Bytes of layers that the registry has handed out, by its own log."""
    log = (podman.directory / "log" / "registry.log").read_bytes()[since:].decode()
    blobs = {digest: int(size) for digest, size in re.findall(r'"GET /v2/\S+/blobs/(\S+) HTTP/1.1" 200 (\d+)', log)}
    configs = {image["Id"] for image in json.loads(podman.podman("images", "--format", "json"))}
    return sum(size for digest, size in blobs.items() if digest.removeprefix("sha256:") not in configs)


def log_size(podman: box.PodmanBox) -> int:
    return (podman.directory / "log" / "registry.log").stat().st_size


def oci(podman: box.PodmanBox, source: str, name: str) -> str:
    """Push an image in OCI's format; returns its reference."""
    reference = f"{podman.registry}/{name}"
    podman.podman("pull", "-q", f"{podman.registry}/{source}")
    podman.podman("tag", f"{podman.registry}/{source}", reference)
    podman.podman("push", "-q", "--format=oci", reference)
    forget(podman)
    return reference


@needs_skopeo
@pytest.mark.parametrize("kind", ["docker", "oci"])
def test_digest_and_size_are_those_of_the_pull(empty: box.PodmanBox, kind: str) -> None:
    reference = oci(empty, "service:1", "oci:1") if kind == "oci" else f"{empty.registry}/service:1"
    everything = remote.look_up(reference, NOTHING)
    # Another image has the same base, so what is fetched is less.
    empty.podman("pull", "-q", f"{empty.registry}/service:2")
    some = remote.look_up(reference, held(empty))
    assert everything.bytes_to_pull
    assert some.bytes_to_pull
    assert everything.bytes_to_pull > some.bytes_to_pull + 500_000
    assert (everything.note, some.note) == ("", "")

    before = log_size(empty)
    assert digest_when_pulled(empty, reference) == some.digest == everything.digest
    assert fetched(empty, before) == some.bytes_to_pull

    assert remote.look_up(reference, held(empty)) == remote.Found(digest=some.digest, bytes_to_pull=0)


@needs_skopeo
def test_a_list_has_the_digest_of_the_list_and_the_size_of_our_architecture(empty: box.PodmanBox) -> None:
    one, reference = oci(empty, "service:1", "oci:1"), f"{empty.registry}/multi:1"
    empty.podman("manifest", "create", reference)
    empty.podman("manifest", "add", reference, f"docker://{one}")
    empty.podman("manifest", "add", "--arch=s390x", reference, f"docker://{empty.registry}/service:2")
    empty.podman("manifest", "push", "--all", reference, f"docker://{reference}")
    empty.podman("manifest", "rm", reference)

    found = remote.look_up(reference, held(empty))
    assert found.bytes_to_pull == remote.look_up(one, held(empty)).bytes_to_pull
    assert digest_when_pulled(empty, reference) == found.digest
    forget(empty)

    none = remote.look_up(reference, NOTHING, architecture="riscv64")
    assert none == remote.Found(
        digest=found.digest, note="how much is to be pulled is not known: it has no image for linux/riscv64"
    )


@needs_skopeo
def test_layers_that_nobody_looked_for_are_all_counted(empty: box.PodmanBox) -> None:
    found = remote.look_up(f"{empty.registry}/service:1", remote.Held(images={}))
    assert found.bytes_to_pull == remote.look_up(f"{empty.registry}/service:1", NOTHING).bytes_to_pull
    assert found.note == "at most, for all layers are counted"


@needs_skopeo
def test_a_digest_is_looked_up_also_with_a_tag(empty: box.PodmanBox) -> None:
    digest = remote.look_up(f"{empty.registry}/service:2", NOTHING).digest
    for reference in (f"{empty.registry}/service@{digest}", f"{empty.registry}/service:1@{digest}"):
        found = remote.look_up(reference, NOTHING)
        assert found.digest == digest
        assert found.bytes_to_pull


@needs_skopeo
def test_what_the_registry_does_not_have_is_not_known(empty: box.PodmanBox) -> None:
    found = remote.look_up(f"{empty.registry}/service:none", NOTHING)
    assert (found.digest, found.bytes_to_pull) == (None, None)
    assert "manifest unknown" in found.note
    assert "msg=" not in found.note


@needs_skopeo
def test_a_registry_that_is_away_is_said_to_be(empty: box.PodmanBox) -> None:
    found = remote.look_up("127.0.0.1:1/service:1", NOTHING)
    assert (found.digest, found.bytes_to_pull) == (None, None)
    assert "connection refused" in found.note


# Without any registry

PINNED = "registry.example/service@sha256:" + "a" * 64


def test_a_pinned_image_that_is_here_needs_no_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    digest = "sha256:" + "a" * 64
    here = remote.Held(images={PINNED: digest})
    assert remote.look_up(PINNED, here) == remote.Found(digest=digest, bytes_to_pull=0)


def test_without_skopeo_only_a_pinned_digest_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    note = "the registry was not asked: skopeo is not installed"
    assert remote.look_up("registry.example/service:1", NOTHING) == remote.Found(note=note)
    assert remote.look_up(PINNED, NOTHING) == remote.Found(digest="sha256:" + "a" * 64, note=note)


@pytest.mark.parametrize("reference", ["service:1", "library/service"])
def test_a_short_name_is_not_taken_for_one_of_docker_io(reference: str) -> None:
    found = remote.look_up(reference, NOTHING)
    assert found == remote.Found(note=f"the registry was not asked: {reference} does not name its registry")


def test_an_image_of_this_node_alone_is_not_looked_for() -> None:
    here = remote.Held(images={"localhost/made-here:latest": "sha256:x"})
    assert remote.look_up("localhost/made-here", here) == remote.Found(digest="sha256:x", bytes_to_pull=0)
    assert remote.look_up("localhost/other", here) == remote.Found(note="there is no such image")
