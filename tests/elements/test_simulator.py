"""The simulator's repositories for rpm systems; those for apt are used by the booted image."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

import places
import rpmroots
from overcloud_agent.packages import model

ELEMENT = places.ROOT / "elements/overcloud-agent-simulator"
PLACES = ("/usr/share/overcloud-agent-simulator/repositories", "/var/lib/overcloud-agent-simulator/repository")
SERVICE, MODULE = "simulated-service", "puppet-simulated"


@pytest.fixture
def root(monkeypatch: pytest.MonkeyPatch) -> Iterator[rpmroots.RpmRoot]:
    """A root with version 1, and the element's own description of the repository."""
    with rpmroots.made("dnf") as made:
        for name, value in made.variables.items():
            monkeypatch.setenv(name, value)
        repositories = made.directory / "repositories"
        subprocess.run([ELEMENT / "packages/make-repositories", "rpm", repositories], check=True, timeout=60)
        # dnf looks for file: outside of the root that it works on.
        text = (ELEMENT / "packages/overcloud-agent-simulator.repo").read_text()
        for place, here in zip(PLACES, (repositories, made.directory / "repository"), strict=True):
            text = text.replace(place, str(here))
        (made.path / "etc/yum.repos.d/overcloud-agent-simulator.repo").write_text(text)
        made.repository("base", made.build("shell", "1", provides=["/bin/sh"]))
        made.shell()
        publish(made, "1")
        made.install("shell", SERVICE, MODULE)
        yield made


def publish(root: rpmroots.RpmRoot, version: str) -> None:
    place = root.directory / "repository"
    place.unlink(missing_ok=True)
    place.symlink_to(root.directory / "repositories" / version)


def update(root: rpmroots.RpmRoot, version: str) -> subprocess.CompletedProcess[str]:
    """As the agent does it."""
    publish(root, version)
    root.backend.refresh(wait=10, alive=alive)
    pending = root.backend.pending(model.Selection())
    assert {(one.name, one.new) for one in pending.changes} == {(SERVICE, f"{version}-1"), (MODULE, f"{version}-1")}
    root.backend.download(pending, wait=10, alive=alive)
    return root.carry_out(root.backend.transaction(pending))


def alive() -> None:
    pass


def configured(root: rpmroots.RpmRoot) -> list[str]:
    return (root.path / "var/lib/simulated-service.configured").read_text().split()


def test_versions_are_published_one_after_another(root: rpmroots.RpmRoot) -> None:
    """Every signature is checked: the packages' and the repository's."""
    broken = update(root, "3+broken")
    assert broken.returncode != 0
    assert "cannot migrate /etc/simulated-service.conf" in broken.stdout + broken.stderr
    assert root.versions()[SERVICE] == ["1-1"], "what cannot be installed is not"
    repaired = update(root, "4")
    assert repaired.returncode == 0, repaired.stdout + repaired.stderr
    assert (root.versions()[SERVICE], root.versions()[MODULE]) == (["4-1"], ["4-1"])
    assert configured(root) == ["1", "3+broken", "4"]
    assert (root.path / "usr/libexec/simulated-service").read_text().splitlines()[2] == 'echo "simulated-service 4"'
