"""Compiles a domain in a process of its own, so that a large one never holds up the daemon."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from engine.base.paths import Workspace
from engine.evaluate.compile import compile_domain
from engine.evaluate.jobs import CompileJob, CompileOutput
from engine.jobs.types import Progress
from engine.jobs.worker import WorkerContext, run_worker


def compile_in_worker(context: WorkerContext) -> dict[str, Any]:
    """The body of a run of kind `compile`."""
    job = CompileJob.model_validate(context.config.job)
    context.report(Progress(phase="compiling", message=f"Reading domains/{job.domain}."))
    manifest = compile_domain(Workspace(Path(context.config.workspace)), job.domain, job.domain_digest).manifest
    return CompileOutput(
        domain_digest=manifest.digest,
        suite=manifest.suite_digest,
        scenarios=manifest.scenarios,
        pool=manifest.pool,
        pool_overlaps=manifest.overlap_count,
        overlap_examples=tuple(f"{pair.row_id} ~ {pair.scenario_id} ({pair.split})" for pair in manifest.overlaps[:5]),
    ).model_dump(mode="json")


if __name__ == "__main__":
    run_worker(compile_in_worker)
