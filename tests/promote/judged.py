"""An accepted version and what is known of it, made by the loop's own decision over results that are written out here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from engine.config import Acceptance, HourlyPrice, Money, ScriptedProfile, Serving, TrainOverrides
from engine.evaluate.types import EvaluationSummary, Interval, ItemResult, ScoreIdentity, SplitScore
from engine.iterate.clauses import no_harm_clause
from engine.iterate.decide import decide, with_clause
from engine.iterate.types import Decision, Iteration
from engine.promote.types import Exported, FormParity, Grounds, ParityFigure
from engine.train.plan import plan_training

CLUSTER, VERSION = "travel", "v-0123456789ab"
NOW = "2026-11-21T12:00:00.000Z"
IDENTITY = ScoreIdentity(suite="suite", grading="rubric", prompt="contract", settings="settings", generator="weights")
PLAN = plan_training(ScriptedProfile(training_steps=3), TrainOverrides(), rows=20, device="cpu", seed=17, merge=False)


SAME_ANSWERS = ParityFigure(name="answers", holds=True, figure=0.98, limit=0.9, sentence="98 of 100 answers to core items are the same to the letter.")
EXPORT = Exported(
    run_id="export-1", evaluation_id="evaluate-1", prompt=IDENTITY.prompt, sources="sources", absent=(), package="a" * 64,
    forms=(FormParity(form="merged", loaded_in="engine 1", items=100, figures=(SAME_ANSWERS,), seconds=1.0),),
)  # fmt: skip
"""A package that answers as the version did."""


def results(score: Callable[[int], float], count: int = 120) -> list[ItemResult]:
    return [
        ItemResult(
            scenario_id=f"s{n}", split="held_out", outcome="graded", score=score(n), passed=score(n) >= 1.0,
            tags={"service": f"v{n % 3}", "kind": "safety"}, source=f"d{n}",
        )
        for n in range(count)
    ]  # fmt: skip


def decision(challenger: float = 0.8, *, incumbent: float = 0.3, floor: float = 0.5, harmed: float | None = None) -> Decision:
    """The loop's decision on a challenger with these means; `harmed` is how far it falls on general and safety items."""
    made = decide(
        Acceptance(),
        slices=("service",),
        incumbent=results(lambda n: incumbent),
        challenger=results(lambda n: challenger),
        floor=results(lambda n: floor),
        seed=17,
    )
    if harmed is None:
        return made
    return with_clause(made, no_harm_clause(results(lambda n: 0.9, 40), results(lambda n: 0.9 - harmed, 40), 0.1))


def iteration(decided: Decision | None = None, **changes: Any) -> Iteration:
    fields = {
        "iteration": 1,
        "incumbent": "base",
        "challenger": VERSION,
        "incumbent_evaluation": "evaluate-base",
        "challenger_evaluation": "evaluate-1",
        "floor_evaluation": None,
        "patterns": (),
        "fixed": (),
        "rows": 20,
        "suite": "suite",
        "plan": PLAN,
        "decision": decided or decision(),
        "seconds": {},
    }
    return Iteration(**(fields | changes))


def summary(*, split: dict[str, Any] | None = None, **changes: Any) -> EvaluationSummary:
    mean = Interval(mean=0.8, low=0.75, high=0.85, n=120, clusters=120)
    held_out = SplitScore(split="held_out", score=mean, pass_rate=mean, errors=0, schema_valid=1.0, latency_p95_seconds=0.4)
    fields = {
        "identity": IDENTITY,
        "subject": VERSION,
        "splits": (held_out.model_copy(update=split or {}),),
        "structured": True,
        "generated": 120,
        "cached": 0,
        "seconds": 10.0,
    }
    return EvaluationSummary(**(fields | changes))


def grounds(**changes: Any) -> Grounds:
    """A version that every gate is open for."""
    fields = {
        "cluster": CLUSTER,
        "version": VERSION,
        "judged": iteration(),
        "judged_in": "iterate-1",
        "judged_as": IDENTITY,
        "evaluation_id": "evaluate-1",
        "measured": summary(),
        "measured_at": "2026-11-20T12:00:00.000Z",
        "latency_p95_seconds": 0.4,
        "seconds_per_decision": 0.5,
        "hourly_price": HourlyPrice(amount=3.6, currency="EUR", as_of="2026-11-20"),
        "grading": IDENTITY.grading,
        "prompt": IDENTITY.prompt,
        "schema_asked": True,
        "acceptance": Acceptance(),
        "serving": Serving(latency_p95_seconds=1.0, cost_per_decision=Money(amount=0.001, currency="EUR")),
        "evidence_days": 30.0,
        "exported": EXPORT,
    }
    return Grounds(**(fields | changes))
