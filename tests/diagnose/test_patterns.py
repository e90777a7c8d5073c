"""Failures are grouped by what the checks saw, each under its most telling cause."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.diagnose.patterns import diagnose
from engine.diagnose.taxonomy import OBSERVATIONS
from engine.evaluate.types import ItemResult


def item(name: str, *observations: str, score: float = 0.0, passed: bool = False, **fields: object) -> ItemResult:
    return ItemResult.model_validate(
        {"scenario_id": name, "split": "core", "outcome": "graded", "score": score, "passed": passed, "observations": observations, **fields}
    )


def test_a_broken_answer_explains_a_failure_before_a_wrong_field_does() -> None:
    found = diagnose([item(f"s{n}", "wrong_field:city", "invalid_json") for n in range(3)])
    assert [(p.pattern, p.items) for p in found.patterns] == [("invalid_json", 3)]
    assert found.patterns[0].remedy == "constrain_decoding"


def test_a_confusion_pair_is_a_pattern_of_its_own_with_both_labels_in_its_name() -> None:
    found = diagnose([item("a", "wrong_label:card_arrival->card_linking"), item("b", "wrong_label:card_arrival->card_linking")])
    assert found.patterns[0].detail == "card_arrival->card_linking"
    assert "'card_arrival'" in found.patterns[0].name
    assert "'card_linking'" in found.patterns[0].name


def test_rare_failures_of_one_kind_are_merged() -> None:
    found = diagnose([item("a", "missing_field:x"), item("b", "missing_field:y"), item("c", "missing_field:z"), item("d", "missing_field:z")])
    assert [(p.pattern, p.items) for p in found.patterns] == [("missing_field:other", 2), ("missing_field:z", 2)]


def test_an_infrastructure_error_is_neither_graded_nor_failed() -> None:
    lost = item("a", "infrastructure:server_failed").model_copy(update={"outcome": "error"})
    found = diagnose([lost, item("b", passed=True, score=1.0)])
    assert (found.graded, found.failed, found.lost, found.patterns) == (1, 0, 1, ())


def test_a_breached_safety_net_is_named_when_nothing_else_explains_it() -> None:
    found = diagnose([item("a", breached=("no_promises",)), item("b", breached=("no_promises",))])
    assert found.patterns[0].pattern == "breach:no_promises"
    assert found.patterns[0].remedy == "inspect"


def test_worst_examples_come_first() -> None:
    found = diagnose([item("mild", "wrong_field:x", score=0.9), item("bad", "wrong_field:x", score=0.1)])
    assert found.patterns[0].scenario_ids == ("bad", "mild")


def test_held_out_items_are_refused() -> None:
    with pytest.raises(ValueError, match="held_out"):
        diagnose([item("a").model_copy(update={"split": "held_out"})])


observations = st.lists(st.sampled_from([f"{kind}:{detail}" for kind in OBSERVATIONS for detail in ("x", "y")] + ["nonsense"]), max_size=4)


@given(st.lists(st.tuples(observations, st.booleans()), min_size=1, max_size=60))
def test_every_failure_belongs_to_exactly_one_pattern(rows: list[tuple[list[str], bool]]) -> None:
    results = [item(f"s{n}", *seen, passed=passed) for n, (seen, passed) in enumerate(rows)]
    found = diagnose(results)
    members = [name for pattern in found.patterns for name in pattern.scenario_ids]
    assert sorted(members) == sorted(result.scenario_id for result in results if not result.passed)
    assert sum(pattern.items for pattern in found.patterns) == found.failed
    assert sum(pattern.share for pattern in found.patterns) == pytest.approx(found.failed / found.graded)
