"""What a set of results says, and how sure one can be: intervals, paired comparisons, and what a suite could have shown.

Figures follow from the values and from which of them share a source, and from nothing else: neither the names of items nor their order moves
a digit. So whoever holds the results under other names (an evidence bundle does) finds the very same figures.

Items of one source (a dialogue, a document) are not independent, so sources are resampled, never items (clustered bootstrap, percentile
method, 2,000 resamples, seeded). With few sources the percentile interval is too narrow; its tails are therefore widened as in Hesterberg,
"What Teachers Should Know About the Bootstrap" (2015), section 5.2: the tail a becomes Phi(-sqrt(k/(k-1)) t(a, k-1)) for k sources.

Where every source shows the same mean, resampling would give an interval of no width. Then at most a share q of sources can behave
otherwise, with (1-q)^k = a (the Clopper-Pearson limit for none in k), and each of those could lie at the end of the range; that is the
interval given. Without any item the interval is the whole range: it passes no gate.

A tail that fewer than ENOUGH_IN_TAIL resamples would show (a confidence above 98%, as later attempts of a campaign need) is taken from
Student's t with the clustered standard error instead.

Pure. Takes values that are numbers: NaN and infinity raise ArgumentInvalid. An infrastructure error is in no mean.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import Any, Literal, NamedTuple

import numpy as np

from engine.errors import ArgumentInvalid, IdentityMismatch
from engine.evaluate.grading import is_schema_valid
from engine.evaluate.types import EvaluationSummary, Flip, Interval, ItemResult, PairedComparison, ScoreIdentity, SliceScore, Split, SplitScore

RESAMPLES = 2000
ENOUGH_IN_TAIL = 20
FLIPS = 20_000
EXTREME_ENOUGH = 200
POWER = 0.8
MAX_SLICES = 60
"""The largest slices are reported; a tag with a value of its own for each row is no slice."""

Metric = Literal["score", "pass_rate"]
_NORMAL = NormalDist()
_Array = np.ndarray[Any, np.dtype[np.float64]]


class _Clustered(NamedTuple):
    """Values summed by source, in an order that the sums and counts themselves give."""

    sums: _Array
    counts: _Array

    @property
    def mean(self) -> float:
        return float(self.sums.sum() / self.counts.sum())


# ---- intervals ---------------------------------------------------------------------------------------------------------------------


def interval(
    values: Sequence[float],
    sources: Sequence[str],
    *,
    confidence: float = 0.95,
    seed: int = 17,
    limits: tuple[float, float] = (0.0, 1.0),
) -> Interval:
    """The mean of `values` with its interval. `sources` names each value's source; an empty name is a source of its own."""
    if not values:
        return Interval(
            mean=min(max(0.0, limits[0]), limits[1]), low=limits[0], high=limits[1], n=0, clusters=0, confidence=confidence, method="no items"
        )
    clustered = _by_source(values, sources)
    mean, k = clustered.mean, len(clustered.sums)
    tail = (1.0 - confidence) / 2
    if k == 1 or float(np.ptp(clustered.sums / clustered.counts)) < 1e-12:
        q = 1.0 if k == 1 else 1.0 - tail ** (1 / k)
        low, high, method = mean - q * (mean - limits[0]), mean + q * (limits[1] - mean), "no spread: exact limit"
    elif tail * RESAMPLES < ENOUGH_IN_TAIL:
        reach = student_quantile(1.0 - tail, k - 1) * standard_error(clustered.sums, clustered.counts)
        low, high, method = max(limits[0], mean - reach), min(limits[1], mean + reach), "clustered t"
    else:
        widened = _NORMAL.cdf(-math.sqrt(k / (k - 1)) * student_quantile(1.0 - tail, k - 1))
        low, high = (float(edge) for edge in np.quantile(_resampled_means(clustered, seed), (widened, 1.0 - widened)))
        method = "clustered bootstrap"
    low, high = min(low, mean), max(high, mean)  # rounding, and the skew of tiny samples, must not put the mean outside
    return Interval(mean=mean, low=low, high=high, n=len(values), clusters=k, confidence=confidence, method=method)


