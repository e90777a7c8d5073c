"""Asks the incumbent for answers to training prompts and makes pairs of those that failed.

    outputs/
      pairs.jsonl        {"id", "messages": [...], "chosen", "rejected"}
      manifest.json      how it was made: job, counts, digests

The prompts are rows of a curated set, which has passed the leakage guard; they are compared with the evaluation items once more here, because
this worker is told only the set's digest. Answers and their results stay in this run directory and in the answer cache: no table of
measurements ever holds them, and no evaluation item is asked. Graded by the same code as an evaluation. Killed and started again, it finds
its answers in the cache.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from engine.base.digests import file_sha256
from engine.base.files import read_jsonl, write_json, write_jsonl
from engine.base.paths import Workspace
from engine.curate.golden import read_golden
from engine.curate.jobs import PairsJob, PairsOutput
from engine.curate.leakage import find_leaks, refuse_leaks
from engine.curate.pairs import Answered, enough, keys_of, pairs_of, preferred_in_words, sampled_rows
from engine.curate.worker import rendered_row
from engine.errors import ArtifactCorrupt, NothingToLearn
from engine.evaluate.compile import CompiledDomain, load_compiled
from engine.evaluate.measurement import Tally
from engine.evaluate.prompts import render_target
from engine.evaluate.types import Scenario, TrainingRow
from engine.evaluate.worker import Ticker, refuse_losses
from engine.generate.cache import AnswerCache, answer_all
from engine.generate.open import open_generator
from engine.generate.types import GenerationSettings, Message, Request, request_digest
from engine.jobs.types import Progress
from engine.jobs.worker import WorkerContext, run_worker


def make_pairs(context: WorkerContext) -> dict[str, Any]:
    """The body of a run of kind `pairs`."""
    job = PairsJob.model_validate(context.config.job)
    compiled = load_compiled(Workspace(Path(context.config.workspace)), job.domain_digest)
    rows = chosen_rows(job, compiled)
    refuse_leaks(find_leaks(rows, compiled.kept_apart, compiled.domain.data.near_duplicate))
    answered = ask(context, job, compiled, rows)
    if job.golden is not None:
        golden = {row.id: render_target(compiled.domain.contract, row.expected) for row in read_golden(compiled, job.golden.sources)}
        answered = [row._replace(golden=golden.get(row.row, "")) for row in answered]
    pairs, counts = pairs_of(answered, per_row=job.per_row)
    why_not = enough(counts, least_pairs=job.least_pairs, least_passed=job.least_passed)
    context.report(Progress(phase="pairing", message=why_not or preferred_in_words(counts)))
    if why_not:
        raise NothingToLearn(why_not, next_step="Train with SFT (train.method: sft).", **counts.model_dump(mode="json"))
    by_id = {row.id: row for row in rows}
    dataset = context.paths.outputs / "pairs.jsonl"
    write_jsonl(
        dataset,
        [
            {"id": pair.row, "messages": rendered_row(compiled, by_id[pair.row])["messages"], "chosen": pair.chosen, "rejected": pair.rejected}
            for pair in pairs
        ],
    )
    output = PairsOutput(
        counts=counts,
        subject=job.subject,
        weights=job.weights.digest if job.weights else (job.base.digest if job.base else ""),
        rows_from=job.dataset_digest,
        golden=None if job.golden is None else job.golden.version,
        golden_from=() if job.golden is None else tuple(source.digest for source in job.golden.sources),
        pairs=file_sha256(dataset),
        domain=compiled.digest,
        suite=compiled.suite_digest,
    ).model_dump(mode="json")
    write_json(context.paths.outputs / "manifest.json", {"schema_version": 1, "job": job.model_dump(mode="json"), **output})
    return {**output, "artifacts": {"dataset": "outputs/pairs.jsonl", "manifest": "outputs/manifest.json"}}


def chosen_rows(job: PairsJob, compiled: CompiledDomain) -> list[TrainingRow]:
    """The rows of the pool that are asked: a draw from the curated set."""
    path = Path(job.dataset)
    if not path.is_file() or file_sha256(path) != job.dataset_digest:
        raise ArtifactCorrupt(f"the curated set {path.name} is not the one that this run was given", next_step="Curate again.")
    pool = {row.id: row for row in compiled.pool}
    curated = [str(row["id"]) for row in read_jsonl(path) if row["id"] in pool]
    return [pool[name] for name in sampled_rows(curated, job.max_prompts, job.seed)]


def ask(context: WorkerContext, job: PairsJob, compiled: CompiledDomain, rows: list[TrainingRow]) -> list[Answered]:
    """Every row's answers, graded."""
    contract = compiled.domain.contract
    keys = keys_of([row.id for row in rows], job.samples)
    by_id = {row.id: row for row in rows}
    references = {row.id: render_target(contract, row.expected) for row in rows}
    generator = open_generator(
        job.model,
        job.profile,
        workspace=Workspace(Path(context.config.workspace)),
        base=job.base,
        weights=job.weights,
        device=job.device,
        reference={key: references[row] for key, (row, _) in keys.items()},
        check_cancelled=context.check_cancelled,
    )
    rendered = {row.id: tuple(Message.model_validate(message) for message in rendered_row(compiled, row)["messages"]) for row in rows}
    requests = [Request(key=key, messages=rendered[row], settings=settings_of(job, compiled, sample)) for key, (row, sample) in keys.items()]
    # The split is a form's requirement: these items are in no suite, and their results go into no table.
    items = [Scenario(id=key, input=by_id[row].input, expected=by_id[row].expected, split="core") for key, (row, _) in keys.items()]
    tally = Tally(compiled, items)
    cache = AnswerCache(Workspace(Path(context.config.workspace)).answers, generator.identity)
    try:
        if not all(cache.get(request_digest(request)) for request in requests):
            context.report(Progress(phase="loading", message="Loading the model and proving which weights answer."))
            generator.prove()
        answer_all(generator, requests, Ticker(context, tally, len(requests), "asking").on_answer, cache)
    finally:
        cache.close()
        generator.close()
    refuse_losses(tally, len(requests))
    results = {result.scenario_id: result for result in tally.results()}
    return [Answered(row.id, references[row.id], tuple(results[f"{row.id}#{sample}"] for sample in range(job.samples))) for row in rows]


def settings_of(job: PairsJob, compiled: CompiledDomain, sample: int) -> GenerationSettings:
    """The first sample as evaluation asks; the others drawn, each from a seed of its own."""
    output = compiled.domain.contract.output
    schema = output.json_schema if output.structured else None
    drawn = {} if sample == 0 else {"temperature": job.temperature, "seed": job.seed + sample}
    return GenerationSettings.model_validate({"max_tokens": output.max_tokens, "json_schema": schema, **drawn})


if __name__ == "__main__":
    run_worker(make_pairs)
