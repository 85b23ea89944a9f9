"""os-apply-config's templates, rendered as it would and written safely."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from overcloud_agent import configuration, errors, merge, metadata, model, settings, templates

# os-apply-config leaves it to Python to close the templates that it read.
pytestmark = pytest.mark.filterwarnings(
    "ignore:unclosed file:ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    made = tmp_path / "templates"
    made.mkdir()
    return made


def template(directory: Path, path: str, text: str, control: str | None = None) -> Path:
    made = directory / path
    made.parent.mkdir(parents=True, exist_ok=True)
    made.write_text(text)
    if control is not None:
        made.with_name(f"{made.name}.oac").write_text(control)
    return made


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o7777


def test_what_changed_is_written_and_nothing_else(tmp_path: Path, directory: Path) -> None:
    template(directory, "etc/a", "{{a}}\n")
    template(directory, "etc/deep/b", "{{b.c}} {{missing}}\n")
    root = tmp_path / "root"
    assert templates.render({"a": 1, "b": {"c": "x"}}, directory, root) == ["/etc/a", "/etc/deep/b"]
    assert (root / "etc/deep/b").read_text() == "x \n"
    before = (root / "etc/a").stat().st_ino
    assert templates.render({"a": 1, "b": {"c": "y"}}, directory, root) == ["/etc/deep/b"]
    assert (root / "etc/a").stat().st_ino == before
    assert templates.render({"a": 1, "b": {"c": "y"}}, directory, root) == []


def test_what_holds_credentials_is_for_root_alone(tmp_path: Path, directory: Path) -> None:
    """Defect 25: whatever a control file asks for, and whatever it was before."""
    template(directory, "etc/os-collect-config.conf", "{{secret}}", "mode: 0644\n")
    template(directory, "var/run/heat-config/heat-config", "{{deployments}}")
    root = tmp_path / "root"
    os.umask(0)
    try:
        templates.render({"secret": "s", "deployments": [{"id": "a"}]}, directory, root)
    finally:
        os.umask(0o022)
    assert mode(root / "etc/os-collect-config.conf") == 0o600
    assert mode(root / "var/run/heat-config/heat-config") == 0o600
    (root / "etc/os-collect-config.conf").chmod(0o644)
    assert templates.render({"secret": "s", "deployments": [{"id": "a"}]}, directory, root) == [
        "/etc/os-collect-config.conf"
    ]
    assert mode(root / "etc/os-collect-config.conf") == 0o600


def test_a_control_file_is_heeded(tmp_path: Path, directory: Path) -> None:
    template(directory, "etc/plain", "{{a}}")
    template(directory, "etc/tight", "{{a}}", "mode: 0640\nowner: root\ngroup: 0\n")
    root = tmp_path / "root"
    templates.render({"a": 1}, directory, root)
    assert (mode(root / "etc/plain"), mode(root / "etc/tight")) == (0o644, 0o640)
    (root / "etc/plain").chmod(0o664)
    templates.render({"a": 2}, directory, root)
    assert (mode(root / "etc/plain"), mode(root / "etc/tight")) == (0o664, 0o640), "what an operator set stays"


def test_a_file_that_must_not_be_empty_is_removed(tmp_path: Path, directory: Path) -> None:
    template(directory, "etc/a", "{{a}}", "allow_empty: false\n")
    template(directory, "etc/b", "{{a}}")
    root = tmp_path / "root"
    assert templates.render({"a": "x"}, directory, root) == ["/etc/a", "/etc/b"]
    assert templates.render({}, directory, root) == ["/etc/a", "/etc/b"]
    assert not (root / "etc/a").exists()
    assert (root / "etc/b").read_text() == ""
    assert templates.render({}, directory, root) == []


@pytest.mark.parametrize(
    ("text", "control", "said"),
    [
        ("{{/a}}", None, ""),
        ("{{a}}", "mode: [", ""),
        ("{{a}}", "mode: 99999", ""),
        ("{{a}}", "mode: text", ""),
        ("{{a}}", "owner: nobody-of-that-name", ""),
        ("{{a}}", "group: [1]", ""),
        ("{{a}}", "unknown: 1", ""),
        ("{{a}}", "[1]", ""),
        ("{{a}}", "1: 2", "TypeError"),
        ("{{a}}", "body: x", "TypeError"),
        ("{{half}}", None, "UnicodeEncodeError"),
    ],
)
def test_a_template_that_fails_is_named_and_nothing_is_written(
    tmp_path: Path, directory: Path, text: str, control: str | None, said: str
) -> None:
    template(directory, "etc/a-good", "{{a}}")
    bad = template(directory, "etc/bad", text, control)
    template(directory, "etc/z-good", "{{a}}")
    with pytest.raises(errors.BadInput) as caught:
        templates.render({"a": 1, "half": "\ud800"}, directory, tmp_path / "root")
    assert str(bad) in caught.value.message
    assert said in caught.value.message
    assert not (tmp_path / "root").exists()


def test_a_template_that_is_no_text_is_named(tmp_path: Path, directory: Path) -> None:
    (directory / "bad").write_bytes(b"\xff")
    with pytest.raises(errors.BadInput, match="templates/bad cannot be rendered"):
        templates.render({}, directory, tmp_path / "root")


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path, directory: Path) -> None:
    template(directory, "etc/a", "x")
    (tmp_path / "root" / "etc" / "a").mkdir(parents=True)
    with pytest.raises(errors.BadInput, match="cannot write /etc/a: Is a directory"):
        templates.render({}, directory, tmp_path / "root")


def test_a_node_without_templates_renders_nothing(tmp_path: Path) -> None:
    assert templates.render({}, tmp_path / "none", tmp_path / "root") == []


@pytest.mark.parametrize("content", ["", "{", b"\xff"])
def test_metadata_that_cannot_be_read_is_bad_input(tmp_path: Path, content: str | bytes) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(errors.BadInput):
        templates.merged([path], None)


def test_metadata_is_merged_as_os_apply_config_does(tmp_path: Path) -> None:
    for name, text in {"a": {"x": {"y": 1, "z": [1]}}, "b": {"x": {"z": [2]}}}.items():
        (tmp_path / name).write_text(json.dumps(text))
    assert templates.merged([tmp_path / "a", tmp_path / "b", tmp_path / "none"], None) == {"x": {"y": 1, "z": [2]}}


# With the sources that the metadata comes from


def config(tmp_path: Path) -> settings.Settings:
    own = tmp_path / "agent.conf"
    own.write_text(
        f"[DEFAULT]\nos_collect_config_file = {tmp_path}/occ.conf\ntemplates_dir = {tmp_path}/templates\n"
        f"templates_output_dir = {tmp_path}/root\n"
    )
    return settings.load(own, environ={})


def listed(source: str, *keys: str) -> dict[str, merge.Listed]:
    return {key: merge.Listed(source, {"id": key, "group": "script", "from": source}, "", "") for key in keys}


def test_heat_config_has_the_deployments_of_all_sources(tmp_path: Path, directory: Path) -> None:
    """Defects 17 and 19: merged by id, and those of a source that is silent now are there still."""
    template(directory, "var/run/heat-config/heat-config", "{{deployments}}")
    (tmp_path / "state").mkdir()
    lists = {"cfn": listed("cfn", "a", "both"), "local": listed("local", "both", "b")}
    for sources in (("cfn", "local"), ("local",)):
        # The second time as after a restart: only one of them answers.
        cache = metadata.Metadata(tmp_path / "cache", tmp_path / "state", ["cfn", "local"], ["deployments"])
        for source in sources:
            documents = [entry.document for entry in lists[source].values()]
            cache.update(source, [(source, {"deployments": documents, "answered": sources})])
        found = {
            source: {str(one["id"]): merge.Listed(source, one, "", "") for one in documents if isinstance(one, dict)}
            for source, documents in cache.lists().items()
            if documents is not None
        }
        merged = merge.merged(found)
        configuration.Configuration(config(tmp_path)).apply(cache.publish(merged), merged)
        written = json.loads((tmp_path / "root" / "var/run/heat-config/heat-config").read_text())
        assert [(one["id"], one["from"]) for one in written] == [("a", "cfn"), ("both", "cfn"), ("b", "local")]


def test_a_deployment_for_templates_is_told_how_they_went(tmp_path: Path, directory: Path) -> None:
    template(directory, "etc/a", "{{k}}")
    bad = template(directory, "etc/bad", "{{k}}")
    source = tmp_path / "site.json"
    source.write_text('{"k": "v"}')
    made = configuration.Configuration(config(tmp_path))
    deployment = model.Deployment(id="x", name="site", group="os-apply-config", config={"k": "v"})
    made.apply([source], {})
    answer = made.answer(deployment)
    assert answer.ok
    assert "/etc/a" in answer.body["deploy_stdout"]
    bad.write_text("{{/k}}")
    made.apply([source], {})
    answer = made.answer(deployment)
    assert not answer.ok
    assert str(bad) in answer.body["deploy_stderr"]
    bad.write_text("{{k}}")
    made.apply([source], {})
    assert made.answer(deployment).ok
    with pytest.raises(errors.BadInput):
        made.answer(model.Deployment(id="x", name="../x", config={}))
    with pytest.raises(errors.BadInput):
        made.answer(model.Deployment(id="x", name="site", config="text"))


def test_a_template_for_the_agents_own_configuration_file_comes_before_the_section(tmp_path: Path) -> None:
    """os-apply-config's own template makes it; following the section as well would have two hands on one file."""
    target = tmp_path / "occ.conf"
    target.write_text("[DEFAULT]\ncollectors = local\n")
    template(tmp_path / "templates", str(target).lstrip("/"), "[DEFAULT]\ncollectors = cfn\n")
    source = tmp_path / "cfn.json"
    source.write_text(json.dumps({"os-collect-config": {"collectors": ["request"]}}))
    made = configuration.Configuration(config(tmp_path))
    assert not made.apply([source], {}), "templates are written below the output directory"
    assert target.read_text() == "[DEFAULT]\ncollectors = local\n"
