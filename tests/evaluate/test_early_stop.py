"""When a refusal is certain: the bound holds, nothing that could pass is stopped, and the order depends on names alone."""

from __future__ import annotations

import random
from collections import Counter
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.config import Acceptance
from engine.evaluate.early_stop import LEAST_ITEMS, LOOKS, Watch, certain_refusal, could_pass, in_order, portions, upper_total
from engine.evaluate.statistics import sign_flip
from engine.evaluate.types import ItemResult, Scenario, Stability, StoppedEarly
from engine.iterate.decide import decide

Values = np.ndarray[Any, np.dtype[np.float64]]
LENIENT = Acceptance(floor="ignore", regression_tolerance=1.0, safety_tolerance=1.0)
"""Only the improvement can refuse."""


def scenarios(items: int, *, per_source: int = 1) -> list[Scenario]:
    return [
        Scenario(id=f"s{n:04}", input={}, expected="", split="held_out", source="" if per_source == 1 else f"d{n // per_source}") for n in range(items)
    ]


def answered(asked: list[Scenario], scores: list[float], **changes: Any) -> list[ItemResult]:
    return [
        ItemResult(scenario_id=each.id, split="held_out", outcome="graded", score=score, passed=score == 1.0, source=each.source).model_copy(update=changes)
        for each, score in zip(asked, scores, strict=True)
    ]


def watch(
    asked: list[Scenario],
    incumbent: list[float],
    *,
    floor: list[float] | None = None,
    acceptance: Acceptance = LENIENT,
    stability: Stability | None = None,
    relied_on: bool = True,
) -> Watch:
    bars = {"incumbent": answered(asked, incumbent)} | ({} if floor is None else {"floor": answered(asked, floor)})
    return Watch([[each] for each in asked], 1, bars, acceptance, 0.95, stability, relied_on, against="e", seed=17)


# ---- the order -----------------------------------------------------------------------------------------------------------------------


@settings(max_examples=50)
@given(st.integers(1, 700), st.integers(1, 4), st.sampled_from([1, 8, 32, 100]))
def test_every_item_is_asked_once_in_few_portions_of_whole_sources(items: int, per_source: int, in_flight: int) -> None:
    made = portions(in_order(scenarios(items, per_source=per_source), "v1"), in_flight)
    assert sorted(each.id for portion in made for each in portion) == [each.id for each in scenarios(items)]
    assert len(made) <= LOOKS + 1
    assert all(len(portion) >= LEAST_ITEMS / 2 for portion in made[1:])
    where = [{each.source or each.id for each in portion} for portion in made]
    assert max(Counter(source for portion in where for source in portion).values()) == 1


def test_the_order_follows_from_names_alone_and_differs_between_subjects() -> None:
    asked = scenarios(200, per_source=2)
    shuffled = random.Random(3).sample(asked, len(asked))
    names = [[{each.id for each in source} for source in in_order(given, "v1")] for given in (asked, shuffled)]
    assert names[0] == names[1]
    assert in_order(asked, "v1") != in_order(asked, "v2")


# ---- the bound -----------------------------------------------------------------------------------------------------------------------


def population(dice: np.random.Generator, sources: int) -> tuple[Values, Values]:
    """What each source changes by, and what it could at most: dialogues of one to three items, most unmoved, some lost, some won."""
    items = dice.integers(1, 4, sources)
    before = dice.binomial(items, 0.6)
    after = np.where(dice.random(sources) < dice.uniform(0.1, 0.6), dice.binomial(items, dice.uniform(0.2, 0.9)), before)
    return (after - before).astype(float), (items - before).astype(float)


def upper(changes: Values, best: Values, known: int, error: float) -> float:
    return upper_total(changes[:known], best, least=-3.0 * len(best), error=error)


def test_the_total_lies_below_the_upper_end_at_every_look_but_for_the_stated_share() -> None:
    dice = np.random.default_rng(5)
    missed = 0
    for _ in range(300):
        changes, best = population(dice, 90)
        order = dice.permutation(90)
        changes, best = changes[order], best[order]
        missed += any(upper(changes, best, known, 0.1) < changes.sum() - 1e-6 for known in range(10, 90, 8))
    # Stated: 10%. Of 300 that is 30; more than 44 would come about once in two hundred times at exactly 10%.
    assert 0 < missed <= 44, missed


@settings(max_examples=40)
@given(st.integers(0, 10_000), st.integers(1, 59))
def test_the_upper_end_falls_with_the_error_allowed_and_never_exceeds_what_is_possible(seed: int, known: int) -> None:
    changes, best = population(np.random.default_rng(seed), 60)
    ends = [upper(changes, best, known, error) for error in (0.001, 0.01, 0.1, 0.5)]
    assert all(strict >= loose - 1e-9 for strict, loose in pairwise(ends))
    assert ends[0] <= changes[:known].sum() + best[known:].sum() + 1e-9


