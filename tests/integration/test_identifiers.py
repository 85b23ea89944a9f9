"""`overcloud-agent identifiers` against the commands in docs/identifiers.md, on real packages, trees and containers."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

import heatlike
import nodes
import places
from benchmarks.packages import roots
from overcloud_agent.packages import inventory, select
from podmanbox import box

DPKG = Path("/var/lib/dpkg/status")


@pytest.fixture
def tree(tmp_path: Path, node: nodes.Node) -> Path:
    """A Puppet module in the node's only content tree."""
    root = tmp_path / "modules"
    (root / "nova" / "manifests").mkdir(parents=True)
    (root / "nova" / "manifests" / "init.pp").write_text("class nova {}\n")
    (root / "nova" / "files").symlink_to("manifests")
    node.configure(content_trees=root)
    return root


def identifiers(node: nodes.Node) -> dict[str, Any]:
    done = node.run("identifiers", "--json")
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def content(node: nodes.Node, tree: Path) -> str:
    return str(identifiers(node)["content_identifiers"][str(tree)])


def documented(part: str, **variables: str) -> str:
    """What the command says that the documentation has for an identifier: the one with `part` in it."""
    text = (places.ROOT / "docs" / "identifiers.md").read_text()
    (found,) = (one for one in re.findall(r"```(?:ba)?sh\n(.*?)```", text, re.DOTALL) if part in one)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", found],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **variables},
        timeout=120,
    )
    return "sha256:" + done.stdout.split()[0]


def test_packages_are_those_of_dpkg(node: nodes.Node, tree: Path) -> None:
    first = identifiers(node)
    assert first["packages_identifier"] == documented("dpkg-query")
    assert identifiers(node) == first


def test_packages_are_those_of_rpm(tmp_path: Path) -> None:
    with roots.with_rpms(tmp_path, 20) as root:
        found = inventory.identifier(select.backend(root), tmp_path / "state")
        # The documented command asks the machine's own rpm, so it is told of another database.
        (tmp_path / "home" / ".rpmmacros").write_text(f"%_dbpath {root}/var/lib/rpm\n")
        assert found == documented("rpm -qa", HOME=str(tmp_path / "home"))


def test_a_tree_is_what_find_finds(node: nodes.Node, tree: Path) -> None:
    (tree / "nova" / "a name\nof two lines").mkdir(mode=0o2755)
    (tree / "nova" / "a name\nof two lines" / os.fsdecode(b"\xff\xfe.pp")).write_bytes(b"\0")
    (tree / "nova" / "-n").touch(mode=0o4700)
    (tree / "nova" / "empty").mkdir()
    (tree / "nova" / "nowhere").symlink_to(os.fsdecode(b"../no\xffwhere\n"))
    (tree / "nova-compute").touch()
    (tree / ".git").mkdir()
    (tree / ".git" / "index").touch()
    (tree / "nova" / "init.pp.dpkg-dist").touch()
    os.mkfifo(tree / "pipe")
    assert content(node, tree) == documented("$TREE", TREE=str(tree))


def test_it_is_the_same_by_package_and_by_rsync(node: nodes.Node, tree: Path, tmp_path: Path) -> None:
    by_rsync = tmp_path / "by-rsync"
    subprocess.run(["rsync", "--archive", f"{tree}/", by_rsync], check=True)
    build = tmp_path / "build"
    shutil.copytree(tree, build / "etc/puppet/modules", symlinks=True)
    (build / "DEBIAN").mkdir()
    control = "Package: modules\nVersion: 1\nArchitecture: all\nMaintainer: A <a@example.org>\nDescription: modules\n"
    (build / "DEBIAN" / "control").write_text(control)
    subprocess.run(["dpkg-deb", "--root-owner-group", "--build", build, tmp_path / "m.deb"], check=True)
    subprocess.run(["dpkg-deb", "--extract", tmp_path / "m.deb", tmp_path / "node"], check=True)
    by_package = tmp_path / "node/etc/puppet/modules"
    node.configure(content_trees=f"{tree},{by_rsync},{by_package}")
    found = identifiers(node)["content_identifiers"]
    assert len(found) == 3
    assert len(set(found.values())) == 1


