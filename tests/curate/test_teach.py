"""What a teacher's answers are worth, and what is taken of them: the rules."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.config import DomainFile, EndpointProfile, Output
from engine.curate.teach import LEAST_JUDGED, affordable, asking_of, in_words, standing, taught_pool, taught_values, tokens_of
from engine.curate.teach_jobs import FloorBar
from engine.evaluate.types import Interval, ItemResult, TrainingRow
from engine.generate.types import Answer, GenerationSettings, Message, Request
from engine.loading import domain_problems
from tests.workspaces import domain_file

SCHEMA = {"type": "object", "properties": {"intent": {"type": "string"}}}
OUTPUT = Output(json_schema=SCHEMA)


def figure(mean: float, n: int = 50) -> Interval:
    return Interval(mean=mean, low=max(0.0, mean - 0.1), high=min(1.0, mean + 0.1), n=n, clusters=n)


def bar(mean: float, **changes: Any) -> FloorBar:
    fields: dict[str, Any] = {"evaluation_id": "floor-1", "subject": "floor:bm25_nearest", "suite": "s", "grading": "g"}
    return FloorBar.model_validate(fields | {"score": figure(mean), "pass_rate": figure(mean)} | changes)


def judged(mean: float, floor: FloorBar | None, *, n: int = 50, no_floor: str = "") -> tuple[bool, str]:
    return standing("big", figure(mean, n), figure(mean, n), floor, metric="score", suite="s", grading="g", no_floor=no_floor)


def result(name: str, *, passed: bool, **fields: Any) -> ItemResult:
    return ItemResult.model_validate({"scenario_id": name, "split": "core", "outcome": "graded", "score": float(passed), "passed": passed} | fields)


def test_a_teacher_below_the_floor_is_reported_with_both_figures_and_not_used() -> None:
    usable, reason = judged(0.61, bar(0.82))
    assert not usable
    assert "0.610 [0.510, 0.710] (n=50)" in reason
    assert "floor:bm25_nearest has 0.820" in reason
    assert judged(0.82, bar(0.82))[0]


@pytest.mark.parametrize(
    ("floor", "n", "no_floor"),
    [(bar(0.1), LEAST_JUDGED - 1, ""), (None, 50, "no floor yet."), (bar(0.1, suite="other"), 50, ""), (bar(0.1, grading="other"), 50, "")],
)
def test_whatever_is_missing_makes_a_teacher_unusable(floor: FloorBar | None, n: int, no_floor: str) -> None:
    assert not judged(0.9, floor, n=n, no_floor=no_floor)[0]


def test_without_any_baseline_that_fits_there_is_no_floor_to_be_below() -> None:
    assert judged(0.3, None)[0]


@given(st.integers(1, 5000), st.lists(st.integers(1, 60), min_size=1, max_size=200))
def test_a_token_budget_is_kept_but_for_the_first_questions_and_an_answer_dearer_than_all_before(budget: int, prices: list[int]) -> None:
    spent: list[int] = []
    while count := affordable(budget, spent, len(prices) - len(spent)):
        dearest, before = max(spent, default=0), sum(spent)
        batch = prices[len(spent) : len(spent) + count]
        assert not spent or max(batch) > dearest or before + sum(batch) <= budget
        spent.extend(batch)
    assert len(spent) == len(prices) or sum(spent) + max(spent) > budget


@given(st.integers(0, 500))
def test_without_a_token_budget_everything_is_asked_at_once(waiting: int) -> None:
    assert affordable(None, [5, 6], waiting) == waiting


def test_unreported_usage_is_estimated_from_the_characters() -> None:
    request = Request(key="k", messages=(Message(role="user", content="x" * 41),), settings=GenerationSettings(max_tokens=5))
    assert tokens_of(request, Answer(key="k", text="four")) == 12
    assert tokens_of(request, Answer(key="k", text="four", prompt_tokens=7, completion_tokens=2)) == 9


def test_an_endpoint_without_schemas_is_told_the_form_in_words() -> None:
    profile = EndpointProfile(title="x", base_url="https://h/v1", model="m", structured_output=False)
    assert asking_of(OUTPUT, profile) == "words"
    assert asking_of(OUTPUT, profile.model_copy(update={"structured_output": True})) == "schema"
    assert asking_of(Output(kind="text"), profile) == "none"
    messages = in_words((Message(role="system", content="Sort."), Message(role="user", content="?")), SCHEMA)
    assert [message.role for message in messages] == ["system", "user"]
    assert messages[0].content.startswith("Sort.")
    assert '"intent"' in messages[0].content


RESULTS = [
    result("right", passed=True),
    result("wrong", passed=False),
    result("prose", passed=False, observations=("invalid_json",)),
    result("cut", passed=False, finish_reason="length"),
    result("net", passed=False, breached=("privacy",)),
    result("lost", passed=False, outcome="error"),
]
TEXTS = {name: json.dumps({"intent": name}) for name in ("right", "wrong", "cut", "net")} | {"prose": "I think so", "lost": ""}


@pytest.mark.parametrize(("trust", "taken"), [("labels", {"right"}), ("both", {"right"}), ("teacher", {"right", "wrong"})])
def test_only_answers_in_form_are_taught_and_only_those_that_agree_where_the_label_is_trusted(trust: Any, taken: set[str]) -> None:
    values, left_out = taught_values(OUTPUT, trust, RESULTS, TEXTS)
    assert values == {name: {"intent": name} for name in taken}
    assert (left_out.form, left_out.disagrees, left_out.lost) == (3, 2 - len(taken), 1)


@given(st.sets(st.integers(0, 9)), st.sampled_from(["labels", "teacher", "both"]))
def test_what_trust_says_decides_which_rows_train_and_with_whose_answer(answered: set[int], trust: Any) -> None:
    pool = [TrainingRow(id=f"r{number}", input={}, expected="label") for number in range(10)]
    taught = taught_pool(pool, {f"r{number}": "teacher" for number in answered}, trust)
    expected = {f"r{number}": "teacher" for number in answered}
    if trust == "labels":
        expected = {row.id: "label" for row in pool} | expected
    assert {row.id: row.expected for row in taught} == expected


@pytest.mark.parametrize(
    ("changes", "path"),
    [({"train": {"source": "teacher"}}, "train.source"), ({"teachers": [{"name": "sage"}, {"name": "sage", "max_answers": 5}]}, "teachers")],
)
def test_a_domain_that_names_no_teacher_to_teach_from_or_one_twice_is_refused(changes: dict[str, Any], path: str) -> None:
    domain = DomainFile.model_validate(domain_file(**changes))
    assert [problem.path for problem in domain_problems(domain)] == [path]
