"""packages/apt.py with real dpkg, apt and signed repositories, in a root of its own."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

import debroot
import debs
import debsamples
from overcloud_agent import errors
from overcloud_agent.packages import apt, model

ALL = model.Selection()


root = debroot.root


@pytest.fixture
def node(root: debroot.DebRoot) -> tuple[debroot.DebRoot, apt.Apt, debs.Repository]:
    """The sample packages are installed in version 1, and there is a version 2 of all."""
    first = debsamples.build(root.scratch / "1", 1)
    repository = root.repository(*first.values())
    root.install(*first)
    repository.publish(*debsamples.build(root.scratch / "2", 2).values())
    backend = apt.Apt(root.path)
    backend.refresh(wait=5, alive=debroot.nothing)
    return root, backend, repository


def update(backend: apt.Apt, pending: model.Pending) -> None:
    backend.download(pending, wait=5, alive=debroot.nothing)
    done = debroot.carry_out(backend.transaction(pending))
    assert done.returncode == 0, done.stdout


Node = tuple[debroot.DebRoot, apt.Apt, debs.Repository]


def test_what_is_pending_is_done_and_nothing_else(node: Node) -> None:
    root, backend, _ = node
    before = {one.name: one for one in backend.installed()}
    pending = backend.pending(ALL)
    changes = {change.name: change for change in pending.changes}
    assert changes.keys() == debsamples.build(root.scratch / "2", 2).keys()
    assert changes["libsample1"] == model.Change(
        name="libsample1",
        architecture=debsamples.architecture(),
        kind="upgrade",
        old="1.0-1",
        new="2.0-1",
        source="sample",
        repository="Test:stable",
        download=(root.path / f"srv/test/libsample1_2.0-1_{debsamples.architecture()}.deb").stat().st_size,
        growth=0,
    )
    assert changes["nova-sample"].new == "2:26.0.0-1"
    assert changes["nova-sample"].architecture == "all"
    auto = root.run("apt-mark", "showauto")
    update(backend, pending)
    after = {one.name: one for one in backend.installed()}
    assert {name for name in after if before.get(name) != after[name]} == changes.keys()
    assert all(after[name].version == change.new for name, change in changes.items())
    assert root.run("apt-mark", "showauto") == auto
    assert backend.pending(ALL) == model.Pending()
    assert backend.interrupted() == ""


def test_a_repository_on_the_node_itself(root: debroot.DebRoot) -> None:
    """apt takes packages from where they lie, and downloads those of another repository beside it."""
    near = root.repository(debs.build(root.scratch, "near", "1"), name="near", uri="file:/srv/near")
    far = root.repository(debs.build(root.scratch, "far", "1"), name="far")
    root.install("near", "far")
    near.publish(debs.build(root.scratch, "near", "1:2+new"))
    far.publish(debs.build(root.scratch, "far", "1:2+new"))
    backend = apt.Apt(root.path)
    backend.refresh(wait=5, alive=debroot.nothing)
    update(backend, backend.pending(ALL))
    assert [root.status(name) for name in ("near", "far")] == ["installed 1:2+new"] * 2


def test_the_inventory_is_that_of_dpkg(node: Node) -> None:
    root, backend, _ = node
    root.run("dpkg", "--remove", "alpha-daemon")
    assert root.status("alpha-daemon") == "config-files 1.0-1"
    told = root.run("dpkg-query", "-W", "-f", "${db:Status-Status} ${Package} ${Architecture} ${Version}\n")
    expected = sorted(tuple(line.split()[1:]) for line in told.splitlines() if line.startswith("installed "))
    assert [dataclasses.astuple(one) for one in backend.installed()] == expected
    assert all(path.exists() for path in backend.database())


def test_files_are_where_they_are(node: Node) -> None:
    root, backend, _ = node
    root.run("dpkg-divert", "--rename", "--divert", "/usr/sbin/solo-daemon.real", "/usr/sbin/solo-daemon")
    found = backend.files(["libsample1", "solo-daemon", "solo-daemon:all", "absent"])
    assert found["libsample1"] == (debsamples.library_path(),)
    merged = "/usr/lib" if (root.path / "lib").is_symlink() else "/lib"
    assert found["solo-daemon"] == (
        "/etc/solo-daemon.conf",
        f"{merged}/systemd/system/solo-daemon.service",
        "/usr/sbin/solo-daemon.real",
    )
    assert found["solo-daemon:all"] == found["solo-daemon"]
    assert "absent" not in found


def test_holds_and_excludes_and_pins_are_kept(node: Node) -> None:
    root, backend, repository = node
    root.run("apt-mark", "hold", "libsample1")
    pins = root.path / "etc/apt/preferences.d/pins"
    pins.write_text("Package: linux-image-sample\nPin: version 1.0-1\nPin-Priority: 1001\n")
    # What is installed need not be in a repository any more.
    for old in repository.directory.glob("*_1.0-1_*.deb"):
        old.unlink()
    repository.publish()
    backend.refresh(wait=5, alive=debroot.nothing)
    pending = backend.pending(model.Selection(exclude=("nova-*",)))
    assert {change.name for change in pending.changes} == {"puppet-module-sample", "solo-daemon"}
    reasons = {kept.name: (kept.old, kept.new, kept.reason) for kept in pending.kept}
    assert reasons == {
        "libsample1": ("1.0-1", "2.0-1", "held"),
        "linux-image-sample": ("1.0-1", "2.0-1", "pinned"),
        "nova-sample": ("2:25.0.0-1", "2:26.0.0-1", "excluded"),
        "alpha-daemon": ("1.0-1", "2.0-1", "kept back: what it needs cannot be installed"),
        "beta-daemon": ("1.0-1", "2.0-1", "kept back: what it needs cannot be installed"),
    }
    update(backend, pending)
    assert root.status("libsample1") == root.status("linux-image-sample") == "installed 1.0-1"
    assert backend.pending(model.Selection(packages=("libsample1",))).changes == ()


@pytest.mark.parametrize("removals", [True, False])
def test_what_is_excluded_does_not_come_newly_either(root: debroot.DebRoot, removals: bool) -> None:
    old = [debs.build(root.scratch / "1", name, "1") for name in ("needy", "other")]
    repository = root.repository(*old)
    root.install("needy", "other")
    repository.publish(
        debs.build(root.scratch / "2", "needy", "2", depends="unwanted-lib"),
        debs.build(root.scratch / "2", "unwanted-lib", "1", depends="unwanted-data"),
        debs.build(root.scratch / "2", "unwanted-data", "1"),
        debs.build(root.scratch / "2", "other", "2"),
    )
    backend = apt.Apt(root.path)
    backend.refresh(wait=5, alive=debroot.nothing)
    assert len(backend.pending(model.Selection(removals=removals)).changes) == 4
    for exclude in ("unwanted-*", "unwanted-data"):
        pending = backend.pending(model.Selection(exclude=(exclude,), removals=removals))
        assert [change.name for change in pending.changes] == ["other"]
        assert [(kept.name, kept.new) for kept in pending.kept] == [("needy", "2")]
        named = model.Selection(packages=("needy",), exclude=(exclude,), removals=removals)
        assert backend.pending(named).changes == ()
    update(backend, pending)
    assert (root.status("needy"), root.status("other")) == ("installed 1", "installed 2")


def test_a_pin_may_ask_for_an_older_version(node: Node) -> None:
    root, backend, _ = node
    update(backend, backend.pending(ALL))
    pins = root.path / "etc/apt/preferences.d/pins"
    pins.write_text("Package: puppet-module-sample\nPin: version 1.0-1\nPin-Priority: 1001\n")
    pending = backend.pending(ALL)
    assert [(change.kind, change.old, change.new) for change in pending.changes] == [("downgrade", "2.0-1", "1.0-1")]
    update(backend, pending)
    assert root.status("puppet-module-sample") == "installed 1.0-1"


def test_some_packages_and_what_they_need(node: Node) -> None:
    _, backend, _ = node
    pending = backend.pending(model.Selection(packages=("alpha-*", "nova-*", "neutron-*")))
    assert {change.name for change in pending.changes} == {"alpha-daemon", "libsample1", "nova-sample"}
    update(backend, pending)
    assert backend.pending(model.Selection(packages=("alpha-daemon",))) == model.Pending()


def test_a_bad_selection_is_refused(node: Node) -> None:
    for name in ("-oDebug::x=1", "a b", "../x", "", "absent"):
        with pytest.raises(errors.BadInput) as caught:
            node[1].pending(model.Selection(packages=("nova-sample", name)))
        assert caught.value.path == "$.packages[1]"


def test_new_dependencies_and_removals(node: Node) -> None:
    root, backend, _ = node
    new = debs.build(root.scratch / "3", "replacement", "1", installed_size=100)
    solo = debs.build(
        root.scratch / "3",
        "solo-daemon",
        "3.0-1",
        depends="replacement",
        fields={"Conflicts": "puppet-module-sample"},
    )
    security = root.repository(new, solo, name="extra", suite="stable-security")
    assert security.sources_line.endswith("copy:/srv/extra ./")
    backend.refresh(wait=5, alive=debroot.nothing)
    changes = {change.name: change for change in backend.pending(ALL).changes}
    assert changes["puppet-module-sample"].kind == "remove"
    assert changes["puppet-module-sample"].growth < 0
    assert (changes["replacement"].kind, changes["replacement"].growth) == ("install", 100 * 1024)
    assert changes["solo-daemon"].security
    assert changes["nova-sample"].security is None
    cautious = backend.pending(model.Selection(removals=False))
    assert {change.kind for change in cautious.changes} == {"upgrade"}
    assert ("solo-daemon", "3.0-1") in {(kept.name, kept.new) for kept in cautious.kept}
    assert backend.pending(model.Selection(packages=("solo-*",), removals=False)).changes == ()
    update(backend, backend.pending(ALL))
    assert root.status("puppet-module-sample").split()[0] != "installed"
    assert "replacement" in root.run("apt-mark", "showauto").split()
    assert "solo-daemon" in root.run("apt-mark", "showmanual").split()


def test_a_changed_conffile_is_kept_and_nobody_asked(node: Node) -> None:
    root, backend, _ = node
    conffile = root.path / "etc/alpha-daemon.conf"
    conffile.write_text("mine\n")
    update(backend, backend.pending(ALL))
    assert conffile.read_text() == "mine\n"
    assert root.status("alpha-daemon") == "installed 2.0-1"


def test_what_is_not_as_planned_is_refused(node: Node) -> None:
    root, backend, repository = node
    pending = backend.pending(ALL)
    root.run("apt-get", "-qq", "-y", "-oDpkg::Use-Pty=0", "install", "alpha-daemon")
    with pytest.raises(errors.PackageError, match="apt would not do what is planned: alpha-daemon, libsample1"):
        backend.download(pending, wait=5, alive=debroot.nothing)
    for path in repository.directory.glob("nova-sample_26*"):
        path.unlink()
    repository.publish()
    backend.refresh(wait=5, alive=debroot.nothing)
    with pytest.raises(errors.PackageError, match="nova-sample") as caught:
        backend.download(pending, wait=5, alive=debroot.nothing)
    assert "new plan" in caught.value.hint


def test_nothing_is_fetched_in_the_transaction(node: Node) -> None:
    root, backend, _ = node
    pending = backend.pending(ALL)
    done = debroot.carry_out(backend.transaction(pending))
    assert done.returncode != 0, "debroot.nothing was downloaded before"
    assert root.status("libsample1") == "installed 1.0-1"
    assert Path(root.path, "var/cache/apt/archives").exists()
