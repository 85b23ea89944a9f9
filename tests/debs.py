"""Debian packages and signed repositories, made for a test in a moment."""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

# A file of a package: its mode and its text, or bytes where it is no text.
File = tuple[int, str | bytes]
# A test's key and repository are read by apt's unprivileged user.
_READABLE_DIRECTORY = 0o755


def build(
    directory: Path,
    name: str,
    version: str,
    *,
    files: Mapping[str, File] | None = None,
    depends: str = "",
    scripts: Mapping[str, str] | None = None,
    source: str = "",
    architecture: str = "all",
    conffiles: Iterable[str] = (),
    installed_size: int = 1,
    fields: Mapping[str, str] | None = None,
) -> Path:
    """Build a package in `directory` and return its file.

    `files` are by absolute path; `scripts` are maintainer scripts (postinst, prerm ...), whole; `installed_size` is in
    KiB; `fields` are more fields of its control file (`Multi-Arch`, `Conflicts` ...).
    """
    directory.mkdir(parents=True, exist_ok=True)
    control = {
        "Package": name,
        "Version": version,
        "Architecture": architecture,
        "Maintainer": "Nobody <nobody@example.com>",
        "Installed-Size": str(installed_size),
        **({"Depends": depends} if depends else {}),
        **({"Source": source} if source else {}),
        **(fields or {}),
        "Description": "made for a test",
    }
    made = directory / f"{name}_{version.partition(':')[2] or version}_{architecture}.deb"
    with tempfile.TemporaryDirectory(prefix="deb-") as scratch:
        tree = Path(scratch, "tree")
        for path, (mode, content) in (files or {}).items():
            _write(tree / path.lstrip("/"), content, mode)
        _write(tree / "DEBIAN/control", "".join(f"{key}: {value}\n" for key, value in control.items()), 0o644)
        _write(tree / "DEBIAN/conffiles", "".join(f"{path}\n" for path in conffiles), 0o644)
        for script, text in (scripts or {}).items():
            _write(tree / "DEBIAN" / script, text, 0o755)
        _run("dpkg-deb", "--root-owner-group", "-Zgzip", "-z1", "--build", str(tree), str(made))
    return made


def _write(path: Path, content: str | bytes, mode: int) -> None:
    # Whatever the test's umask: dpkg-deb wants DEBIAN/ so, and a package's directories are everybody's.
    for directory in reversed([parent for parent in path.parents if not parent.exists()]):
        directory.mkdir()
        directory.chmod(_READABLE_DIRECTORY)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    path.chmod(mode)


@dataclasses.dataclass(frozen=True)
class Key:
    """A key to sign with: GnuPG's home, and the public part."""

    home: Path
    public: bytes

    def sign(self, text: bytes) -> bytes:
        """`text`, clear-signed."""
        return _gpg(self.home, "--clearsign", "--output", "-", stdin=text)


def key(home: Path) -> Key:
    """Make a key without a password in `home`, which becomes GnuPG's."""
    home.mkdir(mode=0o700, parents=True)
    _gpg(home, "--passphrase", "", "--quick-generate-key", "Test <test@example.com>", "ed25519", "sign", "never")
    return Key(home, _gpg(home, "--export"))


def _gpg(home: Path, *arguments: str, stdin: bytes = b"") -> bytes:
    # Its agent's socket may be in the home, whose path may be too long for one: it is given a short one.
    with tempfile.TemporaryDirectory(prefix="gpg-") as scratch:
        link = Path(scratch, "home")
        link.symlink_to(home.absolute())
        try:
            return _run("gpg", "--homedir", str(link), "--batch", "--quiet", "--yes", *arguments, stdin=stdin)
        finally:
            _run("gpgconf", "--homedir", str(link), "--kill", "all")


@dataclasses.dataclass(frozen=True)
class Repository:
    """A flat repository. `directory` must be in the root that uses it, unless `uri` says how else it is reached."""

    directory: Path
    key: Key
    name: str = "test"
    label: str = "Test"
    suite: str = "stable"
    uri: str = ""
    """As the root sees it, such as `file:/srv/test`."""

    @property
    def key_path(self) -> str:
        """Where in the root the public key lies."""
        return f"/etc/apt/keyrings/{self.name}.gpg"

    @property
    def sources_line(self) -> str:
        """The line of sources.list."""
        return f"deb [signed-by={self.key_path}] {self.uri} ./"

    def publish(self, *packages: Path, signed: bool = True) -> None:
        """Add packages, and sign what there is then; or do not, as a repository that nobody should trust."""
        for package in packages:
            shutil.copy(package, self.directory)
            (self.directory / package.name).chmod(0o644)
        self.write_index(_run("apt-ftparchive", "packages", ".", cwd=self.directory), signed=signed)

    def write_index(self, packages: bytes, *, signed: bool = True) -> None:
        """Sign an index of packages, which need not be there."""
        for name in ("Packages", "Release", "InRelease"):
            (self.directory / name).unlink(missing_ok=True)
        _write(self.directory / "Packages", packages, 0o644)
        described = {"Origin": self.label, "Label": self.label, "Suite": self.suite, "Codename": self.suite}
        options = [f"-oAPT::FTPArchive::Release::{field}={value}" for field, value in described.items()]
        release = _run("apt-ftparchive", *options, "release", ".", cwd=self.directory)
        _write(self.directory / "Release", release, 0o644)
        if signed:
            _write(self.directory / "InRelease", self.key.sign(release), 0o644)

    def install(self, root: Path) -> None:
        """Make `root` use this repository, with its key."""
        _write(root / self.key_path.lstrip("/"), self.key.public, 0o644)
        _write(root / f"etc/apt/sources.list.d/{self.name}.list", f"{self.sources_line}\n", 0o644)


def repository(
    directory: Path,
    packages: Iterable[Path],
    *,
    signed_by: Key,
    root: Path = Path("/"),
    name: str = "test",
    label: str = "Test",
    suite: str = "stable",
    uri: str = "",
) -> Repository:
    """Make a signed repository of `packages` in `directory`; without a `uri` it is reached as a directory of `root`."""
    directory.mkdir(parents=True, exist_ok=True)
    for each in [directory, *directory.parents]:
        if each == root:
            break
        each.chmod(each.stat().st_mode | 0o055)
    seen = uri or f"copy:/{directory.relative_to(root)}"
    made = Repository(directory, signed_by, name, label, suite, seen)
    made.publish(*packages)
    return made


def index(packages: Iterable[Mapping[str, str]]) -> bytes:
    """The text of an index of packages that need not be there, from their fields."""
    return "\n".join(_stanzas(packages)).encode()


def _stanzas(packages: Iterable[Mapping[str, str]]) -> Iterator[str]:
    for fields in packages:
        yield "".join(f"{key}: {value}\n" for key, value in fields.items())


def _run(*argv: str, stdin: bytes = b"", cwd: Path | None = None) -> bytes:
    done = subprocess.run(
        argv, input=stdin, capture_output=True, cwd=cwd, env={**os.environ, "LC_ALL": "C.UTF-8"}, timeout=120
    )
    assert done.returncode == 0, f"{argv}: {done.stderr.decode(errors='replace')}"
    return done.stdout
