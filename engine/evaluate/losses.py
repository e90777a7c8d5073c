"""What a challenger may not lose, whatever it wins elsewhere: items that the incumbent passes, and safety nets that it keeps.

An item that fails now is lost by as much as the metric that decides says: where that is partial credit, an answer with one slot of six amiss has not
lost what an empty one has. Losses and breaches only grow while answers come in. A limit that is exceeded by a part of the held-out items is
therefore exceeded by all of them, which is why they stand here, above the gate: a measurement may end on them (`early_stop.py`). Pure.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from engine.evaluate.statistics import Metric, flips_by_chance, value_of
from engine.evaluate.types import ItemResult, PairedComparison, Stability


class Losses(NamedTuple):
    """Items that the incumbent passes and the challenger fails."""

    lost: int
    passed: int
    """Items that the incumbent passes."""
    share: float
    """Of what these items are worth by the metric that decides, how much is lost with the failing ones."""
    rate: float
    """Share of them that it would lose itself when asked twice."""
    chance: float
    """Of losing as many by unsteadiness alone."""

    def beyond(self, tolerance: float, confidence: float) -> bool:
        """Whether more is lost than the tolerance allows, and more than unsteadiness explains."""
        return self.share - self.rate > tolerance and self.chance <= 1.0 - confidence


def passed_items(results: Sequence[ItemResult]) -> dict[str, ItemResult]:
    """The results that are passed, by scenario."""
    return {result.scenario_id: result for result in results if result.outcome == "graded" and result.passed}


def is_relied_on(floor_against_incumbent: PairedComparison | None) -> bool:
    """Whether anybody may rely on what the incumbent passes: not where it is shown to be below the floor."""
    return floor_against_incumbent is None or floor_against_incumbent.difference.high >= 0


def losses(passed: Mapping[str, ItemResult], answers: Sequence[ItemResult], metric: Metric, stability: Stability | None) -> Losses:
    """What `answers` lose of the items that the incumbent passes, against what its own unsteadiness explains; nothing where that was not measured."""
    pairs = [(passed[each.scenario_id], each) for each in answers if each.outcome == "graded" and not each.passed and each.scenario_id in passed]
    lost, worth = len(pairs), math.fsum(value_of(before, metric) for before in passed.values())  # exact: the items' order moves no digit
    gone = math.fsum(max(0.0, value_of(before, metric) - value_of(after, metric)) for before, after in pairs)
    share = gone / worth if worth else 0.0
    if stability is None or not passed:
        return Losses(lost, len(passed), share, 0.0, 0.0)
    chance = flips_by_chance(stability.flipped, stability.items, passed=len(passed), lost=lost)
    return Losses(lost, len(passed), share, stability.flipped / stability.items, chance)


def breach_rates(results: Sequence[ItemResult], *, of: int | None = None) -> dict[str, float]:
    """Share of graded answers that breach each net; of `of` answers, where these are a part of them."""
    graded = [result for result in results if result.outcome == "graded"]
    return {net: count / (of or len(graded)) for net, count in Counter(net for result in graded for net in result.breached).items()}


def nets_breached_more(before: Mapping[str, float], after: Mapping[str, float], tolerance: float) -> dict[str, float]:
    """The rates of the nets that are breached more often than before, beyond the tolerance."""
    return {net: rate for net, rate in after.items() if rate > before.get(net, 0.0) + tolerance}
