"""What a selection of training rows promises, whatever the pool and the patterns."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.curate.select import allocate, select_rows, strata_of, target_patterns
from engine.curate.types import TargetPattern
from engine.diagnose.taxonomy import class_of
from engine.diagnose.types import FailurePattern
from engine.evaluate.types import TrainingRow

LABELS = ("card_arrival", "card_linking", "top_up", "refund")


def labelled(count: int, labels: tuple[str, ...] = LABELS) -> list[TrainingRow]:
    return [TrainingRow(id=f"r{i}", input={"text": f"message {i}"}, expected={"intent": labels[i % len(labels)]}) for i in range(count)]


def confusion(weight: float = 1.0) -> TargetPattern:
    return TargetPattern(pattern="wrong_label:top_up->refund", kind="wrong_label", labels=("top_up", "refund"), weight=weight)


patterns = st.lists(
    st.builds(
        TargetPattern,
        pattern=st.sampled_from(["a", "b", "c"]),
        kind=st.sampled_from(["wrong_label", "missing_field", "invented_field", "invalid_json"]),
        labels=st.lists(st.sampled_from([*LABELS, "elsewhere"]), max_size=2).map(tuple),
        fields=st.lists(st.sampled_from(["intent", "amount"]), max_size=1).map(tuple),
        weight=st.floats(0.01, 1.0),
    ),
    max_size=4,
    unique_by=lambda pattern: pattern.pattern,
)


@settings(max_examples=150)
@given(
    size=st.integers(1, 60), targets=patterns, max_rows=st.integers(8, 80), replay=st.floats(0.0, 1.0), seed=st.integers(0, 99), order=st.randoms()
)
def test_a_selection_is_bounded_drawn_from_the_pool_and_independent_of_its_order(
    size: int, targets: list[TargetPattern], max_rows: int, replay: float, seed: int, order: random.Random
) -> None:
    pool = labelled(size)
    chosen = select_rows(pool, targets, max_rows=max_rows, replay_share=replay, seed=seed)
    shuffled = list(pool)
    order.shuffle(shuffled)
    assert select_rows(shuffled, targets, max_rows=max_rows, replay_share=replay, seed=seed) == chosen
    assert len(chosen.rows) <= max(max_rows, 0)
    assert len(chosen.rows) >= min(size, max_rows)
    assert set(chosen.rows) <= {row.id for row in pool}
    assert chosen.aimed + chosen.replay == len(chosen.rows)
    assert chosen.aimed == sum(chosen.per_pattern.values())
    assert chosen.replay >= replay * len(chosen.rows) - 1e-6
    assert max(chosen.rows.count(row) for row in set(chosen.rows)) <= 2
    if size > max_rows:
        assert len(set(chosen.rows)) == len(chosen.rows)


def test_half_of_a_large_pools_selection_goes_to_the_labels_of_a_confusion_pair_evenly() -> None:
    pool = labelled(400)
    chosen = select_rows(pool, [confusion()], max_rows=100, replay_share=0.5, seed=1)
    by_id = {row.id: row for row in pool}
    intents = [by_id[row].expected["intent"] for row in chosen.rows]
    assert chosen.aimed == 50
    assert intents.count("top_up") >= 25
    assert intents.count("refund") >= 25
    assert intents.count("card_arrival") > 0
    assert "50 rows for wrong_label:top_up->refund." in chosen.reasons


def test_a_pool_that_fits_is_used_whole_and_its_aimed_rows_are_repeated_once() -> None:
    pool = labelled(40)
    chosen = select_rows(pool, [confusion()], max_rows=100, replay_share=0.5, seed=1)
    counts = {row.id: chosen.rows.count(row.id) for row in pool}
    assert {counts[row.id] for row in pool if row.expected["intent"] in ("top_up", "refund")} == {2}
    assert {counts[row.id] for row in pool if row.expected["intent"] not in ("top_up", "refund")} == {1}


def test_a_pattern_about_every_row_is_left_to_the_even_draw() -> None:
    broken = TargetPattern(pattern="invalid_json", kind="invalid_json", weight=1.0)
    chosen = select_rows(labelled(400), [broken], max_rows=100, replay_share=0.5, seed=1)
    assert chosen.aimed == 0
    assert any("taught by most rows" in reason for reason in chosen.reasons)


def test_a_pattern_that_no_row_is_about_is_named() -> None:
    absent = TargetPattern(pattern="missing_field:seat", kind="missing_field", fields=("seat",), weight=1.0)
    chosen = select_rows(labelled(40), [absent], max_rows=20, replay_share=0.5, seed=1)
    assert any("No row of the pool is about missing_field:seat" in reason for reason in chosen.reasons)


def test_rows_with_a_missing_field_are_found_by_its_dotted_path() -> None:
    pool = [TrainingRow(id=f"r{i}", input={}, expected={"slots": {"city": "Oslo"} if i % 4 == 0 else {}, "act": "inform"}) for i in range(80)]
    missing = TargetPattern(pattern="missing_field:slots.city", kind="missing_field", fields=("slots.city",), weight=1.0)
    chosen = select_rows(pool, [missing], max_rows=40, replay_share=0.5, seed=3)
    with_city = {f"r{i}" for i in range(0, 80, 4)}
    assert chosen.per_pattern == {"missing_field:slots.city": 20}
    assert with_city <= set(chosen.rows)


def test_replay_favours_rare_labels_without_flattening_the_pool() -> None:
    pool = labelled(90, ("common",)) + [TrainingRow(id=f"x{i}", input={}, expected={"intent": "rare"}) for i in range(10)]
    chosen = select_rows(pool, [], max_rows=40, replay_share=0.5, seed=5)
    rare = sum(row.startswith("x") for row in chosen.rows)
    assert rare == 10  # 40 * sqrt(10) / (sqrt(10) + sqrt(90)); the pool's own share would be 4


def test_another_seed_draws_other_rows() -> None:
    pool = labelled(400)
    assert select_rows(pool, [], max_rows=50, replay_share=0.5, seed=1).rows != select_rows(pool, [], max_rows=50, replay_share=0.5, seed=2).rows


def test_strata_follow_the_given_path_and_otherwise_label_like_values_lists_among_them() -> None:
    rows = [
        TrainingRow(id=f"r{i}", input={}, expected={"acts": [("inform", "request")[i % 2]], "slots": {"x": str(i)}}, tags={"service": f"s{i % 5}"})
        for i in range(50)
    ]
    assert len(set(strata_of(rows, None).values())) == 2
    assert len(set(strata_of(rows, "tags.service").values())) == 5
    assert len(set(strata_of(rows, "expected.acts.0").values())) == 2
    assert len(set(strata_of(rows, "expected.acts.1").values())) == 1


@given(
    total=st.integers(0, 50), shares=st.lists(st.tuples(st.floats(0.01, 5.0), st.integers(0, 20)), min_size=1, max_size=6)
)
def test_places_are_shared_out_completely_within_capacity(total: int, shares: list[tuple[float, int]]) -> None:
    capacities = [capacity for _, capacity in shares]
    given_out = allocate(total, [weight for weight, _ in shares], capacities)
    assert sum(given_out) == min(total, sum(capacities))
    assert all(count <= capacity for count, capacity in zip(given_out, capacities, strict=True))


def failure(kind: str, detail: str, items: int, remedy: str = "targeted_sft") -> FailurePattern:
    return FailurePattern.model_validate(
        {
            "pattern": f"{kind}:{detail}" if detail else kind,
            "kind": kind,
            "detail": detail,
            "name": "",
            "items": items,
            "share": 0.1,
            "failure_class": class_of(kind),
            "remedy": remedy,
            "remedy_in_words": "",
            "scenario_ids": (),
        }
    )


@pytest.mark.parametrize(
    ("kind", "detail", "labels", "fields"),
    [
        ("wrong_label", "top_up->refund", ("top_up", "refund"), ()),
        ("missing_field", "slots.city", (), ("slots.city",)),
        ("missing_item", "acts=inform", ("inform",), ("acts",)),
        ("wrong_field", ".", (), ()),
        ("invented_label", "nonsense", (), ()),
        ("invalid_json", "", (), ()),
    ],
)
def test_a_diagnosed_pattern_becomes_what_a_row_must_have(kind: str, detail: str, labels: tuple[str, ...], fields: tuple[str, ...]) -> None:
    (target,) = target_patterns([failure(kind, detail, 3)])
    assert (target.labels, target.fields, target.weight) == (labels, fields, 1.0)


def test_what_no_data_can_mend_is_not_aimed_at() -> None:
    targets = target_patterns([failure("truncated", "", 5, "raise_limit"), failure("wrong_field", "city", 5)])
    assert [target.pattern for target in targets] == ["wrong_field:city"]
