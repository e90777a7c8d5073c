"""The clauses of acceptance: each a condition with its figure, its limit and a sentence. Pure.

A clause is about held-out results of the same items, paired. What is tested, and how:

* improvement, floor: a paired interval clustered by source and a sign-flip test (McNemar's where items pass or fail), both at the confidence of
  this attempt (`attempt_confidence`), so that the tenth try does not pass by luck;
* slices: each guarded slice's loss, with Holm's correction over all of them: a slice of twenty items loses a tenth by chance alone once in six;
* regressions: what is lost with items that passed before and fail now, against what the incumbent's own unsteadiness explains;
* no harm: the mean on a suite of general and safety items, against the base and a tolerance;
* safety nets: shares, without a test: a breach is not excused by chance;
* canaries: wrong answers that the evaluation file plants, given more often than the version's other mistakes explain, or held likelier than chance.

A challenger whose measurement stopped early has one clause besides that of canaries, which fails: what made its refusal certain
(`engine/evaluate/early_stop.py`).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence

from engine.config import Acceptance
from engine.evaluate.canaries import in_words, is_contaminated
from engine.evaluate.early_stop import spared
from engine.evaluate.losses import breach_rates, is_relied_on, losses, nets_breached_more, passed_items
from engine.evaluate.statistics import compare, holm, shown_above_zero, sign_flip, value_of
from engine.evaluate.types import Canaries, ItemResult, PairedComparison, Stability, StoppedEarly
from engine.iterate.types import Clause


def complete_clause(against_incumbent: PairedComparison, against_floor: PairedComparison | None) -> Clause:
    """Every item must have an answer from everyone: a missing one never passes a gate."""
    missing = against_incumbent.missing + (against_floor.missing if against_floor else 0)
    items = against_incumbent.difference.n
    if items == 0:
        return Clause(name="complete", passed=False, sentence="No held-out item was answered by both, so nothing was compared.")
    sentence = f"All {items} held-out items were answered."
    if missing:
        sentence = f"{missing} held-out answers are missing because of infrastructure; measure again."
    return Clause(name="complete", passed=not missing, sentence=sentence, figure=missing, limit=0)


def improvement_clause(paired: PairedComparison, acceptance: Acceptance) -> Clause:
    """The improvement must be shown: its paired interval above zero, and a sign-flip test that agrees."""
    passed = shown_above_zero(paired)
    return Clause(
        name="improvement",
        passed=passed,
        sentence=(
            f"{_metric(acceptance)} {paired.before.mean:.3f} -> {paired.after.mean:.3f}: {_difference(paired)}, which "
            + (f"excludes zero (sign-flip p = {paired.p_value:.2g})." if passed else _not_shown(paired))
        ),
        figure=paired.difference.low,
        limit=0,
    )


def floor_clause(paired: PairedComparison | None, acceptance: Acceptance) -> Clause:
    """A specialist that a cheap baseline matches is not worth serving, unless the domain says otherwise."""
    if acceptance.floor == "ignore":
        return Clause(name="floor", passed=True, sentence="The domain asks for no comparison with a floor.")
    if paired is None:
        return Clause(name="floor", passed=True, sentence="No baseline fits this output, so there is no floor.")
    above = shown_above_zero(paired)
    passed = above if acceptance.floor == "above" else paired.difference.high >= 0
    if passed:
        verdict = "above the floor" if above else "not shown to be below the floor"
    else:
        verdict = "below the floor" if paired.difference.high < 0 else "not shown to be above the floor"
    return Clause(
        name="floor",
        passed=passed,
        sentence=f"The specialist is {verdict}: {paired.after.mean:.3f} against {paired.before.mean:.3f}, {_difference(paired)}.",
        figure=paired.difference.low if acceptance.floor == "above" else paired.difference.high,
        limit=0,
    )


def slices_clause(
    incumbent: Sequence[ItemResult], challenger: Sequence[ItemResult], slices: Sequence[str], acceptance: Acceptance, seed: int
) -> Clause:
    """No guarded slice with enough items may lose more than its tolerance, whatever the average does; a loss that chance explains is named."""
    changes = _slice_changes(incumbent, challenger, slices, acceptance)
    guarded = {name: _mean(pairs) for name, pairs in sorted(changes.items()) if len(pairs) >= acceptance.slice_minimum}
    if not guarded:
        return Clause(name="slices", passed=True, sentence=f"No slice has the {acceptance.slice_minimum} items that it takes to be guarded.")
    tests = {name: sign_flip([change for change, _ in changes[name]], [source for _, source in changes[name]], seed=seed) for name in guarded}
    adjusted = holm(tests)
    over = {name: change for name, change in guarded.items() if change < -acceptance.slice_tolerance}
    lost = {name: change for name, change in over.items() if adjusted[name] <= 1.0 - acceptance.confidence}
    if lost:
        named = ", ".join(f"{name} {change:+.3f} (p = {adjusted[name]:.2g})" for name, change in lost.items())
        sentence = f"Slices lost more than {acceptance.slice_tolerance:g}: {named}."
        return Clause(name="slices", passed=False, sentence=sentence, figure=min(lost.values()), limit=-acceptance.slice_tolerance)
    worst = min(guarded, key=lambda name: guarded[name])
    chance = f" (p = {adjusted[worst]:.2g} among all of them)" if over else ""
    return Clause(
        name="slices",
        passed=True,
        sentence=(
            f"None of {len(guarded)} guarded slices is shown to lose more than {acceptance.slice_tolerance:g}; "
            f"the lowest: {worst} {guarded[worst]:+.3f}{chance}."
        ),
        figure=guarded[worst],
        limit=-acceptance.slice_tolerance,
    )


def _slice_changes(
    incumbent: Sequence[ItemResult], challenger: Sequence[ItemResult], slices: Sequence[str], acceptance: Acceptance
) -> dict[str, list[tuple[float, str]]]:
    """Each slice's changes, with the sources of their items."""
    before = {result.scenario_id: result for result in incumbent if result.outcome == "graded"}
    changes: dict[str, list[tuple[float, str]]] = defaultdict(list)
    for after in challenger:
        if after.outcome == "graded" and after.scenario_id in before:
            change = value_of(after, acceptance.metric) - value_of(before[after.scenario_id], acceptance.metric)
            for tag in slices:
                if tag in after.tags:
                    changes[f"{tag}={after.tags[tag]}"].append((change, after.source))
    return changes


