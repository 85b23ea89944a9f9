"""How an element gets the wheels that it hands to an image: once, and then without a network."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from http import server
from importlib import metadata
from pathlib import Path

import pytest

import places
from imagebox import build, offline, pins

# The first test waits for the image, which takes minutes to build.
pytestmark = pytest.mark.timeout(1800)

ELEMENT = places.ROOT / "elements" / "overcloud-agent"


def fetch(tmp_path: Path, cache: Path, *, alone: bool = True, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the element's script as disk-image-create does; `alone`: offline, in a network where nothing answers."""
    script = f"""
        get_image_element_array() {{ echo "[overcloud-agent]={ELEMENT}"; }}
        export -f get_image_element_array
        for file in {ELEMENT}/environment.d/*; do . "$file"; done
        {ELEMENT}/extra-data.d/50-overcloud-agent
    """
    hooks = tmp_path / "hooks"
    shutil.rmtree(hooks, ignore_errors=True)
    hooks.mkdir()
    environment = {
        **os.environ,
        "ARCH": "amd64",
        "DISTRO_NAME": "debian",
        "DIB_RELEASE": "bookworm",
        "DIB_OFFLINE": "1" if alone else "",
        "DIB_IMAGE_CACHE": str(cache),
        "DIB_PYTHON_EXEC": sys.executable,
        "TMP_BUILD_DIR": str(tmp_path),
        "TMP_HOOKS_PATH": str(hooks),
        "no_proxy": "127.0.0.1",
        **variables,
    }
    argv = [*(["unshare", "--net"] if alone else []), "bash", "-eu", "-c", script]
    return subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=120)


def fetched(tmp_path: Path) -> dict[str, bytes]:
    """The agent's wheels that the image gets, with their content."""
    handed = tmp_path / "hooks" / "overcloud-agent-wheels"
    return {path.name: path.read_bytes() for path in handed.glob("overcloud_agent-*")}


@pytest.fixture
def cache(image: build.Image, tmp_path: Path) -> Path:
    """What a builder has who built an image before, except for the agent's own wheel."""
    made = tmp_path / "cache"
    ignored = shutil.ignore_patterns("agent-*")
    shutil.copytree(image.log.parent / "cache" / "overcloud-agent", made / "overcloud-agent", ignore=ignored)
    return made


@pytest.fixture
def index(image: build.Image, tmp_path: Path) -> Iterator[str]:
    """The address of a package index that has one version of the agent."""
    project = tmp_path / "served" / "simple" / "overcloud-agent"
    project.mkdir(parents=True)
    shutil.copy2(wheel_of(image), project)
    handler = functools.partial(server.SimpleHTTPRequestHandler, directory=tmp_path / "served")
    with server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as made:
        threading.Thread(target=made.serve_forever).start()
        yield f"http://127.0.0.1:{made.server_port}/simple/"
        made.shutdown()


def wheel_of(image: build.Image) -> Path:
    (wheel,) = image.wheels.glob("overcloud_agent-*.whl")
    return wheel


def publish_another(tmp_path: Path) -> bytes:
    """The index has another wheel of the same name from now on; its content."""
    (wheel,) = (tmp_path / "served").rglob("*.whl")
    with zipfile.ZipFile(wheel, "a") as content:
        content.writestr("overcloud_agent/another.txt", "another")
    return wheel.read_bytes()


def test_offline_everything_comes_from_the_cache(image: build.Image, tmp_path: Path) -> None:
    done = fetch(tmp_path, image.log.parent / "cache")
    assert done.returncode == 0, done.stderr
    names = [path.name for path in (tmp_path / "hooks" / "overcloud-agent-wheels").iterdir()]
    assert any(name.startswith("overcloud_agent-") for name in names)
    assert any(name.startswith("msgspec-") for name in names)
    assert not any(name.startswith("cryptography-") for name in names), "nothing of the agent imports it"


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({}, "build once without --offline"),
        ({"DIB_OVERCLOUD_AGENT_MODE": "Resident"}, "it is resident or plug-in"),
        ({"DISTRO_NAME": "plan9"}, "set DIB_OVERCLOUD_AGENT_PYTHON"),
    ],
)
def test_what_is_missing_is_named(tmp_path: Path, variables: dict[str, str], message: str) -> None:
    done = fetch(tmp_path, tmp_path / "cache", alone=True, **variables)
    assert done.returncode == 1
    assert message in done.stderr


def names_in(file: str) -> set[str]:
    lines = (ELEMENT / file).read_text().splitlines()
    return {line.partition("==")[0] for line in lines if line and not line.startswith("#")}


