"""The inputs of package-update: the old interface's and our own, and what is wrong with them."""

from __future__ import annotations

from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st

from overcloud_agent import errors, model
from overcloud_agent.packages import inputs
from overcloud_agent.packages import model as packages_model

STEADY = hypothesis.settings(derandomize=True, deadline=None, max_examples=300, database=None)


def read(**given: Any) -> inputs.Inputs:
    entries = tuple(model.Input(name=name, value=value) for name, value in given.items())
    return inputs.read(model.Deployment(id="d", group=inputs.GROUP, inputs=entries))


def test_what_the_old_interface_gives() -> None:
    found = read(deploy_action="UPDATE", update_identifier="1456321", command="update", command_arguments="")
    assert found == inputs.Inputs(
        action="UPDATE", update_identifier="1456321", selection=packages_model.Selection(removals=False)
    )
    assert (found.mode, found.allow, found.restart, found.reboot) == ("apply", "upgrade", "auto", "report")
    assert found.content_trees is None, "the node's own"
    assert found.applies
    assert found.identifier == "1456321"


def test_what_nothing_gives() -> None:
    found = read()
    assert found == read(update_identifier="", command="", mode=None, packages="", exclude=None, content_trees=" ")
    assert not found.applies


def test_everything_at_once() -> None:
    found = read(
        update_identifier="a b/c",
        command="dist-upgrade",
        command_arguments="--exclude=foo,foo2 -x bar -xbaz -y 'nova-*' glance-api",
        mode="plan",
        plan_identifier="sha256:" + "a" * 64,
        allow="update",
        packages=["keystone", "", "nova-*"],
        exclude="one, two\nthree",
        restart="report",
        content_trees=["/srv//my modules/", "/etc/puppet/modules"],
        reboot="when-required",
    )
    assert found == inputs.Inputs(
        update_identifier="a b/c",
        mode="plan",
        plan_identifier="sha256:" + "a" * 64,
        allow="update",
        selection=packages_model.Selection(
            packages=("glance-api", "keystone", "nova-*"),
            exclude=("bar", "baz", "foo", "foo2", "one", "three", "two"),
            removals=True,
        ),
        restart="report",
        content_trees=("/etc/puppet/modules", "/srv/my modules"),
        reboot="when-required",
    )


@pytest.mark.parametrize("given", [["a", "b"], '["a", "b"]', "a b", "a,b", " a ,\n b ", ["b", "a", "a"]])
def test_lists_may_be_written_in_several_ways(given: Any) -> None:
    assert read(packages=given).selection.packages == ("a", "b")


def test_no_trees_are_not_the_default_trees() -> None:
    assert read(content_trees=[]).content_trees == ()
    assert read(content_trees="[]").content_trees == ()


def test_a_wildcard_in_brackets_is_no_json() -> None:
    assert read(packages="[a-c]* d").selection.packages == ("[a-c]*", "d")


@pytest.mark.parametrize(
    ("given", "applies", "identifier"),
    [
        ({"update_identifier": "x"}, True, "x"),
        ({"update_identifier": "x", "deploy_action": "CREATE"}, True, "x"),
        ({"update_identifier": "x", "deploy_action": "DELETE"}, False, "x"),
        ({"update_identifier": "x", "deploy_action": "SUSPEND"}, False, "x"),
        ({"update_identifier": "x", "mode": "plan"}, False, "x"),
        ({"plan_identifier": "sha256:" + "a" * 64}, True, "sha256:" + "a" * 64),
        ({"plan_identifier": "sha256:" + "a" * 64, "update_identifier": 5}, True, "5"),
    ],
)
def test_when_something_is_applied(given: dict[str, Any], applies: bool, identifier: str) -> None:
    found = read(**given)
    assert (found.applies, found.identifier) == (applies, identifier)


