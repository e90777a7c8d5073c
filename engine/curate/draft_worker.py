"""Has a teacher reword training rows, and makes drafts of new scenarios from what is sound.

    outputs/
      drafts.jsonl       the drafts that are staged when the run ends, most unlike first
      manifest.json      how they were made: job, counts, what was dropped and why

Only training rows go out, after the leakage guard has compared each with every evaluation item; a rewording that comes back near an item that is
kept back is dropped before anything more is asked about it. Then the teacher answers each new input as the domain asks: a draft stays only when
that answer is golden against the row's label, because a rewording may change what the right answer is. Questions of both kinds share the teacher's
budget. Killed and started again, it finds its answers in the cache.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from engine.base.files import write_json, write_jsonl
from engine.base.paths import Workspace
from engine.curate.asking import Asker, requests_of
from engine.curate.draft import as_row, draft_from, how_to_reword, rewording
from engine.curate.draft_jobs import DraftJob, DraftOutput
from engine.curate.golden import is_golden
from engine.curate.leakage import find_leaks, refuse_leaks
from engine.curate.teach import Asking, asking_of, items_of
from engine.errors import GenerationFailed
from engine.evaluate.compile import CompiledDomain, load_compiled
from engine.evaluate.grading import grade
from engine.evaluate.proposals.drafting import Surroundings, sift
from engine.evaluate.proposals.types import Draft
from engine.generate.types import Answer
from engine.jobs.types import Progress
from engine.jobs.worker import WorkerContext, run_worker


def draft(context: WorkerContext) -> dict[str, Any]:
    """The body of a run of kind `draft`."""
    job = DraftJob.model_validate(context.config.job)
    compiled = load_compiled(Workspace(Path(context.config.workspace)), job.domain_digest)
    wanted = set(job.rows)
    rows = [row for row in compiled.pool if row.id in wanted]
    context.report(Progress(phase="leakage guard", message=f"comparing {len(rows)} rows with {len(compiled.kept_apart)} evaluation items"))
    refuse_leaks(find_leaks(rows, compiled.kept_apart, compiled.domain.data.near_duplicate))
    earlier = [Draft.model_validate_json(text) for text in job.earlier]
    around = Surroundings(compiled.kept_apart, compiled.pool, earlier, compiled.domain.data.near_duplicate)
    with Asker(context, job.teacher, job.profile, base=job.base, device=job.device, reference={}) as teacher:
        context.report(Progress(phase="rewording", message=f"{len(rows)} training rows"))
        came = teacher.ask([rewording(compiled.domain, row, how_to_reword(job.profile)) for row in rows])
        refuse_silence(came.values())
        made = [draft_from(row, came[row.id], teacher=job.teacher.name, pattern=job.pattern) for row in rows if row.id in came]
        drafts = [each for each in made if each is not None]
        sound, dropped = sift(compiled.domain, drafts, around, count=len(drafts), seed=job.seed)
        context.report(Progress(phase="checking labels", message=f"{len(sound)} rewordings are new and clear of what is kept back"))
        kept, changed = with_label(teacher, compiled, sound, asking_of(compiled.domain.contract.output, job.profile), count=job.count)
        counts = {
            "invalid": dropped.invalid + len(rows) - len(drafts),
            "label_changed": changed,
            "left_over": len(sound) - len(kept) - changed,
        }
        output = DraftOutput(
            teacher=job.teacher.name,
            generator=teacher.name,
            domain=compiled.name,
            pattern=job.pattern,
            evaluation_id=job.evaluation_id,
            rows=len(rows),
            drafts=tuple(each.model_dump_json() for each in kept),
            dropped=dropped.model_copy(update=counts),
            generated=teacher.generated,
            cached=teacher.cached,
            tokens=teacher.tokens,
            compared=len(compiled.kept_apart),
        ).model_dump(mode="json")
    write_jsonl(context.paths.outputs / "drafts.jsonl", [each.model_dump(mode="json") for each in kept])
    write_json(context.paths.outputs / "manifest.json", {"schema_version": 1, "job": job.model_dump(mode="json"), **output})
    return {**output, "artifacts": {"rows": "outputs/drafts.jsonl", "manifest": "outputs/manifest.json"}}


def with_label(teacher: Asker, compiled: CompiledDomain, sound: Sequence[Draft], how: Asking, *, count: int) -> tuple[list[Draft], int]:
    """The first `count` drafts to which the teacher's own answer is golden, and how many came before them to which it is not. Asks no more than
    is needed; a draft that the budget leaves no question for counts as one whose label changed."""
    kept: list[Draft] = []
    asked = 0
    while len(kept) < count and asked < len(sound):
        batch = sound[asked : asked + count - len(kept)]
        asked += len(batch)
        rows = [as_row(each) for each in batch]
        came = teacher.ask(requests_of(compiled, rows, how))
        refuse_silence(came.values())
        for each, item in zip(batch, items_of(rows), strict=True):
            if each.id in came and is_golden(grade(compiled.domain, item, came[each.id])):
                kept.append(each)
    return kept, asked - len(kept)


def refuse_silence(answers: Collection[Answer]) -> None:
    """Raises GenerationFailed when every answer was lost to infrastructure."""
    errors = [answer.error for answer in answers if answer.error is not None]
    if errors and len(errors) == len(answers):
        raise GenerationFailed(
            f"the teacher answered none of {len(errors)} questions: {errors[0][:200]}",
            next_step="See to its endpoint or server, then ask again: answers that came are in the cache.",
        )


if __name__ == "__main__":
    run_worker(draft)
