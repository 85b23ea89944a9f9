"""The small modules: pace, back-off, verdicts, redaction, settings, notification, the command line's errors."""

from __future__ import annotations

import hashlib
import json
import logging
import socket
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click import testing

import places
from overcloud_agent import cli, collect, errors, failpoints, identifiers, log, notify, options, redact, settings
from overcloud_agent.signals import lane, verdict


def _verbs(group: click.Group, above: str = "") -> Iterator[tuple[str, click.Command]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from _verbs(command, f"{name}~")
        else:
            yield f"{above}{name}", command


def test_the_man_page_has_every_verb_with_its_options() -> None:
    page = (places.ROOT / "docs/man/overcloud-agent.8").read_text().replace("\\", "")
    told = {line.split()[1]: line for line in page.splitlines() if line.startswith((".B ", ".BR "))}
    for name, command in _verbs(cli.main):
        flags = {option for one in command.params if one.param_type_name == "option" for option in one.secondary_opts}
        flags |= {one.opts[0] for one in command.params if isinstance(one, click.Option) and not one.secondary_opts}
        assert [flag for flag in flags - {"--deliver-within"} if flag not in told[name]] == [], name


def test_a_traceback_in_the_log_quotes_no_value(capsys: pytest.CaptureFixture[str]) -> None:
    log.setup()
    try:
        raise ValueError("canary" + "-password")
    except ValueError:
        logging.getLogger("overcloud_agent.test").exception("a mistake in overcloud-agent")
    written = capsys.readouterr().err
    assert "test_small.py" in written
    assert written.endswith("ValueError\n")
    assert "canary-password" not in written


def test_identifiers_are_of_the_content() -> None:
    one = identifiers.of({"b": [1, "é"], "a": None})
    assert one == identifiers.of({"a": None, "b": [1, "é"]})
    assert one == "sha256:" + hashlib.sha256('{"a":null,"b":[1,"é"]}'.encode()).hexdigest()
    assert one != identifiers.of({"a": None, "b": [1, "e"]})
    assert identifiers.of("\ud800").startswith("sha256:"), "half a surrogate pair is JSON, too"


def exact(low: float, high: float) -> float:
    return (low + high) / 2


def test_polling_is_fast_after_a_change_and_slows_down() -> None:
    polling = settings.Polling(collectors=("cfn",), min_interval=1.0, max_interval=10.0)
    pace = collect.Pace(polling, uniform=exact)
    assert [pace.pause() for _ in range(6)] == [1.0, 2.0, 4.0, 8.0, 10.0, 10.0]
    pace.hurry()
    assert pace.pause() == 1.0


def test_every_pause_is_jittered() -> None:
    pace = collect.Pace(settings.Polling(collectors=(), min_interval=10.0, max_interval=10.0))
    pauses = {pace.pause() for _ in range(20)}
    assert len(pauses) > 10
    assert all(9.0 <= pause <= 11.0 for pause in pauses)


def test_retries_back_off_with_full_jitter_up_to_a_bound() -> None:
    assert [lane.backoff(n, 60.0, uniform=lambda _low, high: high) for n in range(8)] == [1, 2, 4, 8, 16, 32, 60, 60]
    assert lane.backoff(5, 60.0, uniform=lambda low, _high: low) == 0.2
    assert lane.backoff(100_000, 60.0, uniform=lambda _low, high: high) == 60


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        *((status, "delivered") for status in (200, 204)),
        *((status, "retry") for status in (408, 425, 429, 500, 503)),
        *((status, "refused") for status in (301, 400, 401, 403, 404)),
    ],
)
def test_an_answer_is_judged(status: int, outcome: str) -> None:
    judged = verdict.of_status(status, "http://heat:8000")
    assert judged.outcome == outcome
    assert (str(status) in judged.error) is (outcome != "delivered")


def test_signatures_do_not_pass() -> None:
    url = "http://heat:8000/v1/signal/x?Signature=abc&AWSAccessKeyId=k"
    assert redact.text(f"Max retries exceeded with url: {url} (Caused by '{url}')").count("abc") == 0
    assert redact.endpoint(url) == "http://heat:8000"
    told = redact.text("no answer of https://me:a@b:c@mirror:8443/os/ and http://proxy; ask x@example.com")
    assert told == "no answer of https://***@mirror:8443/os/ and http://proxy; ask x@example.com"


def test_settings_come_from_the_file_and_the_environment(tmp_path: Path) -> None:
    path = tmp_path / "a.conf"
    path.write_text("[DEFAULT]\nhook_timeout = 7\nhooks_dirs = /a,/b\nstate_dir = /s\n")
    config = settings.load(path, environ={"HEAT_CONFIG_HOOKS": "/h", "CONTAINER_HOST": "unix:///p"})
    assert config.hook_timeout == 7.0
    assert config.hooks_dirs == (Path("/h"), Path("/a"), Path("/b"))
    assert config.podman_url == "unix:///p"
    assert settings.load(None, environ={settings.CONFIG_VARIABLE: str(path)}).state_dir == Path("/s")


@pytest.mark.parametrize(
    "text", ["[DEFAULT]\nhook_timeout = soon\n", "[DEFAULT]\nhook_timeout = 0\n", "no section\n", None]
)
def test_a_wrong_file_is_a_settings_error_that_names_it(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "a.conf"
    if text is not None:
        path.write_text(text)
    with pytest.raises(errors.SettingsError) as caught:
        settings.load(path, environ={})
    assert str(path) in str(caught.value)


def test_every_option_is_documented() -> None:
    page = (places.ROOT / "docs" / "configuration.md").read_text()
    assert [option.name for option in options.OPTIONS if f"`{option.name}`" not in page] == []


def test_every_fail_point_is_reached_somewhere() -> None:
    sources = [path.read_text() for path in (places.ROOT / "agent").rglob("*.py") if path.name != "failpoints.py"]
    # Those of steps are reached under names that are made where the step is done; test_plan.py has them.
    named = [name for name in failpoints.NAMES if not name.endswith((".begun", ".done"))]
    assert [name for name in named if not any(f'"{name}"' in source for source in sources)] == []


def test_systemd_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        notify.send("READY=1", "STATUS=here")
        assert server.recv(100) == b"READY=1\nSTATUS=here"


def test_without_systemd_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    notify.send("READY=1")
    monkeypatch.setenv("NOTIFY_SOCKET", "/nonexistent/notify")
    notify.send("READY=1")


def test_an_error_is_a_message_a_hint_and_an_exit_code(tmp_path: Path) -> None:
    result = testing.CliRunner().invoke(cli.main, ["--config-file", str(tmp_path / "none.conf"), "status"])
    assert result.exit_code == errors.SettingsError.exit_code
    assert "hint: " in result.stderr
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("content", "status", "said"),
    [
        ("web:\n  image: a\n", 0, "valid"),
        ('{"web": {"image": "a", "restart": "x"}}', 2, "$.config.web"),
        ("web: {imagee: a}", 2, "nearest: image"),
        (
            json.dumps({"deployments": [{"id": "a", "group": "container-upgrade", "config": {"w": {}}}]}),
            2,
            "$.deployments[0]",
        ),
        (json.dumps([{"id": "../x", "group": "script"}]), 2, "is not an id"),
        (json.dumps({"id": "a", "group": "nope"}), 2, "there is no hook"),
    ],
)
def test_validate_says_what_a_node_would(tmp_path: Path, content: str, status: int, said: str) -> None:
    path = tmp_path / "file"
    path.write_text(content)
    result = testing.CliRunner().invoke(cli.main, ["validate", str(path)])
    assert result.exit_code == status
    assert said in result.output
