from __future__ import annotations

import io
import json
from typing import Any

import jsonschema
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich import console

import places
from overcloud_agent.containers import preview, preview_table, spec

OLD, NEW = "sha256:" + "a" * 64, "sha256:" + "b" * 64
WEB: dict[str, Any] = {"image": "registry/web:1", "environment": {"A": "1"}, "volumes": ["/a:/a"]}


def builtins(config: dict[str, Any]) -> dict[str, Any]:
    return dict(msgspec.to_builtins(msgspec.convert(config, spec.Container)))


def fingerprint(config: dict[str, Any], digest: str, env_files: str = "") -> str:
    return spec.fingerprint(msgspec.convert(config, spec.Container), digest=digest, env_files=env_files)


def wanted(config: dict[str, Any] = WEB, **given: Any) -> preview.Wanted:
    digest = given.pop("digest", OLD)
    facts: dict[str, Any] = {
        "name": "web",
        "config": builtins(config),
        "image": config["image"],
        "digest": digest,
        "bytes_to_pull": 0,
        "fingerprint": fingerprint(config, digest) if digest else "",
    }
    return preview.Wanted(**facts | given)


def existing(like: dict[str, Any] = WEB, **given: Any) -> preview.Existing:
    facts: dict[str, Any] = {
        "name": "web",
        "config": builtins(like),
        "digest": OLD,
        "fingerprint": fingerprint(like, OLD),
        "managed_by": "overcloud-agent",
        "ours": True,
        "running": True,
    }
    return preview.Existing(**facts | given)


def plan(want: preview.Wanted | None, there: preview.Existing | None, **more: Any) -> dict[str, Any]:
    facts = preview.Facts(wanted=[want] if want else [], existing={"web": there} if there else {}, **more)
    document = preview.document(facts)
    # The schema is made from this very type.
    msgspec.json.decode(json.dumps(document), type=preview.Document)
    return document


def entry(want: preview.Wanted, there: preview.Existing | None, **more: Any) -> dict[str, Any]:
    return dict(plan(want, there, **more)["containers"][0])


