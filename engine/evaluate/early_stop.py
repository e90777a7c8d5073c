"""When the refusal of a challenger is certain before it was asked every held-out item.

Acceptance needs all of them. A refusal may be certain earlier, so the items are asked in portions, in an order fixed by hash, and after each
portion `certain_refusal` says whether the rest could still change the verdict of the gate (`engine/iterate/clauses.py`). They could not when

- the improvement cannot be shown any more, over the incumbent or over the floor where it has to be beaten (below);
- items lost, or safety nets breached, are already more than the gate allows over all items (exact; `losses.py`).

What the gate asks is a question about a finite population: the held-out sources with their summed differences X_1 ... X_k, in a random order, of
which the first ones are known. Two bounds meet.

From above, the total T: an anytime-valid confidence sequence for sampling without replacement, by betting (Waudby-Smith & Ramdas, "Estimating
means of bounded random variables by betting", JRSS B 86, 2024, section 5). If m were the total, the next source would have the mean
e_t = (m - X_1 - ... - X_(t-1)) / (k - t + 1) of what is left. Who stakes s_t >= 0, chosen before X_t is seen, on less holds after each source

    K_t(m) = product over i <= t of 1 - s_i (X_i - e_i)

which is a martingale for m = T and, with s_i < 1 / (highest X that is left - e_i), never negative. So it ever reaches 1/error with a chance of
at most `error` (Ville), however often one looks. K_t(m) rises with m: the totals that are not refuted lie below an upper end. The incumbent's
answers are known, so how much each source can gain is too; where all that is left scoring full gives less, that is the upper end, exactly.

From below, what passes: the gate wants a sign-flip p of at most a for T. Let Y be the signed sum of the known sources, Z that of the others; Z is
symmetric, so P(|Y + Z| >= T) >= P(|Y| >= T) / 2. A total that random signs of the known sources alone reach more often than 2a cannot pass.

So a challenger that the whole gate would accept is stopped with a chance of at most ERROR, shared among incumbent and floor. One that lost
nothing so far is never stopped by the bounds. An answer lost to infrastructure counts as right, so it never speaks for stopping.

Pure. The order depends on names alone, so a second attempt with the same answers stops at the same item.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, Literal, NamedTuple

import numpy as np

from engine.base.digests import digest_of
from engine.config import Acceptance
from engine.evaluate.losses import breach_rates, losses, nets_breached_more, passed_items
from engine.evaluate.statistics import flips_as_far, value_of
from engine.evaluate.types import ItemResult, Scenario, Stability, StoppedEarly

ERROR = 0.01
"""The chance that a challenger is stopped which all held-out items would have accepted, at most."""
LEAST_ITEMS = 64
"""Of a portion. Between two portions the server runs dry for a moment, and few items decide nothing."""
LOOKS = 8
"""Portions, at most, for the same reason."""
LARGEST_STAKE = 0.9
"""Of what one may stake without ruin: a single source may cost nine tenths of the capital."""
HORIZON = 0.5
"""Share of the sources for which the stakes are sized. The bound holds for any; from a quarter to three quarters the savings are the same."""
FIRST_VARIANCE = 0.25
"""Of a source's difference, before any is seen; counts as one source."""
LEAST_VARIANCE = 0.01
SLACK = 1.25
"""On the chance that decides whether a total can pass: here and at the gate it is counted from draws."""
HALVINGS = 60

Bar = Literal["incumbent", "floor"]
Reason = Literal["incumbent", "floor", "regressions", "safety_nets"]
_Array = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class Watch:
    """What a challenger has to meet, and the order in which it is asked."""

    sources: Sequence[Sequence[Scenario]]
    """The held-out items by source, in the order of asking."""
    in_flight: int
    """Requests that the server takes at a time."""
    bars: Mapping[Bar, Sequence[ItemResult]]
    """Held-out results that it has to be shown to beat: the incumbent's, and the floor's where the domain wants that."""
    acceptance: Acceptance
    confidence: float
    """Of this attempt."""
    stability: Stability | None
    """The incumbent's."""
    relied_on: bool
    """Whether items that the incumbent passes may not be lost."""
    against: str
    """The incumbent's measurement."""
    seed: int


class Bound(NamedTuple):
    """What is known of a challenger's mean difference over all items from something that it has to beat."""

    upper: float
    too_low: bool
    """No difference up to there could pass."""
    exact: bool
    """Nor could the best that the rest can bring."""


# ---- the order of asking ---------------------------------------------------------------------------------------------------------------


def in_order(scenarios: Sequence[Scenario], subject: str) -> list[list[Scenario]]:
    """The items by source, in an order that names alone decide: another one for each subject, so that looks wear all items alike."""
    by_source: dict[str, list[Scenario]] = {}
    for scenario in scenarios:
        by_source.setdefault(scenario.source or f"\0{scenario.id}", []).append(scenario)
    return [by_source[source] for source in sorted(by_source, key=lambda source: digest_of(["asked", subject, source]))]


def portions(sources: Sequence[Sequence[Scenario]], in_flight: int) -> list[list[Scenario]]:
    """Whole sources in portions of at least LEAST_ITEMS items, which keep a server busy that takes `in_flight` requests at a time."""
    items = sum(len(source) for source in sources)
    size = in_flight * math.ceil(max(LEAST_ITEMS, items / LOOKS) / in_flight)
    made: list[list[Scenario]] = [[]]
    for source in sources:
        if len(made[-1]) >= size:
            made.append([])
        made[-1].extend(source)
    if len(made) > 1 and len(made[-1]) < size / 2:  # too few to be worth a look before them
        made[-2].extend(made.pop())
    return made


