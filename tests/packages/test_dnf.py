"""dnf 4 and dnf5 on a root of their own: what an update would do, and that it does exactly that."""

from __future__ import annotations

import itertools
import random
import subprocess

import pytest

import rpmroots
import rpms
from overcloud_agent import errors
from overcloud_agent.packages import model, nevras

root = rpmroots.root
dnf4 = rpmroots.dnf4


def refresh(root: rpmroots.RpmRoot) -> None:
    root.backend.refresh(wait=10, alive=rpmroots.alive)


def change(pending: model.Pending, name: str) -> model.Change:
    return next(one for one in pending.changes if one.name == name)


def test_an_update_is_foreseen_and_carried_out_exactly(root: rpmroots.RpmRoot) -> None:
    text = "/usr/share/lib/text"
    old = [root.build("lib", "1", files={text: (0o644, "one")}), root.build("old", "1"), root.build("other", "1")]
    root.repository("base", *old)
    root.install("lib", "old", "other")
    # A file that is longer, a dependency that comes, a package that takes the place of another.
    lib = root.build("lib", "2", epoch=1, files={text: (0o644, "two" * 100)}, requires=["dependency"])
    new = root.build("new", "1", obsoletes=["old < 2"])
    root.repository("updates", lib, root.build("dependency", "3"), new, root.build("other", "2")).publish(
        advisories={lib: "security", new: "bugfix"}
    )
    refresh(root)

    pending = root.backend.pending(model.Selection(exclude=("other",)))
    assert [(one.name, one.kind, one.old, one.new, one.repository) for one in pending.changes] == [
        ("dependency", "install", "", "3-1", "updates"),
        ("lib", "upgrade", "1-1", "1:2-1", "updates"),
        ("new", "install", "", "1-1", "updates"),
        ("old", "remove", "1-1", "", ""),
    ]
    assert change(pending, "lib").growth == 300 - 3
    assert change(pending, "lib").download == lib.stat().st_size
    assert change(pending, "lib").source == "lib"
    assert change(pending, "lib").security is True and change(pending, "new").security is False
    assert pending.kept == (model.Kept(name="other", architecture="noarch", old="1-1", new="2-1", reason="excluded"),)

    root.backend.download(pending, wait=10, alive=rpmroots.alive)
    assert root.versions() == {"lib": ["1-1"], "old": ["1-1"], "other": ["1-1"]}
    command = root.backend.transaction(pending)
    (root.served / "updates").rename(root.served / "away")
    done = root.carry_out(command)
    assert done.returncode == 0, done.stdout + done.stderr
    assert root.versions() == {"dependency": ["3-1"], "lib": ["1:2-1"], "new": ["1-1"], "other": ["1-1"]}
    assert (root.path / text.lstrip("/")).read_text() == "two" * 100
    assert not root.backend.pending(model.Selection(exclude=("other",))).changes
    assert root.backend.interrupted() == ""
    # Nothing that a person asked for is removed as no longer needed, and what came for another is known as such.
    assert "dependency" not in names_of(root, "userinstalled") and "new" in names_of(root, "userinstalled")


# Looks at what only dnf's own transaction has.
WATCHING = """
import dnf

class Watching(dnf.Plugin):
    name = "watching"

    def resolved(self):
        with open("{}", "w") as file:
            file.write(" ".join(sorted(item.name + " " + item.from_repo for item in self.base.transaction)))
"""


def test_a_plugin_that_looks_at_the_transaction_finds_all_that_dnf_has(dnf4: rpmroots.RpmRoot) -> None:
    root = dnf4
    root.repository("base", *(root.build(name, "1") for name in ("lib", "old", "both")))
    root.install("lib", "old", "both")
    lib = root.build("lib", "2", requires=["needed"], obsoletes=["both"])
    new = root.build("new", "1", obsoletes=["old < 2"])
    root.repository("updates", lib, root.build("needed", "1"), new)
    refresh(root)
    pending = root.backend.pending(model.Selection())
    assert [(one.name, one.kind, one.cause) for one in pending.changes] == [
        ("both", "remove", ""),
        ("lib", "upgrade", ""),
        ("needed", "install", "dependency"),
        ("new", "install", "user"),
        ("old", "remove", ""),
    ]
    plugins, seen = root.directory / "plugins", root.directory / "seen"
    plugins.mkdir()
    (plugins / "watching.py").write_text(WATCHING.format(seen))
    root.configure(f"pluginpath={plugins}")
    assert root.backend.pending(model.Selection()) == pending
    assert seen.read_text() == "both @System lib @System lib updates needed updates new updates old @System"


