"""dnf 4 and dnf5 on bad days: repositories, signatures, disks and locks, and a transaction that is killed."""

from __future__ import annotations

import contextlib
import json
import math
import os
import select
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import rpmroots
import rpms
from overcloud_agent import errors, settings
from overcloud_agent.containers import steps
from overcloud_agent.packages import apply, dnf, model, plans

root = rpmroots.root


def prepare(root: rpmroots.RpmRoot, **more: object) -> model.Pending:
    """One package that has an update."""
    root.repository("base", root.build("lib", "1"))
    root.install("lib")
    root.repository("updates", root.build("lib", "2", **more))
    root.backend.refresh(wait=10, alive=rpmroots.alive)
    pending = root.backend.pending(model.Selection())
    assert len(pending.changes) == 1
    return pending


def test_a_repository_that_does_not_answer_is_named(root: rpmroots.RpmRoot) -> None:
    prepare(root)
    (root.served / "updates").rename(root.served / "away")
    with pytest.raises(errors.PackageError, match="updates") as raised:
        root.backend.refresh(wait=10, alive=rpmroots.alive)
    assert "reaches the addresses of its repositories" in raised.value.hint


def test_a_package_that_cannot_be_fetched_is_named(root: rpmroots.RpmRoot) -> None:
    pending = prepare(root)
    (root.served / "updates/lib-2-1.noarch.rpm").unlink()
    with pytest.raises(errors.PackageError, match="lib-2-1") as raised:
        root.backend.download(pending, wait=10, alive=rpmroots.alive)
    assert "reaches the addresses of its repositories" in raised.value.hint
    assert root.versions() == {"lib": ["1-1"]}


def test_metadata_that_was_tampered_with_is_refused(root: rpmroots.RpmRoot) -> None:
    root.repository("base", root.build("lib", "1"))
    root.install("lib")
    root.repository("updates", root.build("lib", "2")).tamper()
    with pytest.raises(errors.PackageError) as raised:
        root.backend.refresh(wait=10, alive=rpmroots.alive)
    assert "key" in raised.value.hint, raised.value


def test_a_package_of_another_s_making_is_refused(root: rpmroots.RpmRoot) -> None:
    stranger = rpms.key(root.directory / "keys", "stranger")
    pending = prepare(root, sign=stranger)
    with pytest.raises(errors.PackageError) as raised:
        root.backend.download(pending, wait=10, alive=rpmroots.alive)
    assert "key" in raised.value.hint, raised.value
    assert root.carry_out(root.backend.transaction(pending)).returncode != 0
    assert root.versions() == {"lib": ["1-1"]}


def test_a_repository_without_a_key_is_named(root: rpmroots.RpmRoot) -> None:
    unsigned = rpms.repository(root.served / "base", [root.build("lib", "1")])
    root.use(unsigned, "base", unsigned.directory.as_uri())
    root.install("lib")
    updates = rpms.repository(root.served / "updates", [root.build("lib", "2")])
    stanza = updates.stanza("updates", updates.directory.as_uri()).replace("gpgcheck=0", "gpgcheck=1\npassword=secret")
    (root.path / "etc/yum.repos.d/updates.repo").write_text(stanza)
    root.backend.refresh(wait=10, alive=rpmroots.alive)
    # dnf 4 says so before it looks for updates.
    with pytest.raises(errors.PackageError) as raised:
        root.backend.download(root.backend.pending(model.Selection()), wait=10, alive=rpmroots.alive)
    assert "updates" in raised.value.message and "key" in raised.value.hint, raised.value
    assert "secret" not in str(raised.value)
    assert root.backend.interrupted() == ""


def test_a_full_disk_is_told(root: rpmroots.RpmRoot) -> None:
    # Content that cannot be compressed.
    text = os.urandom(3_000_000).hex()
    pending = prepare(root, files={"/usr/share/lib/text": (0o644, text)})
    cache = root.path / "var/cache"
    kept = root.directory / "cache"
    shutil.copytree(cache, kept, ignore=shutil.ignore_patterns("S.*"))
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(cache)], check=True)
    try:
        shutil.copytree(kept, cache, dirs_exist_ok=True)
        with pytest.raises(errors.PackageError) as raised:
            root.backend.download(pending, wait=10, alive=rpmroots.alive)
    finally:
        subprocess.run(["umount", "--lazy", str(cache)], check=True)
    assert f"make room on the file system of {root.path}/var/cache" in raised.value.hint, raised.value
    assert root.versions() == {"lib": ["1-1"]}
    root.backend.download(pending, wait=10, alive=rpmroots.alive)


