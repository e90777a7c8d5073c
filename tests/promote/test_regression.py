"""When a new measurement of the version that serves shows it worse than its evidence, and when it shows nothing."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.config import Acceptance
from engine.promote.regression import Seen, regression
from tests.promote.judged import IDENTITY, results


def seen(name: str, score: Callable[[int], float], count: int = 120, **identity: str) -> Seen:
    return Seen(name, IDENTITY.model_copy(update=identity), results(score, count))


def found(evidence: Seen, now: Seen, looks: int = 1) -> str:
    return regression(evidence, now, acceptance=Acceptance(), looks=looks, seed=17)


EVIDENCE = seen("evaluate-1", lambda n: 1.0 if n % 5 else 0.0)


def test_a_loss_that_chance_does_not_explain_is_said_with_its_figures() -> None:
    said = found(EVIDENCE, seen("evaluate-2", lambda n: 1.0 if n % 5 > 2 else 0.0))
    assert said.startswith("evaluate-2 measured it worse than its evidence, evaluate-1: held-out score 0.800 -> 0.400, difference -0.400 [-0.")
    assert said.endswith("on 120 items")


@pytest.mark.parametrize("lost", [0, 3])
def test_as_good_better_and_a_loss_of_a_few_items_show_nothing(lost: int) -> None:
    assert found(EVIDENCE, seen("evaluate-2", lambda n: 1.0 if n % 5 and n >= 2 * lost else 0.0)) == ""
    assert found(EVIDENCE, seen("evaluate-2", lambda n: 1.0)) == ""


@pytest.mark.parametrize("changed", ["suite", "grading", "prompt"])
def test_what_was_measured_in_another_way_shows_nothing(changed: str) -> None:
    assert found(EVIDENCE, seen("evaluate-2", lambda n: 0.0, **{changed: "another"})) == ""
    assert found(EVIDENCE, seen("evaluate-2", lambda n: 0.0, count=60)) == ""


def test_items_that_infrastructure_lost_count_for_neither() -> None:
    answered = results(lambda n: 1.0 if n % 5 else 0.0)
    lost = [result.model_copy(update={"outcome": "error", "score": 0.0, "passed": False}) if n < 110 else result for n, result in enumerate(answered)]
    assert found(EVIDENCE, Seen("evaluate-2", IDENTITY, lost)) == ""
    assert found(EVIDENCE, Seen("evaluate-2", IDENTITY, [each for each in lost if each.outcome == "error"])) == ""


@settings(max_examples=40)
@given(losses=st.integers(0, 60), looks=st.integers(1, 20))
def test_each_further_look_takes_more_to_be_sure_and_more_losses_never_take_less(losses: int, looks: int) -> None:
    def after(lost: int) -> Seen:
        return seen("evaluate-2", lambda n: 0.0 if n % 5 == 0 or n < 2 * lost else 1.0)

    if found(EVIDENCE, after(losses), looks + 1):
        assert found(EVIDENCE, after(losses), looks)
        assert found(EVIDENCE, after(losses + 1), looks + 1)