def names_of(root: rpmroots.RpmRoot, which: str) -> list[str]:
    argv = [root.program, "--installroot", str(root.path), "--cacheonly", "--quiet"]
    return root.run([*argv, "repoquery", f"--{which}", "--qf", "%{name}\\n"]).stdout.split()


def test_what_stays_as_it_is_says_why(root: rpmroots.RpmRoot) -> None:
    names = ("excluded", "locked", "lonely", "stuck", "fine")
    root.repository("base", *(root.build(name, "1") for name in names))
    root.install(*names)
    root.configure("excludepkgs=excluded")
    root.lock_version("locked", "1-1")
    updates = [root.build(name, "2", requires=["nothing"] if name == "stuck" else ()) for name in names]
    root.repository("updates", *(path for path in updates if "lonely" not in path.name))
    refresh(root)
    pending = root.backend.pending(model.Selection())
    assert [one.name for one in pending.changes] == ["fine"]
    assert pending.changes[0].security is None, "no repository says what is security"
    reasons = {one.name: one.reason for one in pending.kept}
    assert reasons.pop("stuck").startswith("nothing provides nothing needed by stuck-2-1.noarch")
    assert reasons == {"excluded": "excluded", "locked": "versionlocked"}
    assert {(one.old, one.new) for one in pending.kept} == {("1-1", "2-1")}


def test_a_stream_that_is_not_enabled_keeps_a_package(root: rpmroots.RpmRoot) -> None:
    root.repository("base", root.build("moddy", "1"))
    root.install("moddy")
    modules = (
        "---\ndocument: modulemd\nversion: 2\ndata:\n  name: moddy\n  stream: '2'\n  version: 1\n  context: c0ffee\n"
        "  arch: noarch\n  summary: test\n  description: test\n  license: {module: [Apache-2.0]}\n"
        "  artifacts: {rpms: ['moddy-0:2-1.noarch']}\n"
    )
    root.repository("updates", root.build("moddy", "2")).publish(modules=modules)
    refresh(root)
    pending = root.backend.pending(model.Selection())
    assert not pending.changes
    assert [(one.name, one.new, one.reason) for one in pending.kept] == [("moddy", "2-1", "modular")]


def test_only_what_is_selected(root: rpmroots.RpmRoot) -> None:
    names = ("nova-api", "nova-compute", "glance")
    root.repository("base", *(root.build(name, "1") for name in names))
    root.install(*names)
    root.repository("updates", *(root.build(name, "2") for name in names))
    refresh(root)
    pending = root.backend.pending(model.Selection(packages=("nova-*",), exclude=("nova-compute",)))
    assert [one.name for one in pending.changes] == ["nova-api"]
    assert [one.name for one in pending.kept] == ["nova-compute"]
    alone = root.backend.pending(model.Selection(packages=("nova-compute",), exclude=("nova-compute",)))
    assert not alone.changes and [one.reason for one in alone.kept] == ["excluded"]
    with pytest.raises(errors.BadInput, match=r"\$\.packages: no installed package is called 'neutron'"):
        root.backend.pending(model.Selection(packages=("glance", "neutron")))


def test_downgrade_and_removal(root: rpmroots.RpmRoot) -> None:
    root.repository("base", root.build("down", "1"), root.build("down", "2"), root.build("gone", "1"))
    root.install("down", "gone")
    pending = model.Pending(
        changes=(
            model.Change(name="down", architecture="noarch", kind="downgrade", old="2-1", new="1-1", repository="base"),
            model.Change(name="gone", architecture="noarch", kind="remove", old="1-1"),
        )
    )
    root.backend.download(pending, wait=10, alive=rpmroots.alive)
    done = root.carry_out(root.backend.transaction(pending))
    assert done.returncode == 0, done.stdout + done.stderr
    assert root.versions() == {"down": ["1-1"]}


