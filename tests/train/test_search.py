"""The search over a ledger: deterministic, given every round, and drawn to what went well."""

from __future__ import annotations

import pytest

from engine.train.search_worker import mean_by_point, suggest
from engine.train.types import Search, Trial


def asked(*trials: tuple[float, float, float], error: float = 0.01, seed: int = 17, vary: tuple[str, ...] = ("rate", "passes")) -> Search:
    made = [Trial(rate=rate, passes=passes, value=value, error=error) for rate, passes, value in trials]
    return Search.model_validate({"trials": made, "vary": vary, "low": -1.0, "high": 1.0, "seed": seed})


pytestmark = pytest.mark.model  # scikit-learn takes seconds to import

SLOPE = [(-1.0, 0.0, 0.30), (-0.5, 0.0, 0.38), (0.0, 0.0, 0.50), (0.5, 0.0, 0.61)]


def test_equal_ledgers_and_seeds_give_equal_suggestions_within_the_bounds() -> None:
    for trials in ([(0.0, 0.0, 0.7)], [(0.0, 0.0, 0.7), (0.0, 0.0, 0.69), (2.5, 0.0, 0.4)], SLOPE):
        found = suggest(asked(*trials))
        assert found == suggest(asked(*trials))
        assert -1.0 <= found.rate <= 1.0
        assert -1.0 <= found.passes <= 1.0


def test_it_goes_where_rounds_went_well() -> None:
    assert suggest(asked(*SLOPE, vary=("rate",))).rate > 0.5
    assert suggest(asked(*((-rate, passes, value) for rate, passes, value in SLOPE), vary=("rate",))).rate < -0.5


def test_what_the_domain_fixes_is_not_searched() -> None:
    assert suggest(asked(*SLOPE, vary=("passes",))).rate == 0.0


def test_rounds_with_equal_settings_count_as_one_that_is_known_better() -> None:
    points = mean_by_point(asked((0.0, 0.0, 0.6), (0.0, 0.0, 0.8), (1.0, 0.0, 0.5), error=0.1))
    assert points[0.0, 0.0] == (pytest.approx(0.7), pytest.approx(0.1 / 2**0.5))
    assert suggest(asked((0.0, 0.0, 0.6), (0.0, 0.0, 0.8))).trials == 1
