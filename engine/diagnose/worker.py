"""Measures cheap remedies of a base before anything is trained: worked examples in the prompt, and the schema switch the other way.

Each is asked of the same sample of core items as the domain's own way of asking, and compared in pairs. Answers go through the cache under
what was asked, so a worker that was killed asks only for the rest, and the domain's own way costs nothing: the base was measured just before.

    outputs/results.jsonl      {"trial", "result": ItemResult}, one a trial and item
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engine.base.files import write_jsonl
from engine.base.paths import Workspace
from engine.diagnose.facts import class_of_result
from engine.diagnose.jobs import TryCheapJob, TryCheapOutput
from engine.diagnose.try_cheap import as_turns, in_words
from engine.diagnose.types import CheapTrial, FixCount
from engine.evaluate.compile import CompiledDomain, load_compiled
from engine.evaluate.grading import is_schema_valid
from engine.evaluate.measurement import RESULTS, references_for, requests_for, settings_for
from engine.evaluate.prompts import render_with_examples
from engine.evaluate.statistics import compare
from engine.evaluate.types import ItemResult
from engine.evaluate.worker import Asked, Batch
from engine.generate.cache import AnswerCache
from engine.generate.open import open_generator
from engine.generate.types import Request
from engine.jobs.worker import WorkerContext, run_worker


def try_cheap(context: WorkerContext) -> dict[str, Any]:
    """The body of a run of kind `try_cheap`."""
    job = TryCheapJob.model_validate(context.config.job)
    workspace = Workspace(Path(context.config.workspace))
    compiled = load_compiled(workspace, job.domain_digest)
    generator = open_generator(
        job.model,
        job.profile,
        workspace=workspace,
        base=job.base,
        weights=None,
        device=job.device,
        reference=references_for(compiled, compiled.of_split("core")),
        check_cancelled=context.check_cancelled,
    )
    try:
        batch = Batch(context, generator, AnswerCache(workspace.answers, generator.identity), compiled)
        trials, rows = measure_trials(batch, job, compiled, seed=context.config.seed)
    finally:
        generator.close()
    write_jsonl(context.paths.root / RESULTS, rows)
    output = TryCheapOutput(trials=tuple(trials), domain_digest=compiled.digest)
    return {**output.model_dump(mode="json"), "artifacts": {"trials": RESULTS}}


def measure_trials(batch: Batch, job: TryCheapJob, compiled: CompiledDomain, *, seed: int) -> tuple[list[CheapTrial], list[dict[str, Any]]]:
    """Asks the sample in the domain's own way and with each remedy."""
    output = compiled.domain.contract.output
    wanted = set(job.items)
    scenarios = [scenario for scenario in compiled.of_split("core") if scenario.id in wanted]
    own_settings = settings_for(output, structured=output.structured)
    own = batch.ask(requests_for(compiled, scenarios, own_settings), "as it is")
    trials: list[CheapTrial] = []
    asked = [("own", own)]
    if job.examples:
        shown = as_turns(compiled, job.examples)
        requests = [
            Request(key=each.id, messages=render_with_examples(compiled.domain.contract, shown, each.input), settings=own_settings)
            for each in scenarios
        ]
        made = batch.ask(requests, "with examples")
        asked.append(("few_shot", made))
        found = _trial(compiled, "few_shot", in_words(job.examples), own, made, made, structured=output.structured, seed=seed)
        trials.append(found.model_copy(update={"examples": tuple(example.row for example in job.examples), "golden": job.golden}))
    if job.switch_schema:
        made = batch.ask(requests_for(compiled, scenarios, settings_for(output, structured=not output.structured)), "the schema switch")
        asked.append(("constrain_decoding", made))
        free, held = (made, own) if output.structured else (own, made)
        words = "decoding held to the schema"
        trials.append(_trial(compiled, "constrain_decoding", words, free, held, made, structured=True, seed=seed))
    return trials, [{"trial": name, "result": result.model_dump(mode="json")} for name, each in asked for result in each.results]


def _trial(
    compiled: CompiledDomain,
    remedy: str,
    words: str,
    before: Asked,
    after: Asked,
    made: Asked,
    *,
    structured: bool,
    seed: int,
) -> CheapTrial:
    """What the remedy bought. `made`: the batch that was asked for it; the other is the domain's own way."""
    accept = compiled.domain.eval.accept
    graded = [result for result in after.results if result.outcome == "graded"]
    valid = sum(is_schema_valid(result) for result in graded) / len(graded) if graded and compiled.domain.contract.output.kind == "json" else None
    return CheapTrial.model_validate(
        {
            "remedy": remedy,
            "words": words,
            "structured": structured and compiled.domain.contract.output.json_schema is not None,
            "comparison": compare(before.results, after.results, split="core", metric=accept.metric, confidence=accept.confidence, seed=seed),
            "schema_valid": valid,
            "fixed": fix_counts(before.results, after.results),
            "seconds": round(made.seconds, 3),
            "generated": made.counts.generated,
        }
    )


def fix_counts(before: Sequence[ItemResult], after: Sequence[ItemResult]) -> tuple[FixCount, ...]:
    """Of the items that failed before, by their class: how many pass after."""
    passing = {result.scenario_id: result.passed for result in after if result.outcome == "graded"}
    tried: Counter[Any] = Counter()
    fixed: Counter[Any] = Counter()
    for result in before:
        if result.outcome == "graded" and not result.passed and result.scenario_id in passing:
            name = class_of_result(result)
            tried[name] += 1
            fixed[name] += passing[result.scenario_id]
    return tuple(FixCount(failure_class=name, fixed=fixed[name], tried=count) for name, count in sorted(tried.items()))


if __name__ == "__main__":
    run_worker(try_cheap)
