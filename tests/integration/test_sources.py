"""Where metadata comes from, at the socket: what the agent asks, how often, and what it makes of whatever comes.

The reference behaviour that each test is about is the defect of os-collect-config or heat-config with that number.
"""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

import cloudlike
import heatlike
import nodes

GOOD = """echo '{"deploy_stdout": "fine", "deploy_status_code": 0}'"""
STACK_PATH = "/stacks/stack/uuid/resources/server/metadata"


@pytest.fixture
def other() -> Iterator[heatlike.HeatLike]:
    """A second source."""
    with heatlike.HeatLike() as server:
        yield server


@pytest.fixture
def cloud() -> Iterator[cloudlike.CloudLike]:
    with cloudlike.CloudLike() as made:
        yield made


def request_section(heat: heatlike.HeatLike) -> dict[str, str]:
    return {"metadata_url": heat.temp_url}


def heat_section(cloud: cloudlike.CloudLike) -> dict[str, str]:
    return {
        "auth_url": f"{cloud.url}/v3",
        "user_id": "u",
        "password": "right",
        "project_id": "p",
        "stack_id": "stack/uuid",
        "resource_name": "server",
    }


def local_section(node: nodes.Node, **contents: object) -> dict[str, object]:
    """A directory of local metadata with one file for each of `contents`."""
    directory = node.directory / "local-data"
    directory.mkdir(exist_ok=True)
    for name, content in contents.items():
        (directory / name).write_text(json.dumps(content))
    return {"path": directory}


def await_source(node: nodes.Node, name: str, *, ok: bool) -> str:
    """Wait until a source answers well, or badly; returns what is wrong with it."""
    found: list[str] = []

    def there() -> bool:
        rows = node.status()["sources"]
        found[:] = [row["error"] for row in rows if row["name"] == name and bool(row["ok"]) is ok]
        return bool(found)

    node.await_that(there, 20.0, f"{name} never was {'well' if ok else 'wrong'}")
    return found[0]


def listed(node: nodes.Node) -> list[str]:
    return [Path(text).name for text in json.loads((node.cache / "os_config_files.json").read_text())]


# What is asked


def test_a_poll_of_heats_cfn_api_is_one_request_on_a_kept_connection(node: nodes.Node, heat: heatlike.HeatLike) -> None:
    node.collect({"cfn": nodes.cfn_section(heat.url)}, polling_interval=0.3)
    node.start()
    polls = heat.await_polls(6)
    assert node.stop() == 0
    assert {(method, status) for _, method, _, status in polls} == {("GET", 200)}
    assert heat.connections == 1


@pytest.mark.parametrize("validator", ["ETag", "Last-Modified", "ETag, Last-Modified"])
def test_a_poll_of_an_object_asks_whether_there_is_anything_new(
    node: nodes.Node, heat: heatlike.HeatLike, validator: str
) -> None:
    """Defect 16: a new collector for every poll, so HEAD and GET each time, and Last-Modified is never used."""
    node.hook("script", GOOD)
    heat.validator = validator
    node.collect({"request": request_section(heat)}, polling_interval=0.3)
    node.start()
    heat.await_polls(5)
    assert {method for _, method, _, _ in heat.polled} == {"GET"}
    assert [status for _, _, _, status in heat.polled][:5] == [200, 304, 304, 304, 304]
    assert heat.connections == 1
    heat.serve(heat.deployment("a"))
    assert heat.signal("a")["deploy_status_code"] == 0
    assert [status for _, _, _, status in heat.polled].count(200) == 2
    assert node.stop() == 0


def test_a_poll_of_heats_api_is_one_request_with_a_token_that_is_kept(
    node: nodes.Node, heat: heatlike.HeatLike, cloud: cloudlike.CloudLike
) -> None:
    """Defect 15: three requests a poll, two of them for a new token."""
    node.hook("script", GOOD)
    cloud.metadata[STACK_PATH] = {"deployments": [heat.deployment("a")]}
    node.collect({"heat": heat_section(cloud)}, polling_interval=0.3)
    node.start()
    assert heat.signal("a")["deploy_status_code"] == 0
    login, poll = ("POST", "/v3/auth/tokens"), ("GET", STACK_PATH)
    await_requests(node, cloud, 6)
    assert cloud.requests[:6] == [login, poll, poll, poll, poll, poll]
    cloud.token = "an0ther"
    cloud.metadata[STACK_PATH] = {"deployments": [heat.deployment("b")]}
    assert heat.signal("b")["deploy_status_code"] == 0, "a token that is refused is replaced within the poll"
    assert cloud.requests.count(login) == 2
    assert all(row["ok"] for row in node.status()["sources"])
    assert node.stop() == 0


def await_requests(node: nodes.Node, cloud: cloudlike.CloudLike, count: int) -> None:
    node.await_that(lambda: len(cloud.requests) >= count, 20.0, f"there are only {cloud.requests}")


