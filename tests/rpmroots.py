"""A system of its own that dnf or dnf5 works on, in a directory: `--installroot` with repositories served by HTTP."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest

import dnf5tree
import rpms
import served
from overcloud_agent.packages import backend, dnf, model

Program = Literal["dnf", "dnf5"]

# Debian's rpm keeps its database in the home directory, in another root as well.
_MACROS = "%_dbpath /var/lib/rpm\n"
_CONFIGURATION = "[main]\ngpgcheck=1\nbest=0\nclean_requirements_on_remove=1\n"


class RpmRoot:
    """A root in `directory`. `backend` works on it; `variables` are what its tools need in the environment."""

    def __init__(self, directory: Path, program: Program) -> None:
        self.directory = directory
        self.program = program
        self.path = directory / "root"
        self.served = directory / "served"
        self.key = rpms.key(directory / "keys")
        self.backend: backend.Backend = dnf.Dnf(self.path, program)
        self.variables = {"HOME": str(directory / "home"), "PATH": os.environ["PATH"]}
        self._furnish()
        if program == "dnf5":
            self.variables["PATH"] = f"{dnf5tree.wrappers(directory)}:{os.environ['PATH']}"

    def enter(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Have this process's tools work on it."""
        for name, value in self.variables.items():
            monkeypatch.setenv(name, value)

    def build(self, name: str, version: str, **more: object) -> Path:
        """Build a package signed with this root's key; see rpms.build."""
        options = {"sign": self.key, **more}
        return rpms.build(self.directory / "built", name, version, **options)  # type: ignore[arg-type]

    def repository(self, name: str, *packages: Path) -> rpms.Repository:
        """Make a signed repository that this root uses, from the server."""
        made = rpms.repository(self.served / name, packages, sign=self.key)
        self.use(made, name, f"http://127.0.0.1:{self._port}/{name}")
        return made

    def use(self, repository: rpms.Repository, name: str, url: str) -> None:
        """Have this root use a repository at an address."""
        (self.path / f"etc/yum.repos.d/{name}.repo").write_text(repository.stanza(name, url))

    def configure(self, line: str) -> None:
        """Add a line to dnf.conf."""
        with (self.path / "etc/dnf/dnf.conf").open("a") as file:
            file.write(f"{line}\n")

    def lock_version(self, name: str, version: str) -> None:
        """As `dnf versionlock add` does."""
        if self.program == "dnf":
            with (self.path / "etc/dnf/versionlock.list").open("a") as file:
                file.write(f"{name}-0:{version}.*\n")
        else:
            condition = f'[[packages.conditions]]\nkey = "evr"\ncomparator = "="\nvalue = "{version}"\n'
            text = f'version = "1.0"\n[[packages]]\nname = "{name}"\n{condition}'
            (self.path / "etc/dnf/versionlock.toml").write_text(text)

    def shell(self) -> None:
        """Give scripts of packages a shell; there must be a package that provides /bin/sh."""
        (self.path / "bin").mkdir()
        shutil.copy(shutil.which("busybox") or "/bin/busybox", self.path / "bin" / "sh")

    def install(self, *names: str) -> None:
        """Install packages by the tool's own command line."""
        done = self.run([self.program, "--installroot", str(self.path), "-y", "install", *names])
        assert done.returncode == 0, done.stdout + done.stderr

    def carry_out(self, command: model.Command) -> subprocess.CompletedProcess[str]:
        """Run a command of the backend."""
        return self.run(list(command.argv), command.environment)

    def run(self, argv: list[str], more: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """Run a command with this root's tools."""
        environment = {**os.environ, **self.variables, **(more or {})}
        return subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=300)

    def versions(self) -> dict[str, list[str]]:
        """What is installed, as the backend says."""
        found: dict[str, list[str]] = {}
        for package in self.backend.installed():
            found.setdefault(package.name, []).append(package.version)
        return found

    @contextlib.contextmanager
    def serving(self) -> Iterator[None]:
        """Serve the repositories; nobody answers before and after."""
        with served.at(self.served, self._port):
            yield

    def _furnish(self) -> None:
        # The repositories' addresses stay the same.
        self._port = served.free_port()
        for path in (self.path / "etc/yum.repos.d", self.path / "etc/dnf/plugins", self.directory / "home"):
            path.mkdir(parents=True)
        self.served.mkdir()
        (self.directory / "home/.rpmmacros").write_text(_MACROS)
        (self.path / "etc/dnf/dnf.conf").write_text(_CONFIGURATION)
        if self.program == "dnf":
            plugins = self.path / "etc/dnf/plugins"
            self.configure(f"pluginconfpath={plugins}")
            # This plugin has a repository of its own on the host.
            (plugins / "local.conf").write_text("[main]\nenabled=0\n")
            locks = self.path / "etc/dnf/versionlock.list"
            locks.touch()
            (plugins / "versionlock.conf").write_text(f"[main]\nenabled=1\nlocklist={locks}\n")


def alive() -> None:
    """For a backend's `alive`: go on."""


@pytest.fixture(params=("dnf", "dnf5"))
def root(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[RpmRoot]:
    """A fixture for test modules: a root for each program, with what its tools need in this process's environment."""
    with made(request.param) as used:
        used.enter(monkeypatch)
        yield used


@pytest.fixture
def dnf4(monkeypatch: pytest.MonkeyPatch) -> Iterator[RpmRoot]:
    """The same for dnf 4 alone."""
    with made("dnf") as used:
        used.enter(monkeypatch)
        yield used


@contextlib.contextmanager
def made(program: Program) -> Iterator[RpmRoot]:
    """A new root, removed at the end. Its path is short, for gpg's sockets, and in one place, for dnf5's tree."""
    dnf5tree.WORK.mkdir(mode=0o700, parents=True, exist_ok=True)
    directory = Path(tempfile.mkdtemp(dir=dnf5tree.WORK))
    try:
        root = RpmRoot(directory, program)
        with root.serving():
            yield root
    finally:
        _end_gpg_agents(directory)
        shutil.rmtree(directory, ignore_errors=True)


def _end_gpg_agents(directory: Path) -> None:
    # dnf5 starts one for each repository with signed metadata, and leaves it.
    for home in directory.glob("root/var/cache/libdnf5/*/pubring"):
        subprocess.run(["gpgconf", "--homedir", str(home), "--kill", "all"], capture_output=True, check=False)