def differences(old: dict[str, Any], new: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    told = entry(wanted(new), existing(old))["differences"]
    return {one["key"]: (one["old"], one["new"]) for one in told}


@pytest.mark.parametrize(
    ("want", "there", "action", "changes"),
    [
        (wanted(), None, "create", True),
        (wanted(), existing(), "keep", False),
        (wanted(), existing(ours=False, managed_by="paunch"), "adopt", False),
        (wanted(), existing(running=False), "start", True),
        (wanted(), existing(running=False, ours=False, managed_by="paunch"), "start", True),
        (wanted(digest=NEW), existing(), "replace", True),
        (wanted({**WEB, "net": "host"}), existing(), "replace", True),
        (wanted(), existing(fingerprint="", ours=False, managed_by="docker-cmd"), "replace", True),
        (wanted({**WEB, "start_order": 2}), existing(), "keep", False),
        (wanted(steps=("rename",)), existing(name="web-abcd1234", ours=False, managed_by="docker-cmd"), "adopt", True),
        (wanted({**WEB, "detach": False}, steps=("run",)), None, "run", True),
        (wanted({**WEB, "detach": False}), existing(running=False), "keep", False),
        (wanted({**WEB, "action": "exec"}, steps=("exec",)), None, "run", True),
    ],
)
def test_actions(want: preview.Wanted, there: preview.Existing | None, action: str, changes: bool) -> None:
    document = plan(want, there)
    assert document["containers"][0]["action"] == action
    assert document["containers"][0]["certain"] is True
    assert document["changes"] is changes
    assert document["totals"]["actions"] == {action: 1}


def test_the_schema_says_what_every_key_is() -> None:
    definitions = preview.schema()["$defs"]
    assert set(definitions) == {"Document", "Entry", "Difference", "Totals"}
    assert set(definitions["Entry"]["required"]) == set(definitions["Entry"]["properties"])


def test_the_schema_that_is_shipped_is_the_code_s() -> None:
    shipped = (places.ROOT / "docs" / "plan.schema.json").read_text()
    assert shipped == json.dumps(preview.schema(), indent=2) + "\n", "`make describe` writes it"


def test_a_plan_is_valid_by_its_schema() -> None:
    jsonschema.validate(plan(None, None), preview.schema())


def test_nothing_is_no_change() -> None:
    assert plan(None, None) == {
        "changes": False,
        "containers": [],
        "totals": {"actions": {}, "bytes_to_pull": 0, "expected_downtime": 0},
        "notes": [],
    }


def test_what_the_config_has_no_more_is_removed() -> None:
    document = plan(None, None, removed=[existing(), existing(name="idle", running=False, digest="")])
    assert document["changes"] is True
    web, idle = document["containers"]
    assert (web["action"], web["old_digest"], web["steps"]) == ("remove", OLD, ["stop", "remove"])
    assert (idle["action"], idle["old_digest"], idle["steps"]) == ("remove", None, ["remove"])


# A registry that does not answer


def test_without_a_digest_the_same_config_is_taken_for_the_same_image() -> None:
    told = entry(wanted(digest=None, bytes_to_pull=None), existing())
    assert (told["action"], told["certain"], told["new_digest"]) == ("keep", False, None)


@pytest.mark.parametrize("changed", [{"image": "registry/web:2"}, {"net": "host"}])
def test_without_a_digest_another_config_is_another_container(changed: dict[str, Any]) -> None:
    told = entry(wanted({**WEB, **changed}, digest=None, bytes_to_pull=None), existing())
    assert (told["action"], told["certain"]) == ("replace", True)


@pytest.mark.parametrize("unknown", [{"config": None}, {"fingerprint": ""}])
def test_without_a_digest_a_container_that_is_not_known_is_replaced(unknown: dict[str, Any]) -> None:
    told = entry(wanted(digest=None, bytes_to_pull=None), existing(**unknown))
    assert (told["action"], told["certain"]) == ("replace", False)


# Differences


def test_differences_are_told_key_by_key() -> None:
    old = {
        **WEB,
        "environment": {"A": "1", "B": "2", "GONE": "x"},
        "healthcheck": {"test": "/check", "interval": 10},
        "upgrade": {"gate": {"stable_for": 1}},
    }
    new = {
        **WEB,
        "image": "registry/web:2",
        "environment": {"A": "1", "B": "3", "NEW": "y"},
        "healthcheck": {"test": "/check", "interval": 20, "retries": 5},
        "upgrade": {"gate": {"stable_for": 7}},
        "net": "host",
    }
    assert differences(old, new) == {
        "environment.B": ("***", "***"),
        "environment.GONE": ("***", None),
        "environment.NEW": (None, "***"),
        "healthcheck.interval": (10, 20),
        "healthcheck.retries": (None, 5),
        "image": ("registry/web:1", "registry/web:2"),
        "net": (None, "host"),
        "upgrade.gate.stable_for": (1, 7),
    }
    told = {one["key"]: one["replaces"] for one in entry(wanted(new), existing(old))["differences"]}
    assert told["net"] is True
    assert told["upgrade.gate.stable_for"] is False


def test_a_list_and_a_map_of_the_same_variables_do_not_differ() -> None:
    assert differences({**WEB, "environment": ["A=1"]}, WEB) == {}


@pytest.mark.parametrize(
    ("want", "there", "note"),
    [
        (
            wanted({**WEB, "env_file": "/e"}, fingerprint="sha256:new"),
            existing({**WEB, "env_file": "/e"}),
            "the text of an env_file has changed",
        ),
        (wanted(fingerprint="sha256:new"), existing(), "the same config is written in another way"),
        (wanted(), existing(config=None, fingerprint="x"), "which keys differ is not known: the container does not"),
        (
            wanted(),
            existing(fingerprint="", managed_by="paunch"),
            "what paunch made of this config is not wholly known",
        ),
    ],
)
def test_a_replacement_always_has_a_reason(want: preview.Wanted, there: preview.Existing, note: str) -> None:
    told = entry(want, there)
    assert told["action"] == "replace"
    assert told["notes"]
    assert told["notes"][0].startswith(note)


def test_a_moved_tag_needs_no_other_reason() -> None:
    told = entry(wanted(digest=NEW), existing())
    assert (told["old_digest"], told["new_digest"], told["notes"]) == (OLD, NEW, [])


# Secrets


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"environment": {"DB_PASSWORD": "s3cr3t-old"}}, {"environment": {"DB_PASSWORD": "s3cr3t-new"}}),
        ({"environment": {"HARMLESS": "s3cr3t-old"}}, {"environment": ["HARMLESS=s3cr3t-new"]}),
        ({"annotation": {"api_token": "s3cr3t-old"}}, {"annotation": {"api_token": "s3cr3t-new"}}),
        ({"annotation": {"ssh-key": "s3cr3t-old"}}, {}),
        ({"command": "serve --db mysql://u:s3cr3t-old@db/x"}, {"command": "serve --db mysql://u:s3cr3t-new@db/x"}),
        ({"command": ["serve", "--db", "http://h/?sig=s3cr3t-old"]}, {"command": ["serve"]}),
        ({"command": ["serve", "--admin-password", "s3cr3t-old"]}, {"command": ["serve"]}),
        ({"command": "serve --admin-password s3cr3t-old"}, {"command": "serve --admin-password=s3cr3t-new"}),
        ({"command": ["serve", "--password=s3cr3t-old"]}, {"command": ["serve", "PASSWORD=s3cr3t-new"]}),
        ({"upgrade": {}}, {"command": ["sh", "-c", "echo s3cr3t-new"], "environment": {"A_SECRET": "s3cr3t-new"}}),
        ({"healthcheck": {"test": "curl -H token=s3cr3t-old x"}}, {"healthcheck": {"test": "true"}}),
    ],
    ids=str,
)
def test_secrets_are_not_told_but_that_they_differ(old: dict[str, Any], new: dict[str, Any]) -> None:
    document = plan(wanted({**WEB, **new}), existing({**WEB, **old}))
    assert document["containers"][0]["differences"]
    assert "s3cr3t" not in json.dumps(document)
    assert "s3cr3t" not in shown(document)