def test_what_the_agent_asks_for_is_pinned() -> None:
    """Names only: newer versions come every day."""
    asked = pins.required(metadata.distribution("overcloud-agent"))
    assert {pins.normal(one.name) for one in asked} <= names_in("constraints.txt") - names_in("left-out.txt")


def test_the_image_has_all_that_is_needed_but_what_is_left_out(image: build.Image) -> None:
    """As `pip check`, except for what is left out, which is really absent. All else is pinned."""
    (site,) = image.tree.glob("opt/overcloud-agent/versions/*/lib/python3*/site-packages")
    installed = {pins.normal(one.metadata["Name"]): one for one in metadata.distributions(path=[str(site)])}
    left_out = names_in("left-out.txt")
    assert not left_out & set(installed)
    assert left_out | set(installed) == names_in("constraints.txt") | {"overcloud-agent"}
    for name, distribution in installed.items():
        for one in pins.required(distribution):
            needed = pins.normal(one.name)
            if needed not in left_out:
                assert one.specifier.contains(installed[needed].version, prereleases=True), f"{name} needs {one}"


def test_a_wheel(image: build.Image, cache: Path, tmp_path: Path) -> None:
    """A path needs no network, ever."""
    wheel = wheel_of(image)
    done = fetch(tmp_path, cache, DIB_OVERCLOUD_AGENT_SOURCE=str(wheel))
    assert done.returncode == 0, done.stderr
    assert list(fetched(tmp_path)) == [wheel.name]
    assert not list(cache.rglob("agent-*")), "it is not kept: the file may be another one tomorrow"
    missing = fetch(tmp_path, cache, DIB_OVERCLOUD_AGENT_SOURCE="nowhere.whl")
    assert "there is no nowhere.whl" in missing.stderr


@pytest.mark.parametrize(
    ("source", "variables", "follows"),
    [
        ("{index}overcloud-agent/{wheel}", {}, True),
        ("overcloud-agent", {"PIP_INDEX_URL": "{index}"}, True),
        ("overcloud-agent=={version}", {"PIP_INDEX_URL": "{index}"}, False),
        ("overcloud-agent=={version}", {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "{index}overcloud-agent/"}, False),
    ],
)
def test_what_pip_finds(
    cache: Path, tmp_path: Path, index: str, source: str, variables: dict[str, str], follows: bool
) -> None:
    """It is kept for offline builds; only an exact version is not asked for again."""
    (wheel,) = (tmp_path / "served").rglob("*.whl")
    names = {"index": index, "wheel": wheel.name, "version": wheel.name.split("-")[1]}
    given = {name: value.format(**names) for name, value in variables.items()}
    given["DIB_OVERCLOUD_AGENT_SOURCE"] = source.format(**names)
    first = wheel.read_bytes()
    for alone in (False, True):
        done = fetch(tmp_path, cache, alone=alone, **given)
        assert done.returncode == 0, done.stderr
        assert fetched(tmp_path) == {wheel.name: first}
    another = publish_another(tmp_path)
    for alone in (False, True):
        done = fetch(tmp_path, cache, alone=alone, **given)
        assert done.returncode == 0, done.stderr
        assert fetched(tmp_path) == {wheel.name: another if follows else first}


def test_what_is_not_the_agent_is_refused(cache: Path, tmp_path: Path) -> None:
    (wheel,) = cache.rglob("msgspec-*.whl")
    done = fetch(tmp_path, cache, DIB_OVERCLOUD_AGENT_SOURCE=str(wheel))
    assert done.returncode == 1
    assert f"is {wheel.name}" in done.stderr


def test_an_image_is_built_offline(image: build.Image, cache: Path, tmp_path: Path, index: str) -> None:
    """All of the elements, with the agent by a URL of which nothing is left but what is kept of it."""
    (wheel,) = (tmp_path / "served").rglob("*.whl")
    publish_another(tmp_path)
    source = f"{index}overcloud-agent/{wheel.name}"
    done = fetch(tmp_path, cache, alone=False, DIB_OVERCLOUD_AGENT_SOURCE=source)
    assert done.returncode == 0, done.stderr
    tar = offline.build_offline(image, tmp_path, cache, DIB_OVERCLOUD_AGENT_SOURCE=source)
    with tarfile.open(tar) as content:
        names = content.getnames()
    # It is half a gigabyte.
    tar.unlink()
    current = f"./opt/overcloud-agent/versions/{wheel.name.split('-')[1]}"
    assert "./opt/overcloud-agent/current" in names
    assert f"{current}/complete" in names
    (installed,) = [name for name in names if name.endswith("/site-packages/overcloud_agent/another.txt")]
    assert installed.startswith(f"{current}/")
