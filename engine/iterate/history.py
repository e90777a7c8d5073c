"""What diagnosis needs to know of the past, read from the store: earlier rounds, other measurements, and the domain's own contradictions.

Reads and puts together; what follows from it is decided in `engine/diagnose`. Core results only. It runs in the daemon, so it looks back a
bounded number of rounds, and what depends on the domain alone is computed once and kept for the last domain asked about.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from threading import Lock
from typing import NamedTuple

from engine.base.files import read_jsonl
from engine.diagnose.facts import (
    VERSIONS,
    Evidence,
    ItemFact,
    Neighbours,
    Round,
    RowConflict,
    Situation,
    conflicting_rows,
    persistent_items,
    suspected_wrong_gold,
    unlearnable_items,
    unstable_items,
)
from engine.diagnose.types import FailureClass
from engine.evaluate import records as measurements
from engine.evaluate.compile import CompiledDomain
from engine.evaluate.prompts import render_target
from engine.evaluate.similarity import input_text
from engine.evaluate.types import ItemResult, TrainingRow
from engine.iterate import records
from engine.iterate.measure import BASE
from engine.iterate.types import Iteration
from engine.jobs import records as runs
from engine.store.artifacts import Artifacts
from engine.store.store import Store
from engine.train.plan import REPLAY_SHARE

LAST_ROUNDS = 8
"""Rounds looked back at."""
LAST_MEASUREMENTS = 64
TWINS = 3
"""Other measurements of the same weights that are read."""


Learned = Callable[[], Mapping[str, FailureClass]]
"""The classes that people have approved for patterns which no observation explains, by pattern."""


class DomainFacts(NamedTuple):
    """What follows from a domain's rows alone."""

    unlearnable: dict[str, ItemFact]
    texts: dict[str, str]


