"""The loop's two decisions, as pure functions of measurements: accept a challenger or roll back, and go on or stop.

A challenger is accepted only when every clause (`clauses.py`) holds on held-out: nothing is missing, the improvement is shown at the
confidence of this attempt, the floor is beaten (or not lost to, where the domain says so), no guarded slice and no number of items passed
before is lost beyond tolerance, and no safety net is breached more often. Anything else is a roll-back: the absence of evidence is not
evidence. The resampling behind the intervals is seeded, so the same results always give the same verdict.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from engine.config import Acceptance, Budget
from engine.evaluate.statistics import attempt_confidence, compare, reached
from engine.evaluate.types import EvaluationSummary, ItemResult, PairedComparison, Stability, StoppedEarly
from engine.iterate.clauses import (
    complete_clause,
    early_stop_clause,
    floor_clause,
    improvement_clause,
    regressions_clause,
    safety_clause,
    slices_clause,
)
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
    attempt: int = 1,
    stability: Stability | None = None,
    regressions: Sequence[str] = (),
) -> Decision:
    """Judges a challenger by held-out results of the same items.

    `floor` is None when the domain has no baseline that fits its output. `attempt` counts the challengers judged on these items, this one
    included. `stability` is the incumbent's. `regressions` are core scenarios that were lost, for the record.
    """
    confidence = attempt_confidence(acceptance.confidence, attempt)

    def paired(before: Sequence[ItemResult], after: Sequence[ItemResult] = challenger) -> PairedComparison:
        return compare(before, after, split="held_out", metric=acceptance.metric, confidence=confidence, seed=seed)

    against_incumbent = paired(incumbent)
    against_floor = None if floor is None else paired(floor)
    floor_against_incumbent = None if floor is None else paired(floor, incumbent)
    clauses = (
        complete_clause(against_incumbent, against_floor),
        improvement_clause(against_incumbent, acceptance),
        floor_clause(against_floor, acceptance),
        slices_clause(incumbent, challenger, slices, acceptance, seed),
        regressions_clause(incumbent, challenger, stability, acceptance, floor_against_incumbent),
        safety_clause(incumbent, challenger, acceptance),
    )
    return Decision(
        verdict="accept" if all(clause.passed for clause in clauses) else "roll_back",
        clauses=clauses,
        against_incumbent=against_incumbent,
        against_floor=against_floor,
        detectable=(
            f"With {against_incumbent.difference.n} items this suite shows a true difference of "
            f"{against_incumbent.detectable_difference:.3f} or more four times out of five"
            + ("." if attempt == 1 else f", at the {confidence:.2%} confidence that attempt {attempt} on these items needs.")
        ),
        attempt=attempt,
        regressions=tuple(regressions),
    )


def refuse_early(
    acceptance: Acceptance,
    stopped: StoppedEarly,
    *,
    incumbent: Sequence[ItemResult],
    challenger: Sequence[ItemResult],
    floor: Sequence[ItemResult] | None,
    seed: int,
    attempt: int = 1,
    regressions: Sequence[str] = (),
) -> Decision:
    """The roll-back of a challenger whose measurement stopped early. Its comparisons are of the items that were asked; the upper end of the one
    with the incumbent is the one that holds whenever one stops, where that is higher."""
    asked = {result.scenario_id for result in challenger}

    def paired(before: Sequence[ItemResult]) -> PairedComparison:
        same = [result for result in before if result.scenario_id in asked]
        confidence = attempt_confidence(acceptance.confidence, attempt)
        return compare(same, challenger, split="held_out", metric=acceptance.metric, confidence=confidence, seed=seed)

    against = paired(incumbent)
    widened = against.difference.model_copy(update={"high": max(against.difference.high, stopped.upper)})
    return Decision(
        verdict="roll_back",
        clauses=(early_stop_clause(stopped),),
        against_incumbent=against.model_copy(update={"difference": widened}),
        against_floor=None if floor is None else paired(floor),
        detectable=f"{stopped.asked} of {stopped.of} held-out items were asked: enough to refuse, and no measurement of a difference.",
        attempt=attempt,
        regressions=tuple(regressions),
    )


def with_clause(decision: Decision, clause: Clause) -> Decision:
    """A decision with one more condition that does not follow from held-out results."""
    return decision.model_copy(
        update={"clauses": (*decision.clauses, clause), "verdict": decision.verdict if clause.passed else "roll_back"}
    )


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
