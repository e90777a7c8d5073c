"""Whether the version that serves has become worse than the evidence on which it came to serve: the rule of a rollback that nobody asks for. Pure.

It compares answers to the same held-out items, by the domain's own metric: those of the measurement that the loop accepted the version on, and those
of a new one of the same version. With equal weights a difference is the serving's doing: another build of the engine, other settings, a damaged
file. What was made in another way (items, rubric, templates) shows nothing and is not compared; items that infrastructure lost count for neither.

Every new measurement is another chance to be wrong. So the k-th is judged at the confidence of a k-th attempt: all of them together roll a sound
version back with at most the chance that the domain's confidence leaves.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from engine.config import Acceptance
from engine.errors import IdentityMismatch
from engine.evaluate.statistics import attempt_confidence, check_same_making, compare
from engine.evaluate.types import ItemResult, PairedComparison, ScoreIdentity


class Seen(NamedTuple):
    """A measurement with its answers, judged."""

    evaluation_id: str
    identity: ScoreIdentity
    results: Sequence[ItemResult]


def regression(evidence: Seen, now: Seen, *, acceptance: Acceptance, looks: int, seed: int) -> str:
    """Why the version should not go on serving, in a sentence with figures; empty when nothing shows it. `looks` counts the measurements since it
    came to serve, this one included."""
    try:
        check_same_making(evidence.identity, now.identity)
        confidence = attempt_confidence(acceptance.confidence, looks)
        paired = compare(evidence.results, now.results, split="held_out", metric=acceptance.metric, confidence=confidence, seed=seed)
    except IdentityMismatch:
        return ""
    if not shown_below_zero(paired):
        return ""
    before, after, difference = paired.before, paired.after, paired.difference
    return (
        f"{now.evaluation_id} measured it worse than its evidence, {evidence.evaluation_id}: held-out {acceptance.metric} {before.mean:.3f} -> "
        f"{after.mean:.3f}, difference {difference.mean:+.3f} [{difference.low:+.3f}, {difference.high:+.3f}] on {difference.n} items"
    )


def shown_below_zero(paired: PairedComparison) -> bool:
    """Whether a loss is shown at the comparison's confidence: its interval lies below zero, and chance alone gives as much too rarely."""
    return paired.difference.high < 0 and paired.p_value <= 1.0 - paired.difference.confidence
