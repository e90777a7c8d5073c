"""Makes a training set: selects rows, guards against leakage, renders them, writes them with their lineage.

    outputs/
      dataset.jsonl      {"id", "messages": [...], "completion"}: the prompt as evaluation renders it, the answer to be learnt
      manifest.json      how it was made: job, counts, reasons and digests

The same job writes the same bytes, so a run that was killed is simply done again. Whether a row fits into the model's context is for the
training worker to judge, which has the tokenizer.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from engine.base.digests import file_sha256
from engine.base.files import read_jsonl, write_json, write_jsonl
from engine.base.paths import Workspace
from engine.curate.jobs import CurateJob, CurateOutput
from engine.curate.leakage import find_leaks, refuse_leaks
from engine.curate.select import select_rows
from engine.curate.teach import taught_pool
from engine.curate.types import TaughtRows
from engine.errors import ArtifactCorrupt, DomainInvalid
from engine.evaluate.answers import parse_answer
from engine.evaluate.compile import CompiledDomain, load_compiled
from engine.evaluate.prompts import render_messages, render_target
from engine.evaluate.types import TrainingRow
from engine.jobs.types import Progress
from engine.jobs.worker import WorkerContext, run_worker


def curate(context: WorkerContext) -> dict[str, Any]:
    """The body of a curation run."""
    job = CurateJob.model_validate(context.config.job)
    compiled = load_compiled(Workspace(Path(context.config.workspace)), job.domain_digest)
    if not compiled.pool:
        raise DomainInvalid(f"the domain {compiled.name} has no training rows", next_step="Add rows to the file named in data.train.path.")
    values = {} if job.taught is None else taught_values_of(compiled, job.taught)
    pool = compiled.pool if job.taught is None else taught_pool(compiled.pool, values, job.taught.trust)
    if not pool:
        raise DomainInvalid(f"the teacher of {compiled.name} leaves no row to train on", next_step="Raise its max_answers, or trust the labels.")
    context.report(Progress(phase="selecting", message=f"choosing from {len(pool)} rows"))
    selection = select_rows(
        pool,
        job.patterns,
        max_rows=job.max_rows,
        replay_share=job.replay_share,
        seed=job.seed,
        stratify=compiled.domain.data.splits.stratify,
    )
    by_id = {row.id: row for row in pool}
    chosen = [by_id[row_id] for row_id in dict.fromkeys(selection.rows)]
    context.check_cancelled()
    context.report(Progress(phase="leakage guard", message=f"comparing {len(chosen)} rows with {len(compiled.scenarios)} evaluation items"))
    refuse_leaks(find_leaks(chosen, compiled.scenarios, compiled.domain.data.near_duplicate))
    context.check_cancelled()

    dataset = context.paths.outputs / "dataset.jsonl"
    rendered = {row.id: rendered_row(compiled, row) for row in chosen}
    write_jsonl(dataset, [rendered[row_id] for row_id in selection.rows])
    output = CurateOutput(
        rows=len(selection.rows),
        distinct_rows=len(chosen),
        aimed=selection.aimed,
        replay=selection.replay,
        per_pattern=selection.per_pattern,
        reasons=(*selection.reasons, *job.notes),
        compared=len(compiled.scenarios),
        dataset=file_sha256(dataset),
        domain=compiled.digest,
        suite=compiled.suite_digest,
        taught=sum(row.id in values for row in chosen),
        answers=None if job.taught is None else job.taught.dataset_digest,
    ).model_dump(mode="json")
    write_json(context.paths.outputs / "manifest.json", {"schema_version": 1, "job": job.model_dump(mode="json"), **output})
    return {**output, "artifacts": {"dataset": "outputs/dataset.jsonl", "manifest": "outputs/manifest.json"}}


def taught_values_of(compiled: CompiledDomain, taught: TaughtRows) -> dict[str, Any]:
    """A teacher's answers as values by row id. ArtifactCorrupt when the file is not the one that was named."""
    path = Path(taught.dataset)
    if not path.is_file() or file_sha256(path) != taught.dataset_digest:
        raise ArtifactCorrupt(f"the answers of teacher {taught.teacher} are not the ones that this run was given", next_step="Ask the teacher again.")
    output = compiled.domain.contract.output
    return {row["id"]: parse_answer(output, row["completion"]).value for row in read_jsonl(path)}


def rendered_row(compiled: CompiledDomain, row: TrainingRow) -> dict[str, Any]:
    """One line of the dataset."""
    contract = compiled.domain.contract
    return {
        "id": row.id,
        "messages": [message.model_dump() for message in render_messages(contract, row.input)],
        "completion": render_target(contract, row.expected),
    }


if __name__ == "__main__":
    run_worker(curate)
