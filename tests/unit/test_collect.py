"""What can be said of sources without one: their pace, and what counts as metadata."""

from __future__ import annotations

import pytest

from overcloud_agent import collect, collectors, nesting, settings


def pace(low: float, high: float, middle: bool = True) -> collect.Pace:
    polling = settings.Polling(collectors=("cfn",), min_interval=low, max_interval=high)
    return collect.Pace(polling, uniform=lambda a, b: (a + b) / 2) if middle else collect.Pace(polling)


def test_pauses_double_up_to_the_interval_and_start_again_after_a_change() -> None:
    """Defect 14."""
    made = pace(1, 30)
    assert [made.pause() for _ in range(7)] == [1, 2, 4, 8, 16, 30, 30]
    made.hurry()
    assert [made.pause() for _ in range(2)] == [1, 2]


def test_an_interval_that_is_shorter_than_the_shortest_counts() -> None:
    made = pace(5, 2)
    assert [made.pause() for _ in range(2)] == [2, 2]


def test_every_pause_is_jittered() -> None:
    """Defect 35: nodes that were started together ask together."""
    made = pace(30, 30, middle=False)
    pauses = [made.pause() for _ in range(50)]
    assert len(set(pauses)) == 50
    assert all(27 <= pause <= 33 for pause in pauses)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "is not metadata"),
        ({"cfn": {}}, "is not metadata"),
        ([["cfn", {}]], "is not metadata"),
        ([("cfn",)], "is not metadata"),
        ([("cfn", None)], "metadata cfn is NoneType, expected an object"),
        ([("a", {}), ("b\n\udcff", [1])], "metadata b\\n\\udcff is list, expected an object"),
        ([("cfn", {"deployments": {}})], "$.deployments is dict, expected a list"),
    ],
)
def test_what_is_no_metadata_is_told_in_one_printable_line(content: object, said: str) -> None:
    checked = collect._checked(content)
    assert isinstance(checked, str)
    assert said in checked
    assert checked.isprintable()


@pytest.mark.parametrize("content", [[], [("cfn", {})], [("cfn", {"deployments": None})], [("a", {}), ("b", {"x": 1})]])
def test_metadata_is_taken_as_it_comes(content: object) -> None:
    assert collect._checked(content) == content


@pytest.mark.parametrize(("levels", "shallow"), [(0, True), (1, True), (100, True), (101, False), (200_000, False)])
def test_depth_is_counted_without_recursion(levels: int, shallow: bool) -> None:
    document: object = "leaf"
    for level in range(levels):
        document = [document, 1] if level % 2 else {"a": document, "b": "x"}
    assert nesting.is_shallow(document) is shallow
    # Python lets go of nested lists without recursion, too.
    del document


SECOND = "Tue, 24 Nov 2026 12:00:00 GMT"
NEXT = "Tue, 24 Nov 2026 12:00:01 GMT"
LATER = "Tue, 24 Nov 2026 12:00:02 GMT"


@pytest.mark.parametrize(
    ("headers", "conditions"),
    [
        ({"ETag": '"a"', "Last-Modified": SECOND, "Date": LATER}, {"If-None-Match": '"a"'}),
        ({"Last-Modified": SECOND, "Date": LATER}, {"If-Modified-Since": SECOND}),
        # What is written later in that second would have the same Last-Modified, and would never be seen.
        ({"Last-Modified": SECOND, "Date": SECOND}, {}),
        ({"Last-Modified": SECOND, "Date": NEXT}, {}),
        ({"Last-Modified": SECOND}, {}),
        ({"Last-Modified": "yesterday", "Date": LATER}, {}),
        ({}, {}),
    ],
)
def test_an_object_that_may_have_changed_is_not_taken_for_the_same(
    headers: dict[str, str], conditions: dict[str, str]
) -> None:
    assert collectors._conditions(headers) == conditions