BAD: list[tuple[dict[str, Any], str]] = [
    ({"update_identifier": {"a": 1}}, "$.inputs[update_identifier]: expected text, got {'a': 1}"),
    ({"update_identifier": True}, "$.inputs[update_identifier]: expected text, got True"),
    ({"mode": "aply"}, "$.inputs[mode]: 'aply' is not known (plan or apply)"),
    ({"allow": "all"}, "$.inputs[allow]: 'all' is not known (update or upgrade)"),
    ({"restart": "never"}, "$.inputs[restart]: 'never' is not known (auto or report or none)"),
    ({"reboot": "yes"}, "$.inputs[reboot]: 'yes' is not known (never or report or when-required)"),
    ({"plan_identifier": "abc"}, "$.inputs[plan_identifier]: 'abc' is no plan's identifier"),
    ({"command": "updat"}, "$.inputs[command]: the command 'updat' is none of an update (nearest: update)"),
    ({"command": "remove"}, "$.inputs[command]: the command 'remove' is none of an update (one of update, upgrade"),
    ({"command_arguments": "--nogpgcheck"}, "the option '--nogpgcheck' is not taken over (command_arguments takes"),
    ({"command_arguments": "--enablerepo=x a"}, "the option '--enablerepo=x' is not taken over"),
    ({"command_arguments": "-- a"}, "the option '--' is not taken over"),
    ({"command_arguments": "a; reboot"}, "$.inputs[command_arguments]: 'a;' is no package's name"),
    ({"command_arguments": "@core"}, "$.inputs[command_arguments]: '@core' is no package's name"),
    ({"command_arguments": "http://x/y.rpm"}, "'http://x/y.rpm' is no package's name"),
    ({"command_arguments": "a --exclude"}, "'--exclude' names no package"),
    ({"command_arguments": "--exclude="}, "'--exclude=' names no package"),
    ({"command_arguments": "-x --setopt=x"}, "'--setopt=x' is no package's name"),
    ({"command_arguments": "a 'b"}, "the text cannot be split into words: No closing quotation"),
    ({"packages": ["a", "-o=x"]}, "$.inputs[packages][1]: '-o=x' is no package's name"),
    ({"packages": "nova=1:2"}, "$.inputs[packages][0]: 'nova=1:2' is no package's name (names as they are installed"),
    ({"packages": [1]}, "$.inputs[packages]: expected a list of names, got [1]"),
    ({"packages": {"a": 1}}, "$.inputs[packages]: expected a list of names, got {'a': 1}"),
    ({"exclude": '["a", 2]'}, "$.inputs[exclude]: expected a list of names, got ['a', 2]"),
    ({"exclude": '["a" "b"]'}, "$.inputs[exclude]: the text begins as a JSON list and is none"),
    ({"content_trees": "etc/puppet"}, "$.inputs[content_trees][0]: 'etc/puppet' is no directory's path"),
    ({"content_trees": ["/a", "/a/../etc"]}, "$.inputs[content_trees][1]: '/a/../etc' is no directory's path"),
]


@pytest.mark.parametrize(("given", "message"), BAD, ids=range(len(BAD)))
def test_bad_input_is_named(given: dict[str, Any], message: str) -> None:
    with pytest.raises(errors.BadInput) as caught:
        read(**given)
    assert message in str(caught.value)


# Identifiers as names of files

TEXT = st.text(st.characters(exclude_categories=[]), max_size=30)


@STEADY
@hypothesis.given(TEXT, TEXT)
def test_any_identifier_has_a_file_of_its_own(one: str, other: str) -> None:
    name = inputs.file_name(one)
    assert len(name) < 100
    assert name.isascii()
    assert not {*name} & {*"/ \0\n"}
    assert name[0] not in ".-"
    assert (name == inputs.file_name(other)) is (one == other)


def test_a_file_s_name_can_be_read() -> None:
    assert inputs.file_name("2024-05-01 10:00/a").startswith("2024-05-01-10-00-a.")
    assert inputs.file_name("a/b") != inputs.file_name("ab")
    assert "/" not in inputs.file_name("../../etc/passwd")


VALUES = st.none() | st.booleans() | st.integers() | TEXT | st.lists(TEXT | st.integers(), max_size=3)
KNOWN = """update_identifier command command_arguments mode plan_identifier allow packages exclude restart reboot
    content_trees"""


@STEADY
@hypothesis.given(st.dictionaries(st.sampled_from(KNOWN.split()), VALUES, max_size=4))
def test_any_input_is_read_or_refused(given: dict[str, Any]) -> None:
    try:
        found = read(**given)
    except errors.BadInput as error:
        if not error.path.startswith("$.inputs["):
            raise
        return
    assert not any(name.startswith("-") for name in (*found.selection.packages, *found.selection.exclude))
