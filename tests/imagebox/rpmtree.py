"""A repository of RPMs with Fedora's names, made of a Debian tree's files as fedora.py says."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import suites
from imagebox import fedora
from podmanbox import commands

TIMEOUT_S = 600.0

# Nothing is compressed, stripped, looked into for dependencies or compiled: that would take most of the time.
_MACROS = {
    "__os_install_post": "%{nil}",
    "_binary_payload": "w.ufdio",
    "_build_id_links": "none",
    "_buildhost": "builder.example",
    "_rpmfilename": "%%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm",
    "_unpackaged_files_terminate_build": "0",
    "debug_package": "%{nil}",
}
_HEAD = """\
Name: made-of-debian
Version: {release}
Release: 1
Summary: Debian's files under Fedora's names
License: various
AutoReqProv: no
%description
%{{summary}}.
%install
rmdir %{{buildroot}} || true
mv {tree} %{{buildroot}}
"""
_PACKAGE = """\
%package -n {name}
Summary: Debian's files under Fedora's name
AutoReqProv: no
{relations}
%description -n {name}
%{{summary}}.
%files -n {name} -f {list}
"""
_SCRIPT = "%post -n {name}\n{command} || :\n"
_MERGED = ("/bin/", "/lib/", "/lib64/", "/sbin/")
_UNITS = "/usr/lib/systemd/system/"


def make(directory: Path) -> Path:
    """Make the repository in `directory`, and return where it is. Raise BoxError or CommandError."""
    tree, repository = directory / "tree", directory / "repository"
    for path in (tree, repository):
        shutil.rmtree(path, ignore_errors=True)
    suites.make(tree, fedora.SUITE, fedora.debian_packages(), variant="essential", slim=True)
    owners = _owners(tree)
    _rearrange(tree)
    lists = _lists(tree, owners)
    repository.mkdir()
    _build(directory, tree, lists)
    commands.run(["createrepo_c", "--quiet", "--no-database", str(repository)], os.environ, TIMEOUT_S)
    return repository


def _owners(tree: Path) -> dict[str, str]:
    """The package of each path that one of Debian's has; empty for what is left out."""
    names = {debian: name for name, package in fedora.PACKAGES.items() for debian in package.debian}
    names |= dict.fromkeys(fedora.LEFT_OUT, "")
    found = {}
    for file in (tree / "var/lib/dpkg/info").glob("*.list"):
        name = names.get(file.stem.partition(":")[0], fedora.REST)
        for path in file.read_text().splitlines():
            merged = f"/usr{path}" if path.startswith(_MERGED) else path
            found[fedora.moved(merged)] = name
    return found


def _rearrange(tree: Path) -> None:
    for old, new in fedora.MOVED.items():
        source, target = tree / old.lstrip("/"), tree / new.lstrip("/")
        if old.endswith("/"):
            target.mkdir(parents=True, exist_ok=True)
            for path in list(source.iterdir()):
                _move(path, target / path.name)
            source.rmdir()
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            _move(source, target)
    for unit in (tree / _UNITS.lstrip("/")).iterdir():
        if unit.is_file() and not unit.is_symlink():
            text = unit.read_text()
            for old, new in fedora.MOVED.items():
                text = text.replace(old, new)
            unit.write_text(text)
    for name in fedora.DIRECTORIES:
        (tree / name.lstrip("/")).mkdir(parents=True, exist_ok=True)
    for name, text in fedora.WRITTEN.items():
        path = tree / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for name, target_name in fedora.LINKS.items():
        path = tree / name.lstrip("/")
        path.unlink(missing_ok=True)
        path.symlink_to(target_name)


def _move(source: Path, target: Path) -> None:
    # Of two with one name, one is a link to the other.
    if target.exists() and source.is_symlink():
        source.unlink()
    else:
        source.rename(target)


def _lists(tree: Path, owners: Mapping[str, str]) -> dict[str, list[str]]:
    """The lines of %files of each package."""
    by_path = {path: name for name, package in fedora.PACKAGES.items() for path in package.paths}
    lists: dict[str, list[str]] = {name: [] for name in (*fedora.PACKAGES, *fedora.EMPTY)}
    for path, is_directory in _walk(tree):
        if is_directory:
            lists["filesystem"].append(f'%dir "{path}"')
            continue
        above = (path, *(str(parent) for parent in Path(path).parents))
        name = next((by_path[one] for one in above if one in by_path), owners.get(_source(path), fedora.REST))
        if name:
            lists[name].append(f'"{path}"')
    return lists


def _source(path: str) -> str:
    """The path of the source, of a file that Python compiled when it was installed."""
    head, cache, tail = path.partition("/__pycache__/")
    return f"{head}/{tail.partition('.')[0]}.py" if cache else path


def _walk(tree: Path) -> Iterator[tuple[str, bool]]:
    """What is in the tree, as paths in it, and whether that is a directory."""
    for top, directories, files in os.walk(tree):
        place = f"/{os.path.relpath(top, tree)}/" if top != str(tree) else "/"
        for name in list(directories):
            path = place + name
            if path in fedora.LEFT_OUT_PATHS:
                directories.remove(name)
            else:
                yield path, not os.path.islink(f"{top}/{name}")
        for name in files:
            # rpm would take the one in /usr/bin for a pattern; every shell has it built in.
            if place + name not in fedora.LEFT_OUT_PATHS and name != "[":
                yield place + name, False


def _build(directory: Path, tree: Path, lists: Mapping[str, list[str]]) -> None:
    """One rpmbuild for all of them; the tree becomes its build root, and goes with it."""
    work = directory / "rpmbuild"
    shutil.rmtree(work, ignore_errors=True)
    (work / "lists").mkdir(parents=True)
    spec = [_HEAD.format(release=fedora.RELEASE, tree=tree)]
    for name, lines in lists.items():
        package = fedora.PACKAGES.get(name, fedora.Package())
        relations = [f"Requires: {one}" for one in package.requires] + [f"Provides: {one}" for one in package.provides]
        path = work / "lists" / name
        path.write_text("\n".join(["%defattr(-,root,root,-)", *lines, ""]))
        spec.append(_PACKAGE.format(name=name, relations="\n".join(relations), list=path))
        if command := _enabling(name, tree, lines):
            spec.append(_SCRIPT.format(name=name, command=command))
    (work / "fedora.spec").write_text("".join(spec))
    macros = {**_MACROS, "_topdir": str(work), "_rpmdir": str(directory / "repository")}
    defines = [word for name, value in macros.items() for word in ("--define", f"{name} {value}")]
    commands.run(["rpmbuild", "--quiet", "-bb", *defines, str(work / "fedora.spec")], os.environ, TIMEOUT_S)
    shutil.rmtree(work)


def _enabling(name: str, tree: Path, lines: list[str]) -> str:
    """What a package's script does for its units: as the presets have it."""
    if name == "systemd":
        return "systemd-machine-id-setup; systemctl --no-reload preset-all"
    units = []
    for line in lines:
        unit = line.strip('"').removeprefix(_UNITS)
        path = tree / _UNITS.lstrip("/") / unit
        if line.startswith(f'"{_UNITS}') and "/" not in unit and path.is_file() and "[Install]" in path.read_text():
            units.append(unit)
    return " ".join(["systemctl --no-reload preset", *units]) if units and name != fedora.REST else ""
