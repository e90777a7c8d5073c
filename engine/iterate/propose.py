"""Which failures ask for more scenarios, and the drafts for them: what a person asks for, and what the loop stages by itself when it ends.

The loop drafts only for a pattern that outlived the last rounds, and only stages: a person decides. It drafts from the domain that the run was
compiled from; whether a draft still fits is looked at again when it is accepted. Where a teacher is usable, half of the drafts are for it to make, in
a run of its own (`engine/curate/draft_worker.py`).
"""

from __future__ import annotations

from collections.abc import Sequence

from engine.diagnose.types import Diagnosis, FailurePattern
from engine.evaluate.compile import CompiledDomain
from engine.evaluate.proposals import records as proposals
from engine.evaluate.proposals.drafting import Sifted, Surroundings, draft_variants, sift
from engine.iterate.types import Iteration
from engine.store.store import Store

PERSISTENT_ROUNDS = 2
"""A pattern that so many rounds in a row started from, and that is still there, has outlived them."""
LOOP_DRAFTS = 4
"""What one run stages at most: a person has to read them."""


def lasting_patterns(found: Diagnosis, rounds: Sequence[Iteration]) -> list[FailurePattern]:
    """Patterns that the last rounds started from and that are still there, largest first."""
    seen = [{line.pattern for line in iteration.patterns} for iteration in rounds[-PERSISTENT_ROUNDS:]]
    return [pattern for pattern in about_items(found) if len(seen) == PERSISTENT_ROUNDS and all(pattern.pattern in one for one in seen)]


def choose_pattern(found: Diagnosis, rounds: Sequence[Iteration]) -> FailurePattern | None:
    """The largest pattern that outlived the last rounds; where none did, the largest."""
    return next(iter(lasting_patterns(found, rounds) or about_items(found)), None)


def for_a_teacher(count: int) -> int:
    """How many of so many drafts a usable teacher makes; transformations make the others."""
    return count // 2


def about_items(found: Diagnosis) -> list[FailurePattern]:
    """The patterns that say something about scenarios, largest first: lost answers do not."""
    real = [pattern for pattern in found.patterns if pattern.kind != "infrastructure"]
    return sorted(real, key=lambda pattern: (-pattern.items, pattern.pattern))


def draft_for(store: Store, compiled: CompiledDomain, pattern: FailurePattern, *, count: int, seed: int) -> Sifted:
    """The drafts of a pattern that may be staged."""
    core = {scenario.id: scenario for scenario in compiled.of_split("core") if scenario.layer == "governed"}
    parents = [core[name] for name in pattern.scenario_ids if name in core]
    drafts = draft_variants(compiled.domain, pattern.pattern, parents, list(core.values()), seed=seed)
    earlier = [proposal.draft for proposal in proposals.proposals(store, compiled.name)]
    around = Surroundings(compiled.kept_apart, compiled.pool, earlier, compiled.domain.data.near_duplicate)
    return sift(compiled.domain, drafts, around, count=count, seed=seed)


def stage_after_run(
    store: Store, compiled: CompiledDomain, pattern: FailurePattern, *, count: int, run_id: str, cluster: str, evaluation_id: str, seed: int
) -> tuple[str, ...]:
    """Stages drafts for a pattern that training did not move, once however often it is called; their ids."""
    chosen, dropped = draft_for(store, compiled, pattern, count=count, seed=seed)
    staged, _ = proposals.stage(
        store,
        domain=compiled.name,
        cluster=cluster,
        evaluation_id=evaluation_id,
        drafts=chosen,
        dropped=dropped,
        asked={"run_id": run_id},
        key=f"{run_id}/proposals",
    )
    return staged