def test_what_was_downloaded_is_not_missing(root: rpmroots.RpmRoot) -> None:
    pending = prepare(root)
    (change,) = pending.changes
    assert root.backend.missing(pending) == change.download > 0
    root.backend.download(pending, wait=10, alive=rpmroots.alive)
    assert root.backend.missing(pending) == 0


HOLDER = """
import fcntl, os, sys
file = open(sys.argv[1], "w")
if sys.argv[1].endswith(".pid"):
    file.write(str(os.getpid()))
    file.flush()
else:
    fcntl.lockf(file, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
if sys.argv[1].endswith(".pid"):
    os.unlink(sys.argv[1])
"""


@contextlib.contextmanager
def holding(path: Path) -> Iterator[subprocess.Popen[bytes]]:
    argv = [sys.executable, "-c", HOLDER, str(path)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin and process.stdout
        assert select.select([process.stdout], [], [], 30)[0]
        assert process.stdout.readline() == b"held\n"
        try:
            yield process
        finally:
            process.stdin.close()


def locks(root: rpmroots.RpmRoot) -> list[Path]:
    own = ["rpmdb_lock.pid"] if root.program == "dnf" else ["system-repo.lock"]
    return [root.path / "var/lib/rpm/.rpm.lock", *(root.path / "var/lib/dnf" / name for name in own)]


def test_who_holds_a_lock_is_named_and_waited_for(root: rpmroots.RpmRoot) -> None:
    prepare(root)
    assert root.backend.lock_holder() == ""
    for lock in locks(root):
        with holding(lock) as process:
            name = Path(f"/proc/{process.pid}/comm").read_text().strip()
            assert root.backend.lock_holder() == f"{name} (pid {process.pid})"
            assert root.backend.interrupted() == "", "what is at work is not interrupted"
            with pytest.raises(errors.PackageError, match=rf"\(pid {process.pid}\) holds the lock"):
                root.backend.refresh(wait=0.2, alive=rpmroots.alive)

            asked: list[int] = []

            def end_it(process: subprocess.Popen[bytes] = process, asked: list[int] = asked) -> None:
                asked.append(1)
                assert process.stdin
                process.stdin.close()

            root.backend.refresh(wait=60, alive=end_it)
            assert asked
        assert root.backend.lock_holder() == ""


def test_who_waits_for_a_lock_can_leave(root: rpmroots.RpmRoot) -> None:
    prepare(root)

    def leave() -> None:
        raise errors.Interrupted("asked to stop")

    with holding(locks(root)[0]), pytest.raises(errors.Interrupted):
        root.backend.refresh(wait=60, alive=leave)


KILL = "echo ran >> /log\nif [ -e /kill ]; then kill -9 $PPID; sleep 1; fi"


@pytest.fixture
def killed(root: rpmroots.RpmRoot) -> rpmroots.RpmRoot:
    """Of three updates the first is done, the script of the second killed dnf, the third was to come."""
    names = ("first", "middle", "last")
    root.shell()
    root.repository("base", root.build("shell", "1", provides=["/bin/sh"]), *(root.build(name, "1") for name in names))
    root.install("shell", *names)
    root.repository(
        "updates",
        root.build("first", "2"),
        root.build("middle", "2", requires=["first = 2"], scripts={"post": KILL}),
        root.build("last", "2", requires=["middle = 2"]),
    )
    root.backend.refresh(wait=10, alive=rpmroots.alive)
    pending = root.backend.pending(model.Selection())
    root.backend.download(pending, wait=10, alive=rpmroots.alive)
    (root.path / "kill").touch()
    done = root.carry_out(root.backend.transaction(pending))
    assert done.returncode == -9, done.stdout + done.stderr
    (root.path / "kill").unlink()
    return root


def test_a_killed_transaction_is_found_and_repaired(killed: rpmroots.RpmRoot) -> None:
    assert killed.versions() == {
        "first": ["1-1", "2-1"],
        "last": ["1-1"],
        "middle": ["1-1", "2-1"],
        "shell": ["1-1"],
    }
    assert killed.backend.lock_holder() == "", "the lock of a dead process is none"
    told = killed.backend.interrupted()
    assert "two versions are installed of first, middle" in told
    assert "scripts may not have run of first-2-1.noarch, middle-2-1.noarch" in told

    # What was downloaded is enough, should no repository answer.
    (killed.served / "updates").rename(killed.served / "away")
    done = killed.carry_out(killed.backend.repair())
    assert done.returncode == 0, done.stdout + done.stderr
    assert killed.versions() == {"first": ["2-1"], "last": ["1-1"], "middle": ["2-1"], "shell": ["1-1"]}
    assert (killed.path / "log").read_text() == "ran\nran\n", "the script that was cut off ran again"
    assert killed.backend.interrupted() == ""
    rest = killed.backend.pending(model.Selection())
    assert [(one.name, one.old, one.new) for one in rest.changes] == [("last", "1-1", "2-1")]
    assert killed.carry_out(killed.backend.transaction(rest)).returncode == 0
    assert killed.versions()["last"] == ["2-1"]


def test_a_killed_transaction_is_repaired_without_its_packages(killed: rpmroots.RpmRoot) -> None:
    """They may be gone from the repositories by then: what can be repaired is."""
    shutil.rmtree(killed.path / "var/cache")
    (killed.path / "etc/yum.repos.d/updates.repo").unlink()
    assert killed.backend.interrupted()
    done = killed.carry_out(killed.backend.repair())
    assert done.returncode == 0, done.stdout + done.stderr
    assert killed.versions() == {"first": ["2-1"], "last": ["1-1"], "middle": ["2-1"], "shell": ["1-1"]}
    assert killed.backend.interrupted() == ""


def test_what_cannot_be_repaired_is_told_so(root: rpmroots.RpmRoot) -> None:
    """A package whose script was cut off, and that nobody has any more."""
    root.shell()
    root.repository("base", root.build("shell", "1", provides=["/bin/sh"]), root.build("app", "1"))
    root.install("shell", "app")
    new = root.build("newlib", "1", scripts={"post": KILL})
    root.repository("updates", root.build("app", "2", requires=["newlib"]), new)
    root.backend.refresh(wait=10, alive=rpmroots.alive)
    pending = root.backend.pending(model.Selection())
    root.backend.download(pending, wait=10, alive=rpmroots.alive)
    (root.path / "kill").touch()
    assert root.carry_out(root.backend.transaction(pending)).returncode == -9
    (root.path / "kill").unlink()
    shutil.rmtree(root.path / "var/cache")
    (root.path / "etc/yum.repos.d/updates.repo").unlink()
    file = root.directory / "agent.conf"
    file.write_text(f"[DEFAULT]\nstate_dir = {root.directory}/state\n")
    config = settings.load(file)
    with steps.Journalled(config.state_dir, "one") as record:
        site = apply.Site(manager=root.backend, record=record, config=config, deadline=math.inf, alive=rpmroots.alive)
        told = apply.repair(site)
    assert told.startswith("what could be was repaired, and the rest is to be mended by hand: ")
    assert "newlib-1-1.noarch" in told


def test_what_came_for_another_package_is_known_as_such_when_another_process_goes_on(root: rpmroots.RpmRoot) -> None:
    root.repository("base", root.build("lib", "1"))
    root.install("lib")
    root.repository("updates", root.build("lib", "2", requires=["needed"]), root.build("needed", "1"))
    root.backend.refresh(wait=10, alive=rpmroots.alive)
    planned = model.Plan(pending=root.backend.pending(model.Selection()), classes={}, workflow=model.Workflow())
    # What the journal keeps of it is all that is left.
    kept = plans.from_json(json.loads(json.dumps(plans.to_json(planned)))).pending
    resumed = dnf.Dnf(root.path, root.program)
    resumed.download(kept, wait=10, alive=rpmroots.alive)
    done = root.carry_out(resumed.transaction(kept))
    assert done.returncode == 0, done.stdout + done.stderr
    argv = [root.program, "--installroot", str(root.path), "--cacheonly", "--quiet"]
    told = root.run([*argv, "repoquery", "--userinstalled", "--qf", "%{name}\\n"]).stdout.split()
    assert told == ["lib"]


def test_a_damaged_database_is_told(root: rpmroots.RpmRoot) -> None:
    prepare(root)
    for path in (root.path / "var/lib/rpm").glob("rpmdb.sqlite*"):
        path.write_bytes(b"no database" * 1000)
    with pytest.raises(errors.PackageError) as raised:
        root.backend.installed()
    assert "rpm --rebuilddb" in raised.value.hint
