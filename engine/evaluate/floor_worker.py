"""Fits every baseline on the training pool, measures each as a model would be, and names the best on core the floor.

    outputs/results.jsonl     ItemResult rows of the floor

Core alone decides which baseline is the floor, so that held-out figures of the floor are not picked for being high. Fitting is
deterministic and takes seconds; a killed run starts afresh.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from engine.base.digests import digest_of
from engine.base.files import write_jsonl
from engine.base.paths import Workspace
from engine.evaluate.compile import CompiledDomain, load_compiled
from engine.evaluate.jobs import FloorJob, FloorLine, FloorOutput
from engine.evaluate.measurement import RESULTS, Tally, identity_for, split_scores
from engine.evaluate.prompts import render_target
from engine.evaluate.types import EvaluationSummary, ItemResult, Split
from engine.generate.types import Answer
from engine.jobs.types import Progress
from engine.jobs.worker import WorkerContext, run_worker


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
    write_jsonl(context.paths.root / RESULTS, [row.model_dump(mode="json") for row in (fitting[chosen][1] if chosen else [])])
    output = FloorOutput(
        chosen=chosen,
        summary=fitting[chosen][0] if chosen else None,
        methods=tuple(floor_line(method, found[0] if found else None) for method, found in tried.items()),
        domain_digest=compiled.digest,
        generation=compiled.manifest.generation,
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
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    from engine.evaluate.floors.methods import METHODS_VERSION, predict

    started = time.monotonic()
    scenarios = compiled.of_split(*splits)
    with threadpool_limits(1):  # small sparse problems gain nothing from a second thread, and the model server may be starting on it
        answers = predict(method, compiled.pool, [scenario.input for scenario in scenarios], seed=seed)
    if answers is None:
        return None
    tally = Tally(compiled, scenarios)
    for scenario, answer in zip(scenarios, answers, strict=True):
        tally.add(Answer(key=scenario.id, text=render_target(compiled.domain.contract, answer), cached=True))
    results = tally.results()
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


if __name__ == "__main__":
    run_worker(fit_floor)
