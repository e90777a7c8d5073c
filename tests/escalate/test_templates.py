"""What fills a runbook's arguments, and what its results are held against."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.escalate.runbooks.conditions import unmet
from engine.escalate.runbooks.templates import Missing, fill, fill_known, names_in, place

SCOPE = {"cluster": "travel", "2": {"run_id": "evaluate-1", "hosts": [{"host": "a", "free": 7}, {"host": "b", "free": 0}]}}


@pytest.mark.parametrize(
    ("value", "filled"),
    [
        ("${cluster}", "travel"),
        ("of ${cluster}, ${2.run_id}", "of travel, evaluate-1"),
        ("${2.hosts[1].free}", 0),
        ("${2.hosts[host=a]}", {"host": "a", "free": 7}),
        ({"a[b=${cluster}]": ["${2.run_id}", 3]}, {"a[b=travel]": ["evaluate-1", 3]}),
        (("verify", "${cluster}"), ("verify", "travel")),
        ("$cluster {cluster} ${}", "$cluster {cluster} ${}"),
    ],
)
def test_a_template_names_an_input_or_a_place_in_an_earlier_answer(value: Any, filled: Any) -> None:
    assert fill(value, SCOPE) == filled


@pytest.mark.parametrize("name", ["nothing", "2.nothing", "2.hosts[2].free", "2.hosts[host=c]", "2.run_id.more", "2.run_id[0]", "cluster[0]"])
def test_what_is_not_there_is_missing_by_its_name(name: str) -> None:
    with pytest.raises(Missing, match="^" + name.replace("[", r"\[") + "$"):
        fill({"x": f"${{{name}}}"}, SCOPE)
    assert fill_known(f"${{cluster}} ${{{name}}}", SCOPE) == f"travel ${{{name}}}"


@given(st.recursive(st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_what_holds_no_template_stays_as_it_is(value: Any) -> None:
    if not names_in(value):
        assert fill(value, {}) == value
        assert fill_known(value, {}) == value


def test_a_value_that_looks_like_a_template_is_not_filled_again() -> None:
    assert fill("${cluster}", {**SCOPE, "cluster": "${2.run_id}"}) == "${2.run_id}"


@pytest.mark.parametrize(
    ("expected", "said"),
    [
        ({"state": "succeeded"}, ""),
        ({"state": {"in": ["succeeded", "failed"]}}, ""),
        ({"state": "failed"}, "state is 'succeeded', expected 'failed'"),
        ({"errors": 0, "free": {"at_least": 7}}, ""),
        ({"free": {"at_least": 8}}, "free is 7, expected at least 8"),
        ({"free": {"at_most": 6}}, "free is 7, expected at most 6"),
        ({"summary": {"has": "done"}}, ""),
        ({"problem": {"present": False}, "gone": {"present": False}}, ""),
        ({"gone": {"present": True}}, "gone is missing, expected something"),
        ({"gone": {"at_least": 0}}, "gone is missing, expected at least 0"),
        ({"state": {"present": False}}, "state is 'succeeded', expected nothing"),
        ({"state": {"at_least": 1}}, "state is 'succeeded', expected at least 1"),
        ({"ok": {"at_least": 0}}, "ok is True, expected at least 0"),
    ],
)
def test_a_result_is_held_against_what_is_expected_and_the_first_difference_is_said(expected: dict[str, Any], said: str) -> None:
    result = {"state": "succeeded", "errors": 0, "free": 7, "summary": "it is done", "problem": "", "ok": True}
    assert unmet(expected, result) == said


@pytest.mark.parametrize("path", ["a..b", "", ".", "a[", "a b", "a[0]b"])
def test_what_is_no_path_is_refused_and_not_guessed(path: str) -> None:
    if path:
        with pytest.raises(ValueError, match="is no path"):
            place({"a": {"b": 1}}, path)
    else:
        assert place({"a": 1}, path) == {"a": 1}
