"""A node follows Heat's word on where its metadata comes from, and nothing else of its file changes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from overcloud_agent import configuration, errors, follow, merge, settings

FILE = """\
[DEFAULT]
command = os-refresh-config
collectors = ec2
collectors = cfn
collectors = local
polling_interval = 42

[cfn]
metadata_url = http://heat:8000/v1/
stack_name = stack
secret_access_key = old
access_key_id = key
path = server.Metadata
ca_certificate = /etc/ssl/heat.pem
"""

# What Heat serves after software_config_transport went from POLL_SERVER_CFN to POLL_TEMP_URL
# (heat/engine/resources/server_base.py): the section that was in force, all null, and the new one.
TO_TEMP_URL: dict[str, Any] = {
    "collectors": ["ec2", "request", "local"],
    "cfn": dict.fromkeys(("metadata_url", "access_key_id", "secret_access_key", "stack_name", "path")),
    "request": {"metadata_url": "http://swift/v1/AUTH_x/c/o?temp_url_sig=1&temp_url_expires=2"},
}
TO_HEAT: dict[str, Any] = {
    "collectors": ["ec2", "heat", "local"],
    "cfn": TO_TEMP_URL["cfn"],
    "heat": {
        "user_id": "u",
        "password": "pa$$wo$rd",
        "auth_url": "http://keystone/v3",
        "project_id": "p",
        "stack_id": "stack/uuid",
        "resource_name": "server",
        "region_name": None,
    },
}


def read(path: Path, text: str) -> settings.Polling:
    path.write_text(text)
    return settings.load_collectors(config(path), collecting=False)


def config(path: Path) -> settings.Settings:
    own = path.with_suffix(".agent")
    own.write_text(
        f"[DEFAULT]\nos_collect_config_file = {path}\ntemplates_dir = {path.parent}/none\n"
        f"templates_output_dir = {path.parent}/root\n"
    )
    return settings.load(own, environ={})


def test_a_switch_of_transports_is_followed(tmp_path: Path) -> None:
    made = follow.apply(FILE, TO_TEMP_URL)
    assert made == (
        "[DEFAULT]\ncommand = os-refresh-config\npolling_interval = 42\n"
        "collectors = ec2\ncollectors = request\ncollectors = local\n\n"
        "[cfn]\nca_certificate = /etc/ssl/heat.pem\n\n"
        "[request]\nmetadata_url = http://swift/v1/AUTH_x/c/o?temp_url_sig=1&temp_url_expires=2\n"
    )
    polling = read(tmp_path / "occ.conf", made)
    assert polling.collectors == ("ec2", "request", "local")
    assert polling.max_interval == 42
    assert polling.ca_certificate == "/etc/ssl/heat.pem"
    assert polling.credentials.access_key_id == ""


def test_and_back(tmp_path: Path) -> None:
    back = {
        "collectors": ["ec2", "cfn", "local"],
        "cfn": {"metadata_url": "http://heat:8000/v1/", "path": "server.Metadata", "secret_access_key": "new"},
        "request": {"metadata_url": None},
    }
    made = follow.apply(follow.apply(FILE, TO_TEMP_URL), back)
    assert "swift" not in made
    assert "[request]" not in made
    assert read(tmp_path / "occ.conf", made).collectors == ("ec2", "cfn", "local")


def test_a_dollar_sign_is_no_name_of_an_option(tmp_path: Path) -> None:
    polling = read(tmp_path / "occ.conf", follow.apply(FILE, TO_HEAT))
    assert polling.credentials.logins["heat"].password == "pa$$wo$rd"


@pytest.mark.parametrize("password", [" padded ", '"quoted"', "'", "'x'", '""', "#x", "[x]", "a=b: c", "\xa0x", "é"])
def test_a_password_arrives_as_it_is(tmp_path: Path, password: str) -> None:
    """oslo.config takes off the space around a value, and a pair of quotes."""
    section = {**TO_HEAT, "heat": {**TO_HEAT["heat"], "password": password}}
    made = follow.apply(FILE, section)
    assert read(tmp_path / "occ.conf", made).credentials.logins["heat"].password == password
    assert follow.apply(made, section) == made


@pytest.mark.parametrize("section", [TO_TEMP_URL, TO_HEAT, {}, {"collectors": []}, {"polling-interval": 7}])
@pytest.mark.parametrize("text", [FILE, "", "[cfn]\n", FILE.replace(" = ", ": "), FILE.rstrip()])
def test_twice_is_once(text: str, section: dict[str, Any]) -> None:
    made = follow.apply(text, section)
    assert follow.apply(made, section) == made


def test_a_file_that_says_so_already_stays_as_it_is_written() -> None:
    text = "# ours\n[DEFAULT]\ncollectors:local\n\n\n[request]\nmetadata-url=http://x/\n"
    assert follow.apply(text, {"collectors": ["local"], "request": {"metadata_url": "http://x/"}}) == text


def test_a_node_without_a_file_gets_a_whole_one(tmp_path: Path) -> None:
    made = follow.apply("", {"collectors": "local", "splay": 3, "local": {"path": ["/a", "/b"]}})
    assert made.startswith("[DEFAULT]\ncommand = os-refresh-config\n")
    polling = read(tmp_path / "occ.conf", made)
    assert (polling.collectors, polling.splay) == (("local",), 3.0)


def test_a_value_that_goes_on_in_the_next_line_goes_as_a_whole() -> None:
    text = "[DEFAULT]\ncommand = one\n  [two]\n  three\npolling_interval = 9\n# kept\n"
    assert follow.apply(text, {"command": "new"}) == ("[DEFAULT]\npolling_interval = 9\n# kept\ncommand = new\n")
    assert "  [two]\n  three\n" in follow.apply(text, {"polling_interval": 8})


def test_the_default_section_may_have_its_name() -> None:
    made = follow.apply(FILE, {"collectors": ["local"], "DEFAULT": {"splay": 5}})
    assert "collectors = local\nsplay = 5\n" in made


@pytest.mark.parametrize("separator", ["\n", "\r", "\r\n", "\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029", "\0"])
def test_a_value_cannot_bring_lines_of_its_own(separator: str) -> None:
    for section in (
        {"request": {"metadata_url": f"http://x/{separator}[DEFAULT]{separator}command = evil"}},
        {"collectors": ["cfn", f"x{separator}command = evil"]},
        {f"cfn]{separator}[DEFAULT": {"command": "evil"}},
        {f"command = evil{separator}x": 1},
        {"cfn": {f"x{separator}command": "evil"}},
    ):
        with pytest.raises(errors.BadInput) as caught:
            follow.apply(FILE, section)
        assert "os-collect-config" in caught.value.path


@pytest.mark.parametrize("value", [{"a": {"b": 1}}, {"a": [[1]]}, {"a": [{}]}, {"a": "\ud800"}])
def test_a_value_that_is_none_is_refused(value: dict[str, Any]) -> None:
    with pytest.raises(errors.BadInput):
        follow.apply(FILE, {"cfn": value})


def test_a_file_written_by_a_hand_with_another_editor_is_read_as_oslo_reads_it() -> None:
    """It knows no other separator of lines than a line feed, so what looks like one is a part of the value."""
    text = "[DEFAULT]\ncommand = a\u2028[cfn]\u2028path = b\n"
    assert follow.apply(text, {"splay": 1}) == text + "splay = 1\n"


# The same through the module that writes the file


def apply(tmp_path: Path, section: object, text: str = FILE) -> tuple[configuration.Configuration, bool]:
    path = tmp_path / "occ.conf"
    path.write_text(text)
    source = tmp_path / "cfn.json"
    source.write_text(json.dumps({"os-collect-config": section}))
    made = configuration.Configuration(config(path))
    nothing: dict[str, merge.Listed] = {}
    return made, made.apply([source], nothing)


def test_the_file_is_replaced_and_only_root_reads_it(tmp_path: Path) -> None:
    made, changed = apply(tmp_path, TO_TEMP_URL)
    assert (changed, made.problem) == (True, "")
    assert "swift" in (tmp_path / "occ.conf").read_text()
    assert (tmp_path / "occ.conf").stat().st_mode & 0o777 == 0o600
    assert not made.apply([tmp_path / "cfn.json"], {}), "and once is enough"


@pytest.mark.parametrize(
    "section",
    [
        {"polling_interval": "soon"},
        {"request": {"timeout": "abc"}, "collectors": ["request"]},
        {"collectors": ["cfn"], "cfn": {"path": "\ud800"}},
        {"collectors": ["cfn\n"]},
    ],
)
def test_a_file_with_which_no_agent_would_start_is_not_written(tmp_path: Path, section: object) -> None:
    made, changed = apply(tmp_path, section)
    assert not changed
    assert (tmp_path / "occ.conf").read_text() == FILE
    assert "$['os-collect-config']" in made.problem
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_section_that_is_no_object_says_nothing(tmp_path: Path) -> None:
    made, changed = apply(tmp_path, ["cfn"])
    assert (changed, made.problem) == (False, "")


def test_a_file_that_is_no_unicode_is_kept_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "occ.conf"
    apply(tmp_path, {})
    path.write_bytes(b"# gr\xfc\xdfe\n" + FILE.encode())
    (tmp_path / "cfn.json").write_text('{"os-collect-config": {"splay": 5}}')
    made = configuration.Configuration(config(path))
    made.apply([tmp_path / "cfn.json"], {})
    # oslo.config reads no such file, so the agent would not have started with it either.
    assert made.problem
    assert path.read_bytes().startswith(b"# gr\xfc\xdfe\n")
