"""What the schedule of a round rests on, read from the store: the cluster's ledger over all its runs, and what stands now.

Reading only; deciding is `engine/train/schedule.py`. A training that diverged ends its run without a round, so it is found among the runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from engine.errors import TrainingDiverged
from engine.evaluate.statistics import value_of
from engine.evaluate.types import EvaluationSummary, ItemResult
from engine.iterate import records
from engine.iterate.records import RecordedRound
from engine.iterate.types import Iteration
from engine.jobs import records as runs
from engine.jobs.types import Run
from engine.store.store import Store
from engine.train.plan import REPLAY_SHARE
from engine.train.types import Facts, PastRound, Schedule, TrainPlan


def history(store: Store, cluster: str, *, domain: str, model: str, without: Sequence[str] = ()) -> list[PastRound]:
    """The rounds of a cluster with this domain and model and the trainings that diverged, oldest first. `without`: trainings left out."""
    recorded = records.rounds_of(store, cluster)
    failed = runs.latest(store, cluster=cluster, states=("failed",), kinds=("train",), limit=runs.LISTED_AT_MOST)
    diverged = [run for run in failed if has_diverged(run)]
    ours = {run_id: job_is(store, run_id, domain, model) for run_id in {one.run_id for one in recorded} | {str(run.parent) for run in diverged}}
    found = [past_round(one) for one in recorded if ours[one.run_id]]
    found += [diverged_round(run) for run in diverged if ours[str(run.parent)] and run.id not in without]
    newest = runs.latest(store, cluster=cluster, kinds=("iterate",), limit=runs.LISTED_AT_MOST)
    order = {run.id: place for place, run in enumerate(reversed(newest))}  # not by their times: a clock may have been set back
    return sorted(found, key=lambda one: (order.get(one.run_id, -1), one.iteration, one.outcome != "diverged"))


def rung_that_sufficed(store: Store, cluster: str, chosen: Schedule, *, domain: str, model: str, without: Sequence[str]) -> int:
    """Where on the ladder of `engine/train/memory.py` the newest training of the cluster by the same method and on the same grounds succeeded; 0
    where there was none. `without`: trainings left out."""
    for run in runs.latest(store, cluster=cluster, states=("succeeded",), kinds=("train",)):
        if run.id in without or run.parent is None or not job_is(store, run.parent, domain, model):
            continue
        schedule = Schedule.model_validate(run.arguments["schedule"])
        if (schedule.method, schedule.grounds) == (chosen.method, chosen.grounds):
            return int(run.arguments.get("rung", 0))
    return 0


def job_is(store: Store, run_id: str, domain: str, model: str) -> bool:
    """Whether an iterate run was about this domain and model: a cluster may be given another of either."""
    job = runs.launch_of(store, run_id).job
    return bool(job["domain"] == domain and job["model"] == model)


def has_diverged(run: Run) -> bool:
    """Whether a training step of the loop ended because its loss was no number."""
    return run.error is not None and run.error.code == TrainingDiverged.code and run.parent is not None and "schedule" in run.arguments


def past_round(one: RecordedRound) -> PastRound:
    """A ledger row as the schedule reads it."""
    row = one.iteration
    paired = row.decision.against_incumbent
    return PastRound(
        run_id=one.run_id,
        iteration=row.iteration,
        suite=one.iteration.suite,
        incumbent=row.incumbent,
        challenger=row.challenger,
        outcome="accepted" if row.decision.verdict == "accept" else "rolled_back",
        schedule=row.schedule or schedule_of(row.plan, row.rows),
        before=paired.before.mean,
        after=paired.after.mean,
        low=paired.difference.low,
        high=paired.difference.high,
        detectable=paired.detectable_difference,
        items=paired.difference.n,
        better=paired.better,
        worse=paired.worse,
        slices_lost=any(clause.name == "slices" and not clause.passed for clause in row.decision.clauses),
        core_gain=row.core_gain,
        first_loss=row.first_loss,
        final_loss=row.final_loss,
    )


def diverged_round(run: Run) -> PastRound:
    """A training that diverged, as a round without a challenger."""
    return PastRound(
        run_id=str(run.parent),
        iteration=int(str(run.step).partition(".")[0]),
        incumbent=str(run.arguments["incumbent"]),
        challenger=None,
        outcome="diverged",
        schedule=Schedule.model_validate(run.arguments["schedule"]),
    )


def schedule_of(plan: TrainPlan, rows: int) -> Schedule:
    """The schedule of a round that was recorded without one; it has no grounds, so it hands nothing on."""
    return Schedule(
        method=plan.method,
        learning_rate=plan.learning_rate,
        rank=plan.lora.rank,
        epochs=plan.epochs,
        max_rows=rows,
        replay_share=REPLAY_SHARE,
        warm_start=plan.warm_start,
        rows=rows,
    )


def facts_of(
    *,
    pool_rows: int,
    incumbent: str,
    incumbent_lora: Any,
    summary: EvaluationSummary,
    core: Sequence[ItemResult],
    metric: Any,
    largest_rank: int | None,
    seed: int,
) -> Facts:
    """What stands when a round begins. `summary` and `core` are of the incumbent."""
    graded = [result for result in core if result.outcome == "graded"]
    return Facts(
        pool_rows=pool_rows,
        incumbent=incumbent,
        incumbent_lora=incumbent_lora,
        mean=getattr(summary.split("held_out"), metric).mean,
        partial_credit=any(0.0 < value_of(result, metric) < 1.0 for result in graded),
        failing_share=sum(not result.passed for result in graded) / len(graded) if graded else 1.0,
        largest_rank=largest_rank,
        seed=seed,
    )


def noted(
    row: Iteration, chosen: Schedule, trained: Mapping[str, Any], before: EvaluationSummary, after: EvaluationSummary, metric: str
) -> Iteration:
    """A ledger row with what the next schedule needs of this round."""
    gain = getattr(after.split("core"), metric).mean - getattr(before.split("core"), metric).mean
    figures = {"schedule": chosen, "core_gain": gain, "first_loss": trained.get("first_loss"), "final_loss": trained.get("final_loss")}
    return row.model_copy(update=figures)
