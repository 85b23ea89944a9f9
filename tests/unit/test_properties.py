"""Whatever comes in: arbitrary JSON and bytes as metadata and as hooks' output, and random histories of lists.

The examples are the same in every run, so a failure here is one that can be had again.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from hypothesis import stateful
from hypothesis import strategies as st
from oslo_config import cfg

from overcloud_agent import collect, deployed, errors, fit, follow, intake, journal, merge, model, records

STEADY = hypothesis.settings(
    derandomize=True,
    deadline=None,
    max_examples=150,
    database=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.function_scoped_fixture],
)

# Text as JSON may hold it: with zero bytes, line separators and halves of surrogate pairs.
TEXT = st.text(st.characters(exclude_categories=[]), max_size=12)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | TEXT
JSON = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4))

SIGNAL_INPUTS = [
    "deploy_action",
    "deploy_signal_transport",
    "deploy_signal_id",
    "deploy_signal_verb",
    "deploy_stack_id",
    "deploy_resource_name",
    "deploy_auth_url",
    "deploy_user_id",
    "deploy_password",
    "deploy_project_id",
    "deploy_region_name",
    "deploy_queue_id",
]
TRANSPORTS = ["CFN_SIGNAL", "TEMP_URL_SIGNAL", "HEAT_SIGNAL", "ZAQAR_SIGNAL", "NO_SIGNAL", "another"]
INPUT = st.fixed_dictionaries(
    {"name": st.sampled_from(SIGNAL_INPUTS) | TEXT},
    optional={"value": st.sampled_from([*TRANSPORTS, "http://heat/x", "http://heat/\ud800"]) | JSON, "type": JSON},
)
# What looks enough like a deployment to get past the first checks.
ENTRY = st.fixed_dictionaries(
    {"id": st.sampled_from(["a", "b", "c", "../x", "x" * 300]) | JSON},
    optional={
        "name": JSON,
        "group": st.sampled_from(["script", "component", "os-apply-config"]) | JSON,
        "creation_time": JSON,
        "config": JSON | st.fixed_dictionaries({"configs": JSON | st.lists(st.dictionaries(TEXT, JSON, max_size=2))}),
        "inputs": st.lists(INPUT | JSON, max_size=6) | JSON,
        "outputs": JSON,
        "options": JSON,
    },
)
DOCUMENT = ENTRY | JSON


def refusal(call: Callable[[], object]) -> errors.BadInput | None:
    """What is wrong, if it is our own error that says so; any other goes on."""
    try:
        call()
    except errors.BadInput as error:
        return error
    return None


@STEADY
@hypothesis.given(
    st.lists(st.tuples(TEXT, JSON | st.fixed_dictionaries({"deployments": JSON | st.lists(DOCUMENT)}))) | JSON
)
def test_any_answer_of_a_source_is_metadata_or_an_error_with_words(content: object) -> None:
    checked = collect._checked(content)
    if isinstance(checked, str):
        assert checked
        assert model.plain(checked) == checked
    else:
        assert all(isinstance(metadata, dict) for _, metadata in checked)


@STEADY
@hypothesis.given(DOCUMENT)
@hypothesis.example({"inputs": [{"name": "deploy_signal_id", "value": "http://heat/\ud800"}]})
def test_any_entry_is_a_deployment_or_bad_input(document: object) -> None:
    refused = refusal(lambda: model.parse_deployment(document))
    assert refused is None or (refused.path.startswith("$") and refused.message and refused.hint)
    if isinstance(document, dict):
        refused = refusal(lambda: model.chosen(document))
        assert refused is None or refused.path.startswith("$")
    target = model.target_of(document)
    assert target is None or (target.transport != "NO_SIGNAL" and json.dumps(records.fields(target)).encode())
    for text in (model.identify(document), *model.describe(document), model.lineage(document)):
        assert model.plain(text) == text
    assert model.identify(document)


@pytest.fixture(scope="module")
def scratch() -> Iterator[Path]:
    # In memory where there is such a place: a journal waits for the disk.
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as made:
        yield Path(made)


@STEADY
@hypothesis.given(st.lists(DOCUMENT, max_size=6), st.lists(DOCUMENT, max_size=3) | st.none())
def test_every_entry_is_answered_or_waits(scratch: Path, first: list[object], second: list[object] | None) -> None:
    with tempfile.TemporaryDirectory(dir=scratch) as directory:
        book = journal.Journal.open(Path(directory) / "state")
        kept = deployed.Deployed(Path(directory) / "deployed")
        kept.prepare()
        told: list[str] = []
        taken = intake.Intake(book, kept, lambda key, _: told.append(key))
        for _ in range(2):
            merged = taken.take({"cfn": first, "heat": second})
        states = {row["id"]: row["state"] for row in book.rows("deployments")}
        assert set(states) == set(merged) == {model.identify(document) for document in [*first, *(second or [])]}
        assert {key for key, state in states.items() if state != "received"} == set(told)
        # What waits is run once, and what cannot be is answered: here, all of it.
        while waiting := book.next_received():
            key, document = waiting
            book.start(key)
            target = model.target_of(document)
            book.finish(key, model.succeeded(""), [target] if target else [])
        assert {row["state"] for row in book.rows("deployments")} <= {"finished", "signalled"}
        for seq in book.mail.pending():
            book.mail.settle(seq, "delivered")
        taken.scrub()
        taken.take({"cfn": [], "heat": []})
        assert {row["state"] for row in book.rows("deployments")} <= {"signalled"}
        book.close()


def check(result: model.Result, limit: int) -> None:
    text = json.dumps(result.body)
    assert isinstance(json.loads(text), dict)
    assert len(text) <= limit
    assert model.RESERVED_OUTPUT not in result.body
    assert result.ok == model.claims_success(result.body)
    assert bool(result.reason) is not result.ok


@STEADY
@hypothesis.given(st.integers(-15, 255), st.binary(max_size=40), st.binary(max_size=40))
def test_any_bytes_of_a_hook_make_a_result(status: int, stdout: bytes, stderr: bytes) -> None:
    result = model.interpret(status, stdout.decode(errors="replace"), stderr.decode(errors="replace"))
    check(fit.fitted(result), fit.MAX_BODY)


NAMES = st.sampled_from(["deploy_stdout", "deploy_stderr", "deploy_status_code", "unset_hook", "x" * 3000]) | TEXT
LONG = st.builds(lambda text, times: text * times, TEXT, st.integers(0, 400))


@STEADY
@hypothesis.given(st.integers(-15, 255), st.dictionaries(NAMES, JSON | LONG, max_size=6) | JSON)
def test_any_json_of_a_hook_makes_a_body_that_heat_takes(status: int, answer: object) -> None:
    result = model.interpret(status, json.dumps(answer), "the story")
    if result.ok:
        assert status == 0
        assert isinstance(answer, dict)
        assert model.claims_success(answer)
    check(fit.fitted(result, limit=5000), 5000)


@pytest.mark.parametrize("levels", [50, 99, 100, 101, 500, 990, 5000, 100_000])
def test_a_result_of_any_depth_makes_a_body(levels: int) -> None:
    result = model.interpret(0, '{"a":' * levels + "1" + "}" * levels, "")
    assert result.ok is (levels <= 100)
    check(fit.fitted(result), fit.MAX_BODY)
    assert isinstance(collect._checked([("cfn", result.body)]), list)


OPTIONS = (
    st.sampled_from(["collectors", "polling_interval", "polling-interval", "command", "metadata_url", "path"]) | TEXT
)
VALUES = LEAVES | st.lists(LEAVES, max_size=3) | JSON
SECTION = st.dictionaries(
    st.sampled_from(["cfn", "request", "DEFAULT"]) | OPTIONS,
    VALUES | st.dictionaries(OPTIONS, VALUES, max_size=3),
    max_size=4,
)
FILES = [
    "",
    "[DEFAULT]\ncollectors = cfn\ncollectors = local\ncommand = a\n  b\n\n[cfn]\npath: x\n# y\nca_certificate=z\n",
]


@STEADY
@hypothesis.given(st.sampled_from(FILES), SECTION)
def test_any_section_makes_a_file_that_oslo_reads_or_is_refused(scratch: Path, text: str, section: Any) -> None:
    refused = refusal(lambda: follow.apply(text, section))
    if refused:
        assert refused.path.startswith("$['os-collect-config']")
        return
    made = follow.apply(text, section)
    assert follow.apply(made, section) == made, "twice is once"
    path = scratch / "os-collect-config.conf"
    path.write_bytes(made.encode())
    conf = cfg.ConfigOpts()
    for group, options in section.items():
        named = options if isinstance(options, dict) else {group: options}
        for option in named:
            where = group if isinstance(options, dict) and group != "DEFAULT" else None
            conf.register_opt(cfg.MultiStrOpt(option.replace("-", "_"), default=[]), group=where)
    conf(args=[], project="os-collect-config", default_config_files=[str(path)], default_config_dirs=[])


class Merging(stateful.RuleBasedStateMachine):
    """Lists come, sources fail, the agent starts anew; beside it, a model of what must hold."""

    SOURCES = ("cfn", "heat")
    KEYS = ("a", "b", "c", "d")

    def __init__(self) -> None:
        super().__init__()
        self.known: dict[str, merge.Known] = {}
        self.lists: dict[str, dict[str, merge.Listed] | None] = dict.fromkeys(self.SOURCES)
        self.configured = list(self.SOURCES)
        self.runs: list[str] = []

    def listed(self) -> dict[str, merge.Listed]:
        return merge.merged({source: self.lists[source] for source in self.configured})

    def set(self, key: str, **changes: Any) -> None:
        entry = self.known[key]
        values = {name: getattr(entry, name) for name in ("state", "source", "begun", "lineage", "created")}
        self.known[key] = merge.Known(**{**values, **changes})

    def take_in(self) -> None:
        lists = {source: self.lists[source] for source in self.configured}
        listed = self.listed()
        changes = merge.decide(self.known.items(), lists)
        assert changes == merge.decide(self.known.items(), lists), "it is pure"
        assert set(changes.new) == set(listed) - set(self.known), "what is listed is received, once"
        assert not set(changes.superseded) & set(listed)
        assert not set(changes.withdrawn) & set(listed)
        assert not set(changes.gone) & set(listed)
        for key in changes.new:
            entry = listed[key]
            self.known[key] = merge.Known("received", entry.source, False, entry.lineage, entry.created)
        for key in changes.back:
            assert self.known[key].state == "superseded"
            self.set(key, state="received", source=listed[key].source)
        for key in changes.superseded:
            assert (self.known[key].state, self.known[key].begun) == ("received", False)
            self.set(key, state="superseded")
        for key in changes.withdrawn:
            assert self.known[key].state == "finished"
            self.set(key, state="withdrawn")
        again = merge.decide(self.known.items(), lists)
        assert (again.new, again.back, again.superseded, again.withdrawn) == ([], [], [], []), "it is settled"

    @stateful.rule(source=st.sampled_from(SOURCES), keys=st.lists(st.sampled_from(KEYS), unique=True))
    def list_comes(self, source: str, keys: list[str]) -> None:
        """The order of the ids is that in which Heat made them; all are one resource's but the last."""
        lineages = dict.fromkeys(self.KEYS[:-1], "stack/x")
        self.lists[source] = {key: merge.Listed(source, {}, lineages.get(key, ""), key) for key in keys}
        self.take_in()

    @stateful.rule(source=st.sampled_from(SOURCES))
    def source_fails(self, source: str) -> None:
        """Its last good list stays, so nothing changes."""
        before = dict(self.known)
        self.take_in()
        assert self.known == before or source not in self.configured

    @stateful.rule(source=st.sampled_from(SOURCES))
    def cache_is_lost(self, source: str) -> None:
        before = {key: entry.state for key, entry in self.known.items()}
        self.lists[source] = None
        self.take_in()
        for key, entry in self.known.items():
            if entry.source == source and key in before:
                assert entry.state == before[key], "nothing is concluded from it"

    @stateful.rule(sources=st.permutations(SOURCES), count=st.integers(1, 2))
    def configuration_changes(self, sources: list[str], count: int) -> None:
        self.configured = sources[:count]
        self.take_in()

    @stateful.rule()
    def next_runs(self) -> None:
        key = next((key for key, entry in self.known.items() if entry.state == "received"), None)
        if key:
            assert key not in self.runs, "nothing runs twice"
            self.runs.append(key)
            self.set(key, state="finished", begun=True)

    @stateful.rule(key=st.sampled_from(KEYS))
    def heat_has_the_result(self, key: str) -> None:
        if key in self.known and self.known[key].state == "finished":
            self.set(key, state="signalled")

    @stateful.invariant()
    def nothing_listed_is_lost(self) -> None:
        for key in self.listed():
            assert self.known[key].state != "superseded"


TestMerging = Merging.TestCase
TestMerging.settings = hypothesis.settings(STEADY, max_examples=60, stateful_step_count=30)
