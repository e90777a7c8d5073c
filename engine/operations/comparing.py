"""Measurements, read: two of one suite side by side, and one as a page for people.

Failure patterns, flips and texts are of core. Of held-out there are totals only, and of a challenger's only what the ladder says
(`engine/operations/said.py`).
"""

from __future__ import annotations

from typing import Literal

from engine.base.paths import Workspace
from engine.errors import StateConflict
from engine.evaluate import records as measurements
from engine.evaluate.canaries import is_contaminated, refuse_contaminated
from engine.evaluate.compile import load_compiled
from engine.evaluate.holdout import in_words
from engine.evaluate.report import PatternRow, Rival, render_report
from engine.evaluate.statistics import check_comparable, compare, flips
from engine.evaluate.types import EvaluationSummary, ItemResult, Split
from engine.iterate import records as loop
from engine.iterate.measure import BASE
from engine.jobs import records as runs
from engine.loading import load_clusters
from engine.operations.diagnosing import FailureDiagnosing
from engine.operations.said import kept_back, said_of
from engine.showing.measurements import comparison_page, kept_comparison
from engine.showing.pages import page_at
from engine.showing.reported import shown_summary
from engine.store.artifacts import Artifacts
from engine.store.store import Store
from engine.views import ComparisonPage


class Comparing:
    """The operations, over one workspace."""

    def __init__(self, workspace: Workspace, store: Store, artifacts: Artifacts, diagnosing: FailureDiagnosing) -> None:
        self.workspace = workspace
        self.store = store
        self.artifacts = artifacts
        self.diagnosing = diagnosing

    def compare(
        self,
        before_evaluation: str,
        after_evaluation: str,
        *,
        split: Literal["core", "held_out"],
        metric: Literal["score", "pass_rate"],
        limit: int,
        cursor: str | None,
    ) -> ComparisonPage:
        """Two measurements of one suite, paired. LeakageFound when one of them is of a version that was taught the suite."""
        before, after = (measurements.summary(self.store, each) for each in (before_evaluation, after_evaluation))
        check_comparable(before.identity, after.identity)
        refuse_contaminated(before, after)
        rows_before, rows_after = self._results(before_evaluation, split), self._results(after_evaluation, split)
        following = {"cluster": measurements.cluster_of(self.store, after_evaluation), "evaluation_id": after_evaluation}
        if split == "held_out" and (kept := kept_back(self.store, before_evaluation, after_evaluation)) is not None:
            return kept_comparison(before, after, *kept, metric=metric, next_call=following)
        seed = load_clusters(self.workspace).defaults.seed
        paired = compare(rows_before, rows_after, split=split, metric=metric, confidence=0.95, seed=seed)
        moved = flips(rows_before, rows_after, split="core", metric=metric) if split == "core" else []
        return comparison_page(
            before, after, paired, moved, split=split, metric=metric, next_call=following, page=page_at(cursor, limit)
        )

    def report(self, evaluation_id: str) -> str:
        """One measurement as a page for people."""
        measured = measurements.summary(self.store, evaluation_id)
        said = said_of(self.store, evaluation_id)
        summary = shown_summary(measured, said)
        if said is not None and not summary.splits:
            raise StateConflict(f"{evaluation_id} measured held-out alone, and it is {in_words(said)}", next_step="Measure core, which shows items.")
        run = runs.get(self.store, evaluation_id)
        cluster = str(run.cluster)
        compiled = load_compiled(self.workspace, measurements.domain_digest_of(self.store, evaluation_id))
        rivals = self._rivals(evaluation_id, summary, cluster)
        before = next((rival for rival in rivals if rival.summary.subject == BASE), None)
        core, found = self.diagnosing.diagnosis_of(cluster, evaluation_id)
        base_id = None if before is None or not core else measurements.latest(self.store, cluster, BASE)
        return render_report(
            title=compiled.domain.title,
            evaluation_id=evaluation_id,
            created_at=run.created_at,
            description=compiled.domain.contract.description,
            summary=summary,
            rivals=rivals,
            patterns=[PatternRow(each.name, each.items, each.share, each.remedy_in_words) for each in found.patterns],
            flips=[] if base_id is None else flips(self._results(base_id, "core"), core, split="core"),
            flips_against="" if base_id is None else BASE,
            structured_effect=measurements.structured_effect(self.store, evaluation_id),
        )

    def _rivals(self, evaluation_id: str, summary: EvaluationSummary, cluster: str) -> list[Rival]:
        """The base and the floor of the same suite, paired with this measurement on held-out; none for a version that was taught the suite."""
        if is_contaminated(summary.canaries):
            return []
        state = loop.cluster_state(self.store, cluster)
        named = [("base", measurements.latest(self.store, cluster, BASE)), ("floor", state.floor_evaluation)]
        rivals: list[Rival] = []
        for name, other in named:
            if other is None or other == evaluation_id:
                continue
            theirs = measurements.summary(self.store, other)
            if (theirs.identity.suite, theirs.identity.grading) != (summary.identity.suite, summary.identity.grading):
                continue
            shown = any(split.split == "held_out" for split in summary.splits)
            mine, held_out = (self._results(each, "held_out") if shown else [] for each in (evaluation_id, other))
            paired = compare(held_out, mine, split="held_out") if mine and held_out else None
            rivals.append(Rival(name, theirs, paired))
        return rivals

    def _results(self, evaluation_id: str, split: Split) -> list[ItemResult]:
        return measurements.item_results(self.store, self.artifacts, evaluation_id, split)
