"""What became of containers, as Heat and people read it."""

from __future__ import annotations

import msgspec
import pytest

from overcloud_agent import model
from overcloud_agent.containers import plan, report, spec, target

DIGEST = "sha256:" + "a" * 64


def wanted(name: str) -> target.Target:
    container = spec.parse({name: {"image": "x"}})[name]
    fingerprint = spec.fingerprint(container, digest=DIGEST, env_files="")
    facts = plan.Wanted(fingerprint=fingerprint, deployment="d")
    return target.Target(name=name, container=container, wanted=facts, digest=DIGEST, body={})


def result(*outcomes: target.Outcome, order: str = "abc") -> model.Result:
    return report.result(list(outcomes), {name: wanted(name) for name in order}, list(order), [])


def outcome(name: str, became: str, **more: object) -> target.Outcome:
    return msgspec.convert({"name": name, "result": became, "fingerprint": DIGEST, **more}, target.Outcome)


@pytest.mark.parametrize("became", report.RESULTS)
def test_changed_is_what_others_have_to_be_told(became: str) -> None:
    body = result(outcome("a", became, error="no" if became in ("failed", "rolled back") else "")).body
    assert body["changed"] is (became not in ("unchanged", "adopted"))


def test_an_empty_deployment_of_what_is_there_changes_nothing() -> None:
    body = result(outcome("a", "unchanged"), order="a").body
    assert (body["deploy_status_code"], body["deploy_stdout"], body["deploy_stderr"]) == (0, "a: unchanged", "")


def test_what_is_reported_of_a_container_has_no_empty_parts_and_no_log() -> None:
    full = outcome("a", "upgraded", old_digest=DIGEST, downtime=0.0, steps=["stop"], notes=["a note"], log="secret")
    body = result(full, outcome("b", "unchanged")).body
    assert body["containers"] == [
        {
            "name": "a",
            "result": "upgraded",
            "old_digest": DIGEST,
            "fingerprint": DIGEST,
            "downtime": 0.0,
            "steps": ("stop",),
        },
        {"name": "b", "result": "unchanged", "fingerprint": DIGEST, "steps": ()},
    ]
    assert "a: a note" in body["deploy_stdout"]
    assert "secret" not in str(body)


def test_a_failure_has_its_reason_its_log_and_what_was_left_alone() -> None:
    body = result(outcome("a", "upgraded"), outcome("b", "failed", error="b ended", log="no such table")).body
    assert body["deploy_status_code"] == 1
    assert body["deploy_stdout"].splitlines() == ["a: upgraded", "b: failed", "c: not touched"]
    assert body["deploy_stderr"].startswith("b ended")
    assert body["deploy_stderr"].endswith("the last lines of b, which failed:\nno such table")


def test_the_status_is_rolled_back_only_if_every_failure_was() -> None:
    back, broken = outcome("a", "rolled back", error="no"), outcome("b", "failed", error="worse")
    assert result(back).body["deploy_status_code"] == 3
    both = result(back, broken).body
    assert both["deploy_status_code"] == 1
    assert "no; worse" in both["deploy_stderr"]


def test_the_identifier_is_of_what_is_wanted_in_whatever_order() -> None:
    one, other = result(order="ab").body, result(order="ba").body
    assert one["containers_identifier"] == other["containers_identifier"]
    assert one["containers_identifier"] != result(order="a").body["containers_identifier"]
