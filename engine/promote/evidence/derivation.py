"""From a bundle's items and rules to its figures and its verdict, by the very functions that the loop decided with.

Used twice: when the bundle is made, and by whoever checks it. Pure: rows in, figures out, the same on every machine.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence

from engine.evaluate.grading import FORM_PROBLEMS
from engine.evaluate.statistics import compare, summarise_split, value_of
from engine.evaluate.types import ItemResult, Split
from engine.iterate.clauses import canaries_clause, no_harm_clause
from engine.iterate.decide import decide, with_clause
from engine.iterate.types import Decision
from engine.promote.evidence.types import AnswerRow, Derived, ItemRow, Movement, Regressions, Role, Rules, SliceChange, SubjectFigures, Suite

ROLES: tuple[Role, ...] = ("base", "floor", "ceiling", "incumbent", "challenger")
SPLITS: tuple[Split, ...] = ("held_out", "core")

Results = Mapping[Role, list[ItemResult]]


def derive(rows: Sequence[ItemRow], rules: Rules) -> Derived:
    """All figures and the verdict. Raises IdentityMismatch when two subjects were not measured on the same items."""
    measured = results_of(rows, "domain")
    decision = _decision(measured, rules)
    if rules.planted:
        decision = with_clause(decision, canaries_clause(rules.planted, rules.canaries))
    guard = results_of(rows, "no_harm")
    if decision.verdict == "accept" and rules.acceptance.no_harm is not None and guard:
        clause = no_harm_clause(guard["base"], guard["challenger"], rules.acceptance.no_harm.tolerance)
        decision = with_clause(decision, clause)
    return Derived(
        measured=tuple(_figures(role, measured[role], rules) for role in ROLES if role in measured),
        movement=tuple(_movement(role, measured, rules) for role in ROLES if role in measured and role != "challenger"),
        slices=_slice_changes(measured, rules),
        regressions=tuple(_regressions(measured, split) for split in SPLITS),
        decision=decision,
    )


def results_of(rows: Sequence[ItemRow], suite: Suite) -> Results:
    """Each subject's results on one suite, as the statistics take them."""
    found: dict[Role, list[ItemResult]] = defaultdict(list)
    for row in rows:
        if row.suite == suite:
            for role, answer in row.answers.items():
                found[role].append(_result(row, answer))
    return found


def _result(row: ItemRow, answer: AnswerRow | None) -> ItemResult:
    return ItemResult(
        scenario_id=row.item,
        split=row.split,
        outcome="error" if answer is None else "graded",
        score=0.0 if answer is None else answer.score,
        passed=answer is not None and answer.passed,
        breached=() if answer is None else answer.breached,
        observations=() if answer is None or answer.valid else FORM_PROBLEMS[:1],
        cached=True,  # what an answer took is not in a row
        tags=row.slices,
        source=row.source,
    )


def _decision(measured: Results, rules: Rules) -> Decision:
    return decide(
        rules.acceptance,
        slices=rules.slices,
        incumbent=_held_out(measured["incumbent"]),
        challenger=_held_out(measured["challenger"]),
        floor=_held_out(measured["floor"]) if "floor" in measured else None,
        seed=rules.seed,
        attempt=rules.attempt,
        stability=rules.stability,
    )


def _held_out(results: Sequence[ItemResult]) -> list[ItemResult]:
    return [result for result in results if result.split == "held_out"]


def _figures(role: Role, results: Sequence[ItemResult], rules: Rules) -> SubjectFigures:
    acceptance = rules.acceptance
    return SubjectFigures(
        role=role,
        splits=tuple(
            summarise_split(
                results,
                split,
                slices=rules.slices,
                slice_minimum=acceptance.slice_minimum,
                json_output=rules.json_output,
                confidence=acceptance.confidence,
                seed=rules.seed,
            )
            for split in SPLITS
        ),
    )


def _movement(role: Role, measured: Results, rules: Rules) -> Movement:
    acceptance = rules.acceptance
    paired = compare(
        measured[role],
        measured["challenger"],
        split="held_out",
        metric=acceptance.metric,
        confidence=acceptance.confidence,
        seed=rules.seed,
    )
    return Movement(role=role, comparison=paired)


def _answered_by_both(measured: Results, split: Split) -> list[tuple[ItemResult, ItemResult]]:
    """Incumbent and challenger on the items of a split that neither lost to infrastructure."""
    before = {result.scenario_id: result for result in measured["incumbent"] if result.outcome == "graded"}
    return [
        (before[after.scenario_id], after)
        for after in measured["challenger"]
        if after.split == split and after.outcome == "graded" and after.scenario_id in before
    ]


def _regressions(measured: Results, split: Split) -> Regressions:
    pairs = _answered_by_both(measured, split)
    won, lost = _changed_sides(pairs)
    return Regressions(split=split, won=won, lost=lost)


def _changed_sides(pairs: Sequence[tuple[ItemResult, ItemResult]]) -> tuple[int, int]:
    return sum(after.passed and not before.passed for before, after in pairs), sum(before.passed and not after.passed for before, after in pairs)


def _slice_changes(measured: Results, rules: Rules) -> tuple[SliceChange, ...]:
    """The guarded slices of held-out, the largest loss first."""
    members: dict[str, list[tuple[ItemResult, ItemResult]]] = defaultdict(list)
    for before, after in _answered_by_both(measured, "held_out"):
        for tag, value in after.tags.items():
            members[f"{tag}={value}"].append((before, after))
    changes = [_slice_change(name, pairs, rules) for name, pairs in members.items() if len(pairs) >= rules.acceptance.slice_minimum]
    return tuple(sorted(changes, key=lambda change: (change.after - change.before, change.slice)))


def _slice_change(name: str, pairs: Sequence[tuple[ItemResult, ItemResult]], rules: Rules) -> SliceChange:
    metric = rules.acceptance.metric
    before, after = ([value_of(pair[side], metric) for pair in pairs] for side in (0, 1))
    won, lost = _changed_sides(pairs)
    return SliceChange(slice=name, items=len(pairs), before=_mean(before), after=_mean(after), won=won, lost=lost)


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
