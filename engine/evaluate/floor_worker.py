"""Fits every baseline on the training pool, measures each as a model would be, and names the best on core the floor.

    outputs/results.jsonl     ItemResult rows of the floor

Beside it the floor's learning curve: the same method on parts of the pool, measured on core. Core alone decides which baseline is the floor, so
that held-out figures of the floor are not picked for being high. Fitting is deterministic and takes seconds; a killed run starts afresh.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

from engine.base.digests import digest_of
from engine.base.files import write_jsonl
from engine.base.paths import Workspace
from engine.evaluate.compile import CompiledDomain, load_compiled
from engine.evaluate.jobs import CurvePoint, FloorJob, FloorLine, FloorOutput
from engine.evaluate.measurement import RESULTS, Tally, identity_for, split_scores
from engine.evaluate.prompts import render_target
from engine.evaluate.types import EvaluationSummary, ItemResult, Split, TrainingRow
from engine.generate.types import Answer
from engine.jobs.types import Progress
from engine.jobs.worker import WorkerContext, run_worker

LEAST_ROWS = 20
"""Below this a part of the pool says nothing of a learning curve."""


def fit_floor(context: WorkerContext) -> dict[str, Any]:
    """The body of a run of kind `floor`."""
    job = FloorJob.model_validate(context.config.job)
    compiled = load_compiled(Workspace(Path(context.config.workspace)), job.domain_digest)
    methods = compiled.domain.eval.floor
    tried: dict[str, tuple[EvaluationSummary, list[ItemResult]] | None] = {}
    for step, method in enumerate(methods):
        context.check_cancelled()
        context.report(Progress(phase="fitting", step=step, total=len(methods), message=f"{method} on {len(compiled.pool)} rows"))
        tried[method] = measure_method(compiled, method, job.splits, seed=context.config.seed)
    fitting = {method: found for method, found in tried.items() if found is not None}
    chosen = max(fitting, key=lambda method: core_mean(compiled, fitting[method][0]), default=None)
    curve = learning_curve(context, compiled, chosen, fitting[chosen][0]) if chosen and "core" in job.splits else ()
    write_jsonl(context.paths.root / RESULTS, [row.model_dump(mode="json") for row in (fitting[chosen][1] if chosen else [])])
    output = FloorOutput(
        chosen=chosen,
        summary=fitting[chosen][0] if chosen else None,
        methods=tuple(floor_line(method, found[0] if found else None) for method, found in tried.items()),
        domain_digest=compiled.digest,
        generation=compiled.manifest.generation,
        curve=curve,
    )
    return {**output.model_dump(mode="json"), "artifacts": {"results": RESULTS}}


def floor_line(method: str, summary: EvaluationSummary | None) -> FloorLine:
    """One baseline among those that were tried."""
    if summary is None:
        return FloorLine(method=method, fits=False)
    return FloorLine(
        method=method,
        fits=True,
        scores={split.split: split.score for split in summary.splits},
        pass_rates={split.split: split.pass_rate for split in summary.splits},
        seconds=summary.seconds,
    )


def core_mean(compiled: CompiledDomain, summary: EvaluationSummary) -> float:
    """What baselines are ranked by: the metric on which challengers are accepted, on core (or on what was measured instead)."""
    names = [split.split for split in summary.splits]
    split = summary.split("core" if "core" in names else names[0])
    return split.score.mean if compiled.domain.eval.accept.metric == "score" else split.pass_rate.mean


def measure_method(
    compiled: CompiledDomain, method: str, splits: tuple[Split, ...], *, seed: int
) -> tuple[EvaluationSummary, list[ItemResult]] | None:
    """One baseline's figures and results; None when it is nothing for this output."""
    from engine.evaluate.floors.methods import METHODS_VERSION

    started = time.monotonic()
    results = answer_by(compiled, method, compiled.pool, splits, seed=seed)
    if results is None:
        return None
    made_by = digest_of({"floor": method, "version": METHODS_VERSION, "pool": compiled.manifest.pool_digest, "seed": seed})
    return (
        EvaluationSummary(
            identity=identity_for(compiled, None, made_by),
            subject=f"floor:{method}",
            splits=split_scores(compiled, results, splits, seed=seed),
            structured=False,
            generated=len(results),
            cached=0,
            seconds=time.monotonic() - started,
        ),
        results,
    )


def answer_by(
    compiled: CompiledDomain, method: str, pool: Sequence[TrainingRow], splits: tuple[Split, ...], *, seed: int
) -> list[ItemResult] | None:
    """What a baseline that was fitted on these rows answers; None when it is nothing for this output."""
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    from engine.evaluate.floors.methods import predict

    scenarios = compiled.of_split(*splits)
    with threadpool_limits(1):  # small sparse problems gain nothing from a second thread, and the model server may be starting on it
        answers = predict(method, pool, [scenario.input for scenario in scenarios], seed=seed)
    if answers is None:
        return None
    tally = Tally(compiled, scenarios)
    for scenario, answer in zip(scenarios, answers, strict=True):
        tally.add(Answer(key=scenario.id, text=render_target(compiled.domain.contract, answer), cached=True))
    return tally.results()


def learning_curve(context: WorkerContext, compiled: CompiledDomain, method: str, whole: EvaluationSummary) -> tuple[CurvePoint, ...]:
    """The floor's figures on core by the rows it was fitted on: nested parts of the pool, and the whole."""
    seed = context.config.seed
    ranked = sorted(compiled.pool, key=lambda row: blake2b(f"{seed}/curve/{row.id}".encode()).digest())
    points = []
    for count in curve_sizes(len(ranked)):
        context.check_cancelled()
        results = answer_by(compiled, method, ranked[:count], ("core",), seed=seed)
        if results is not None:
            (core,) = split_scores(compiled, results, ("core",), seed=seed)
            points.append(CurvePoint(rows=count, score=core.score, pass_rate=core.pass_rate))
    core = whole.split("core")
    return (*points, CurvePoint(rows=len(ranked), score=core.score, pass_rate=core.pass_rate))


def curve_sizes(rows: int) -> list[int]:
    """An eighth, a quarter and a half of the rows, where that is enough to learn anything from."""
    return [rows // part for part in (8, 4, 2) if rows // part >= LEAST_ROWS]


if __name__ == "__main__":
    run_worker(fit_floor)