def _by_source(values: Sequence[float], sources: Sequence[str]) -> _Clustered:
    numbers = np.asarray(values, dtype=np.float64)
    if not np.isfinite(numbers).all():
        raise ArgumentInvalid("a score is NaN or infinite; no mean was computed", next_step="Report this: grading never gives such a score.")
    positions: dict[str, int] = {}
    index = np.array([positions.setdefault(source or f"\0{number}", len(positions)) for number, source in enumerate(sources)])
    smallest_first = np.argsort(numbers, kind="stable")  # a source's values are added up in one order, however they came
    sums = np.bincount(index[smallest_first], weights=numbers[smallest_first], minlength=len(positions)).astype(np.float64)
    counts = np.bincount(index, minlength=len(positions)).astype(np.float64)
    order = np.lexsort((counts, sums))
    return _Clustered(sums[order], counts[order])


class _Kinds(NamedTuple):
    """Sources by kind: those with one sum and one count are alike, and how often any of them is drawn is all that matters."""

    sums: _Array
    counts: _Array
    alike: _Array
    """Sources of each kind."""


def _kinds(sums: _Array, counts: _Array) -> _Kinds:
    pairs, alike = np.unique(np.stack((sums, counts)), axis=1, return_counts=True)
    return _Kinds(pairs[0], pairs[1], alike.astype(np.float64))