def test_an_rsync_that_keeps_size_and_time_is_noticed(node: nodes.Node, tree: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(tree, source, symlinks=True)
    first = content(node, tree)
    changed = source / "nova/manifests/init.pp"
    before = changed.stat()
    changed.write_text("class novb {}\n")
    os.utime(changed, ns=(before.st_atime_ns, before.st_mtime_ns))
    subprocess.run(["rsync", "--archive", "--checksum", f"{source}/", tree], check=True)
    after = (tree / "nova/manifests/init.pp").stat()
    assert (after.st_size, after.st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    assert content(node, tree) not in (first, "")


def test_for_people(node: nodes.Node, tree: Path, tmp_path: Path) -> None:
    node.configure(content_trees=f"{tree},{tmp_path}/missing")
    done = node.run("identifiers")
    assert done.returncode == 0, done.stderr
    lines = dict(line.split() for line in done.stdout.splitlines())
    assert list(lines) == ["packages", str(tree), f"{tmp_path}/missing", "containers"]
    assert lines["containers"] == "-"
    assert f"note: {tmp_path}/missing is not there" in done.stderr
    assert "note: containers are not identified: there is no Podman at /nonexistent/podman.sock" in done.stderr


def test_another_root(node: nodes.Node, tree: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "var/lib/dpkg/updates").mkdir(parents=True)
    shutil.copy(DPKG, root / "var/lib/dpkg/status")
    shutil.copytree(tree, root / "etc/puppet/modules", symlinks=True)
    here = identifiers(node)
    node.configure(packages_root=root, content_trees="/etc/puppet/modules")
    found = identifiers(node)
    assert found["packages_identifier"] == here["packages_identifier"]
    assert found["content_identifiers"] == {"/etc/puppet/modules": here["content_identifiers"][str(tree)]}
    (root / "etc/puppet/modules").rename(root / "etc/puppet/new")
    (root / "etc/puppet/modules").symlink_to("new")
    assert identifiers(node) == found
    (root / "etc/puppet/modules").unlink()
    (root / "etc/puppet/modules").symlink_to(tree)
    done = node.run("identifiers")
    assert done.returncode == 1
    assert f"/etc/puppet/modules leads out of {root}" in done.stderr


def test_a_root_without_packages(node: nodes.Node, tmp_path: Path) -> None:
    (tmp_path / "root/var/lib/dpkg").mkdir(parents=True)
    (tmp_path / "root/var/lib/dpkg/status").touch()
    node.configure(packages_root=tmp_path / "root")
    done = node.run("identifiers")
    assert done.returncode == 1
    assert f"{tmp_path}/root has no package database" in done.stderr
    assert "hint: " in done.stderr
    assert "packages_root" in done.stderr


@pytest.mark.parametrize("option", ["packages_root", "content_trees"])
def test_options_are_absolute_paths(node: nodes.Node, option: str) -> None:
    node.configure(**{option: "etc/puppet"})
    done = node.run("identifiers")
    assert done.returncode == 2
    assert option in done.stderr


def test_a_file_that_is_no_tree(node: nodes.Node, tmp_path: Path) -> None:
    node.configure(content_trees=node.config)
    done = node.run("identifiers")
    assert done.returncode == 1
    assert f"cannot read {node.config}: Not a directory" in done.stderr


def test_containers_are_those_that_run(
    container_node: nodes.Node, podman: box.PodmanBox, heat: heatlike.HeatLike
) -> None:
    image = f"{podman.registry}/service:1"
    keys = {"image": image, "net": "host", "upgrade": {"gate": {"stable_for": 0.3}}}
    assert identifiers(container_node)["containers_identifier"] == documented("podman ps", **podman.env)
    heat.serve(heat.deployment("d1", "container-upgrade", {"web": keys, "api": keys}))
    container_node.run("apply")
    outputs = heat.signal("d1")
    assert outputs["deploy_status_code"] == 0, outputs
    found = identifiers(container_node)["containers_identifier"]
    assert found == outputs["containers_identifier"] == documented("podman ps", **podman.env)
    podman.podman("run", "--detach", "--name", "foreign", "--network", "host", image)
    assert identifiers(container_node)["containers_identifier"] == found
    podman.podman("stop", "--time", "0", "api")
    stopped = identifiers(container_node)["containers_identifier"]
    assert stopped == documented("podman ps", **podman.env) != found


def test_a_podman_that_does_not_answer(node: nodes.Node, tree: Path, tmp_path: Path) -> None:
    node.configure(content_trees=tree, podman_url="tcp://127.0.0.1:1")
    found = identifiers(node)
    assert found["containers_identifier"] is None
    assert "127.0.0.1:1" in found["notes"][0]