class History:
    """Reads the past for diagnosis."""

    def __init__(self, store: Store, artifacts: Artifacts, learned: Learned) -> None:
        self._store = store
        self._artifacts = artifacts
        self._learned = learned
        self._lock = Lock()
        self._facts: tuple[str, DomainFacts] | None = None
        self._neighbours: tuple[str, Neighbours] | None = None

    def evidence(self, compiled: CompiledDomain, cluster: str, evaluation_id: str, core: Sequence[ItemResult]) -> Evidence:
        """Everything besides `core`, the core results of this measurement, that its diagnosis uses."""
        summary = measurements.summary(self._store, evaluation_id)
        rounds = self.rounds(cluster, evaluation_id)
        domain = self.domain_facts(compiled)
        alike = measurements.measured_alike(self._store, evaluation_id, LAST_MEASUREMENTS)
        own = summary.identity
        twins = [
            each.evaluation_id
            for each in alike
            if (each.generator, each.prompt, each.settings) == (own.generator, own.prompt, own.settings) and each.evaluation_id != evaluation_id
        ]
        versions: dict[str, str] = {}
        for each in alike:
            if each.subject != BASE and not each.subject.startswith("floor:"):
                versions.setdefault(each.generator, each.evaluation_id)
        scenarios = {scenario.id: scenario for scenario in compiled.of_split("core")}
        latest = [self._core(each) for each in list(versions.values())[:VERSIONS]]
        failed = {result.scenario_id for result in core if result.outcome == "graded" and not result.passed}
        facts = unstable_items(core, [self._core(each) for each in twins[:TWINS]], summary.stability.flipped_items if summary.stability else ())
        if len(latest) == VERSIONS:
            facts |= suspected_wrong_gold(core, latest, scenarios, self._pool(compiled))
        facts |= {item: fact for item, fact in domain.unlearnable.items() if item in failed}
        wanted = compiled.domain
        cut = [result for result in core if result.finish_reason == "length" and result.scenario_id in scenarios]
        return Evidence(
            facts=facts,
            rounds=rounds,
            texts=domain.texts,
            persistent=persistent_items(core, rounds, wanted.diagnose.persistent_rounds),
            situation=Situation(
                is_base=summary.subject == BASE,
                has_schema=wanted.contract.output.json_schema is not None,
                structured=summary.structured,
                max_tokens=wanted.contract.output.max_tokens,
                pool_rows=len(compiled.pool),
                replay_share=REPLAY_SHARE if wanted.train.replay_share is None else wanted.train.replay_share,
                persistent_rounds=wanted.diagnose.persistent_rounds,
                needs_room=frozenset(
                    result.scenario_id
                    for result in cut
                    if len(render_target(wanted.contract, scenarios[result.scenario_id].expected)) > len(result.answer)
                ),
                structured_effect=measurements.structured_effect(self._store, evaluation_id),
            ),
            trials=next((each.tried for each in reversed(self._ledger(cluster, evaluation_id)) if each.tried), ()),
            learned=self._learned(),
        )

    def rounds(self, cluster: str, evaluation_id: str) -> tuple[Round, ...]:
        """The cluster's last rounds with their core results, oldest first; only those on the suite and grading of this measurement."""
        return tuple(
            Round(
                challenger=each.challenger,
                method=str(getattr(each.plan, "method", "sft")),
                aimed=each.aimed,
                before=self._core(each.incumbent_evaluation),
                after=self._core(each.challenger_evaluation),
            )
            for each in self._ledger(cluster, evaluation_id)
        )

    def domain_facts(self, compiled: CompiledDomain) -> DomainFacts:
        """What follows from the domain's rows; computed once for the last domain asked about."""
        with self._lock:
            if self._facts is None or self._facts[0] != compiled.digest:
                core, threshold = compiled.of_split("core"), compiled.domain.data.near_duplicate
                self._facts = (
                    compiled.digest,
                    DomainFacts(
                        unlearnable=unlearnable_items(core, compiled.pool, threshold),
                        texts={scenario.id: input_text(scenario.input) for scenario in core},
                    ),
                )
            return self._facts[1]

    @staticmethod
    def conflicts(compiled: CompiledDomain) -> list[RowConflict]:
        """Training rows that teach two answers to nearly the same input. A third of a second for 2,000 short rows on one core."""
        return conflicting_rows(compiled.pool, compiled.domain.data.near_duplicate)

    def set_aside(self, compiled: CompiledDomain, cluster: str) -> list[tuple[TrainingRow, float]]:
        """The training rows that the cluster's newest training set left out as doubtful and that are still in the pool, each with its loss."""
        newest = runs.latest(self._store, cluster=cluster, states=("succeeded",), kinds=("curate",), limit=1)
        digest = (newest[0].output or {})["artifacts"].get("doubtful") if newest else None
        if digest is None:
            return []
        losses = {str(row["id"]): float(row["loss"]) for row in read_jsonl(self._artifacts.path(digest))}
        pool = {row.id: row for row in compiled.pool}
        return [(pool[row], loss) for row, loss in losses.items() if row in pool]

    def _pool(self, compiled: CompiledDomain) -> Neighbours:
        with self._lock:
            if self._neighbours is None or self._neighbours[0] != compiled.digest:
                self._neighbours = (compiled.digest, Neighbours(compiled.pool))
            return self._neighbours[1]

    def _ledger(self, cluster: str, evaluation_id: str) -> list[Iteration]:
        own = measurements.summary(self._store, evaluation_id).identity
        ledger = [one.iteration for one in records.rounds_of(self._store, cluster)[-LAST_ROUNDS:]]
        named = {name for each in ledger for name in (each.incumbent_evaluation, each.challenger_evaluation)}
        found = measurements.summaries(self._store, named)
        alike = {name for name, summary in found.items() if (summary.identity.suite, summary.identity.grading) == (own.suite, own.grading)}
        return [each for each in ledger if {each.incumbent_evaluation, each.challenger_evaluation} <= alike]

    def _core(self, evaluation_id: str) -> list[ItemResult]:
        return measurements.item_results(self._store, self._artifacts, evaluation_id, "core")
