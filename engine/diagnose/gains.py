"""What a remedy may win: the share it could win at most, times the rate at which it fixed this class before, in this cluster.

The past is the ledger: each round's incumbent and challenger on the same core items, and the cheap remedies that were tried. With too few
items there is no number. An item counts once for each round it was tried in, so the interval, which takes them as independent, is narrower
than it should be where rounds repeat. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from engine.diagnose.facts import Round, class_of_result, was_aimed
from engine.diagnose.taxonomy import telling_observation
from engine.diagnose.types import CheapTrial, ExpectedGain, FailureClass, Remedy

ENOUGH = 10
"""Items tried below which a fix rate is not given."""
_METHODS: dict[str, Remedy] = {"sft": "targeted_sft", "dpo": "dpo", "grpo": "grpo"}
_Z = 1.959963984540054
"""Of a 95% interval."""


class FixRate(NamedTuple):
    """How often a remedy fixed items of a class."""

    fixed: int
    tried: int


def wilson(successes: int, n: int) -> tuple[float, float]:
    """The 95% score interval of a share (Wilson 1927, doi:10.1080/01621459.1927.10502953). (0, 1) without trials."""
    if n == 0:
        return 0.0, 1.0
    share = successes / n
    centre = share + _Z * _Z / (2 * n)
    half = _Z * math.sqrt(share * (1 - share) / n + _Z * _Z / (4 * n * n))
    return max(0.0, (centre - half) / (1 + _Z * _Z / n)), min(1.0, (centre + half) / (1 + _Z * _Z / n))


def fix_rates(rounds: Sequence[Round], trials: Sequence[CheapTrial] = ()) -> dict[tuple[FailureClass, Remedy], FixRate]:
    """How many failing items of each class each remedy fixed: a round counts for items whose pattern it was aimed at."""
    counts: dict[tuple[FailureClass, Remedy], FixRate] = {}

    def add(name: FailureClass, remedy: Remedy, fixed: int, tried: int) -> None:
        before = counts.get((name, remedy), FixRate(0, 0))
        counts[name, remedy] = FixRate(before.fixed + fixed, before.tried + tried)

    for each in rounds:
        remedy = _METHODS.get(each.method)
        after = {result.scenario_id: result for result in each.after if result.outcome == "graded"}
        for result in each.before:
            if remedy is None or result.outcome != "graded" or result.passed or result.scenario_id not in after:
                continue
            if was_aimed(each.aimed, *telling_observation(result)):
                add(class_of_result(result), remedy, int(after[result.scenario_id].passed), 1)
    for trial in trials:
        for count in trial.fixed:
            add(count.failure_class, trial.remedy, count.fixed, count.tried)
    return counts


def expected_gain(share: float, failure_class: FailureClass, remedy: Remedy, rates: Mapping[tuple[FailureClass, Remedy], FixRate]) -> ExpectedGain:
    """The gain of a remedy for a pattern with this share of the graded core items."""
    rate = rates.get((failure_class, remedy), FixRate(0, 0))
    if rate.tried < ENOUGH:
        past = f"{rate.tried} items is too little of a past" if rate.tried else "no past"
        return ExpectedGain(at_most=share, fixed=rate.fixed, tried=rate.tried, words=f"at most {share:.3f} of the core items; {past}")
    fixed, (low, high) = rate.fixed / rate.tried, wilson(rate.fixed, rate.tried)
    return ExpectedGain(
        at_most=share,
        expected=share * fixed,
        low=share * low,
        high=share * high,
        fixed=rate.fixed,
        tried=rate.tried,
        words=f"{share * fixed:+.3f} [{share * low:.3f}, {share * high:.3f}]: it fixed {rate.fixed} of {rate.tried} such items before",
    )