@pytest.mark.parametrize("collector", ["cfn", "request"])
def test_an_answer_that_is_not_new_costs_no_write(node: nodes.Node, heat: heatlike.HeatLike, collector: str) -> None:
    node.hook("script", GOOD)
    sections = {"cfn": nodes.cfn_section(heat.url), "request": request_section(heat)}
    node.collect({collector: sections[collector]}, polling_interval=0.3)
    heat.serve(heat.deployment("a"))
    node.start()
    node.await_state("a", "signalled")
    # What follows a delivery (credentials out of the file) is over a second later.
    heat.await_polls(8)
    watched = [*node.state.iterdir(), *node.cache.iterdir(), *node.deployed.iterdir()]
    before = {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in watched}
    heat.await_polls(6)
    assert {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in watched} == before
    assert node.stop() == 0


def test_a_change_is_followed_by_faster_polls(node: nodes.Node, heat: heatlike.HeatLike) -> None:
    """Defect 14: the pause only ever grows."""
    node.hook("script", GOOD)
    node.collect({"cfn": nodes.cfn_section(heat.url)}, polling_interval=2.0)
    node.start()
    polls = heat.await_polls(6)
    assert polls[-1][0] - polls[-2][0] > 1.5, "it has slowed down"
    heat.serve(heat.deployment("a"))
    heat.signal("a")
    first, second = heat.await_polls(2)
    assert second[0] - first[0] < 1.0
    assert node.stop() == 0


# What comes of it


def test_a_silent_source_is_in_nobodys_way(node: nodes.Node, heat: heatlike.HeatLike, other: heatlike.HeatLike) -> None:
    """One thread asks them all in turn there, so a source that does not answer holds up the others."""
    node.hook("script", GOOD)
    other.mute = True
    node.collect({"request": request_section(other), "cfn": nodes.cfn_section(heat.url)})
    heat.serve(heat.deployment("a"))
    node.start()
    assert heat.signal("a", within=5)["deploy_status_code"] == 0
    other.serve(heat.deployment("b"))
    other.mute = False
    assert heat.signal("b")["deploy_status_code"] == 0
    assert node.stop() == 0


def test_the_last_good_content_survives_a_restart(node: nodes.Node, heat: heatlike.HeatLike) -> None:
    """Defect 17: a source that is down while another changes is dropped, and the files are made without it."""
    path = node.templates / "var/run/heat-config/heat-config"
    path.parent.mkdir(parents=True)
    path.write_text("{{deployments}}")
    node.hook("script", GOOD)
    local = local_section(node, one={"x": 1})
    node.collect({"cfn": nodes.cfn_section(heat.url), "local": local})
    heat.serve(heat.deployment("a"))
    node.start()
    node.await_state("a", "signalled")
    assert node.stop() == 0
    heat.down = True
    local_section(node, one={"x": 2}, two={"y": 1})
    node.start()
    node.await_that(lambda: "two.json" in listed(node), 20.0, "the local source was not read")
    assert listed(node) == ["cfn.json", "one.json", "two.json"]
    rendered = json.loads((node.root / "var/run/heat-config/heat-config").read_text())
    assert [entry["id"] for entry in rendered] == ["a"]
    assert (node.deployed / "a.json").exists()
    heat.serve(heat.deployment("a"), heat.deployment("b"))
    heat.down = False
    heat.signal("b")
    assert [path for path, _ in heat.signals] == ["/v1/signal/a", "/v1/signal/b"], "nothing ran twice"
    assert node.stop() == 0


def test_deployments_of_two_sources_are_merged(
    node: nodes.Node, heat: heatlike.HeatLike, other: heatlike.HeatLike
) -> None:
    """Defect 19: the list of the last source replaces the others'."""
    node.hook("script", f"cat >> {node.directory}/ran; echo >> {node.directory}/ran; {GOOD}")
    node.collect({"cfn": nodes.cfn_section(heat.url), "request": request_section(other)})
    heat.serve(heat.deployment("a"), heat.deployment("both"))
    other.serve(heat.deployment("both", config="of the second"), heat.deployment("b"))
    node.start()
    for key in ("a", "both", "b"):
        assert heat.signal(key)["deploy_status_code"] == 0
    heat.await_polls(2)
    assert node.stop() == 0
    ran = [json.loads(line)["id"] for line in (node.directory / "ran").read_text().splitlines()]
    assert sorted(ran) == ["a", "b", "both"]


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        (b"<Describe", "server.Metadata"),
        (b"", "server.Metadata"),
        (b"<a/>", "server.Metadata"),
        (b"\xff\xfe", "server.Metadata"),
        (None, "server"),
        (None, "server.Nothing"),
        (None, "server.Metadata.deployments.more"),
        (b"[" * 100_000, "server.Metadata"),
    ],
)
def test_malformed_answers_and_paths_kill_nothing(
    node: nodes.Node, heat: heatlike.HeatLike, other: heatlike.HeatLike, raw: bytes | None, path: str
) -> None:
    """Defect 20: an AttributeError of its own, and lxml's XMLSyntaxError, end the daemon."""
    node.hook("script", GOOD)
    heat.raw = raw
    node.collect({"cfn": {**nodes.cfn_section(heat.url), "path": path}, "request": request_section(other)})
    other.serve(heat.deployment("a"))
    node.start()
    assert heat.signal("a")["deploy_status_code"] == 0
    complaints = await_source(node, "cfn", ok=False)
    assert complaints
    assert node.stop() == 0


