"""Unit files as text, and who starts containers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from overcloud_agent import errors, settings
from overcloud_agent.containers import engine, spec, unit_file, units


def container(**keys: Any) -> spec.Container:
    return spec.Container(image="registry/web:1", **{"restart": "always", **keys})


def text(**keys: Any) -> str:
    return unit_file.text(container(**keys), "web", prefix="tripleo", podman="/usr/bin/podman")


def values(unit: str, key: str) -> list[str]:
    return [line.partition("=")[2] for line in unit.splitlines() if line.startswith(f"{key}=")]


def everything(podman: engine.Engine, directory: Path) -> units.Units:
    return units.Units(podman, prefix="tripleo", directory=directory)


@pytest.fixture
def podman() -> engine.Engine:
    """Nobody answers there."""
    return engine.Engine("unix:///nonexistent/podman.sock")


@pytest.mark.parametrize("restart", ["always", "unless-stopped", "on-failure", "on-failure:3"])
def test_what_is_kept_running_has_a_unit(restart: str) -> None:
    assert unit_file.wanted(container(restart=restart))
    assert not unit_file.wanted(container(restart=restart, detach=False))
    assert not unit_file.wanted(container(restart=restart, action="exec"))


@pytest.mark.parametrize("restart", [None, "", "no"])
def test_other_containers_have_none(restart: str | None) -> None:
    assert not unit_file.wanted(container(restart=restart))


def test_names_are_tripleo_s() -> None:
    assert unit_file.unit("tripleo", "nova_api") == "tripleo_nova_api.service"
    assert unit_file.unit("", "nova_api") == "nova_api.service"
    assert unit_file.pid_file("nova_api") == "/run/nova_api.pid"


def test_a_unit_starts_the_container_by_its_name() -> None:
    unit = text(stop_grace_period=25)
    assert values(unit, "ExecStart") == ["/usr/bin/podman start web"]
    assert values(unit, "ExecStop") == ["/usr/bin/podman stop --ignore -t 25 web"]
    assert values(unit, "PIDFile") == ["/run/web.pid"]
    assert values(unit, "TimeoutStopSec") == ["85"]
    assert values(unit, "WantedBy") == ["multi-user.target"]
    assert " -t 10 web" in values(text(), "ExecStop")[0]


@pytest.mark.parametrize(
    ("policy", "restart", "interval", "burst"),
    [
        ("always", "always", "0", []),
        ("unless-stopped", "always", "0", []),
        ("on-failure", "on-failure", "0", []),
        ("on-failure:3", "on-failure", "infinity", ["4"]),
    ],
)
def test_restart_policies(policy: str, restart: str, interval: str, burst: list[str]) -> None:
    unit = text(restart=policy)
    assert values(unit, "Restart") == [restart]
    assert values(unit, "StartLimitIntervalSec") == [interval]
    assert values(unit, "StartLimitBurst") == burst
    # SIGKILL is a failure to what is only started again after one.
    assert bool(values(unit, "SuccessExitStatus")) == (restart == "always")


@pytest.mark.parametrize(
    ("entry", "unit"),
    [
        ("db", "tripleo_db.service"),
        ("tripleo_db", "tripleo_db.service"),
        ("tripleo_db.service", "tripleo_db.service"),
        ("openvswitch.service", "openvswitch.service"),
        ("remote-fs.target", "remote-fs.target"),
    ],
)
def test_dependencies_are_started_before(entry: str, unit: str) -> None:
    made = text(depends_on=[entry])
    assert values(made, "Wants")[0].split()[-1] == unit
    assert values(made, "After")[0].split()[-1] == unit


@pytest.mark.parametrize("entry", ["a b", "a\nExecStartPre=/bin/evil", "", "a/b"])
def test_what_is_no_dependency_is_refused(entry: str) -> None:
    with pytest.raises(errors.BadInput, match="neither a container nor a unit"):
        text(depends_on=[entry])


def test_more_directives() -> None:
    unit = text(systemd_exec_flags={"LimitNOFILE": 4096, "Environment": ["A=1", "B=2"], "PrivateTmp": False})
    assert values(unit, "LimitNOFILE") == ["4096"]
    assert values(unit, "Environment")[-2:] == ["A=1", "B=2"]
    assert values(unit, "PrivateTmp") == ["false"]
    assert unit.index("LimitNOFILE") < unit.index("[Install]")


@pytest.mark.parametrize(
    "flags",
    [{"Nice": "1\nExecStartPre=/bin/evil"}, {"Nice": "1\\"}, {"Nice": {"a": 1}}, {"[Service]\nNice": 1}, {"": "x"}],
)
def test_what_is_no_directive_is_refused(flags: dict[str, Any]) -> None:
    with pytest.raises(errors.BadInput, match="systemd_exec_flags: "):
        text(systemd_exec_flags=flags)


def test_what_a_container_under_a_unit_is_created_with(podman: engine.Engine, tmp_path: Path) -> None:
    body = everything(podman, tmp_path).body
    assert body(container(), "web") == {"restart_policy": "no", "conmon_pid_file": "/run/web.pid"}
    assert body(container(restart="on-failure:3"), "web")["restart_tries"] == 0
    assert body(container(restart="no"), "web") == {}
    assert units.Direct(podman).body(container(), "web") == {}


def test_a_bad_unit_is_found_before_anything_moves(podman: engine.Engine, tmp_path: Path) -> None:
    with pytest.raises(errors.BadInput):
        everything(podman, tmp_path).body(container(systemd_exec_flags={"Nice": "1\n2"}), "web")
    assert not list(tmp_path.iterdir())


def test_systemd_is_used_where_it_runs(podman: engine.Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "agent.conf"
    file.write_text("[DEFAULT]\nunit_prefix = cloud\n")
    config = settings.load(file, environ={})
    monkeypatch.setattr(units, "BOOTED", tmp_path)
    assert isinstance(units.starter(config, podman), units.Units)
    monkeypatch.setattr(units, "BOOTED", tmp_path / "nothing")
    assert isinstance(units.starter(config, podman), units.Direct)
    file.write_text("[DEFAULT]\nsystemd = never\n")
    monkeypatch.setattr(units, "BOOTED", tmp_path)
    assert isinstance(units.starter(settings.load(file, environ={}), podman), units.Direct)


@pytest.mark.parametrize("line", ["systemd = perhaps", "unit_prefix = a/b"])
def test_settings_that_are_not_allowed(line: str, tmp_path: Path) -> None:
    file = tmp_path / "agent.conf"
    file.write_text(f"[DEFAULT]\n{line}\n")
    with pytest.raises(errors.SettingsError):
        settings.load(file, environ={})
