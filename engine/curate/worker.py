"""Makes a training set: selects rows, guards against leakage, renders them, writes them with their lineage.

    outputs/
      dataset.jsonl      {"id", "messages": [...], "completion"}: the prompt as evaluation renders it, the answer to be learnt
      manifest.json      how it was made: job, counts, reasons and digests
      doubtful.jsonl     {"id", "loss", "posterior"}: rows that were set aside, where earlier trainings give reason to

The same job writes the same bytes, so a run that was killed is simply done again. Whether a row fits into the model's context is for the
training worker to judge, which has the tokenizer.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

from engine.base.digests import digest_of, file_sha256
from engine.base.files import read_json, read_jsonl, write_json, write_jsonl
from engine.base.paths import Workspace
from engine.curate.doubt import Doubt, doubts_of
from engine.curate.jobs import CurateJob, CurateOutput, RehearseJob, RowLosses
from engine.curate.leakage import find_leaks, refuse_leaks
from engine.curate.select import select_rows
from engine.curate.teach import taught_pool
from engine.curate.types import TaughtRows
from engine.errors import ArtifactCorrupt, DomainInvalid
from engine.evaluate.answers import parse_answer
from engine.evaluate.compile import CompiledDomain, compile_domain, load_compiled
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
    doubts = doubted(pool, job.judged_by)
    context.report(Progress(phase="selecting", message=f"choosing from {len(pool)} rows, {len(doubts)} of them set aside as doubtful"))
    selection = select_rows(
        [row for row in pool if row.id not in doubts],
        job.patterns,
        max_rows=job.max_rows,
        replay_share=job.replay_share,
        seed=job.seed,
        stratify=compiled.domain.data.splits.stratify,
    )
    by_id = {row.id: row for row in pool}
    chosen = [by_id[row_id] for row_id in dict.fromkeys(selection.rows)]
    context.check_cancelled()
    context.report(Progress(phase="leakage guard", message=f"comparing {len(chosen)} rows with {len(compiled.kept_apart)} evaluation items"))
    refuse_leaks(find_leaks(chosen, compiled.kept_apart, compiled.domain.data.near_duplicate))
    context.check_cancelled()

    dataset = context.paths.outputs / "dataset.jsonl"
    rendered = {row.id: rendered_row(compiled, row) for row in chosen}
    rows = [rendered[row_id] for row_id in selection.rows]
    rehearsed = [] if job.rehearse is None else rehearsal(context, job.rehearse, compiled, rows, job.seed)
    said = [f"{len(rehearsed)} rows of {job.rehearse.domain} are rehearsed besides."] if job.rehearse else []
    if doubts:
        said.append(f"{len(doubts)} of {len(pool)} rows are set aside: a model that has learnt the others finds their labels unlikely.")
    write_jsonl(dataset, mixed(rows, rehearsed, job.seed))
    output = CurateOutput(
        rows=len(rows) + len(rehearsed),
        distinct_rows=len(chosen),
        aimed=selection.aimed,
        replay=selection.replay,
        rehearsed=len(rehearsed),
        set_aside=len(doubts),
        per_pattern=selection.per_pattern,
        reasons=(*selection.reasons, *job.notes, *said),
        compared=len(compiled.kept_apart),
        dataset=file_sha256(dataset),
        domain=compiled.digest,
        suite=compiled.suite_digest,
        taught=sum(row.id in values for row in chosen),
        answers=None if job.taught is None else job.taught.dataset_digest,
    ).model_dump(mode="json")
    write_json(context.paths.outputs / "manifest.json", {"schema_version": 1, "job": job.model_dump(mode="json"), **output})
    artifacts = {"dataset": "outputs/dataset.jsonl", "manifest": "outputs/manifest.json"}
    if doubts:
        listed = [{"id": doubt.row, "loss": doubt.loss, "posterior": doubt.posterior} for doubt in doubts.values()]
        write_jsonl(context.paths.outputs / "doubtful.jsonl", listed)
        artifacts["doubtful"] = "outputs/doubtful.jsonl"
    return {**output, "artifacts": artifacts}


def doubted(pool: Sequence[TrainingRow], judged_by: Sequence[RowLosses]) -> dict[str, Doubt]:
    """The rows of the pool to set aside, least likely first. ArtifactCorrupt when a file of losses is not the one that was named."""
    trainings: list[dict[str, float]] = []
    for losses in judged_by:
        path = Path(losses.path)
        if not path.is_file() or file_sha256(path) != losses.digest:
            raise ArtifactCorrupt("the row losses of a training are not the ones that this run was given", next_step="Start the iterate run again.")
        trainings.append(read_json(path))
    ids = {row.id for row in pool}
    return {doubt.row: doubt for doubt in doubts_of([{row: loss for row, loss in losses.items() if row in ids} for losses in trainings])}


def taught_values_of(compiled: CompiledDomain, taught: TaughtRows) -> dict[str, Any]:
    """A teacher's answers as values by row id. ArtifactCorrupt when the file is not the one that was named."""
    path = Path(taught.dataset)
    if not path.is_file() or file_sha256(path) != taught.dataset_digest:
        raise ArtifactCorrupt(f"the answers of teacher {taught.teacher} are not the ones that this run was given", next_step="Ask the teacher again.")
    output = compiled.domain.contract.output
    return {row["id"]: parse_answer(output, row["completion"]).value for row in read_jsonl(path)}


def rehearsal(
    context: WorkerContext, job: RehearseJob, compiled: CompiledDomain, own: Sequence[dict[str, Any]], seed: int
) -> list[dict[str, Any]]:
    """Lines of another domain, rendered as that domain renders them, chosen by hash. They are kept apart from both domains' evaluation items."""
    other = compile_domain(Workspace(Path(context.config.workspace)), job.domain, job.domain_digest)
    if not other.pool:
        raise DomainInvalid(f"the domain {other.name} has no rows to rehearse", next_step="Give it data.train, or set train.rehearse to null.")
    ordered = sorted(other.pool, key=lambda row: digest_of([seed, row.id]))
    rendered = {row.id: rendered_row(other, row) for row in ordered}
    characters = accumulate(len(rendered[row.id]["completion"]) for row in ordered)
    room = job.share * sum(len(row["completion"]) for row in own)
    chosen = [row for row, used in zip(ordered, characters, strict=True) if used <= room]
    for suite in (other, compiled):
        refuse_leaks(find_leaks(chosen, suite.kept_apart, suite.domain.data.near_duplicate))
    return [{**rendered[row.id], "id": f"{other.name}/{row.id}"} for row in chosen]


def mixed(rows: list[dict[str, Any]], rehearsed: list[dict[str, Any]], seed: int) -> list[dict[str, Any]]:
    """The rows in their order with the rehearsed ones strewn between them."""
    placed = [(place / max(1, len(rows)), row) for place, row in enumerate(rows)]
    strewn = [(int(digest_of([seed, "place", row["id"]])[:8], 16) / 0xFFFFFFFF, row) for row in rehearsed]
    return [row for _, row in sorted([*placed, *strewn], key=lambda pair: pair[0])]


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
