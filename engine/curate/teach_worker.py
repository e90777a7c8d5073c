"""Asks a teacher for answers to training prompts, judges it, and keeps what may be taught.

    outputs/
      dataset.jsonl      {"id", "messages": [...], "completion"}: the domain's own prompt with the teacher's answer; only of a usable teacher
      results.jsonl      ItemResult rows: every answer graded against its label
      manifest.json      how it was made: job, counts, figures, reason

Only rows of the training pool are asked for, and the leakage guard compares each of them with every evaluation item first. A teacher that cannot be
reached is an infrastructure failure and ends the run; it is never a low score.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from engine.base.digests import file_sha256
from engine.base.files import write_json, write_jsonl
from engine.base.paths import Workspace
from engine.curate.asking import Asker, requests_of
from engine.curate.leakage import find_leaks, refuse_leaks
from engine.curate.select import select_rows
from engine.curate.teach import Asking, asking_of, items_of, standing, stopped, taught_pool, taught_values
from engine.curate.teach_jobs import TeachJob, TeachOutput
from engine.curate.worker import rendered_row
from engine.errors import DomainInvalid
from engine.evaluate.compile import CompiledDomain, compile_domain
from engine.evaluate.measurement import Tally, split_scores
from engine.evaluate.prompts import render_target
from engine.evaluate.types import TrainingRow
from engine.evaluate.worker import Ticker, refuse_losses
from engine.generate.types import Answer
from engine.jobs.types import Progress
from engine.jobs.worker import WorkerContext, run_worker


class Asked(NamedTuple):
    """What was asked for and what came."""

    tally: Tally
    texts: dict[str, str]
    generator: str
    generated: int
    cached: int
    tokens: int


def teach(context: WorkerContext) -> dict[str, Any]:
    """The body of a run of kind `teach`."""
    job = TeachJob.model_validate(context.config.job)
    compiled = compile_domain(Workspace(Path(context.config.workspace)), job.domain, job.domain_digest)
    rows = chosen_rows(job, compiled)
    context.report(Progress(phase="leakage guard", message=f"comparing {len(rows)} prompts with {len(compiled.kept_apart)} evaluation items"))
    refuse_leaks(find_leaks(rows, compiled.kept_apart, compiled.domain.data.near_duplicate))
    how = asking_of(compiled.domain.contract.output, job.profile)
    asked = ask_oracle(context, compiled, rows) if job.profile is None else ask(context, job, compiled, rows, how)
    refuse_losses(asked.tally, asked.tally.answered)
    output = judged(context, job, compiled, asked, how)
    write_json(context.paths.outputs / "manifest.json", {"schema_version": 1, "job": job.model_dump(mode="json"), **output})
    names = ("dataset.jsonl", "results.jsonl", "manifest.json") if output["usable"] else ("results.jsonl", "manifest.json")
    return {**output, "artifacts": {name.partition(".")[0]: f"outputs/{name}" for name in names}}


def chosen_rows(job: TeachJob, compiled: CompiledDomain) -> list[TrainingRow]:
    """The rows that the teacher is asked for, drawn evenly over the pool's strata, in the order of asking."""
    if not compiled.pool:
        raise DomainInvalid(f"the domain {compiled.name} has no training rows", next_step="Add rows to the file named in data.train.path.")
    stratify = compiled.domain.data.splits.stratify
    drawn = select_rows(compiled.pool, (), max_rows=job.teacher.max_answers, replay_share=1.0, seed=job.seed, stratify=stratify)
    by_id = {row.id: row for row in compiled.pool}
    return [by_id[row_id] for row_id in dict.fromkeys(drawn.rows)]


def ask(context: WorkerContext, job: TeachJob, compiled: CompiledDomain, rows: Sequence[TrainingRow], how: Asking) -> Asked:
    """Asks as far as the budget goes."""
    assert job.profile is not None
    reference = {row.id: render_target(compiled.domain.contract, row.expected) for row in rows}
    requests = requests_of(compiled, rows, how)
    tally = Tally(compiled, items_of(rows))
    ticker = Ticker(context, tally, len(requests), "asking the teacher")
    with Asker(context, job.teacher, job.profile, base=job.base, device=job.device, reference=reference) as teacher:
        came = teacher.ask(requests, ticker.on_answer)
        texts = {key: answer.text for key, answer in came.items()}
        return Asked(tally, texts, teacher.name, teacher.generated, teacher.cached, teacher.tokens)


def ask_oracle(context: WorkerContext, compiled: CompiledDomain, rows: Sequence[TrainingRow]) -> Asked:
    """The labels as answers: nothing is generated, so nothing is cached, and nothing is spent."""
    tally = Tally(compiled, items_of(rows))
    texts = {row.id: render_target(compiled.domain.contract, row.expected) for row in rows}
    for key, text in texts.items():
        tally.add(Answer(key=key, text=text, cached=True))
    context.report(Progress(phase="asking the teacher", step=len(rows), total=len(rows), message="The oracle is the labels."))
    return Asked(tally, texts, f"labels of the pool {compiled.manifest.pool_digest[:12]}", 0, 0, 0)


def judged(context: WorkerContext, job: TeachJob, compiled: CompiledDomain, asked: Asked, how: Asking) -> dict[str, Any]:
    """Figures, verdict and dataset."""
    output, terms = compiled.domain.contract.output, job.teacher
    results = asked.tally.results()
    write_jsonl(context.paths.outputs / "results.jsonl", [result.model_dump(mode="json") for result in results])
    figures = split_scores(compiled, results, ("core",), seed=job.seed)[0]
    verdict = standing(
        terms.name,
        figures.score,
        figures.pass_rate,
        job.floor,
        metric=compiled.domain.eval.accept.metric,
        suite=compiled.suite_digest,
        grading=compiled.grading_digest,
        no_floor=job.no_floor,
    )
    values, left_out = taught_values(output, terms.trust, results, asked.texts)
    dataset = context.paths.outputs / "dataset.jsonl"
    if verdict.usable:
        taught = taught_pool(compiled.pool, values, "teacher")
        write_jsonl(dataset, [rendered_row(compiled, row) for row in taught])
    return TeachOutput(
        teacher=terms.name,
        trust=terms.trust,
        generator=asked.generator,
        structured=how,
        pool=len(compiled.pool),
        asked=len(results),
        generated=asked.generated,
        cached=asked.cached,
        tokens=asked.tokens,
        stopped=stopped(len(results), len(compiled.pool), asked.tokens, max_answers=terms.max_answers, max_tokens=terms.max_tokens),
        score=figures.score,
        agreement=figures.pass_rate,
        in_form=figures.schema_valid,
        floor=job.floor,
        usable=verdict.usable,
        reason=verdict.reason,
        rows=len(values) if verdict.usable else 0,
        left_out=left_out,
        dataset=file_sha256(dataset) if verdict.usable else None,
        compared=len(compiled.kept_apart),
        domain=compiled.digest,
        domain_name=compiled.name,
        suite=compiled.suite_digest,
        grading=compiled.grading_digest,
    ).model_dump(mode="json")


if __name__ == "__main__":
    run_worker(teach)
