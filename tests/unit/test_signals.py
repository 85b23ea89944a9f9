"""Delivery's decisions: verdicts, routes, signatures, what goes wrong in words, and the journal under a backlog."""

from __future__ import annotations

import base64
import hmac
import socket
import ssl
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib import parse

import pytest
import requests

from overcloud_agent import fit, journal, mail, merge, model, settings, web
from overcloud_agent.signals import presigned, routes, verdict

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
URL = "http://heat:8000/v1/signal/arn%3Aopenstack/x?AWSAccessKeyId=k&Timestamp=2026-01-01T11%3A50%3A00Z&Signature=s"
CFN = model.Target(transport="CFN_SIGNAL", url=URL, stack_id="name/uuid", resource_name="r")
HEAT, SIGN = routes.Route("heat", "heat"), routes.Route("sign")

DELIVERED = verdict.of_status(200, "http://heat")
FORBIDDEN = verdict.of_status(403, "http://heat")
GONE = verdict.of_status(404, "http://heat")
BUSY = verdict.of_status(503, "http://heat")
SILENT = verdict.silence("http://heat: connection refused")


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("0", 0.0),
        ("120", 120.0),
        (" 7 ", 7.0),
        ("99999", 3600.0),
        ("9" * 500, 3600.0),
        ("Thu, 01 Jan 2026 12:00:30 GMT", 30.0),
        ("Thu, 01 Jan 2026 11:00:00 GMT", 0.0),
        ("Thu, 01 Jan 2026 12:00:30 -0000", 30.0),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
        ("٣", None),
    ],
)
def test_a_pause_is_asked_for_in_seconds_or_by_a_date(header: str, seconds: float | None) -> None:
    assert verdict.seconds_of(header, NOW) == seconds


def test_a_pause_is_the_whole_endpoints() -> None:
    judged = verdict.of_status(429, "http://heat", retry_after="20")
    assert (judged.outcome, judged.retry_after, judged.lane) == ("retry", 20.0, True)
    assert "asks for a pause of 20 s" in judged.error
    judged = verdict.of_status(500, "http://heat", retry_after="20")
    assert (judged.retry_after, judged.lane) == (None, False), "not a status that the header goes with"


@pytest.mark.parametrize(
    ("ttl", "sections", "key_pair", "planned"),
    [
        (900, ("heat",), True, (routes.URL, HEAT, SIGN)),
        (599, ("heat",), True, (HEAT, SIGN, routes.URL)),
        (599, (), True, (SIGN, routes.URL)),
        (599, ("heat", "zaqar"), False, (HEAT, routes.Route("heat", "zaqar"), routes.URL)),
        (599, (), False, (routes.URL,)),
    ],
)
def test_past_the_deadline_the_node_uses_what_it_has(
    ttl: float, sections: tuple[str, ...], key_pair: bool, planned: tuple[routes.Route, ...]
) -> None:
    assert routes.plan(CFN, ttl=ttl, now=NOW, sections=sections, key_pair=key_pair) == planned


@pytest.mark.parametrize(
    "url", ["http://swift/x?temp_url_sig=s&temp_url_expires=2147483647", "http://h/?Timestamp=soon", "http://[/", ""]
)
def test_what_has_no_deadline(url: str) -> None:
    assert routes.signed_at(url) is None
    target = model.Target(transport="CFN_SIGNAL", url=url)
    assert routes.plan(target, ttl=1, now=NOW, key_pair=True) == (routes.URL, SIGN)
    temporary = model.Target(transport="TEMP_URL_SIGNAL", url=url)
    assert routes.plan(temporary, ttl=1, now=NOW, sections=("heat",), key_pair=True) == (routes.URL,)


def go(planned: list[tuple[routes.Route, verdict.Verdict]]) -> tuple[int, verdict.Verdict]:
    """How many routes are tried, given what each would answer, and what comes of it."""
    for count in range(1, len(planned) + 1):
        if routes.settled(planned[:count]):
            return count, routes.conclude(CFN, planned[:count])
    return len(planned), routes.conclude(CFN, planned)


