"""Golden standards: what is kept, and what it is used for."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.curate.golden import GoldenAnswer, few_shot, golden_answers, golden_digest, is_golden, lost_golden, preference_pairs
from engine.evaluate.types import CheckResult, ItemResult, TrainingRow
from engine.generate.types import Message

FAULTLESS: dict[str, Any] = {"split": "core", "outcome": "graded", "score": 1.0, "passed": True, "answer": "yes"}


def result(name: str = "a", **fields: Any) -> ItemResult:
    return ItemResult.model_validate({"scenario_id": name} | FAULTLESS | fields)


def golden(name: str, text: str, label: str) -> GoldenAnswer:
    return GoldenAnswer(TrainingRow(id=name, input={"text": text}, expected=label), (Message(role="user", content=text),), label)


@pytest.mark.parametrize(
    "fault",
    [
        {"score": 0.9},
        {"passed": False},
        {"finish_reason": "length"},
        {"breached": ("privacy",)},
        {"observations": ("refusal",)},
        {"outcome": "error"},
        {"checks": (CheckResult(name="weightless", value=0.5),)},
        {"answer": "x" * 8000},
    ],
)
def test_an_answer_with_any_fault_is_not_golden(fault: dict[str, Any]) -> None:
    assert is_golden(result())
    assert not is_golden(result(**fault))


def test_held_out_and_reserve_items_are_never_golden() -> None:
    kept = golden_answers([result("a"), result("b", split="held_out"), result("c", split="reserve")])
    assert set(kept) == {"a"}


def test_a_set_of_golden_answers_is_named_by_its_content() -> None:
    assert golden_digest({"a": "1", "b": "2"}) == golden_digest({"b": "2", "a": "1"}) != golden_digest({"a": "1", "b": "3"})


def test_an_item_that_was_golden_and_fails_now_is_lost_whatever_the_others_do() -> None:
    now = [result("a", passed=False, score=0.4), result("b"), result("c", outcome="error"), result("d", passed=False, split="held_out")]
    assert lost_golden(("a", "b", "c", "d"), now) == ("a",)


def test_examples_differ_in_answer_first_and_in_text_then() -> None:
    pool = [
        golden("r1", "my parcel has not arrived yet", "delivery"),
        golden("r2", "my parcel has not arrived still", "delivery"),
        golden("r3", "I cannot log in any more", "login"),
        golden("r4", "the driver threw it over the fence", "delivery"),
    ]
    chosen = [one.row.id for one in few_shot(pool, 3)]
    assert "r3" in chosen[:2]
    assert len({"r1", "r2"} & set(chosen)) == 1


@given(st.lists(st.tuples(st.text("abc ", max_size=20), st.sampled_from(["x", "y", "z"])), max_size=8), st.integers(0, 6), st.randoms())
def test_examples_are_distinct_and_do_not_depend_on_the_order_they_come_in(pool: list[tuple[str, str]], count: int, random: Any) -> None:
    all_of_them = [golden(f"r{number}", text, label) for number, (text, label) in enumerate(pool)]
    chosen = few_shot(all_of_them, count)
    shuffled = random.sample(all_of_them, len(all_of_them))
    assert [one.row.id for one in few_shot(shuffled, count)] == [one.row.id for one in chosen]
    assert len({one.row.id for one in chosen}) == min(count, len(pool))
    assert len({one.row.expected for one in chosen}) == min(count, len({label for _, label in pool}))


def test_pairs_set_a_golden_answer_against_each_other_answer_that_failed() -> None:
    pairs = preference_pairs([golden("r1", "hello", "login"), golden("r2", "bye", "refund")], {"r1": ["refund", "refund", " login ", ""], "r9": ["x"]})
    assert pairs == [{"id": "r1", "messages": [{"role": "user", "content": "hello"}], "chosen": "login", "rejected": "refund"}]
