"""RPMs and signed repositories for tests, made by rpmbuild, rpmsign and createrepo_c."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from xml.sax import saxutils

# Paths in the package, with mode and content.
Files = Mapping[str, tuple[int, str]]

_SPEC = """\
Name: {name}
{epoch}Version: {version}
Release: {release}
Summary: {name} for a test
License: Apache-2.0
BuildArch: {architecture}
{relations}
%description
{name} for a test.
%install
cp -a {staging}/. %{{buildroot}}
%files
{files}
{scripts}
"""
_SUBPACKAGE = """\
%package -n {name}
Summary: {name} for a test
%description -n {name}
{name} for a test.
%files -n {name}
"""
# Nothing of the host gets into a package, and rpmbuild does nothing to its files.
_MACROS = {
    "__os_install_post": "%{nil}",
    "_build_id_links": "none",
    "debug_package": "%{nil}",
    "_buildhost": "builder.example",
    "__find_provides": "%{nil}",
    "__find_requires": "%{nil}",
    "_rpmfilename": "%%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm",
}
_UPDATE = """\
<update from="security@example" status="final" type="{kind}" version="1">
<id>{identifier}</id><title>{identifier}</title><issued date="2024-01-01 00:00:00"/>
<severity>Important</severity><description>{identifier}</description>
<pkglist><collection short="test"><name>test</name>
<package name="{name}" version="{version}" release="{release}" epoch="{epoch}" arch="{architecture}">
<filename>{filename}</filename></package>
</collection></pkglist></update>
"""


@dataclasses.dataclass(frozen=True)
class Key:
    """A key that signs packages and repositories; `public` is what a node is given of it."""

    home: Path
    public: Path

    def sign_package(self, package: Path) -> None:
        """Sign an RPM in place."""
        macros = {"_gpg_name": "test", "_gpg_path": str(self.home), "__gpg": _gpg()}
        with _agent(self.home):
            _run(["rpmsign", *_defines(macros), "--addsign", str(package)], GNUPGHOME=str(self.home))

    def sign_file(self, path: Path) -> None:
        """Write `path`.asc."""
        with _agent(self.home):
            _run([_gpg(), "--homedir", str(self.home), "--batch", "--yes", "--armor", "--detach-sign", str(path)])


def key(directory: Path, name: str = "test") -> Key:
    """Make a key without a passphrase in `directory`, which is made; its path must be short, for gpg's sockets."""
    home = directory / name
    home.mkdir(mode=0o700, parents=True)
    public = directory / f"{name}.asc"
    with _agent(home):
        gpg = [_gpg(), "--homedir", str(home), "--batch"]
        made = "test <test@example>"
        _run([*gpg, "--passphrase", "", "--quick-generate-key", made, "rsa3072", "sign", "never"])
        public.write_text(_run([*gpg, "--armor", "--export", "test"]))
    return Key(home=home, public=public)


def build(
    directory: Path,
    name: str,
    version: str,
    release: str = "1",
    *,
    files: Files | None = None,
    requires: Sequence[str] = (),
    provides: Sequence[str] = (),
    obsoletes: Sequence[str] = (),
    conflicts: Sequence[str] = (),
    scripts: Mapping[str, str] | None = None,
    architecture: str = "noarch",
    epoch: int = 0,
    sign: Key | None = None,
) -> Path:
    """Build one RPM into `directory` and return its path; `scripts` are shell, by section: pre, post, preun, postun.

    There is a source package's name in it, which is its own.
    """
    directory.mkdir(parents=True, exist_ok=True)
    relations = [
        f"{tag}: {value}\n"
        for tag, values in (
            ("Requires", requires),
            ("Provides", provides),
            ("Obsoletes", obsoletes),
            ("Conflicts", conflicts),
        )
        for value in values
    ]
    with tempfile.TemporaryDirectory() as scratch:
        staging = Path(scratch, "files")
        spec = _SPEC.format(
            name=name,
            epoch=f"Epoch: {epoch}\n" if epoch else "",
            version=version,
            release=release,
            architecture=architecture,
            relations="".join(relations),
            staging=staging,
            files=_stage(staging, files or {}),
            scripts="".join(f"%{section}\n{text}\n" for section, text in (scripts or {}).items()),
        )
        _rpmbuild(Path(scratch), spec, directory)
    package = directory / f"{name}-{version}-{release}.{architecture}.rpm"
    if sign:
        sign.sign_package(package)
    return package


def build_many(directory: Path, names: Sequence[str], version: str) -> list[Path]:
    """Build an empty, unsigned RPM for each name at once: one process for a thousand packages."""
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        staging = Path(scratch, "files")
        staging.mkdir()
        first = _SPEC.format(
            name="many",
            epoch="",
            version=version,
            release="1",
            architecture="noarch",
            relations="",
            staging=staging,
            files="",
            scripts="",
        )
        _rpmbuild(Path(scratch), first + "".join(_SUBPACKAGE.format(name=name) for name in names), directory)
    (directory / f"many-{version}-1.noarch.rpm").unlink()
    return [directory / f"{name}-{version}-1.noarch.rpm" for name in names]


