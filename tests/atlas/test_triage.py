"""Whether to train, decided: from rules, and from measurements."""

from __future__ import annotations

import re
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.atlas.learning_curve import RowsNeeded
from engine.atlas.triage import EVALUATION_ROWS, Judgement, Measured, Tried, Verdict, advised, framework, judged
from engine.atlas.types import Approach, Need, Situation
from engine.evaluate.types import Interval


def figure(mean: float, half: float = 0.04) -> Interval:
    return Interval(mean=mean, low=max(0.0, mean - half), high=min(1.0, mean + half), n=288, clusters=200)


def tried(**figures: Interval | None) -> list[Tried]:
    names: tuple[Approach, ...] = ("floor", "prompt", "constrain_decoding", "few_shot", "larger_model", "lora")
    return [Tried(name, figures.get(name)) for name in names]


CHEAP = {"floor": figure(0.5), "prompt": figure(0.2), "constrain_decoding": figure(0.25), "few_shot": figure(0.3)}


def decided(found: list[Tried], **changes: object) -> Judgement:
    known = Measured(found, 0.75, "score", 480, None, None, 0, None)
    return judged(known._replace(**changes))  # type: ignore[arg-type]


# ---- measured --------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["floor", "prompt", "constrain_decoding", "few_shot", "larger_model"])
def test_what_surely_reaches_the_target_without_training_is_the_answer(name: str) -> None:
    answer = decided(tried(**{**CHEAP, name: figure(0.85)}), above_base=True, above_floor=True)
    assert answer.verdict == "do_not_train"
    assert "reaches score 0.75 surely" in answer.reasons[0]


def test_a_target_that_is_reached_by_the_mean_alone_is_measured_on_more_items_before_anything_is_trained() -> None:
    answer = decided(tried(**{**CHEAP, "few_shot": figure(0.77)}))
    assert answer.verdict == "measure_first"
    assert re.search(r"some 1,15[23] evaluation items instead of 288 would say it. They cost less", answer.reasons[1]), "four times as many halve the interval"


@pytest.mark.parametrize(("mean", "words"), [(0.752, "That is hardly worth 0.002"), (0.75, "no number of evaluation items")])
def test_a_difference_too_small_to_be_measured_is_said_to_be(mean: float, words: str) -> None:
    assert words in decided(tried(**{**CHEAP, "floor": figure(mean)})).reasons[1]


def test_the_cheapest_of_those_that_reach_the_target_is_named() -> None:
    answer = decided(tried(**{**CHEAP, "floor": figure(0.9), "larger_model": figure(0.95)}))
    assert answer.reasons[0].startswith("The floor")


@pytest.mark.parametrize("missing", ["floor", "prompt", "constrain_decoding", "few_shot"])
def test_nothing_is_trained_before_what_is_cheap_was_measured(missing: str) -> None:
    answer = decided(tried(**{**CHEAP, missing: None}))
    assert answer.verdict == "measure_first"
    assert "Not measured yet" in answer.reasons[0]


def test_training_is_the_answer_where_nothing_cheap_reaches_the_target_and_the_curve_does() -> None:
    answer = decided(tried(**CHEAP), needed=RowsNeeded(400, 300, 700, 0.0))
    assert answer.verdict == "train"
    assert "The floor (0.500 [0.460, 0.540]) is the best without training" in answer.reasons[0]


def test_a_trained_version_that_is_no_better_than_the_floor_says_do_not_train() -> None:
    answer = decided(tried(**CHEAP, lora=figure(0.52)), above_base=True, above_floor=False)
    assert answer.verdict == "do_not_train"
    assert "the floor" in answer.reasons[0]


def test_a_trained_version_that_examples_may_equal_says_do_not_train() -> None:
    answer = decided(tried(**{**CHEAP, "few_shot": figure(0.6)}, lora=figure(0.62)), above_base=True, above_floor=True)
    assert answer.verdict == "do_not_train"
    assert "worked examples" in answer.reasons[0]


