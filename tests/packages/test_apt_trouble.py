"""packages/apt.py on bad days: repositories, locks, disks, maintainer scripts, and a dpkg that is killed."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import debroot
import debs
from overcloud_agent import errors, settings
from overcloud_agent.packages import apt, model, planning

ALL = model.Selection()
WAITS = "#!/bin/sh\nif [ -e /wait-in-script ]; then touch /in-script; exec sleep 300; fi\n"
FAILS = "#!/bin/sh\nif [ -e /fail ]; then echo 'my database is away' >&2; exit 7; fi\n"


root = debroot.root


@pytest.fixture
def backend(root: debroot.DebRoot) -> apt.Apt:
    return apt.Apt(root.path)


def offer(root: debroot.DebRoot, *, script: str = "", kind: str = "postinst") -> debs.Repository:
    """`thing` is installed in version 1, and there is a version 2, with a script."""
    old = debs.build(root.scratch / "1", "thing", "1", files={"/usr/share/thing": (0o644, "1")})
    repository = root.repository(old)
    root.install("thing")
    scripts = {kind: script} if script else {}
    new = debs.build(root.scratch / "2", "thing", "2", files={"/usr/share/thing": (0o644, "2")}, scripts=scripts)
    repository.publish(new)
    apt.Apt(root.path).refresh(wait=5, alive=debroot.nothing)
    return repository


def refused(backend: apt.Apt) -> errors.PackageError:
    with pytest.raises(errors.PackageError) as caught:
        backend.refresh(wait=5, alive=debroot.nothing)
    return caught.value


def test_an_unsigned_repository_is_named(root: debroot.DebRoot, backend: apt.Apt) -> None:
    repository = offer(root)
    repository.publish(signed=False)
    error = refused(backend)
    assert "copy:/srv/test" in error.message
    assert "signed" in error.message
    assert "Signed-By" in error.hint
    # What was known of it before stays, signed as it was.
    assert [change.new for change in backend.pending(ALL).changes] == ["2"]


def test_a_host_that_takes_unsigned_ones_is_overruled(root: debroot.DebRoot, backend: apt.Apt) -> None:
    (root.path / "etc/apt/apt.conf.d/unsafe").write_text('Acquire::AllowInsecureRepositories "true";\n')
    root.repository(debs.build(root.scratch / "1", "thing", "1")).publish(signed=False)
    assert "not signed" in refused(backend).message


@pytest.mark.parametrize("sign", ["another key", "changed afterwards"])
def test_a_bad_signature_is_named(root: debroot.DebRoot, backend: apt.Apt, sign: str) -> None:
    repository = offer(root)
    index = repository.directory / "InRelease"
    if sign == "another key":
        stranger = debs.key(root.scratch / "stranger")
        index.write_bytes(stranger.sign((repository.directory / "Release").read_bytes()))
    else:
        index.write_bytes(index.read_bytes().replace(b"Label: Test", b"Label: Tost"))
    error = refused(backend)
    assert "copy:/srv/test" in error.message
    assert ("NO_PUBKEY" if sign == "another key" else "BADSIG") in error.message
    assert "Signed-By" in error.hint


def test_an_unreachable_repository_is_named_without_its_password(root: debroot.DebRoot, backend: apt.Apt) -> None:
    repository = root.repository(name="away", uri="http://someone:hidden@127.0.0.1:9/packages")
    (root.path / "etc/apt/apt.conf.d/soon").write_text('Acquire::Retries "0";\n')
    error = refused(backend)
    assert "127.0.0.1:9/packages" in error.message
    assert "can be reached" in error.hint
    assert "hidden" in repository.uri
    assert "hidden" not in str(error)


def test_there_is_no_apt(tmp_path: Path) -> None:
    with pytest.raises(errors.PackageError, match="dpkg's database") as caught:
        apt.Apt(tmp_path).installed()
    assert "root" in caught.value.hint


@contextlib.contextmanager
def small(root: debroot.DebRoot, size: str) -> Iterator[None]:
    """The place for downloads is a disk of that size."""
    archives = root.path / "var/cache/apt/archives"
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", archives], check=True)
    try:
        (archives / "partial").mkdir()
        yield
    finally:
        subprocess.run(["umount", archives], check=True)


def test_no_room_for_downloads(root: debroot.DebRoot, backend: apt.Apt) -> None:
    repository = root.repository(debs.build(root.scratch / "1", "thing", "1"))
    root.install("thing")
    content = os.urandom(1 << 20)
    repository.publish(debs.build(root.scratch / "2", "thing", "2", files={"/usr/share/thing": (0o644, content)}))
    backend.refresh(wait=5, alive=debroot.nothing)
    pending = backend.pending(ALL)
    with small(root, "512k"):
        with pytest.raises(errors.PackageError, match=r"no room for downloads: 10\d+ bytes are to come") as caught:
            backend.download(pending, wait=5, alive=debroot.nothing)
        assert "apt-get clean" in caught.value.hint
    with small(root, "1280k"):
        # Somebody else fills it meanwhile: that there was room is no promise.
        def fill() -> None:
            with contextlib.suppress(OSError):
                (root.path / "var/cache/apt/archives/other").write_bytes(bytes(1 << 20))

        with pytest.raises(errors.PackageError, match="could not be downloaded: ") as caught:
            backend.download(pending, wait=5, alive=fill)
        assert "apt-get clean" in caught.value.hint
    backend.download(pending, wait=5, alive=debroot.nothing)
    assert debroot.carry_out(backend.transaction(pending)).returncode == 0


def test_what_was_downloaded_needs_no_room_again(root: debroot.DebRoot, backend: apt.Apt) -> None:
    repository = root.repository(debs.build(root.scratch / "1", "thing", "1"))
    root.install("thing")
    content = os.urandom(48 << 20)
    new = debs.build(root.scratch / "2", "thing", "1:2", files={"/usr/share/thing": (0o644, content)})
    repository.publish(new)
    backend.refresh(wait=5, alive=debroot.nothing)
    pending = backend.pending(ALL)
    found = model.Plan(pending=pending, classes={}, workflow=model.Workflow())
    file = root.scratch / "agent.conf"
    file.write_text(f"[DEFAULT]\npackages_root = {root.path}\n")
    config = settings.load(file)
    cache = root.path / "var/cache"
    # apt has its index there, too.
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=80m", "tmpfs", cache], check=True)
    try:
        (cache / "apt/archives/partial").mkdir(parents=True)
        assert backend.missing(pending) == new.stat().st_size
        assert planning.lack_of_room(backend, found, config) == ""
        backend.download(pending, wait=5, alive=debroot.nothing)
        assert backend.missing(pending) == 0
        assert planning.lack_of_room(backend, found, config) == "", "what is there has its room"
        for path in (cache / "apt/archives").glob("*.deb"):
            path.rename(cache / "else")
        assert "50.3 MB to download" in planning.lack_of_room(backend, found, config)
    finally:
        subprocess.run(["umount", cache], check=True)


@contextlib.contextmanager
def locked(path: Path, seconds: float = 300.0) -> Iterator[int]:
    """Another program has the lock for a while; its pid."""
    script = "import fcntl, sys, time; f = open(sys.argv[1], 'r+'); fcntl.lockf(f, fcntl.LOCK_EX); print(flush=True)"
    argv = [sys.executable, "-c", f"{script}; time.sleep({seconds})", str(path)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        yield process.pid
        process.kill()


LISTS = "var/lib/apt/lists/lock"
FRONTEND = "var/lib/dpkg/lock-frontend"


def test_a_foreign_lock_is_waited_for_until_a_deadline(root: debroot.DebRoot, backend: apt.Apt) -> None:
    offer(root)
    pending = backend.pending(ALL)
    assert backend.lock_holder() == ""
    with locked(root.path / LISTS) as pid:
        assert backend.lock_holder() == f"python (pid {pid})"
        with pytest.raises(errors.PackageError, match=f"python \\(pid {pid}\\) holds"):
            backend.refresh(wait=0.5, alive=debroot.nothing)
    with locked(root.path / LISTS, seconds=2):
        backend.refresh(wait=60, alive=debroot.nothing)
    with locked(root.path / FRONTEND) as pid:
        with pytest.raises(errors.PackageError, match=f"python \\(pid {pid}\\) holds"):
            backend.download(pending, wait=0.5, alive=debroot.nothing)
        with pytest.raises(errors.PackageError, match=f"python \\(pid {pid}\\) holds"):
            backend.await_lock(wait=0, alive=debroot.nothing)
        # A plan needs no lock.
        assert backend.pending(ALL) == pending
    backend.await_lock(wait=0, alive=debroot.nothing)
    with locked(root.path / FRONTEND, seconds=2):
        backend.download(pending, wait=60, alive=debroot.nothing)


def test_who_waits_for_a_lock_may_be_asked_to_stop(root: debroot.DebRoot, backend: apt.Apt) -> None:
    offer(root)
    asked = time.monotonic() + 1

    def alive() -> None:
        if time.monotonic() > asked:
            raise errors.Interrupted("asked to stop")

    with locked(root.path / LISTS), pytest.raises(errors.Interrupted):
        backend.refresh(wait=300, alive=alive)
    # Nobody has it any more: what waited has ended.
    with open(root.path / LISTS, "r+") as file:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


@pytest.mark.parametrize("kind", ["preinst", "postinst"])
def test_a_killed_transaction_is_found_and_repaired(root: debroot.DebRoot, backend: apt.Apt, kind: str) -> None:
    offer(root, script=WAITS, kind=kind)
    pending = backend.pending(ALL)
    backend.download(pending, wait=5, alive=debroot.nothing)
    kill(root, backend, pending)
    found = backend.interrupted()
    assert found.startswith("dpkg was interrupted; half-")
    assert found.endswith(": thing")
    done = debroot.carry_out(backend.repair())
    assert done.returncode == 0, done.stdout
    assert backend.interrupted() == ""
    assert root.status("thing") == "installed 2"
    assert (root.path / "usr/share/thing").read_text() == "2"


@pytest.mark.parametrize("kind", ["prerm", "postrm"])
@pytest.mark.parametrize("needed", [False, True])
def test_a_killed_removal_is_found_and_ended(root: debroot.DebRoot, backend: apt.Apt, kind: str, needed: bool) -> None:
    leaves = WAITS.replace("if [", '[ "$1" = remove ] || exit 0\nif [', 1)
    old = debs.build(root.scratch / "1", "old", "1", files={"/usr/share/old": (0o644, "1")}, scripts={kind: leaves})
    before = debs.build(root.scratch / "1", "thing", "1", depends="old" if needed else "")
    repository = root.repository(old, before)
    root.install("thing", "old")
    repository.publish(debs.build(root.scratch / "2", "thing", "2", fields={"Conflicts": "old"}))
    backend.refresh(wait=5, alive=debroot.nothing)
    pending = backend.pending(ALL)
    assert {(change.name, change.kind) for change in pending.changes} == {("old", "remove"), ("thing", "upgrade")}
    backend.download(pending, wait=5, alive=debroot.nothing)
    kill(root, backend, pending)
    assert backend.interrupted().endswith(": old")
    done = debroot.carry_out(backend.repair())
    assert done.returncode == 0, done.stdout
    assert backend.interrupted() == ""
    again = backend.pending(ALL)
    backend.download(again, wait=5, alive=debroot.nothing)
    assert debroot.carry_out(backend.transaction(again)).returncode == 0
    assert backend.interrupted() == ""
    assert root.status("thing") == "installed 2"
    assert not (root.path / "usr/share/old").exists()


def kill(root: debroot.DebRoot, backend: apt.Apt, pending: model.Pending) -> None:
    """Begin the transaction, and kill it when it is in the script that waits."""
    waits = root.path / "wait-in-script"
    waits.touch()
    command = backend.transaction(pending)
    with subprocess.Popen(
        command.argv,
        env={**os.environ, **command.environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        try:
            appears(root.path / "in-script")
            assert backend.lock_holder() == f"apt-get (pid {process.pid})"
            assert backend.interrupted() == "", "it is under way"
        finally:
            os.killpg(process.pid, signal.SIGKILL)
    backend.await_lock(wait=10, alive=debroot.nothing)
    waits.unlink()


def appears(path: Path) -> None:
    """Wait for a file in an overlay, which tells nobody of its files."""
    deadline = time.monotonic() + 60
    pause = threading.Event()
    while not path.exists():
        assert time.monotonic() < deadline, path
        pause.wait(0.02)


def test_a_maintainer_script_fails(root: debroot.DebRoot, backend: apt.Apt) -> None:
    offer(root, script=FAILS)
    pending = backend.pending(ALL)
    backend.download(pending, wait=5, alive=debroot.nothing)
    (root.path / "fail").touch()
    done = debroot.carry_out(backend.transaction(pending))
    assert done.returncode == 100
    assert "my database is away" in done.stdout
    assert backend.interrupted() == "half-configured: thing"
    assert [one.version for one in backend.installed() if one.name == "thing"] == ["2"], "its files are there"
    failed = debroot.carry_out(backend.repair())
    assert failed.returncode != 0
    assert "my database is away" in failed.stdout
    (root.path / "fail").unlink()
    assert debroot.carry_out(backend.repair()).returncode == 0
    assert root.status("thing") == "installed 2"
    assert backend.interrupted() == ""


def test_packages_whose_updates_come_in_phases(root: debroot.DebRoot, backend: apt.Apt) -> None:
    repository = offer(root)
    (root.path / "etc/apt/apt.conf.d/phases").write_text('APT::Get::Never-Include-Phased-Updates "true";\n')
    repository.publish(debs.build(root.scratch / "3", "thing", "3", fields={"Phased-Update-Percentage": "10"}))
    backend.refresh(wait=5, alive=debroot.nothing)
    pending = backend.pending(ALL)
    assert pending.changes == ()
    assert [(kept.new, kept.reason) for kept in pending.kept] == [("3", "phased")]


def test_a_configuration_that_fails_is_mended_by_the_next_version(root: debroot.DebRoot) -> None:
    fails = {"postinst": "#!/bin/sh\nexit 1\n"}
    repository = root.repository(debs.build(root.scratch, "one", "1"), debs.build(root.scratch, "two", "1"))
    root.install("one", "two")
    repository.publish(debs.build(root.scratch, "one", "2", scripts=fails), debs.build(root.scratch, "two", "2"))
    backend = apt.Apt(root.path)
    root.run("apt-get", "-qq", "update")
    root.run("apt-get", "-qq", "-y", "install", "one", check=False)
    assert backend.interrupted() == "half-configured: one"
    assert debroot.carry_out(backend.repair()).returncode != 0, "there is no next one yet"
    # The lists that apt has do not know of it.
    repository.publish(debs.build(root.scratch, "one", "3"))
    done = debroot.carry_out(backend.repair())
    assert done.returncode == 0, done.stdout
    assert (backend.interrupted(), root.status("one"), root.status("two")) == ("", "installed 3", "installed 1")


def test_five_thousand_packages(root: debroot.DebRoot, backend: apt.Apt) -> None:
    """Their names are on apt's command line: there must be room for them."""
    names = [f"a-package-with-a-rather-long-name-{number:04}" for number in range(5000)]
    fields = {"Architecture": "all", "Maintainer": "x <x@example.com>", "Installed-Size": "100"}
    with open(root.path / "var/lib/dpkg/status", "a") as file:
        for name in names:
            stanza = {"Package": name, "Status": "install ok installed", **fields, "Version": "1:1.0.0-1+deb12u1"}
            file.write(debs.index([{**stanza, "Description": "x"}]).decode() + "\n")
    repository = root.repository()
    new = {**fields, "Version": "1:1.0.0-1+deb12u2", "Size": "100", "SHA256": "0" * 64}
    repository.write_index(debs.index({"Package": name, **new, "Filename": f"./{name}.deb"} for name in names))
    backend.refresh(wait=5, alive=debroot.nothing)
    pending = backend.pending(ALL)
    assert len(pending.changes) == len(names)
    assert {(change.download, change.new) for change in pending.changes} == {(100, "1:1.0.0-1+deb12u2")}
    command = backend.transaction(pending)
    assert sum(len(one) + 1 for one in command.argv) < os.sysconf("SC_ARG_MAX") / 4
    # None of them is there to be downloaded.
    argv = (*(one for one in command.argv if one != "--no-download"), "-s")
    simulated = debroot.carry_out(model.Command(argv=argv, environment=command.environment))
    assert simulated.stdout.count("\nInst ") == len(names)
    half = model.Selection(exclude=tuple(names[:2500]))
    kept = backend.pending(half)
    assert (len(kept.changes), len(kept.kept)) == (2500, 2500)