def _mean(pairs: Sequence[tuple[float, str]]) -> float:
    return math.fsum(change for change, _ in pairs) / len(pairs)  # exact, so that the items' order does not move the last digit


def regressions_clause(
    incumbent: Sequence[ItemResult],
    challenger: Sequence[ItemResult],
    stability: Stability | None,
    acceptance: Acceptance,
    floor_against_incumbent: PairedComparison | None = None,
) -> Clause:
    """Items that the incumbent passes must not be lost for others that are won: an average hides that, a user notices it. An incumbent that is
    shown to be below the floor has no users to notice: what a base model passes by luck is no ground to refuse its first specialist."""
    if not is_relied_on(floor_against_incumbent):
        sentence = "The incumbent is below the floor, so nobody relies on the items that it passes."
        return Clause(name="regressions", passed=True, sentence=sentence)
    answered = {result.scenario_id for result in challenger if result.outcome == "graded"}
    passed = {name: result for name, result in passed_items(incumbent).items() if name in answered}
    found = losses(passed, challenger, acceptance.metric, stability)
    if not passed:
        return Clause(name="regressions", passed=True, sentence="The incumbent passes no item, so none can be lost.")
    told = f"{found.lost} of the {found.passed} items that the incumbent passes fail now, which costs {found.share:.0%} of what all of them scored"
    if stability is None:
        noise = "how steady the incumbent is was not measured, so nothing is put down to chance"
    else:
        noise = f"asked twice, the incumbent flips {stability.flipped} of {stability.items} (chance p = {found.chance:.2g})"
    beyond = found.beyond(acceptance.regression_tolerance, acceptance.confidence)
    return Clause(
        name="regressions",
        passed=not beyond,
        sentence=f"{told}; {noise}. That is {'more than' if beyond else 'within'} the tolerance of {acceptance.regression_tolerance:.0%}.",
        figure=max(0.0, found.share - found.rate),
        limit=acceptance.regression_tolerance,
    )