@pytest.mark.parametrize(
    ("answers", "tried", "outcome", "lane"),
    [
        ([(routes.URL, DELIVERED), (HEAT, DELIVERED)], 1, "delivered", False),
        ([(routes.URL, BUSY), (HEAT, DELIVERED)], 1, "retry", False),
        ([(routes.URL, SILENT), (HEAT, DELIVERED)], 1, "retry", True),
        ([(routes.URL, GONE), (HEAT, DELIVERED)], 1, "refused", False),
        ([(routes.URL, FORBIDDEN), (HEAT, DELIVERED), (SIGN, DELIVERED)], 2, "delivered", False),
        ([(routes.URL, FORBIDDEN), (HEAT, GONE), (SIGN, DELIVERED)], 3, "delivered", False),
        ([(routes.URL, FORBIDDEN), (HEAT, SILENT), (SIGN, DELIVERED)], 3, "delivered", False),
        ([(routes.URL, FORBIDDEN), (HEAT, SILENT), (SIGN, FORBIDDEN)], 3, "retry", False),
        ([(routes.URL, FORBIDDEN), (HEAT, FORBIDDEN), (SIGN, FORBIDDEN)], 3, "refused", False),
        ([(routes.URL, FORBIDDEN)], 1, "expired", False),
        ([(HEAT, FORBIDDEN), (SIGN, FORBIDDEN), (routes.URL, DELIVERED)], 3, "delivered", False),
        ([(HEAT, FORBIDDEN), (SIGN, BUSY), (routes.URL, FORBIDDEN)], 3, "retry", False),
        ([(HEAT, FORBIDDEN), (routes.URL, SILENT)], 2, "retry", True),
        ([(HEAT, FORBIDDEN), (routes.URL, GONE)], 2, "refused", False),
    ],
)
def test_answers_together(
    answers: list[tuple[routes.Route, verdict.Verdict]], tried: int, outcome: str, lane: bool
) -> None:
    count, concluded = go(answers)
    assert (count, concluded.outcome, concluded.lane) == (tried, outcome, lane)


@pytest.mark.parametrize(
    ("answers", "late", "doubtful"),
    [
        ([(routes.URL, FORBIDDEN)], False, True),
        ([(routes.URL, FORBIDDEN)], True, False),
        ([(routes.URL, FORBIDDEN), (HEAT, GONE)], False, True),
        ([(SIGN, FORBIDDEN), (routes.URL, FORBIDDEN)], True, True),
        ([(HEAT, GONE), (routes.URL, FORBIDDEN)], True, False),
        ([(HEAT, FORBIDDEN), (routes.URL, GONE)], True, False),
        ([(routes.URL, GONE)], False, False),
    ],
)
def test_a_refusal_is_doubtful_where_it_may_be_about_who_checks(
    answers: list[tuple[routes.Route, verdict.Verdict]], *, late: bool, doubtful: bool
) -> None:
    """Not that of a URL that has to be refused by now, and not that of a stack that is gone."""
    assert routes.conclude(CFN, answers, late=late).doubtful is doubtful


def test_what_ends_for_good_names_the_way_out() -> None:
    _, expired = go([(routes.URL, FORBIDDEN)])
    for words in ("answered 403", "auth_ttl", "HEAT_SIGNAL", "POLL_SERVER_HEAT"):
        assert words in expired.error
    _, refused = go([(routes.URL, FORBIDDEN), (HEAT, GONE), (SIGN, FORBIDDEN)])
    for words in ("the URL:", "the user of [heat]", "answered 404", "the key of [cfn]", "auth_ttl"):
        assert words in refused.error
    plain = model.Target(transport="CFN_SIGNAL", url="http://heat/x?Signature=s")
    forbidden = routes.conclude(plain, [(routes.URL, FORBIDDEN)])
    assert forbidden.outcome == "refused", "it never expires, so that is not the reason"


def test_a_url_is_signed_again_as_heat_verifies_it() -> None:
    signed = presigned.sign_again("HTTP://Heat:80/v1/signal/a%3Ab?Signature=old", "key", "secret", now=NOW)
    parts = parse.urlsplit(signed)
    assert (parts.netloc, parts.path) == ("Heat:80", "/v1/signal/a%3Ab"), "it goes where it went"
    query = dict(parse.parse_qsl(parts.query))
    # Host without the scheme's own port, path as it was before it was quoted, parameters in the order of their names.
    text = "POST\nheat\n/v1/signal/a:b\nAWSAccessKeyId=key&SignatureMethod=HmacSHA256&SignatureVersion=2"
    text += "&Timestamp=2026-01-01T12%3A00%3A00Z"
    digest = hmac.digest(b"secret", text.encode(), "sha256")
    assert query.pop("Signature") == base64.b64encode(digest).decode()
    assert query == {
        "SignatureMethod": "HmacSHA256",
        "SignatureVersion": "2",
        "AWSAccessKeyId": "key",
        "Timestamp": "2026-01-01T12:00:00Z",
    }


def test_what_went_wrong_is_said_in_words() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        with pytest.raises(requests.exceptions.ConnectionError) as caught, web.session() as session:
            session.get(f"http://127.0.0.1:{closed.getsockname()[1]}/?Signature=s")
    assert web.words(caught.value) == "connection refused"
    untrusted = ssl.SSLCertVerificationError()
    untrusted.verify_message = "unable to get local issuer certificate"
    said = web.words(requests.exceptions.SSLError(untrusted))
    assert said == "certificate verify failed: unable to get local issuer certificate"
    unknown = socket.gaierror(-2, "Name or service not known")
    assert web.words(requests.exceptions.ConnectionError(unknown)) == (
        "the name does not resolve: Name or service not known"
    )


