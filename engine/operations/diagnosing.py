"""Why a model fails: the pages of a measurement's diagnosis, and the pattern that scenarios are drafted for. Core only.

The diagnosis is made at each call from the results and what is known of earlier rounds (`engine/iterate/history.py`); nothing of it is stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from engine.base.paths import Workspace
from engine.diagnose.facts import Evidence
from engine.diagnose.patterns import diagnose
from engine.diagnose.remedies import relabel_doubted, relabel_items, relabel_rows, scenario_proposals
from engine.diagnose.trends import trends
from engine.diagnose.types import Diagnosis, FailurePattern
from engine.errors import ArgumentInvalid, NotFound
from engine.evaluate import records as measurements
from engine.evaluate.compile import CompiledDomain, load_compiled
from engine.evaluate.types import ItemResult
from engine.iterate import records as loop
from engine.iterate.history import History
from engine.iterate.propose import choose_pattern
from engine.loading import load_clusters
from engine.operations.named import latest_of_incumbent, named_cluster
from engine.showing.diagnosis import Diagnosed, examples_page, patterns_page, requests_page, trends_page
from engine.showing.pages import Page, page_at
from engine.store.artifacts import Artifacts
from engine.store.store import Store
from engine.views import DiagnosisPage


class FailureDiagnosing:
    """The operations, over one workspace."""

    def __init__(self, workspace: Workspace, store: Store, artifacts: Artifacts, history: History) -> None:
        self.workspace = workspace
        self.store = store
        self.artifacts = artifacts
        self.history = history

    def diagnose(
        self,
        cluster: str,
        evaluation_id: str | None,
        pattern: str | None,
        *,
        view: Literal["patterns", "trends", "requests"],
        cursor: str | None,
        limit: int,
    ) -> DiagnosisPage:
        """One page of a measurement's diagnosis."""
        named_cluster(load_clusters(self.workspace), cluster)
        if evaluation_id is None:
            evaluation_id = latest_of_incumbent(self.store, cluster)
        elif measurements.cluster_of(self.store, evaluation_id) != cluster:
            raise ArgumentInvalid(f"{evaluation_id} is not a measurement of cluster {cluster}", next_step="Name the cluster that it measured.")
        subject = measurements.summary(self.store, evaluation_id).subject
        results = self._core(evaluation_id)
        evidence = self._evidence(cluster, evaluation_id, results)
        diagnosed = Diagnosed(evaluation_id, subject, diagnose(results, evidence))
        if view == "trends":
            return trends_page(diagnosed, trends(evidence.rounds), page_at(cursor, limit))
        if view == "requests":
            return self._requests_page(diagnosed, cluster, evidence, page_at(cursor, limit))
        if pattern is None:
            return patterns_page(diagnosed, cluster, page_at(cursor, limit))
        chosen = pattern_of(diagnosed, pattern)
        return self._examples_page(diagnosed, chosen, results, page_at(cursor, limit))

    def diagnosis_of(self, cluster: str, evaluation_id: str) -> tuple[Sequence[ItemResult], Diagnosis]:
        """A measurement's core results, and what their diagnosis finds."""
        core = self._core(evaluation_id)
        return core, diagnose(core, self._evidence(cluster, evaluation_id, core))

    def pattern_to_vary(self, cluster: str, pattern: str | None) -> tuple[str, FailurePattern]:
        """The incumbent's newest measurement, and the pattern of it that scenarios are drafted for: the one named, or the largest that survived
        training. NotFound when there is none."""
        evaluation_id = latest_of_incumbent(self.store, cluster)
        _, found = self.diagnosis_of(cluster, evaluation_id)
        if pattern is not None:
            chosen = next((each for each in found.patterns if each.pattern == pattern), None)
        else:
            chosen = choose_pattern(found, [one.iteration for one in loop.rounds_of(self.store, cluster)[-2:]])
        if chosen is None:
            names = [each.pattern for each in found.patterns[:10]]
            raise NotFound(
                f"{evaluation_id} has no such failure pattern" if pattern else f"{evaluation_id} has no failures to vary",
                next_step=f"Use one of: {', '.join(names)}." if names else "Add rows to the domain: what all pass tells nothing apart.",
                patterns=names,
            )
        return evaluation_id, chosen

    def _requests_page(self, diagnosed: Diagnosed, cluster: str, evidence: Evidence, page: Page) -> DiagnosisPage:
        """Labels that people should look at again, and scenarios that are wanted."""
        compiled = self._compiled(diagnosed.evaluation_id)
        scenarios = {scenario.id: scenario for scenario in compiled.of_split("core")}
        return requests_page(
            diagnosed,
            doubted=relabel_items(tuple(evidence.facts), evidence.facts, scenarios),
            rows=(*relabel_doubted(self.history.set_aside(compiled, cluster)), *relabel_rows(self.history.conflicts(compiled))),
            wanted=scenario_proposals(diagnosed.found.patterns),
            page=page,
        )

    def _examples_page(self, diagnosed: Diagnosed, pattern: FailurePattern, results: Sequence[ItemResult], page: Page) -> DiagnosisPage:
        """The failed scenarios of one pattern."""
        scenarios = {scenario.id: scenario for scenario in self._compiled(diagnosed.evaluation_id).of_split("core")}
        return examples_page(diagnosed, pattern, scenarios, {result.scenario_id: result for result in results}, page)

    def _core(self, evaluation_id: str) -> list[ItemResult]:
        return measurements.item_results(self.store, self.artifacts, evaluation_id, "core")

    def _compiled(self, evaluation_id: str) -> CompiledDomain:
        return load_compiled(self.workspace, measurements.domain_digest_of(self.store, evaluation_id))

    def _evidence(self, cluster: str, evaluation_id: str, core: Sequence[ItemResult]) -> Evidence:
        """What is known across measurements; nothing when the compiled domain, which is a cache, is no longer there."""
        try:
            compiled = self._compiled(evaluation_id)
        except NotFound:
            return Evidence()
        return self.history.evidence(compiled, cluster, evaluation_id, core)


def pattern_of(diagnosed: Diagnosed, name: str) -> FailurePattern:
    """The pattern of that name. NotFound lists the largest."""
    found = next((each for each in diagnosed.found.patterns if each.pattern == name), None)
    if found is None:
        names = [each.pattern for each in diagnosed.found.patterns[:10]]
        raise NotFound(
            f"{diagnosed.evaluation_id} has no pattern {name[:120]!r}", next_step="Use one of: " + ", ".join(names) + ".", patterns=names
        )
    return found