# ---- the decision ----------------------------------------------------------------------------------------------------------------------


def certain_refusal(watch: Watch, results: Sequence[ItemResult]) -> StoppedEarly | None:
    """Why the challenger with these held-out results (of whole sources, the first in the order of asking) will be refused whatever the rest
    brings; None while that is open, and when nothing is left to ask."""
    asked = {result.scenario_id: result for result in results if result.split == "held_out"}
    known = list(takewhile(lambda source: all(scenario.id in asked for scenario in source), watch.sources))
    if len(known) == len(watch.sources) or not known:
        return None
    items = sum(len(source) for source in watch.sources)
    bounds = {bar: bound(watch, bar, asked, len(known)) for bar in watch.bars}
    reason = _limit_exceeded(watch, list(asked.values()), items) or next((bar for bar, found in bounds.items() if found.too_low), None)
    if reason is None:
        return None
    return StoppedEarly(
        asked=len(asked),
        of=items,
        saved=items - len(asked),
        because=reason,
        exact=reason not in bounds or bounds[reason].exact,
        error=ERROR,
        upper=bounds["incumbent"].upper,
        floor_upper=bounds["floor"].upper if "floor" in bounds else None,
        against=watch.against,
    )


def bound(watch: Watch, bar: Bar, asked: Mapping[str, ItemResult], known: int) -> Bound:
    """The upper end of the mean difference from one bar after the first `known` sources, and whether anything up to there could pass."""
    metric = watch.acceptance.metric
    beaten = {result.scenario_id: value_of(result, metric) for result in watch.bars[bar] if result.outcome == "graded"}
    best = np.array([sum(1.0 - beaten.get(scenario.id, 0.0) for scenario in source) for source in watch.sources])
    missed = np.array(
        [sum(1.0 - value_of(asked[each.id], metric) for each in source if asked[each.id].outcome == "graded") for source in watch.sources[:known]]
    )
    changes = best[:known] - missed
    items = sum(len(source) for source in watch.sources)
    upper = upper_total(changes, best, least=float(changes.sum()) - items, error=ERROR / len(watch.bars))
    too_low, exact = (
        bool((changes < -1e-9).any()) and not could_pass(changes, total, watch.confidence, watch.seed)
        for total in (upper, float(changes.sum() + best[known:].sum()))
    )
    return Bound(upper / items, too_low, exact)


def upper_total(changes: _Array, best: _Array, *, least: float, error: float) -> float:
    """The upper end, at confidence 1 - `error`, of the changes of all sources added up, given those of the first ones in a random order.

    `best` is the largest change that each source can have, in the same order; `least` any number that the total cannot fall below.
    """
    known, sources = len(changes), len(best)
    before = np.cumsum(changes) - changes
    left = sources - np.arange(known)
    highest = np.maximum.accumulate(best[::-1])[::-1][:known]
    wanted = stakes(changes, sources, error)

    def is_refuted(total: float) -> bool:
        expected = (total - before) / left
        staked = np.minimum(wanted, LARGEST_STAKE / np.maximum(highest - expected, 1e-9))
        return float(np.cumsum(np.log1p(-staked * (changes - expected))).max()) >= -math.log(error)

    high = float(changes.sum() + best[known:].sum())
    if not is_refuted(high):
        return high
    low = min(least, high)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if is_refuted(middle) else (middle, high)
    return high


def stakes(changes: _Array, sources: int, error: float) -> _Array:
    """What is staked on each source, from the spread of those before it: the size that pays best, were HORIZON of the sources asked."""
    place = np.arange(len(changes))
    summed, squared = np.cumsum(changes) - changes, np.cumsum(changes**2) - changes**2
    variance = (FIRST_VARIANCE + squared) / (place + 1) - (summed / (place + 1)) ** 2
    sized: _Array = np.sqrt(-2.0 * math.log(error) / (np.maximum(variance, LEAST_VARIANCE) * HORIZON * sources))
    return sized


def could_pass(changes: _Array, total: float, confidence: float, seed: int) -> bool:
    """Whether changes of all sources that add up to at most `total`, the known ones among them, could pass the sign-flip test."""
    return total > 0 and flips_as_far(changes, total, seed=seed) <= 2.0 * SLACK * (1.0 - confidence)


def reason_in_words(because: Reason) -> str:
    """What could not be met any more, without figures of the held-out score."""
    return _WORDS[because]


def spared(asked: int, of: int, because: Reason) -> str:
    """That a measurement stopped early and why, in a sentence without figures of its held-out score."""
    return f"Its refusal was certain after {asked} of {of} held-out items, so the other {of - asked} were not asked: {reason_in_words(because)}."


_WORDS: dict[Reason, str] = {
    "incumbent": "it could not be shown to be above the incumbent any more",
    "floor": "it could not be shown to be above the floor any more",
    "regressions": "more of what the incumbent passes was lost already than the gate allows over all",
    "safety_nets": "safety nets were breached more often already than the gate allows over all",
}


def _limit_exceeded(watch: Watch, asked: Sequence[ItemResult], items: int) -> Reason | None:
    """A limit of the gate that these answers alone exceed."""
    incumbent, acceptance = watch.bars["incumbent"], watch.acceptance
    lost = losses(passed_items(incumbent), asked, acceptance.metric, watch.stability)
    if watch.relied_on and lost.beyond(acceptance.regression_tolerance, acceptance.confidence):
        return "regressions"
    breached = nets_breached_more(breach_rates(incumbent), breach_rates(asked, of=items), acceptance.safety_tolerance)
    return "safety_nets" if breached else None
