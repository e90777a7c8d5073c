"""Compiles a domain in a process of its own, so that a large one never holds up the daemon."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from engine.base.paths import Workspace
from engine.errors import LeakageFound
from engine.evaluate.compile import Manifest, compile_domain
from engine.evaluate.jobs import CompileJob, CompileOutput
from engine.jobs.types import Progress
from engine.jobs.worker import WorkerContext, run_worker


def compile_in_worker(context: WorkerContext) -> dict[str, Any]:
    """The body of a run of kind `compile`."""
    job = CompileJob.model_validate(context.config.job)
    context.report(Progress(phase="compiling", message=f"Reading domains/{job.domain}."))
    manifest = compile_domain(Workspace(Path(context.config.workspace)), job.domain, job.domain_digest, job.generation).manifest
    refuse_overlaps(manifest)
    return CompileOutput(
        domain_digest=manifest.digest,
        suite=manifest.suite_digest,
        scenarios=manifest.scenarios,
        pool=manifest.pool,
        generation=manifest.generation,
    ).model_dump(mode="json")


def refuse_overlaps(manifest: Manifest) -> None:
    """Raises LeakageFound when a training row is, or nearly is, an evaluation item: a floor is fitted on all rows, drawn for training or not."""
    if not manifest.overlap_count:
        return
    worst = manifest.overlaps[0]
    raise LeakageFound(
        f"{manifest.overlap_count} training rows are, or nearly are, evaluation items; the closest: {worst.row_id!r} and {worst.named_item} "
        f"(similarity {worst.similarity:.2f})",
        next_step="Take these rows out of the domain's training pool or its evaluation rows: a score on seen items means nothing.",
        pairs=[f"{pair.row_id} ~ {pair.named_item} ({pair.similarity:.2f})" for pair in manifest.overlaps[:5]],
        count=manifest.overlap_count,
    )


if __name__ == "__main__":
    run_worker(compile_in_worker)