def test_what_is_no_secret_is_told() -> None:
    old = {**WEB, "command": ["serve", "--port", "80"], "user": "root"}
    new = {**WEB, "command": "serve --port 81", "user": "42"}
    assert differences(old, new) == {
        "command": (["serve", "--port", "80"], "serve --port 81"),
        "user": ("root", "42"),
    }


# Downtime and totals


def test_downtime_is_the_median_of_the_containers_own_history() -> None:
    told = entry(wanted(digest=NEW), existing(), history={"web": [9.0, 1.0, 2.0], "db": [50.0]})
    assert told["expected_downtime"] == 2.0
    assert (told["expected_downtime_from"], told["expected_downtime_count"]) == ("this container", 3)


def test_downtime_is_that_of_other_containers_where_it_has_none() -> None:
    told = entry(wanted(digest=NEW), existing(), history={"web": [], "db": [1.0, 4.0], "mq": [2.0, 3.0]})
    assert told["expected_downtime"] == 2.5
    assert (told["expected_downtime_from"], told["expected_downtime_count"]) == ("this node", 4)


def test_downtime_is_not_known_without_history() -> None:
    document = plan(wanted(digest=NEW), existing())
    told = document["containers"][0]
    assert (told["expected_downtime"], told["expected_downtime_from"]) == (None, None)
    assert document["totals"]["expected_downtime"] is None


def test_what_stops_nothing_has_no_downtime() -> None:
    document = plan(wanted(), None, history={"web": [9.0]})
    assert document["containers"][0]["expected_downtime"] is None
    assert document["totals"]["expected_downtime"] == 0


def test_an_image_is_pulled_once() -> None:
    several = [
        wanted(digest=NEW, bytes_to_pull=100),
        wanted(name="api", digest=NEW, bytes_to_pull=100),
        wanted(name="db", digest=OLD, bytes_to_pull=7),
    ]
    document = preview.document(preview.Facts(wanted=several, existing={}))
    assert document["totals"] == {"actions": {"create": 3}, "bytes_to_pull": 107, "expected_downtime": 0}


def test_an_unknown_size_makes_the_sum_unknown() -> None:
    document = plan(wanted(digest=None, bytes_to_pull=None), None)
    assert document["totals"]["bytes_to_pull"] is None


# Any config at all

texts = st.text(max_size=8)
configs = st.fixed_dictionaries(
    {"image": st.just("i")},
    optional={
        "environment": st.one_of(st.dictionaries(texts, texts, max_size=3), st.lists(texts, max_size=3)),
        "command": st.one_of(texts, st.lists(texts, max_size=4)),
        "volumes": st.lists(texts, max_size=3),
        "user": texts,
        "upgrade": st.just({"gate": {"stable_for": 1}}),
    },
)


@given(old=configs, new=configs)
def test_two_equal_configs_never_differ_and_unequal_ones_never_change_silently(
    old: dict[str, Any], new: dict[str, Any]
) -> None:
    document = plan(wanted(new), existing(old))
    told = document["containers"][0]
    if builtins(old) == builtins(new):
        assert (told["action"], told["differences"]) == ("keep", [])
    if told["action"] == "replace":
        assert any(one["replaces"] for one in told["differences"]) or told["notes"]
    assert shown(document)


# As people read it


def shown(document: dict[str, Any]) -> str:
    out = io.StringIO()
    preview_table.show(document, console.Console(file=out, width=180))
    return out.getvalue()


def test_a_plan_can_be_read() -> None:
    new = {**WEB, "volumes": ["/a:/a", "/b:/[b]"], "environment": {"A": "2"}, "start_order": 3}
    text = shown(
        plan(
            wanted(new, digest=NEW, bytes_to_pull=12_340_000, steps=("pull", "create", "stop")),
            existing(name="web-abcd1234"),
            history={"web": [1.5]},
            removed=[existing(name="gone")],
            notes=["a note"],
        )
    )
    for words in [
        "replace",
        "aaaaaaaaaaaa -> bbbbbbbbbbbb",
        "12.3 MB",
        "1.50 s (this container, 1)",
        "pull, create, stop",
        "found as web-abcd1234",
        "~ environment.A: *** -> ***",
        "  start_order: (none) -> 3",
        "~ volumes: [] -> [/b:/[b]]",
        "a note",
        "1 to replace, 1 to remove; to pull: 12.3 MB; downtimes together: 1.50 s",
    ]:
        assert words in text


def test_no_change_can_be_read() -> None:
    assert "nothing would change" in shown(plan(wanted(), existing()))


def test_what_is_not_known_can_be_read() -> None:
    text = shown(plan(wanted(digest=None, bytes_to_pull=None), existing()))
    assert "keep (?)" in text
    assert "?" in text.splitlines()[3]
