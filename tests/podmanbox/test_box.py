"""A real box, from its first start to the last trace of it."""

import pathlib
import tempfile
import time
from collections.abc import Iterator

import pytest

from podmanbox import box, errors, image, layout, processes, traces

SERVE = "#!/bin/sh\necho version $VERSION\nexec sleep 1000\n"
LONG = 85


@pytest.fixture(scope="module")
def it() -> Iterator[box.PodmanBox]:
    """A box that is up, in a directory with a path of 85 characters."""
    parent = pathlib.Path(tempfile.mkdtemp(prefix="podmanbox-", dir="/var/tmp"))
    directory = parent / ("x" * (LONG - len(str(parent)) - 1))
    made = box.PodmanBox(directory)
    try:
        made.up()
        yield made
    finally:
        made.down(wipe=True)
        parent.rmdir()


def build(it: box.PodmanBox, name: str, **config: object) -> str:
    settings = {"command": ("/serve",), "env": {"VERSION": "1"}} | config
    return it.build(name, {"/serve": SERVE}, image.ImageConfig(**settings))  # type: ignore[arg-type]


def test_up_twice_is_up_once(it: box.PodmanBox) -> None:
    assert len(str(it.directory)) == LONG
    before = it.registry
    it.up()
    assert it.running()
    assert it.registry == before


def test_an_image_is_run_from_the_registry(it: box.PodmanBox) -> None:
    digest = build(it, "demo/good:1")
    reference = f"{it.registry}/demo/good:1"
    assert "demo/good" not in it.podman("images")
    it.podman("run", "-d", "--name=good", "-p=127.0.0.1::80", reference)
    assert it.podman("inspect", "good", "--format={{.ImageDigest}}").strip() == digest
    assert it.podman("exec", "good", "sh", "-c", "echo $VERSION") == "1\n"


def test_a_container_that_ends_is_cleaned_up(it: box.PodmanBox) -> None:
    build(it, "demo/broken:1", command=("false",))
    it.podman("run", "-d", "--name=broken", f"{it.registry}/demo/broken:1")
    assert it.podman("wait", "broken") == "1\n"
    state = it.podman("inspect", "broken", "--format={{.State.Status}}")
    assert state == "exited\n"


def test_a_failing_healthcheck_is_seen(it: box.PodmanBox) -> None:
    build(it, "demo/sick:1", healthcheck=image.Healthcheck("false", retries=1))
    it.podman("run", "-d", "--name=sick", f"{it.registry}/demo/sick:1")
    with pytest.raises(errors.CommandError):
        it.podman("healthcheck", "run", "sick")
    health = it.podman("inspect", "sick", "--format={{.State.Health.Status}}")
    assert health == "unhealthy\n"


def test_a_container_is_waited_for_no_longer_than_it_runs(it: box.PodmanBox) -> None:
    # Podman waits 20 s for a cleanup that failed: see config.py on static_dir and layout.py.
    build(it, "demo/short:1")
    begin = time.monotonic()
    it.podman("run", "--rm", f"{it.registry}/demo/short:1", "true")
    assert time.monotonic() - begin < 15


def test_limits_that_nobody_may_set_are_lowered(it: box.PodmanBox) -> None:
    build(it, "demo/limits:1")
    it.podman("run", "--rm", "--ulimit=nofile=1048576:1048576", "--net=host",
              f"{it.registry}/demo/limits:1", "true")  # fmt: skip


def test_an_outage_of_the_registry(it: box.PodmanBox) -> None:
    build(it, "demo/late:1")
    it.registry_stop()
    assert not it.running()
    with pytest.raises(errors.CommandError, match="connection refused"):
        it.podman("pull", f"{it.registry}/demo/late:1")
    it.registry_start()
    it.podman("pull", f"{it.registry}/demo/late:1")


def test_an_outage_of_the_service(it: box.PodmanBox) -> None:
    it.service_stop()
    assert not it.socket.exists()
    assert not it.running()
    it.service_start()
    assert it.running()


def test_down_leaves_nothing_behind(it: box.PodmanBox) -> None:
    # This is the last test of the module: it goes on with the containers of the others.
    it.down()
    assert not it.running()
    assert not processes.find(lambda argv: processes.belongs_to(it.directory, argv))
    assert not traces.mounts_below(it.directory)
    assert not list(pathlib.Path("/run").glob(f"{layout.Layout(it.directory).name}*"))
    assert it.directory.stat().st_mode & 0o777 == 0o700


def test_a_path_that_is_too_long_is_refused(tmp_path: pathlib.Path) -> None:
    with pytest.raises(errors.BoxError, match="too long for a socket"):
        box.PodmanBox(tmp_path / ("x" * 100)).up()


def test_what_is_no_box_is_not_wiped(tmp_path: pathlib.Path) -> None:
    with pytest.raises(errors.BoxError, match="not a box"):
        box.PodmanBox(tmp_path).down(wipe=True)
    assert tmp_path.exists()
