"""Golden standards: what is kept, and what it is used for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.base.digests import file_sha256
from engine.base.files import write_jsonl
from engine.curate.golden import few_shot, golden_answers, golden_digest, is_golden, lost_golden, read_golden
from engine.curate.types import GoldenSource
from engine.errors import ArtifactCorrupt
from engine.evaluate.compile import compile_domain, domain_digest
from engine.evaluate.types import CheckResult, ItemResult, TrainingRow
from tests import workspaces

FAULTLESS: dict[str, Any] = {"split": "core", "outcome": "graded", "score": 1.0, "passed": True, "answer": "yes"}


def result(name: str = "a", **fields: Any) -> ItemResult:
    return ItemResult.model_validate({"scenario_id": name} | FAULTLESS | fields)


def golden(name: str, text: str, label: str) -> TrainingRow:
    return TrainingRow(id=name, input={"text": text}, expected=label)


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
    chosen = [row.id for row in few_shot(pool, 3)]
    assert "r3" in chosen[:2]
    assert len({"r1", "r2"} & set(chosen)) == 1


@given(st.lists(st.tuples(st.text("abc ", max_size=20), st.sampled_from(["x", "y", "z"])), max_size=8), st.integers(0, 6), st.randoms())
def test_examples_are_distinct_and_do_not_depend_on_the_order_they_come_in(pool: list[tuple[str, str]], count: int, random: Any) -> None:
    all_of_them = [golden(f"r{number}", text, label) for number, (text, label) in enumerate(pool)]
    chosen = few_shot(all_of_them, count)
    shuffled = random.sample(all_of_them, len(all_of_them))
    assert few_shot(shuffled, count) == chosen
    assert len({row.id for row in chosen}) == min(count, len(pool))
    assert len({row.expected for row in chosen}) == min(count, len({label for _, label in pool}))


def test_a_golden_answer_is_taken_in_the_place_of_the_label_for_rows_that_it_is_still_golden_for(tmp_path: Path) -> None:
    workspace = workspaces.make_workspace(tmp_path)
    train = workspaces.rows(0, 4)
    other = next(label for label in workspaces.LABELS if label != train[0]["expected"]["intent"])
    changed = [{**train[0], "expected": {"intent": other}}, *train[1:3]]
    workspaces.write_domain(workspace, "tickets", workspaces.domain_file(), train=changed, evaluation=workspaces.rows(1000, 240))
    compiled = compile_domain(workspace, "tickets", domain_digest(workspace, "tickets"))
    answered = [result(row["id"], answer=json.dumps(row["expected"], indent=1)) for row in train]
    file = tmp_path / "results.jsonl"
    write_jsonl(file, [one.model_dump(mode="json") for one in [*answered, result("r1", answer="no", passed=False)]])
    source = GoldenSource(results=str(file), digest=file_sha256(file))
    # Of r0 the label is another one now, and r3 has left the pool.
    assert {row.id: row.expected for row in read_golden(compiled, [source])} == {row["id"]: row["expected"] for row in train[1:3]}
    file.write_text("{}")
    with pytest.raises(ArtifactCorrupt):
        read_golden(compiled, [source])