def test_a_trained_version_that_is_better_than_all_and_reaches_the_target_was_worth_it() -> None:
    answer = decided(tried(**CHEAP, lora=figure(0.77)), above_base=True, above_floor=True)
    assert answer.verdict == "train"
    assert "It reaches score 0.75" in answer.reasons[0]


def test_a_trained_version_below_the_target_asks_for_the_rows_that_the_curve_says() -> None:
    answer = decided(tried(**CHEAP, lora=figure(0.65)), above_base=True, above_floor=True, needed=RowsNeeded(1900, 1000, None, 0.2))
    assert answer.verdict == "label_first"
    assert "at least 1000 rows; there are 480" in answer.reasons[-1]


def test_few_rows_are_labelled_before_they_are_trained_on() -> None:
    assert decided(tried(**CHEAP), rows=90).verdict == "label_first"


def test_without_a_target_nothing_says_that_training_is_worth_its_price() -> None:
    answer = decided(tried(**CHEAP), target=None)
    assert answer.verdict == "measure_first"
    assert "Set a target" in answer.reasons[-1]


def test_refused_rounds_are_not_repeated_on_the_same_rows_where_the_curve_asks_for_more() -> None:
    answer = decided(tried(**CHEAP), refused=2, needed=RowsNeeded(None, None, None, 1.0))
    assert answer.verdict == "label_first"
    assert any("2 trained versions were refused" in reason for reason in answer.reasons)


figures = st.one_of(st.none(), st.floats(0, 1).map(figure))
needs = st.one_of(st.none(), st.builds(RowsNeeded, st.integers(1, 4000), st.integers(1, 4000), st.integers(1, 9000), st.floats(0, 1)))


@given(
    found=st.fixed_dictionaries({name: figures for name in ("floor", "prompt", "constrain_decoding", "few_shot", "larger_model", "lora")}),
    target=st.one_of(st.none(), st.floats(0.1, 1)),
    rows=st.integers(0, 3000),
    above=st.tuples(st.one_of(st.none(), st.booleans()), st.one_of(st.none(), st.booleans())),
    refused=st.integers(0, 4),
    needed=needs,
)
def test_whatever_was_measured_there_is_a_verdict_with_a_reason_and_never_train_against_a_sure_cheaper_way(
    found: dict[str, Interval | None],
    target: float | None,
    rows: int,
    above: tuple[bool | None, bool | None],
    refused: int,
    needed: RowsNeeded | None,
) -> None:
    answer = decided(tried(**found), target=target, rows=rows, above_floor=above[0], above_base=above[1], refused=refused, needed=needed)
    assert answer.verdict in get_args(Verdict)
    assert answer.reasons
    cheap = [each for name, each in found.items() if name != "lora" and each is not None]
    if target is not None and any(each.low >= target for each in cheap):
        assert answer.verdict == "do_not_train"


# ---- rules -----------------------------------------------------------------------------------------------------------------------------


def test_facts_that_change_are_looked_up_and_not_trained_in() -> None:
    for situation in (Situation(need="facts"), Situation(need="style", facts_change=True)):
        assert framework(situation).verdict == "do_not_train"
        order = {each.approach: each.when for each in advised(situation)}
        assert (order["retrieval"], order["lora"]) == ("first", "not_here")


def test_too_few_rows_to_tell_better_from_worse_are_labelled_first() -> None:
    assert framework(Situation(labelled_rows=EVALUATION_ROWS - 1)).verdict == "label_first"
    assert framework(Situation(labelled_rows=EVALUATION_ROWS)).verdict == "measure_first"


@pytest.mark.parametrize("need", [None, *get_args(Need)])
def test_rules_alone_never_say_train_and_every_way_has_its_reason(need: Need | None) -> None:
    for rows in (None, 0, 150, 100_000):
        assert framework(Situation(need, rows)).verdict != "train"
    told = advised(Situation(need))
    assert {each.approach for each in told} == set(get_args(Approach))
    assert all(each.reason for each in told)
    ranks = [("first", "if_that_fails", "not_here").index(each.when) for each in told]
    assert ranks == sorted(ranks)
