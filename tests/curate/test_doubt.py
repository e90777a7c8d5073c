"""Doubtful labels: what a trained model still finds unlikely, told from what is merely hard."""

from __future__ import annotations

import math
import random

import pytest

from engine.curate.doubt import FEWEST_ROWS, doubtful, doubts_of


def losses_of(right: int, wrong: int, *, apart: float, seed: int = 5) -> dict[str, float]:
    """Losses whose logs lie around -3.2, as those of learnt rows do, and `apart` above that for wrong labels."""
    dice = random.Random(seed)
    rightly = {f"right-{at}": math.exp(dice.gauss(-3.2, 0.8)) for at in range(right)}
    return rightly | {f"wrong-{at}": math.exp(dice.gauss(-3.2 + apart, 0.5)) for at in range(wrong)}


@pytest.mark.parametrize("seed", range(5))
def test_most_wrong_labels_are_found_and_most_doubted_rows_are_wrong(seed: int) -> None:
    found = [doubt.row for doubt in doubtful(losses_of(400, 100, apart=3.0, seed=seed))]
    wrong = [row for row in found if row.startswith("wrong")]
    assert len(wrong) >= 85
    assert len(wrong) >= 0.85 * len(found)


def test_the_least_likely_row_comes_first_and_the_order_of_the_rows_does_not_matter() -> None:
    losses = losses_of(400, 100, apart=3.0)
    found = doubtful(losses)
    assert [doubt.loss for doubt in found] == sorted((doubt.loss for doubt in found), reverse=True)
    assert doubtful(dict(reversed(losses.items()))) == found


def test_learnt_rows_that_spread_far_do_not_hide_the_unlikely_ones() -> None:
    """Right labels that are learnt to very different degrees: a heap as wide as theirs reaches over the wrong ones."""
    dice = random.Random(5)
    right = {f"right-{at}": min(1.2, math.exp(dice.gauss(-2.1, 1.2))) for at in range(800)}
    losses = right | {f"wrong-{at}": math.exp(dice.gauss(-0.3, 0.35)) for at in range(200)}
    found = doubtful(losses)
    assert sum(doubt.row.startswith("wrong") for doubt in found) >= 150
    assert {doubt.row for doubt in found} == {row for row, loss in losses.items() if loss >= found[-1].loss}


def test_rows_that_were_all_learnt_are_not_doubted() -> None:
    assert doubtful({f"row-{at}": 0.0005 + 0.0001 * (at % 60) for at in range(300)}) == []


def test_a_model_that_has_learnt_too_little_is_no_judge() -> None:
    losses = losses_of(400, 100, apart=3.0)
    assert doubtful(losses)
    assert doubtful({row: 10 * loss for row, loss in losses.items()}) == []


def test_an_unlikely_heap_of_half_the_rows_is_no_heap_of_mistakes() -> None:
    assert doubtful(losses_of(250, 200, apart=3.0)) == []


def test_where_few_rows_are_truly_unlikely_those_that_are_merely_hard_are_not_doubted() -> None:
    hard = {f"hard-{at}": 0.34 + at / 400 for at in range(40)}
    few, many = ({f"wrong-{at}": 0.8 + at / 100 for at in range(count)} for count in (8, 60))
    doubted_of_few, doubted_of_many = (
        {doubt.row for doubt in doubtful(losses_of(400, 0, apart=0.0) | hard | wrong)} for wrong in (few, many)
    )
    assert set(few) <= doubted_of_few
    assert not set(hard) & doubted_of_few
    assert set(many) | {"hard-39"} <= doubted_of_many, "a heap of mistakes reaches down to what is hard"


def test_a_handful_of_rows_is_not_judged() -> None:
    assert doubtful(losses_of(FEWEST_ROWS - 15, 14, apart=4.0)) == []


def test_a_row_is_judged_by_the_last_training_that_it_took_part_in() -> None:
    first = losses_of(400, 100, apart=3.0)
    doubted = {doubt.row for doubt in doubtful(first)}
    trained_again = next(row for row in doubted if row.startswith("wrong"))
    second = {row: 0.03 + at / 1e5 for at, row in enumerate(first) if row not in doubted} | {trained_again: 0.03}
    assert {doubt.row for doubt in doubts_of([first, second])} == doubted - {trained_again}
