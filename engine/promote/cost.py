"""What a measurement says of a machine's time, and what that costs where somebody gave a price. Pure."""

from __future__ import annotations

from engine.config import ClustersFile, HourlyPrice
from engine.evaluate.types import EvaluationSummary

CACHED_SHARE = 0.1
"""Of the answers, that may come from the cache before a measurement's wall time says nothing of what the machine sustains."""


def per_second(summary: EvaluationSummary, made: int) -> float | None:
    """What a measurement made in a second of its wall time. None where it says little of the machine: too much came from the cache, or nothing."""
    asked = summary.generated + summary.cached
    if summary.seconds <= 0 or made <= 0 or summary.cached > CACHED_SHARE * asked:
        return None
    return made / summary.seconds


def answers(summary: EvaluationSummary) -> int:
    """Answers that the measurement made and got."""
    return summary.generated - sum(split.errors for split in summary.splits)


def seconds_per_decision(summary: EvaluationSummary) -> float | None:
    """Wall time of the measurement by answers, with as many in flight as it kept; None where that was not measured."""
    rate = per_second(summary, answers(summary))
    return None if rate is None else 1 / rate


def cost_per_decision(seconds: float | None, price: HourlyPrice | None) -> float | None:
    """In the currency of the price; None where either is unknown."""
    return None if seconds is None or price is None else seconds * price.amount / 3600


def hourly_price(clusters: ClustersFile, cluster: str) -> HourlyPrice | None:
    """What an hour of the cluster's machine costs; None where nobody says it."""
    entry = clusters.clusters.get(cluster)
    return None if entry is None else clusters.hosts[entry.hosts[0]].hourly_price
