"""A resolution check passes on what is there and as it should be, and on nothing else."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.escalate.resolution import unmet
from engine.escalate.types import Expectation, ResolutionCheck

ANSWER = {"state": "succeeded", "graded": 90, "patterns": [{"pattern": "a"}, {"pattern": "b"}], "none": [], "ok": True}


def met(path: str, comparison: Any, value: Any, answer: dict[str, Any] | None = None, **where: Any) -> bool:
    check = ResolutionCheck(tool="t", arguments={}, expected=(Expectation(path=path, comparison=comparison, value=value, where=where),))
    return not unmet(check, ANSWER if answer is None else answer)


@pytest.mark.parametrize(
    ("path", "comparison", "value"),
    [
        ("state", "is", "succeeded"),
        ("graded", "at_least", 90),
        ("graded", "at_most", 90),
        ("patterns.*.pattern", "lacks", "c"),
        ("none.*.pattern", "lacks", "c"),
        ("ok", "is", True),
    ],
)
def test_what_is_as_expected_passes(path: str, comparison: str, value: Any) -> None:
    assert met(path, comparison, value)


@pytest.mark.parametrize(
    ("path", "comparison", "value"),
    [
        ("state", "is", "failed"),
        ("missing", "is", None),
        ("missing", "lacks", "c"),
        ("state.*.pattern", "lacks", "c"),
        ("patterns.*.pattern", "lacks", "b"),
        ("patterns.*.gone", "lacks", "b"),
        ("none.*.pattern", "is", "c"),
        ("none.*.pattern", "at_least", 0),
        ("state", "at_least", 1),
        ("ok", "is", 1),
        ("ok", "at_least", 0),
        ("graded", "at_least", float("nan")),
    ],
)
def test_what_is_missing_or_otherwise_or_no_number_does_not_pass(path: str, comparison: str, value: Any) -> None:
    assert not met(path, comparison, value)


def test_of_a_list_the_entries_that_fit_are_looked_at_alone() -> None:
    answer = {"patterns": [{"pattern": "a", "class": "unknown"}, {"pattern": "b", "class": "format"}]}
    assert not met("patterns.*.class", "lacks", "unknown", answer)
    assert met("patterns.*.class", "lacks", "unknown", answer, pattern="b")
    assert met("patterns.*.class", "lacks", "unknown", answer, pattern="gone")
    assert not met("patterns.*.class", "is", "format", answer, pattern="gone")
    assert not met("others.*.class", "lacks", "unknown", answer, pattern="gone")


@given(st.sampled_from([float("nan"), float("inf"), float("-inf"), None, "9", True]))
def test_a_figure_that_is_none_never_passes(figure: Any) -> None:
    assert not met("graded", "at_least", 0, {"graded": figure})
    assert not met("graded", "at_most", 100, {"graded": figure})


def test_an_error_in_the_place_of_an_answer_does_not_pass() -> None:
    assert not met("state", "is", "succeeded", {"error": {"code": "not_found"}})
