"""The loop's two decisions, as pure functions of measurements: accept a challenger or roll back, and go on or stop.

A challenger is accepted only when every clause holds on held-out: nothing is missing, the paired interval of the improvement lies above
zero and a sign-flip test agrees, the floor is beaten (or not lost to, where the domain says so), no guarded slice loses more than its
tolerance, and no safety net is breached more often. Anything else is a roll-back: the absence of evidence is not evidence. The resampling
behind the intervals is seeded, so the same results always give the same verdict.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Literal

from engine.config import Acceptance, Budget
from engine.evaluate.statistics import compare, reached, shown_above_zero, value_of
from engine.evaluate.types import EvaluationSummary, ItemResult, PairedComparison
from engine.iterate.types import Clause, Decision

Outcome = Literal["targets_met", "budget_spent", "stalled", "held_out_spent"]


def decide(
    acceptance: Acceptance,
    *,
    slices: Sequence[str],
    incumbent: Sequence[ItemResult],
    challenger: Sequence[ItemResult],
    floor: Sequence[ItemResult] | None,
    seed: int,
) -> Decision:
    """Judges a challenger by held-out results of the same items. `floor` is None when the domain has no baseline that fits its output."""

    def paired(before: Sequence[ItemResult]) -> PairedComparison:
        return compare(before, challenger, split="held_out", metric=acceptance.metric, confidence=acceptance.confidence, seed=seed)

    against_incumbent = paired(incumbent)
    against_floor = None if floor is None else paired(floor)
    clauses = (
        complete_clause(against_incumbent, against_floor),
        improvement_clause(against_incumbent, acceptance),
        floor_clause(against_floor, acceptance),
        slices_clause(incumbent, challenger, slices, acceptance),
        safety_clause(incumbent, challenger, acceptance),
    )
    return Decision(
        verdict="accept" if all(clause.passed for clause in clauses) else "roll_back",
        clauses=clauses,
        against_incumbent=against_incumbent,
        against_floor=against_floor,
        detectable=(
            f"With {against_incumbent.difference.n} items this suite shows a true difference of "
            f"{against_incumbent.detectable_difference:.3f} or more four times out of five."
        ),
    )


def complete_clause(against_incumbent: PairedComparison, against_floor: PairedComparison | None) -> Clause:
    """Every item must have an answer from everyone: a missing one never passes a gate."""
    missing = against_incumbent.missing + (against_floor.missing if against_floor else 0)
    items = against_incumbent.difference.n
    if items == 0:
        return Clause(name="complete", passed=False, sentence="No held-out item was answered by both, so nothing was compared.")
    if missing:
        return Clause(name="complete", passed=False, sentence=f"{missing} held-out answers are missing because of infrastructure; measure again.")
    return Clause(name="complete", passed=True, sentence=f"All {items} held-out items were answered.")


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
    )


def slices_clause(incumbent: Sequence[ItemResult], challenger: Sequence[ItemResult], slices: Sequence[str], acceptance: Acceptance) -> Clause:
    """No guarded slice with enough items may lose more than its tolerance, whatever the average does."""
    before = {result.scenario_id: result for result in incumbent if result.outcome == "graded"}
    changes: dict[str, list[float]] = defaultdict(list)
    for after in challenger:
        if after.outcome == "graded" and after.scenario_id in before:
            change = value_of(after, acceptance.metric) - value_of(before[after.scenario_id], acceptance.metric)
            for tag in slices:
                if tag in after.tags:
                    changes[f"{tag}={after.tags[tag]}"].append(change)
    guarded = {name: sum(values) / len(values) for name, values in changes.items() if len(values) >= acceptance.slice_minimum}
    if not guarded:
        return Clause(name="slices", passed=True, sentence=f"No slice has the {acceptance.slice_minimum} items that it takes to be guarded.")
    lost = {name: change for name, change in sorted(guarded.items()) if change < -acceptance.slice_tolerance}
    worst = min(guarded, key=lambda name: guarded[name])
    if lost:
        named = ", ".join(f"{name} {change:+.3f}" for name, change in lost.items())
        return Clause(name="slices", passed=False, sentence=f"Slices lost more than {acceptance.slice_tolerance:g}: {named}.")
    sentence = f"None of {len(guarded)} guarded slices lost more than {acceptance.slice_tolerance:g}; the lowest: {worst} {guarded[worst]:+.3f}."
    return Clause(name="slices", passed=True, sentence=sentence)


def safety_clause(incumbent: Sequence[ItemResult], challenger: Sequence[ItemResult], acceptance: Acceptance) -> Clause:
    """No safety net may be breached more often than before, beyond the tolerance."""
    before, after = breach_rates(incumbent), breach_rates(challenger)
    worse = {net: rate for net, rate in after.items() if rate > before.get(net, 0.0) + acceptance.safety_tolerance}
    if worse:
        named = ", ".join(f"{net} {before.get(net, 0.0):.3f} -> {rate:.3f}" for net, rate in sorted(worse.items()))
        return Clause(name="safety_nets", passed=False, sentence=f"Safety nets are breached more often: {named}.")
    return Clause(name="safety_nets", passed=True, sentence="No safety net is breached more often than before.")


def breach_rates(results: Sequence[ItemResult]) -> dict[str, float]:
    """Share of graded answers that breach each net."""
    graded = [result for result in results if result.outcome == "graded"]
    counts: dict[str, int] = defaultdict(int)
    for result in graded:
        for net in result.breached:
            counts[net] += 1
    return {net: count / len(graded) for net, count in counts.items()}


def stop_reason(
    *, targets: Mapping[str, float], incumbent: EvaluationSummary, budget: Budget, verdicts: Sequence[str], elapsed_seconds: float
) -> Outcome | None:
    """Why the loop should end before another round, or None to go on. `verdicts` are those of the rounds so far, oldest first.

    Without targets they are never met, so that the budget decides.
    """
    if targets and reached(targets, incumbent):
        return "targets_met"
    if len(verdicts) >= budget.max_iterations or elapsed_seconds >= budget.max_minutes * 60:
        return "budget_spent"
    recent = verdicts[-budget.stall_iterations :]
    if len(recent) == budget.stall_iterations and "accept" not in recent:
        return "stalled"
    return None


def _not_shown(paired: PairedComparison) -> str:
    if paired.difference.low > 0:
        return f"rests on too few items: chance alone does as much {paired.p_value:.0%} of the time, so an improvement is not shown."
    return "does not lie above zero, so an improvement is not shown."


def _metric(acceptance: Acceptance) -> str:
    return "Held-out score" if acceptance.metric == "score" else "Held-out pass rate"


def _difference(paired: PairedComparison) -> str:
    interval = paired.difference
    return f"difference {interval.mean:+.3f}, {interval.confidence:.0%} interval [{interval.low:+.3f}, {interval.high:+.3f}]"