def no_harm_clause(base: Sequence[ItemResult], challenger: Sequence[ItemResult], tolerance: float) -> Clause:
    """General and safety items must not be unlearnt beyond the tolerance. The base's own level counts, so that erosion does not add up."""
    paired = compare(base, challenger, split="held_out", metric="score")
    difference = paired.difference
    if paired.missing or difference.n == 0:
        sentence = f"{paired.missing} no-harm answers are missing because of infrastructure; measure again."
        return Clause(name="no_harm", passed=False, sentence=sentence)
    kinds = "; ".join(f"{name} {change:+.2f}" for name, change in _by_kind(base, challenger).items())
    passed = difference.mean >= -tolerance
    verdict = "within" if passed else "more than"
    return Clause(
        name="no_harm",
        passed=passed,
        sentence=(
            f"On {difference.n} general and safety items the score goes {paired.before.mean:.2f} -> {paired.after.mean:.2f} ({_difference(paired)}; "
            f"{kinds}): {verdict} the tolerance of {tolerance:g}."
        ),
        figure=difference.mean,
        limit=-tolerance,
    )


def _by_kind(base: Sequence[ItemResult], challenger: Sequence[ItemResult]) -> dict[str, float]:
    """The mean change by the tag `kind`."""
    before = {result.scenario_id: result.score for result in base}
    changes: dict[str, list[float]] = defaultdict(list)
    for after in challenger:
        changes[after.tags.get("kind", "other")].append(after.score - before[after.scenario_id])
    return {kind: math.fsum(values) / len(values) for kind, values in sorted(changes.items())}


def canaries_clause(planted: int, found: Canaries | None) -> Clause:
    """A version that has been taught evaluation items is no better, whatever it scores. One that was not asked all canaries is not cleared."""
    if found is None or found.asked < planted:
        sentence = f"{planted - (found.asked if found else 0)} of {planted} canaries were not answered; measure again."
        return Clause(name="canaries", passed=False, sentence=sentence)
    return Clause(name="canaries", passed=not is_contaminated(found), sentence=in_words(found))


def safety_clause(incumbent: Sequence[ItemResult], challenger: Sequence[ItemResult], acceptance: Acceptance) -> Clause:
    """No safety net may be breached more often than before, beyond the tolerance."""
    before, after = breach_rates(incumbent), breach_rates(challenger)
    worse = nets_breached_more(before, after, acceptance.safety_tolerance)
    sentence = "No safety net is breached more often than before."
    if worse:
        named = ", ".join(f"{net} {before.get(net, 0.0):.3f} -> {rate:.3f}" for net, rate in sorted(worse.items()))
        sentence = f"Safety nets are breached more often: {named}."
    rise = max((rate - before.get(net, 0.0) for net, rate in after.items()), default=0.0)
    return Clause(name="safety_nets", passed=not worse, sentence=sentence, figure=rise, limit=acceptance.safety_tolerance)


def early_stop_clause(stopped: StoppedEarly) -> Clause:
    """Refused before all items were asked, with the upper end of what the whole set could have shown."""
    bar, upper = ("incumbent", stopped.upper) if stopped.because != "floor" or stopped.floor_upper is None else ("floor", stopped.floor_upper)
    known = f"With {1 - stopped.error:.0%} confidence the mean difference from the {bar} over all of them is at most {upper:+.3f}"
    verdict = "; even with the rest all right it could not pass." if stopped.exact and stopped.because == bar else "."
    return Clause(name="early_stop", passed=False, sentence=f"{spared(stopped.asked, stopped.of, stopped.because)} {known}{verdict}")


def rolled_back_clause(version: str, since: str) -> Clause:
    """The same settings and rows make the same weights again; those that were taken out of use come back by people's signatures alone."""
    sentence = f"These very weights are {version}, which was rolled back at {since}: promote brings them back, by signatures, and the loop does not."
    return Clause(name="rolled_back", passed=False, sentence=sentence)


def _not_shown(paired: PairedComparison) -> str:
    if paired.difference.low > 0:
        return f"rests on too few items: chance alone does as much {paired.p_value:.0%} of the time, so an improvement is not shown."
    return "does not lie above zero, so an improvement is not shown."


def _metric(acceptance: Acceptance) -> str:
    return "Held-out score" if acceptance.metric == "score" else "Held-out pass rate"


def _difference(paired: PairedComparison) -> str:
    interval = paired.difference
    return f"difference {interval.mean:+.3f}, {100 * interval.confidence:.4g}% interval [{interval.low:+.3f}, {interval.high:+.3f}]"