def test_an_object_nested_too_deep_kills_nothing(node: nodes.Node, heat: heatlike.HeatLike) -> None:
    """It is read by C code and would fail over Python's limit later, in the main thread."""
    node.hook("script", GOOD)
    node.collect({"request": request_section(heat)})
    node.start()
    for levels in (120, 500, 900, 100_000):
        heat.raw = b'{"a":' * levels + b"1" + b"}" * levels
        heat.await_polls(2)
    assert not node.status()["sources"][0]["ok"]
    heat.raw = None
    heat.serve(heat.deployment("a"))
    assert heat.signal("a")["deploy_status_code"] == 0
    assert node.stop() == 0


@pytest.mark.parametrize("locale", [{"LANG": "C.UTF-8", "LC_ALL": ""}, {"LC_ALL": "xx"}, {"LC_ALL": "xx_YY.UTF-8"}])
def test_local_metadata_in_any_locale(node: nodes.Node, heat: heatlike.HeatLike, locale: dict[str, str]) -> None:
    """Defect 21: setlocale fails under C.UTF-8, and ends the daemon."""
    node.hook("script", GOOD)
    node.collect({"local": local_section(node, Z={"deployments": [heat.deployment("a")]}, a={"x": 1})})
    node.start(env=locale)
    assert heat.signal("a")["deploy_status_code"] == 0
    assert listed(node) == ["Z.json", "a.json"]
    assert node.stop() == 0


def test_a_local_file_whose_name_is_no_unicode(node: nodes.Node, heat: heatlike.HeatLike) -> None:
    node.hook("script", GOOD)
    section = local_section(node, good={"x": 1})
    odd = node.directory / "local-data" / "odd\udcff"
    odd.write_text("[]")
    node.collect({"local": section, "cfn": nodes.cfn_section(heat.url)})
    heat.serve(heat.deployment("a"))
    node.start()
    assert heat.signal("a")["deploy_status_code"] == 0
    assert "odd\\udcff" in await_source(node, "local", ok=False)
    odd.write_text("{}")
    await_source(node, "local", ok=True)
    assert node.stop() == 0


def test_splay(node: nodes.Node, heat: heatlike.HeatLike) -> None:
    """Defect 23: randrange() of a float ends the daemon."""
    node.collect({"cfn": nodes.cfn_section(heat.url)}, splay=1.5)
    node.start()
    heat.await_polls(1)
    assert node.stop() == 0


def test_collectors_as_one_text(node: nodes.Node, heat: heatlike.HeatLike) -> None:
    """Defect 42: old templates wrote the list as JSON, over which the daemon ends: unknown collectors."""
    node.hook("script", GOOD)
    text = node.sources.read_text().replace("collectors = cfn", 'collectors = ["cfn", "local"]')
    node.sources.write_text(text)
    heat.serve(heat.deployment("a"))
    node.start()
    assert heat.signal("a")["deploy_status_code"] == 0
    assert [row["name"] for row in node.status()["sources"]] == ["cfn", "local"]
    assert node.stop() == 0


def test_sighup_works_after_many_runs_and_in_hooks(
    node: nodes.Node, heat: heatlike.HeatLike, other: heatlike.HeatLike
) -> None:
    """Defect 24: ignored from the first run on, by the daemon and by all that it starts."""
    node.hook("script", f"grep SigIgn /proc/$$/status >> {node.directory}/ignored; {GOOD}")
    node.start()
    for key in ("a", "b", "c"):
        heat.serve(heat.deployment(key))
        heat.signal(key)
    node.collect({"cfn": nodes.cfn_section(other.url)})
    other.serve(other.deployment("d"))
    assert node.process
    node.process.send_signal(signal.SIGHUP)
    assert other.signal("d")["deploy_status_code"] == 0
    assert node.stop() == 0
    ignored = [int(line.split()[1], 16) for line in (node.directory / "ignored").read_text().splitlines()]
    assert len(ignored) == 4
    assert not any(mask & 1 << signal.SIGHUP - 1 for mask in ignored)


def test_an_outage_costs_nothing_that_adds_up(node: nodes.Node, heat: heatlike.HeatLike) -> None:
    """A queue that cannot be reached is made anew at every poll, for hours, and descriptors are few."""
    with socket.create_server(("127.0.0.1", 0)) as keystone:
        section = {
            "auth_url": f"http://127.0.0.1:{keystone.getsockname()[1]}/v3",
            **dict.fromkeys(("user_id", "password", "project_id", "queue_id"), "x"),
            "use_websockets": True,
        }
        pace = {"min_polling_interval": 0.1, "polling_interval": 0.1}
        node.collect({"cfn": nodes.cfn_section(heat.url), "zaqar": section}, **pace)
        node.start()
        assert node.process
        counts = []
        for _ in range(2):
            for _ in range(20):
                keystone.accept()[0].close()
            counts.append(len(os.listdir(f"/proc/{node.process.pid}/fd")))
    assert counts[1] < counts[0] + 10, counts
