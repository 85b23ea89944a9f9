"""The element overcloud-agent-podman: its scripts are run as a build runs them, and Podman reads what they wrote."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import places
from podmanbox import box

ELEMENT = places.ROOT / "elements/overcloud-agent-podman"
CONTAINERS = Path("/etc/containers")
VARIABLES = ("INSECURE_REGISTRIES", "REGISTRY_MIRRORS", "SEARCH_REGISTRIES", "IMAGE_POLICY")
REJECT = [{"type": "reject"}]
ACCEPT = [{"type": "insecureAcceptAnything"}]


class Node:
    """Where the machine's /etc/containers is another directory, and nothing else is different."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.containers = directory / "containers"
        if CONTAINERS.exists():
            shutil.copytree(CONTAINERS, self.containers)
        else:
            self.containers.mkdir()

    def run(self, *argv: str | Path, **more: str) -> subprocess.CompletedProcess[str]:
        """Run a command there; `more` is added to its environment."""
        here = str(self.containers)
        bind = ["unshare", "--mount", "sh", "-c", f'mount --bind "$0" {CONTAINERS} && exec "$@"', here]
        environment = {**os.environ, "no_proxy": "*", "NO_PROXY": "*", **more}
        # What the tests' own Podman has, not this one.
        for name in ("CONTAINERS_CONF", "CONTAINERS_REGISTRIES_CONF", "CONTAINERS_STORAGE_CONF"):
            environment.pop(name, None)
        return subprocess.run([*bind, *argv], env=environment, capture_output=True, text=True, timeout=120)

    def build(self, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run the element's scripts in their order, to the first that fails."""
        scripts = ["extra-data.d/60-overcloud-agent-podman", "install.d/60-overcloud-agent-podman"]
        scripts.append("post-install.d/61-overcloud-agent-podman-keys")
        environment = {f"DIB_OVERCLOUD_AGENT_{name}": variables.get(name, "") for name in VARIABLES}
        for script in scripts:
            done = self.run(ELEMENT / script, **environment)
            if done.returncode != 0:
                break
        return done

    def podman(self, *argv: str) -> subprocess.CompletedProcess[str]:
        """Run Podman with a storage of its own."""
        own = [f"--root={self.directory}/storage", f"--runroot={self.directory}/run", "--storage-driver=vfs"]
        return self.run("podman", *own, *argv)

    def registries(self) -> dict[str, Any]:
        """What Podman has read of registries."""
        shown = self.podman("info", "--format", "json")
        assert shown.returncode == 0, shown.stderr
        return dict(json.loads(shown.stdout)["registries"])


@pytest.fixture
def node() -> Iterator[Node]:
    # Podman wants a short path for what it has at run time.
    with tempfile.TemporaryDirectory(prefix="containers-") as directory:
        yield Node(Path(directory))


def built(node: Node, **variables: str) -> None:
    done = node.build(**variables)
    assert done.returncode == 0, done.stderr


def test_without_variables_the_distribution_s_files_stay(node: Node) -> None:
    before = {path: path.read_bytes() for path in node.containers.rglob("*") if path.is_file()}
    assert node.containers / "policy.json" in before
    built(node)
    assert {path: path.read_bytes() for path in node.containers.rglob("*") if path.is_file()} == before


def test_where_there_is_no_policy_there_is_one(node: Node) -> None:
    (node.containers / "policy.json").unlink()
    built(node)
    assert json.loads((node.containers / "policy.json").read_text()) == {"default": ACCEPT}


def test_an_image_comes_from_the_mirror(node: Node, podman: box.PodmanBox) -> None:
    """The mirror has no TLS, and the registry is not to be reached at all."""
    built(
        node,
        INSECURE_REGISTRIES=f"{podman.registry} registry.example.com",
        REGISTRY_MIRRORS=f"docker.example.com={podman.registry} docker.example.com=mirror.example.com:5000/hub",
        SEARCH_REGISTRIES="docker.example.com",
    )
    found = node.registries()
    assert found["search"] == ["docker.example.com"]
    assert found["registry.example.com"]["Insecure"]
    assert not found["docker.example.com"]["Insecure"]
    mirrors = [(one["Location"], one["Insecure"]) for one in found["docker.example.com"]["Mirrors"]]
    assert mirrors == [(podman.registry, True), ("mirror.example.com:5000/hub", False)]
    for name in ("docker.example.com/service:1", "service:2"):
        pulled = node.podman("pull", "--quiet", name)
        assert pulled.returncode == 0, pulled.stderr
    shown = node.podman("images", "--format", "{{.Repository}}:{{.Tag}}").stdout.split()
    assert sorted(shown) == ["docker.example.com/service:1", "docker.example.com/service:2"]


def test_a_registry_that_is_insecure_and_has_a_mirror(node: Node) -> None:
    """Both are said of one registry, once: Podman refuses to hear contradictions."""
    built(node, INSECURE_REGISTRIES="one.example.com:5000", REGISTRY_MIRRORS="one.example.com:5000=two.example.com")
    found = node.registries()["one.example.com:5000"]
    assert (found["Insecure"], [one["Location"] for one in found["Mirrors"]]) == (True, ["two.example.com"])


def test_no_registry_is_searched(node: Node) -> None:
    built(node, SEARCH_REGISTRIES="none")
    pulled = node.podman("pull", "--quiet", "service:1")
    assert pulled.returncode != 0
    assert "no unqualified-search registries are defined" in pulled.stderr


def test_every_image_is_refused(node: Node, podman: box.PodmanBox) -> None:
    built(node, INSECURE_REGISTRIES=podman.registry, IMAGE_POLICY="reject")
    pulled = node.podman("pull", "--quiet", f"{podman.registry}/service:1")
    assert pulled.returncode != 0
    assert "is rejected by policy" in pulled.stderr


def test_images_of_one_registry_are_taken(node: Node, podman: box.PodmanBox) -> None:
    policy = {"default": REJECT, "transports": {"docker": {podman.registry: ACCEPT}}}
    mirror = f"docker.example.com={podman.registry}"
    built(node, INSECURE_REGISTRIES=podman.registry, REGISTRY_MIRRORS=mirror, IMAGE_POLICY=json.dumps(policy, indent=1))
    taken = node.podman("pull", "--quiet", f"{podman.registry}/service:1")
    assert taken.returncode == 0, taken.stderr
    refused = node.run("skopeo", "copy", "docker://docker.example.com/service:1", f"dir:{node.directory}/copy")
    assert "is rejected by policy" in refused.stderr


def test_a_key_that_is_not_in_the_image_is_named(node: Node) -> None:
    signed = [{"type": "signedBy", "keyType": "GPGKeys", "keyPath": "/etc/pki/none.gpg"}]
    done = node.build(IMAGE_POLICY=json.dumps({"default": REJECT, "transports": {"docker": {"a.example.com": signed}}}))
    assert done.returncode == 1
    assert "keys that are not in the image: /etc/pki/none.gpg" in done.stderr
    assert "hint: bring them with an element of your own" in done.stderr


@pytest.mark.parametrize(
    ("variable", "value", "said", "hint"),
    [
        ("REGISTRY_MIRRORS", "docker.io", "has an entry without =: docker.io", "write REGISTRY=MIRROR, such as"),
        ("REGISTRY_MIRRORS", "docker.io=", "has what is no registry: ", "write HOST, HOST:PORT or HOST:PORT/PATH"),
        ("INSECURE_REGISTRIES", "http://a:5000", "has a scheme: http://a:5000", "write a:5000; "),
        ("INSECURE_REGISTRIES", "a,b", "has what is no registry: a,b", "with spaces between several"),
        ("REGISTRY_MIRRORS", "a=me:secret@b", "has a password", "give credentials to the node (podman login)"),
        ("SEARCH_REGISTRIES", "https://docker.io", "has a scheme: https://docker.io", "write docker.io; "),
        ("IMAGE_POLICY", "accept", "is accept", "it is insecureAcceptAnything, reject, or a JSON object"),
        ("IMAGE_POLICY", '{"default": [}', "is no policy: Expecting value: line 1 column 14", "containers-policy.json"),
        ("IMAGE_POLICY", "{}", "is no policy: $.default is no list", "containers-policy.json(5)"),
        (
            "IMAGE_POLICY",
            '{"default": [{"type": "reject"}], "transports": {"docker": {"a": [{"type": "signed"}]}}}',
            'is no policy: $.transports["docker"]["a"][0].type is "signed", not one of insecureAcceptAnything',
            "containers-policy.json(5)",
        ),
    ],
)
def test_what_cannot_be_ends_the_build(node: Node, variable: str, value: str, said: str, hint: str) -> None:
    done = node.build(**{variable: value})
    assert done.returncode == 1
    first, second = done.stderr.splitlines()
    assert first.startswith(f"overcloud-agent-podman: DIB_OVERCLOUD_AGENT_{variable} {said}")
    assert second.startswith("overcloud-agent-podman: hint: ")
    assert hint in second
    assert "secret" not in done.stderr
    assert not (node.containers / "registries.conf.d/50-overcloud-agent.conf").exists()
