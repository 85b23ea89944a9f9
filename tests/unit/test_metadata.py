"""The last good content of every source, where os-apply-config looks for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from overcloud_agent import collect, errors, merge, metadata


def kept(tmp_path: Path, *sources: str) -> metadata.Metadata:
    (tmp_path / "state").mkdir(exist_ok=True)
    return metadata.Metadata(tmp_path / "cache", tmp_path / "state", sources or ("cfn", "local"), ["deployments"])


def content(source: str, *keys: str, **more: object) -> collect.Content:
    return [(source, {"deployments": [{"id": key} for key in keys], **more})]


def listing(tmp_path: Path) -> list[str]:
    return [Path(text).name for text in json.loads((tmp_path / "cache" / "os_config_files.json").read_text())]


def entry(name: str, config: object, source: str = "cfn", group: str | None = "os-apply-config") -> merge.Listed:
    return merge.Listed(source, {"id": f"id-{name}", "name": name, "group": group, "config": config}, "", "")


def test_a_source_that_is_silent_keeps_its_last_good_content(tmp_path: Path) -> None:
    """Defect 17, also over a restart: os_config_files.json keeps naming it."""
    first = kept(tmp_path)
    assert first.lists() == {"cfn": None, "local": None}
    first.update("cfn", content("cfn", "a"))
    first.update("local", [("one.json", {"x": 1})])
    first.publish({})
    again = kept(tmp_path)
    assert again.lists() == {"cfn": [{"id": "a"}], "local": []}
    again.update("local", [("two.json", {"x": 2})])
    assert [path.name for path in again.publish({})] == ["cfn.json", "two.json.json"]
    assert listing(tmp_path) == ["cfn.json", "two.json.json"]
    assert not (tmp_path / "cache" / "one.json.json").exists()


def test_only_root_reads_the_cache(tmp_path: Path) -> None:
    made = kept(tmp_path)
    made.update("cfn", content("cfn"))
    made.publish({"a": entry("site", {"k": "v"})})
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "cache").iterdir()} == {0o600}
    assert (tmp_path / "cache").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("damage", ["remove", "empty", "half", "list"])
def test_nothing_follows_from_a_cache_that_was_emptied(tmp_path: Path, damage: str) -> None:
    """A list that cannot be read is no empty list: what waits would be superseded, what ran forgotten."""
    first = kept(tmp_path)
    first.update("cfn", content("cfn", "a"))
    path = tmp_path / "cache" / "cfn.json"
    if damage == "remove":
        path.unlink()
    else:
        path.write_text({"empty": "", "half": '{"deployments": [', "list": "[]"}[damage])
    assert first.lists()["cfn"] is None
    again = kept(tmp_path)
    assert not again.heard("cfn"), "nor is the node configured from the rest alone"
    again.update("cfn", content("cfn", "a"))
    assert again.lists()["cfn"] == [{"id": "a"}]


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"cfn": 7}', '{"cfn": [7]}', '{"cfn": ["../x"]}', '{"cfn": ["a\\u0000"]}']
)
def test_an_index_that_is_damaged_says_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "sources.json").write_text(text)
    assert kept(tmp_path).lists() == {"cfn": None, "local": None}


@pytest.mark.parametrize("text", ["", "{}", "[1, null, {}]", '["/etc/passwd", "a"]'])
def test_a_list_of_files_that_is_damaged_is_written_anew(tmp_path: Path, text: str) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "os_config_files.json").write_text(text)
    made = kept(tmp_path)
    made.update("cfn", content("cfn"))
    made.publish({})
    assert listing(tmp_path) == ["cfn.json"]


def test_the_config_of_a_deployment_for_templates_is_metadata(tmp_path: Path) -> None:
    """It comes after its source, so it overrides it, and goes with the deployment."""
    made = kept(tmp_path)
    made.update("cfn", content("cfn"))
    made.update("local", [("one.json", {})])
    listed = {
        "a": entry("site", {"k": "v"}),
        "b": entry("other", {"k": 2}, group=None),
        "c": entry("ungrouped", {"k": 3}, group="Heat::Ungrouped"),
        "d": entry("script", {"k": 4}, group="script"),
    }
    made.publish(listed)
    assert listing(tmp_path) == ["cfn.json", "site.json", "other.json", "ungrouped.json", "one.json.json"]
    assert json.loads((tmp_path / "cache" / "site.json").read_text()) == {"k": "v"}
    made.publish({"b": listed["b"]})
    assert listing(tmp_path) == ["cfn.json", "other.json", "one.json.json"]
    assert not (tmp_path / "cache" / "site.json").exists()


BAD_NAMES = ["", "../../etc/cron.d/x", "a/b", ".hidden", "a\0b", "a:b", "cfn", "os_config_files", "x" * 201]


@pytest.mark.parametrize("name", [*BAD_NAMES, None, 7, ["x"]])
def test_a_name_that_is_no_file_is_refused_and_costs_nobody_else(tmp_path: Path, name: Any) -> None:
    """Defect 34."""
    with pytest.raises(errors.BadInput) as caught:
        metadata.template_key({"name": name, "config": {}})
    assert caught.value.path == "$.name"
    made = kept(tmp_path)
    made.update("cfn", content("cfn", k=1))
    made.publish({"a": entry(name, {}), "b": entry("site", {})})
    assert listing(tmp_path) == ["cfn.json", "site.json"]
    assert json.loads((tmp_path / "cache" / "cfn.json").read_text())["k"] == 1


@pytest.mark.parametrize("config", [None, "", "text", [1], 5])
def test_a_config_that_is_no_object_is_refused(config: object) -> None:
    with pytest.raises(errors.BadInput) as caught:
        metadata.template_key({"name": "site", "config": config})
    assert caught.value.path == "$.config"


@pytest.mark.parametrize("name", ["cfn", "request", "os_config_files", ".x", "a/b", ""])
def test_a_local_file_does_not_take_another_ones_place(tmp_path: Path, name: str) -> None:
    made = kept(tmp_path)
    made.update("cfn", content("cfn", "a"))
    with pytest.raises(errors.SourceError):
        made.update("local", [("fine.json", {}), (name, {"deployments": []})])
    assert made.lists() == {"cfn": [{"id": "a"}], "local": None}


def test_a_deployment_does_not_take_a_local_files_place(tmp_path: Path) -> None:
    made = kept(tmp_path)
    made.update("local", [("site", {"mine": 1})])
    made.publish({"a": entry("site", {"theirs": 1})})
    assert json.loads((tmp_path / "cache" / "site.json").read_text()) == {"mine": 1}


def test_a_cache_that_cannot_be_written_is_an_error_of_the_source(tmp_path: Path) -> None:
    made = kept(tmp_path)
    (tmp_path / "cache").write_text("no directory")
    with pytest.raises(errors.SourceError) as caught:
        made.update("cfn", content("cfn"))
    assert str(tmp_path / "cache") in caught.value.message
    with pytest.raises(errors.SourceError):
        made.publish({})


@pytest.mark.parametrize("listed", [None, {}, "text", 5])
def test_a_list_under_another_key_that_is_none_is_empty(tmp_path: Path, listed: object) -> None:
    (tmp_path / "state").mkdir()
    made = metadata.Metadata(tmp_path / "cache", tmp_path / "state", ["cfn"], ["deployments", "more"])
    made.update("cfn", [("cfn", {"deployments": [{"id": "a"}], "more": listed})])
    assert made.lists() == {"cfn": [{"id": "a"}]}
    made.update("cfn", [("cfn", {"deployments": [{"id": "a"}], "more": [{"id": "b"}]})])
    assert made.lists() == {"cfn": [{"id": "a"}, {"id": "b"}]}


def test_what_another_server_was_told_does_not_count(tmp_path: Path) -> None:
    """A node that is configured for another server must not follow what the one before was told."""

    def opened(whose: str) -> metadata.Metadata:
        return metadata.Metadata(tmp_path / "cache", tmp_path / "state", ["cfn"], ["deployments"], {"cfn": whose})

    (tmp_path / "state").mkdir(exist_ok=True)
    opened("one").update("cfn", [("cfn", {"deployments": []})])
    assert opened("one").heard("cfn")
    assert not opened("other").heard("cfn")
    assert opened("other").lists() == {"cfn": None}