@pytest.mark.parametrize("fault", ["another package is needed", "the installed version is another", "it is gone"])
def test_a_transaction_that_does_not_fit_changes_nothing(root: rpmroots.RpmRoot, fault: str) -> None:
    root.repository("base", root.build("lib", "1"))
    root.install("lib")
    requires = ["dependency"] if fault.startswith("another") else []
    root.repository("updates", root.build("lib", "2", requires=requires), root.build("dependency", "1"))
    refresh(root)
    old = "0.5-1" if fault.startswith("the installed") else "1-1"
    new = "3-1" if fault.startswith("it is") else "2-1"
    wrong = model.Change(name="lib", architecture="noarch", kind="upgrade", old=old, new=new, repository="updates")
    pending = model.Pending(changes=(wrong,))
    with pytest.raises(errors.PackageError):
        root.backend.download(pending, wait=10, alive=rpmroots.alive)
    assert root.carry_out(root.backend.transaction(pending)).returncode != 0
    assert root.versions() == {"lib": ["1-1"]}


def test_a_thousand_packages(root: rpmroots.RpmRoot) -> None:
    names = [f"one-of-a-great-many-packages-{number:04}" for number in range(1200)]
    built = root.directory / "many"
    unsigned = rpms.repository(root.served / "base", rpms.build_many(built, names, "1"))
    root.use(unsigned, "base", (root.served / "base").as_uri())
    root.install("one-of-a-great-many*")
    updates = rpms.repository(root.served / "updates", rpms.build_many(built, names, "2"))
    root.use(updates, "updates", (root.served / "updates").as_uri())
    refresh(root)
    pending = root.backend.pending(model.Selection())
    assert len(pending.changes) == len(names)
    root.backend.download(pending, wait=10, alive=rpmroots.alive)
    command = root.backend.transaction(pending)
    assert len(command.argv) < 12
    done = root.carry_out(command)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    assert set(map(tuple, root.versions().values())) == {("2-1",)}


def test_files_and_database(root: rpmroots.RpmRoot) -> None:
    files = {"/usr/lib/one/a": (0o644, "a"), "/usr/lib/one/b c": (0o755, "b")}
    root.repository("base", root.build("one", "1", files=files), root.build("one-1", "5"), root.build("two", "1"))
    root.install("one", "two")
    assert root.backend.files(["one", "two", "not-there"]) == {"one": ("/usr/lib/one/a", "/usr/lib/one/b c")}
    assert root.backend.files(["one-1"]) == {}
    assert root.backend.files([]) == {}

    def stamp() -> list[tuple[int, int]]:
        stats = [path.stat() for path in root.backend.database() if path.exists()]
        return [(stat.st_mtime_ns, stat.st_size) for stat in stats]

    before = stamp()
    assert before
    root.backend.installed()
    assert stamp() == before, "reading does not count"
    root.install("one-1")
    assert stamp() != before


def test_versions_are_ordered_as_by_rpm() -> None:
    chance = random.Random(7)  # noqa: S311 - no secret is made of it
    texts = ["".join(chance.choices("0119abz.~^_+", k=chance.randint(1, 7))) for _ in range(600)]
    pairs = list(itertools.pairwise(texts)) + [(text, text + chance.choice(texts)) for text in texts]
    script = "".join(f'print(rpm.vercmp("{one}", "{other}") .. " ")' for one, other in pairs)
    told = subprocess.run(["rpm", "--eval", f"%{{lua:{script}}}"], capture_output=True, text=True, check=True).stdout
    ours = [nevras.compare(f"{one}-1", f"{other}-1") for one, other in pairs]
    assert [(found > 0) - (found < 0) for found in ours] == [int(result) for result in told.split()]
