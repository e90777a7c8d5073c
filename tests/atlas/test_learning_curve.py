"""Learning curves: what is foretold from a few points, and how far."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.atlas.learning_curve import FARTHEST, Point, curves_through, foretold, rows_needed

ROWS = (60, 120, 240, 480)


def points(rest: float, scale: float, slope: float, *, error: float = 0.005) -> list[Point]:
    return [Point(rows, 1 - rest - scale * rows**-slope, error) for rows in ROWS]


@given(rest=st.floats(0, 0.3), slope=st.floats(0.1, 0.9), first=st.floats(0.1, 0.6))
@settings(max_examples=40)
def test_a_curve_goes_through_the_points_that_made_it_and_rises_with_rows(rest: float, slope: float, first: float) -> None:
    made = points(rest, first * ROWS[0] ** slope, slope)
    curves = curves_through(made, 1)
    assert curves is not None
    assert all(abs(foretold(curves, point.rows).value - point.figure) < 0.02 for point in made)
    values = [foretold(curves, rows).value for rows in (500, 1000, 2000, 4000)]
    assert values == sorted(values)


@given(target=st.floats(0.5, 0.95))
@settings(max_examples=40)
def test_the_rows_that_a_target_takes_bring_the_curve_to_it(target: float) -> None:
    curves = curves_through(points(0.02, 1.4, 0.28), 1)
    assert curves is not None
    needed = rows_needed(curves, target)
    if needed.value is not None:
        assert curves.at(needed.value)[0] == pytest.approx(target, abs=0.005)
        assert needed.low is not None
        assert needed.low <= needed.value
        assert needed.high is None or needed.high >= needed.value


def test_a_target_beyond_what_rows_can_bring_is_never_reached_and_a_far_one_not_foretold() -> None:
    curves = curves_through(points(0.3, 1.4, 0.5), 1)
    assert curves is not None
    never, far = rows_needed(curves, 0.9), rows_needed(curves, 0.695)
    assert (never.value, never.low, never.high, never.beyond) == (None, None, None, 1.0)
    assert far.value is None, f"beyond {FARTHEST} times what was measured"


def test_the_interval_of_a_curve_holds_nine_of_ten_further_points_measured_with_the_same_error() -> None:
    dice = np.random.default_rng(3)
    held = 0
    for trial in range(200):
        true = points(0.05, 2.0, 0.35, error=0.03)
        seen = [point._replace(figure=point.figure + dice.normal(0, 0.03)) for point in true]
        curves = curves_through(seen, trial)
        assert curves is not None
        far = foretold(curves, 960)
        held += far.low <= 1 - 0.05 - 2.0 * 960**-0.35 <= far.high
    assert held >= 160, f"{held} of 200: nine of ten are claimed, and at most a tenth less may be held"


def test_two_sizes_are_no_curve() -> None:
    assert curves_through([Point(100, 0.5, 0.02), Point(200, 0.6, 0.02), Point(200, 0.61, 0.02)], 1) is None


def test_points_without_error_are_taken_as_they_are() -> None:
    made = curves_through([Point(rows, 1.0, 0.0) for rows in ROWS], 1)
    assert made is not None
    assert rows_needed(made, 0.9).value == 1