@dataclasses.dataclass(frozen=True)
class Repository:
    """A repository in `directory`; with a key its metadata is signed, and a node is told to check all signatures."""

    directory: Path
    sign: Key | None = None

    def publish(self, *packages: Path, advisories: Mapping[Path, str] | None = None, modules: str = "") -> None:
        """Take `packages` in, beside those that it has. `advisories` are types (security, bugfix) by package."""
        for package in packages:
            shutil.copy(package, self.directory)
        _run(["createrepo_c", "--quiet", "--no-database", str(self.directory)])
        with tempfile.TemporaryDirectory() as scratch:
            if advisories is not None:
                self._modify(Path(scratch, "updateinfo.xml"), _updateinfo(advisories))
            if modules:
                self._modify(Path(scratch, "modules.yaml"), modules)
        if self.sign:
            self.sign.sign_file(self._metadata)

    def withdraw(self, *packages: Path) -> None:
        """Take `packages` out again."""
        for package in packages:
            (self.directory / package.name).unlink()
        self.publish()

    def tamper(self) -> None:
        """Change the metadata after it was signed."""
        self._metadata.write_text(self._metadata.read_text() + "<!-- tampered with -->\n")

    def stanza(self, identifier: str, url: str = "") -> str:
        """What a node has about it in a file of /etc/yum.repos.d; `url` where not by its path."""
        checks = f"gpgcheck=1\nrepo_gpgcheck=1\ngpgkey={self.sign.public.as_uri()}" if self.sign else "gpgcheck=0"
        return f"[{identifier}]\nname={identifier}\nbaseurl={url or self.directory.as_uri()}\nenabled=1\n{checks}\n"

    @property
    def _metadata(self) -> Path:
        return self.directory / "repodata" / "repomd.xml"

    def _modify(self, path: Path, text: str) -> None:
        path.write_text(text)
        _run(["modifyrepo_c", str(path), str(self._metadata.parent)])


def repository(directory: Path, packages: Sequence[Path] = (), *, sign: Key | None = None) -> Repository:
    """Make a repository in `directory` of `packages`."""
    directory.mkdir(parents=True, exist_ok=True)
    made = Repository(directory, sign)
    made.publish(*packages)
    return made


def _updateinfo(advisories: Mapping[Path, str]) -> str:
    updates = []
    for number, (package, kind) in enumerate(advisories.items(), 1):
        tags = ("NAME", "VERSION", "RELEASE", "EPOCHNUM", "ARCH")
        told = _run(["rpm", "-qp", "--nosignature", "--qf", "\\n".join(f"%{{{tag}}}" for tag in tags), str(package)])
        name, version, release, epoch, architecture = map(saxutils.escape, told.split("\n"))
        updates.append(
            _UPDATE.format(
                kind=kind,
                identifier=f"TEST-{number}",
                name=name,
                version=version,
                release=release,
                epoch=epoch,
                architecture=architecture,
                filename=package.name,
            )
        )
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<updates>\n{"".join(updates)}</updates>\n'


def _stage(staging: Path, files: Files) -> str:
    """Write the files of a package; return their list for the spec."""
    staging.mkdir()
    lines = []
    for path, (mode, text) in files.items():
        staged = staging / path.lstrip("/")
        staged.parent.mkdir(parents=True, exist_ok=True)
        staged.write_text(text)
        lines.append(f'%attr({mode:04o}, root, root) "{path}"\n')
    return "".join(lines)


def _rpmbuild(scratch: Path, spec: str, directory: Path) -> None:
    path = scratch / "package.spec"
    path.write_text(spec)
    macros = {**_MACROS, "_topdir": str(scratch / "top"), "_rpmdir": str(directory)}
    _run(["rpmbuild", "--quiet", "-bb", *_defines(macros), str(path)])


def _defines(macros: Mapping[str, str]) -> list[str]:
    return [word for name, value in macros.items() for word in ("--define", f"{name} {value}")]


def _gpg() -> str:
    return shutil.which("gpg") or "/usr/bin/gpg"


@contextlib.contextmanager
def _agent(home: Path) -> Iterator[None]:
    """Gpg starts an agent that would outlive the test."""
    try:
        yield
    finally:
        _run(["gpgconf", "--homedir", str(home), "--kill", "all"])


def _run(argv: Sequence[str], **environment: str) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, env={**os.environ, **environment})
    assert done.returncode == 0, f"{' '.join(argv)}\n{done.stdout}{done.stderr}"
    return done.stdout