def test_only_complete_credentials_are_taken(tmp_path: Path) -> None:
    path = tmp_path / "os-collect-config.conf"
    section = "auth_url = http://keystone/v3\nuser_id = u\npassword = s3cr3t\nproject_id = p\n"
    path.write_text(f"[heat]\n{section}[zaqar]\nuser_id = z\n[cfn]\naccess_key_id = k\nsecret_access_key = s3cr3t\n")
    agent = tmp_path / "agent.conf"
    agent.write_text(f"[DEFAULT]\nos_collect_config_file = {path}\n")
    found = settings.load_collectors(settings.load(agent, environ={})).credentials
    assert list(found.logins) == ["heat"]
    assert found.logins["heat"].password == "s3cr3t"
    assert (found.access_key_id, found.secret_access_key) == ("k", "s3cr3t")
    assert "s3cr3t" not in repr(found)


@pytest.fixture
def backlog(tmp_path: Path) -> journal.Journal:
    """100,000 pending signals for three endpoints, a few of them tried."""
    book = journal.Journal.open(tmp_path)
    with book._store.transaction() as db:
        for index in range(100_000):
            target = model.Target(transport="CFN_SIGNAL", url=f"http://heat-{index % 3}/{index}")
            mail.post(db, f"d{index}", target, model.succeeded(""))
        db.execute("UPDATE signals SET attempts = 1, next_at = 5 WHERE seq <= 30000")
    return book


def test_a_backlog_makes_no_look_up_slow(backlog: journal.Journal) -> None:
    begun = time.perf_counter()
    for _ in range(100):
        assert len(backlog.mail.endpoints()) == 3
        assert backlog.next_signal_at() is not None
        found = backlog.mail.next("http://heat-1")
        assert found
        assert found.attempts == 0, "what never was tried comes first"
        backlog.mail.postpone(found.seq, "busy", 60.0)
    assert time.perf_counter() - begun < 5.0, "walking over them all takes a minute"


def test_one_endpoint_is_hastened_and_the_others_wait(tmp_path: Path) -> None:
    book = journal.Journal.open(tmp_path)
    with book._store.transaction() as db:
        for name in ("a", "b"):
            mail.post(db, name, model.Target(transport="CFN_SIGNAL", url=f"http://{name}/"), model.succeeded(""))
    for name in ("a", "b"):
        found = book.mail.next(f"http://{name}")
        assert found
        book.mail.postpone(found.seq, "refused", 60.0, lane=True)
    book.mail.hasten("http://a")
    assert book.mail.next("http://a")
    assert book.mail.next("http://b") is None


def test_what_waits_behind_another_says_so(tmp_path: Path) -> None:
    book = journal.Journal.open(tmp_path)
    with book._store.transaction() as db:
        for name in ("a", "b"):
            mail.post(db, name, model.Target(transport="CFN_SIGNAL", url="http://heat/"), model.succeeded(""))
    found = book.mail.next("http://heat")
    assert found
    book.mail.postpone(found.seq, "answered 500", 60.0)
    first, second = book.rows("signals")
    assert (second["last_error"], second["next_at"]) == ("", None), "nothing keeps it from being sent"
    book.mail.postpone(found.seq, "connection refused", 60.0, lane=True)
    first, second = book.rows("signals")
    assert first["last_error"] == "connection refused"
    assert second["last_error"] == "not tried yet, because connection refused"
    assert second["next_at"] == first["next_at"]
    assert second["attempts"] == 0


def test_a_signal_that_was_withdrawn_under_way_stays_withdrawn(tmp_path: Path) -> None:
    book = journal.Journal.open(tmp_path)
    book.receive({"cfn": {"a": merge.Listed("cfn", {"id": "a"}, "", "")}})
    book.start("a")
    book.finish("a", model.succeeded(""), [CFN])
    sending = book.mail.next("http://heat:8000")
    assert sending
    book.withdraw("a")
    book.mail.postpone(sending.seq, "late", 1.0)
    book.mail.settle(sending.seq, "delivered")
    (row,) = book.rows("deployments")
    assert row["state"] == "withdrawn"
    (signal,) = book.rows("signals")
    assert (signal["state"], signal["attempts"]) == ("withdrawn", 0)
    book.withdraw("a")
    book.withdraw("unknown")


def test_a_result_for_a_queue_is_shorter() -> None:
    target = model.Target(transport="ZAQAR_SIGNAL", queue_id="q")
    result = fit.fitted(model.succeeded("x" * 900_000), limit=fit.max_body(target))
    assert len(result.body["deploy_stdout"]) < 250_000
    assert len(fit.fitted(model.succeeded("x" * 900_000), limit=fit.max_body(CFN)).body["deploy_stdout"]) == 900_000


def test_the_deadline_counts_from_the_signature() -> None:
    assert routes.signed_at(URL) == NOW - timedelta(minutes=10)