def _resampled_means(clustered: _Clustered, seed: int) -> _Array:
    """Means of resamples of the sources. Negated values get the same draws, so that a comparison turned round is mirrored."""
    sign, kinds = max(
        ((sign, _kinds(sign * clustered.sums, clustered.counts)) for sign in (1.0, -1.0)), key=lambda one: [part.tolist() for part in one[1]]
    )
    k = len(clustered.sums)
    generator = np.random.default_rng(seed)
    means = np.empty(RESAMPLES)
    block = max(1, min(RESAMPLES, 4_000_000 // len(kinds.alike)))
    for start in range(0, RESAMPLES, block):
        drawn = generator.multinomial(k, kinds.alike / k, size=min(block, RESAMPLES - start)).astype(np.float64)
        means[start : start + len(drawn)] = (drawn @ kinds.sums) / (drawn @ kinds.counts)
    return sign * means


def standard_error(sums: _Array, counts: _Array) -> float:
    """Of the mean of clustered values: the usual sandwich, with k / (k - 1) for k sources."""
    residuals = sums - counts * (sums.sum() / counts.sum())
    k = len(sums)
    return math.sqrt(float(residuals @ residuals) * k / (k - 1)) / float(counts.sum())


def student_quantile(probability: float, freedom: int) -> float:
    """The quantile of Student's t: exact for 1 and 2 degrees of freedom, else by expansion (Abramowitz & Stegun 26.7.5)."""
    if freedom == 1:
        return math.tan(math.pi * (probability - 0.5))
    if freedom == 2:
        return (2 * probability - 1) / math.sqrt(2 * probability * (1 - probability))
    z = _NORMAL.inv_cdf(probability)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + math.fsum(term / float(freedom) ** power for power, term in enumerate(terms, start=1))


# ---- one subject ---------------------------------------------------------------------------------------------------------------------


def summarise_split(
    results: Sequence[ItemResult],
    split: Split,
    *,
    slices: Sequence[str] = (),
    slice_minimum: int = 1,
    json_output: bool = True,
    confidence: float = 0.95,
    seed: int = 17,
) -> SplitScore:
    """One split's figures from its results; results of other splits are passed over.

    Outside core a slice of fewer than `slice_minimum` items is left out: the figures of a slice of one are that item's.
    """
    here = [result for result in results if result.split == split]
    graded = [result for result in here if result.outcome == "graded"]
    score, pass_rate = _intervals(graded, confidence, seed)
    latencies = [result.latency_seconds for result in graded if not result.cached]
    return SplitScore(
        split=split,
        score=score,
        pass_rate=pass_rate,
        errors=len(here) - len(graded),
        schema_valid=sum(map(is_schema_valid, graded)) / len(graded) if json_output and graded else None,
        safety_breaches=dict(sorted(Counter(name for result in graded for name in result.breached).items())),
        slices=tuple(
            SliceScore(slice=name, score=one, pass_rate=other)
            for name, members in slice_members(graded, slices).items()
            if split == "core" or len(members) >= slice_minimum
            for one, other in [_intervals(members, confidence, seed)]
        ),
        latency_p50_seconds=percentile(latencies, 0.50),
        latency_p95_seconds=percentile(latencies, 0.95),
    )


def slice_members(results: Sequence[ItemResult], slices: Sequence[str]) -> dict[str, list[ItemResult]]:
    """Results by `tag=value` for the named tags: the largest slices, in the order of their names."""
    members: dict[str, list[ItemResult]] = {}
    for result in results:
        for tag in slices:
            if tag in result.tags:
                members.setdefault(f"{tag}={result.tags[tag]}", []).append(result)
    largest = sorted(members, key=lambda name: (-len(members[name]), name))[:MAX_SLICES]
    return {name: members[name] for name in sorted(largest)}


def percentile(values: Sequence[float], share: float) -> float | None:
    """The value that a share of the values does not exceed; null without values."""
    return float(np.quantile(np.asarray(values), share)) if values else None


def _intervals(graded: Sequence[ItemResult], confidence: float, seed: int) -> tuple[Interval, Interval]:
    sources = [result.source for result in graded]
    score = interval([result.score for result in graded], sources, confidence=confidence, seed=seed)
    return score, interval([float(result.passed) for result in graded], sources, confidence=confidence, seed=seed)


def reached(targets: Mapping[str, float], summary: EvaluationSummary) -> bool:
    """Whether every target's held-out mean is reached."""
    held_out = summary.split("held_out")
    means = {"score": held_out.score.mean, "pass_rate": held_out.pass_rate.mean}
    return all(means[metric] >= value for metric, value in targets.items())


# ---- two subjects --------------------------------------------------------------------------------------------------------------------


def check_comparable(before: ScoreIdentity, after: ScoreIdentity) -> None:
    """Raises IdentityMismatch, naming what differs, unless both scores rest on the same scenarios and the same rubric."""
    differ = [name for name in ("suite", "grading") if getattr(before, name) != getattr(after, name)]
    if differ:
        words = {"suite": "the scenarios or their splits", "grading": "the checks, safety nets or pass mark"}
        raise IdentityMismatch(
            "the two measurements differ in " + " and in ".join(words[name] for name in differ),
            next_step="Measure both subjects again with the domain as it is now; answers that are still valid come from the cache.",
            differ=differ,
            before={name: getattr(before, name) for name in differ},
            after={name: getattr(after, name) for name in differ},
        )


MADE_BY = {"prompt": "the prompt templates", "base": "the base model", "chat_template": "the chat template"}
"""Parts of an identity that two scores of one suite may differ in when somebody compares them, and must not where the loop chooses."""


def made_otherwise(before: ScoreIdentity, after: ScoreIdentity) -> list[str]:
    """What made two scores besides the weights, where it differs and is known of both: names of `MADE_BY`."""
    return [name for name in MADE_BY if (one := getattr(before, name)) != (other := getattr(after, name)) and one and other]


def check_same_making(before: ScoreIdentity, after: ScoreIdentity) -> None:
    """Raises IdentityMismatch unless an incumbent and its challenger differ in their weights alone.

    A challenger with another base, chat template or prompt is another product, whose gain says nothing about its training.
    """
    check_comparable(before, after)
    differ = made_otherwise(before, after)
    if differ:
        raise IdentityMismatch(
            "incumbent and challenger were not made the same way: they differ in " + " and in ".join(MADE_BY[name] for name in differ),
            next_step="Start the iterate run again; it measures both with the domain and the model as they are now.",
            differ=differ,
            before={name: getattr(before, name) for name in differ},
            after={name: getattr(after, name) for name in differ},
        )


def compare(
    before: Sequence[ItemResult],
    after: Sequence[ItemResult],
    *,
    split: Split,
    metric: Metric = "score",
    confidence: float = 0.95,
    seed: int = 17,
) -> PairedComparison:
    """Two subjects on the items of one split, paired by scenario. Raises IdentityMismatch when the items are not the same."""
    return _compare_pairs(*_pairs(before, after, split), metric, confidence, seed)


def flips(before: Sequence[ItemResult], after: Sequence[ItemResult], *, split: Split, metric: Metric = "score") -> list[Flip]:
    """The items whose score moved, worst regression first."""
    pairs, _ = _pairs(before, after, split)
    moved = [Flip(scenario_id=one.scenario_id, before=value_of(one, metric), after=value_of(other, metric)) for one, other in pairs]
    return sorted((flip for flip in moved if flip.before != flip.after), key=lambda flip: (flip.after - flip.before, flip.scenario_id))


Pair = tuple[ItemResult, ItemResult]


def _pairs(before: Sequence[ItemResult], after: Sequence[ItemResult], split: Split) -> tuple[list[Pair], int]:
    """Graded pairs in the order of their ids, and how many items one side lost to infrastructure."""
    left = {result.scenario_id: result for result in before if result.split == split}
    right = {result.scenario_id: result for result in after if result.split == split}
    if left.keys() != right.keys():
        raise IdentityMismatch(
            f"{len(left.keys() ^ right.keys())} items of the {split} split were measured for one subject alone",
            next_step="Measure both subjects on the same splits of the same suite.",
            split=split,
        )
    pairs = [(left[name], right[name]) for name in sorted(left)]
    graded = [pair for pair in pairs if all(result.outcome == "graded" for result in pair)]
    return graded, len(pairs) - len(graded)


def value_of(result: ItemResult, metric: Metric) -> float:
    """One result in terms of the metric."""
    return result.score if metric == "score" else float(result.passed)


def _compare_pairs(pairs: Sequence[Pair], missing: int, metric: Metric, confidence: float, seed: int) -> PairedComparison:
    sources = [one.source for one, _ in pairs]
    old = [value_of(one, metric) for one, _ in pairs]
    new = [value_of(other, metric) for _, other in pairs]
    gained = [b - a for a, b in zip(old, new, strict=True)]
    return PairedComparison(
        metric=metric,
        before=interval(old, sources, confidence=confidence, seed=seed),
        after=interval(new, sources, confidence=confidence, seed=seed),
        difference=interval(gained, sources, confidence=confidence, seed=seed, limits=(-1.0, 1.0)),
        better=sum(gain > 0 for gain in gained),
        worse=sum(gain < 0 for gain in gained),
        mcnemar_p=mcnemar(sum(one.passed and not other.passed for one, other in pairs), sum(other.passed and not one.passed for one, other in pairs)),
        p_value=sign_flip(gained, sources, seed=seed),
        detectable_difference=detectable_difference(gained, sources, confidence=confidence),
        missing=missing,
    )


def mcnemar(only_before: int, only_after: int) -> float:
    """Exact two-sided McNemar test: twice the smaller binomial(1/2) tail over the discordant items, at most 1.

    It takes items as independent; where sources hold several items, the clustered interval decides and this informs.
    """
    n = only_before + only_after
    tail = sum(math.comb(n, i) for i in range(min(only_before, only_after) + 1))
    return min(1.0, 2 * tail / (1 << n))


def shown_above_zero(paired: PairedComparison) -> bool:
    """Whether an improvement is shown at the comparison's confidence: its interval lies above zero, and chance alone gives as much too rarely.

    Both must hold. The interval alone errs where few items differ: with 4 of 288 better and none worse it excludes zero, and luck does that
    once in eight.
    """
    return paired.difference.low > 0 and paired.p_value <= 1.0 - paired.difference.confidence


def sign_flip(differences: Sequence[float], sources: Sequence[str], *, seed: int = 17) -> float:
    """Two-sided p-value of the paired differences: how often random signs of the sources' sums give a total as far from zero.

    Fisher's randomisation test. With values of one size, one a source, it is McNemar's. Exact up to 2**12 sign patterns, else up to 20,000 seeded
    draws, counted so that the p-value is never too small (Phipson & Smyth, "Permutation P-values Should Never Be Zero", 2010), and ended early
    when it is plainly not small (Besag & Clifford, "Sequential Monte Carlo p-values", 1991).
    """
    if not differences:
        return 1.0
    sums = _by_source(differences, sources).sums
    return flips_as_far(sums, abs(float(sums.sum())), seed=seed)


def flips_as_far(sums: _Array, total: float, *, seed: int = 17) -> float:
    """How often random signs of `sums` add up to a total at least as far from zero as `total`."""
    moved = sums[np.abs(sums) > 1e-12]
    total -= 1e-9
    if total <= 0 or not len(moved):
        return float(total <= 0)
    sizes = np.abs(moved)
    if float(np.ptp(sizes)) < 1e-12:
        fewer = math.floor((len(moved) - total / float(sizes[0])) / 2)
        return mcnemar(fewer, len(moved) - fewer) if fewer >= 0 else 0.0
    if len(moved) <= 12:
        patterns = (np.arange(1 << len(moved))[:, None] >> np.arange(len(moved))) & 1
        return float((np.abs((2.0 * patterns - 1.0) @ moved) >= total).mean())
    dice = np.random.default_rng(seed)
    kinds, alike = np.unique(sizes, return_counts=True)
    extreme = drawn = 0
    while drawn < FLIPS and extreme < EXTREME_ENOUGH:
        upward = dice.binomial(alike, 0.5, size=(FLIPS // 20, len(alike)))  # of the sums of each size, how many get a plus
        extreme += int((np.abs((2.0 * upward - alike) @ kinds) >= total).sum())
        drawn += len(upward)
    return (extreme + 1) / (drawn + 1)


def attempt_confidence(confidence: float, attempt: int) -> float:
    """The confidence at which the `attempt`-th challenger (from 1) on one held-out set is judged, so that all attempts together accept a
    challenger that is no better with at most a chance of 1 - `confidence`.

    A chance a is spent as a / (k (k + 1)) on attempt k, one-sided: the shares add up to a however many attempts follow, and each later one has to
    show more (alpha spending; the union bound). The first attempt is judged at `confidence` itself, two-sided. A bound on what is learnt from the
    verdicts themselves is the hold-out budget's matter.
    """
    return 1.0 - 2.0 * (1.0 - confidence) / (attempt * (attempt + 1))


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Adjusted p-values (Holm 1979): one below a holds with a chance of error of at most a over all of them together."""
    adjusted: dict[str, float] = {}
    largest = 0.0
    for rank, name in enumerate(sorted(p_values, key=lambda name: (p_values[name], name))):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[name]))
        adjusted[name] = largest
    return adjusted


def flips_by_chance(flipped: int, repeated: int, *, passed: int, lost: int) -> float:
    """The chance that at least `lost` of `passed` items fail the second time by the model's own unsteadiness, of which `flipped` out of
    `repeated` is known."""
    return as_many_by_chance(lost, passed, known=flipped, known_of=repeated)


def as_many_by_chance(count: int, of: int, *, known: int, known_of: int) -> float:
    """The chance of at least `count` out of `of` where the rate is known from `known` out of `known_of` alone: a beta-binomial tail with Jeffreys'
    prior, so that a rate known from few items explains more."""
    a, b = known + 0.5, known_of - known + 0.5
    whole = _log_beta(a, b)
    terms = (
        math.lgamma(of + 1) - math.lgamma(k + 1) - math.lgamma(of - k + 1) + _log_beta(k + a, of - k + b) - whole
        for k in range(count, of + 1)
    )
    return min(1.0, math.fsum(math.exp(term) for term in terms))


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def detectable_difference(differences: Sequence[float], sources: Sequence[str], *, confidence: float = 0.95) -> float:
    """The smallest true difference that these items would show with 80% power: (z(1-a/2) + z(0.8)) times the clustered standard error.

    The usual minimum detectable effect (Bloom 1995; for evaluations: Miller, "Adding Error Bars to Evals", 2024), with the standard error
    taken from the paired differences themselves. Without any spread it is the share of sources that could differ unseen.
    """
    if not differences:
        return 1.0
    clustered = _by_source(differences, sources)
    k = len(clustered.sums)
    if k == 1:
        return 1.0
    error = standard_error(clustered.sums, clustered.counts)
    unseen = 1.0 - ((1.0 - confidence) / 2) ** (1 / k)
    found = (_NORMAL.inv_cdf(1 - (1 - confidence) / 2) + _NORMAL.inv_cdf(POWER)) * error
    return min(1.0, found if error > 1e-12 else unseen)
