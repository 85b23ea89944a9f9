"""How an element gets the wheels that it hands to an image: once, and then without a network."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import places
from imagebox import build

# The first test waits for the image, which takes minutes to build.
pytestmark = pytest.mark.timeout(1800)

ELEMENT = places.ROOT / "elements" / "overcloud-agent"


def fetch(tmp_path: Path, cache: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the element's script as disk-image-create does, in a network namespace in which nothing answers."""
    script = f"""
        get_image_element_array() {{ echo "[overcloud-agent]={ELEMENT}"; }}
        export -f get_image_element_array
        for file in {ELEMENT}/environment.d/*; do . "$file"; done
        {ELEMENT}/extra-data.d/50-overcloud-agent
    """
    (tmp_path / "hooks").mkdir(exist_ok=True)
    environment = {
        **os.environ,
        "ARCH": "amd64",
        "DISTRO_NAME": "debian",
        "DIB_RELEASE": "bookworm",
        "DIB_OFFLINE": "1",
        "DIB_IMAGE_CACHE": str(cache),
        "DIB_PYTHON_EXEC": sys.executable,
        "TMP_BUILD_DIR": str(tmp_path),
        "TMP_HOOKS_PATH": str(tmp_path / "hooks"),
        **variables,
    }
    argv = ["unshare", "--net", "bash", "-eu", "-c", script]
    return subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=120)


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
    done = fetch(tmp_path, tmp_path / "cache", **variables)
    assert done.returncode == 1
    assert message in done.stderr


def test_what_is_left_out_is_pinned() -> None:
    pins = (ELEMENT / "constraints.txt").read_text()
    names = [line for line in (ELEMENT / "left-out.txt").read_text().splitlines() if not line.startswith("#")]
    assert not [name for name in names if f"\n{name}==" not in pins]