@settings(max_examples=60)
@given(st.integers(0, 10_000), st.integers(8, 40), st.integers(1, 39))
def test_what_passes_the_sign_flip_test_in_the_end_could_pass_at_every_look(seed: int, sources: int, known: int) -> None:
    dice = np.random.default_rng(seed)
    changes = np.where(dice.random(sources) < 0.7, dice.integers(-1, 4, sources) / 2, 0.0)
    if changes.sum() > 0 and sign_flip(list(changes), [str(n) for n in range(sources)]) <= 0.05:
        assert could_pass(changes[:known], float(changes.sum()), 0.95, 17)


# ---- the decision --------------------------------------------------------------------------------------------------------------------


@settings(max_examples=60)
@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=2, max_size=150), st.integers(1, 149))
def test_a_challenger_that_lost_nothing_so_far_is_never_stopped(scores: list[tuple[float, float]], known: int) -> None:
    asked = scenarios(len(scores))
    before, after = [min(pair) for pair in scores], [max(pair) for pair in scores]
    assert certain_refusal(watch(asked, before, floor=before), answered(asked[:known], after[:known])) is None


@settings(max_examples=60)
@given(st.integers(0, 10_000), st.integers(10, 60), st.integers(5, 59), st.floats(0, 1))
def test_what_is_called_exact_is_refused_by_the_whole_gate_whatever_the_rest_answers(seed: int, items: int, known: int, skill: float) -> None:
    dice = np.random.default_rng(seed)
    asked, strict = scenarios(items), Acceptance(floor="ignore")
    before = [float(score) for score in dice.random(items) < 0.8]
    after = [float(score) for score in dice.random(items) < 0.4]
    found = certain_refusal(watch(asked, before, acceptance=strict), answered(asked[:known], after[:known]))
    if found is None or not found.exact:
        return
    for rest in ([1.0] * items, [float(score) for score in dice.random(items) < skill]):
        whole = answered(asked, after[:known] + rest[known:])
        assert decide(strict, slices=(), incumbent=answered(asked, before), challenger=whole, floor=None, seed=17).verdict == "roll_back"


def stop(incumbent: list[float], challenger: list[float], **how: Any) -> StoppedEarly | None:
    asked = scenarios(len(incumbent))
    return certain_refusal(watch(asked, incumbent, **how), answered(asked[: len(challenger)], challenger))


def test_a_clearly_worse_challenger_is_stopped_with_its_figures_and_an_equal_one_goes_on() -> None:
    half = [float(n % 2) for n in range(200)]
    found = stop(half, [float(n % 8 == 1) for n in range(64)])
    assert found is not None
    assert (found.asked, found.of, found.saved, found.because, found.exact) == (64, 200, 136, "incumbent", False)
    assert found.upper < 0
    assert stop(half, [float(n % 4 in (1, 2)) for n in range(64)]) is None


def test_one_above_the_incumbent_is_stopped_when_it_cannot_reach_a_floor_that_it_has_to_beat() -> None:
    challenger = [float(n % 2) for n in range(96)]
    assert stop([0.0] * 200, challenger) is None
    found = stop([0.0] * 200, challenger, floor=[1.0] * 200)
    assert found is not None
    assert found.because == "floor"
    assert found.floor_upper is not None
    assert found.floor_upper < 0 < found.upper


def test_items_lost_beyond_the_limit_over_all_items_end_it_exactly() -> None:
    incumbent = [float(n % 2) for n in range(200)]
    swapped = [1.0 - score for score in incumbent[:64]]
    found = stop(incumbent, swapped, acceptance=Acceptance(floor="ignore"))
    assert found is not None
    assert (found.because, found.exact) == ("regressions", True)
    for excuse in ({"stability": Stability(items=32, flipped=12)}, {"relied_on": False}):
        assert stop(incumbent, swapped, acceptance=Acceptance(floor="ignore"), **excuse) is None


def test_a_breach_that_the_whole_set_would_not_excuse_ends_it_at_once() -> None:
    asked = scenarios(200)
    answers = answered(asked[:64], [1.0] * 64)
    answers[5] = answers[5].model_copy(update={"breached": ("no_promises",)})
    strict = certain_refusal(watch(asked, [0.0] * 200, acceptance=Acceptance(floor="ignore")), answers)
    assert strict is not None
    assert strict.because == "safety_nets"
    assert certain_refusal(watch(asked, [0.0] * 200, acceptance=Acceptance(floor="ignore", safety_tolerance=0.01)), answers) is None


def test_an_answer_lost_to_infrastructure_speaks_for_nothing() -> None:
    asked = scenarios(200)
    lost = answered(asked[:64], [0.0] * 64, outcome="error")
    assert certain_refusal(watch(asked, [0.5] * 200), lost) is None
    assert certain_refusal(watch(asked, [0.5] * 200), answered(asked[:64], [0.0] * 64)) is not None


@pytest.mark.parametrize("known", [0, 200])
def test_before_the_first_and_after_the_last_item_there_is_nothing_to_stop(known: int) -> None:
    assert stop([1.0] * 200, [0.0] * known) is None
