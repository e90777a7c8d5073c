"""Merges a version's adapter into its base once more, where the merged weights that were kept have changed.

    outputs/merged/    the same bytes as before, or the run fails: under their digest nothing else is kept

Base and adapter are compared with their hashes first. The daemon puts the result in the place of what had changed.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from engine.base.digests import tree_sha256
from engine.errors import ArtifactCorrupt
from engine.generate.integrity import refuse_altered
from engine.jobs.types import Progress
from engine.jobs.worker import WorkerContext, run_worker
from engine.train.jobs import RepairJob


def repair(context: WorkerContext) -> dict[str, Any]:
    """The body of a repair."""
    from engine.train.weights import merge

    job = RepairJob.model_validate(context.config.job)
    context.report(Progress(phase="merging", message=f"merging {job.adapter_digest[:12]} into its base again"))
    refuse_altered("base", Path(job.base.directory), job.base.digest)
    refuse_altered("adapter", Path(job.adapter), job.adapter_digest)
    merged = context.paths.outputs / "merged"
    shutil.rmtree(merged, ignore_errors=True)
    merge(Path(job.base.directory), Path(job.adapter), merged)
    found = tree_sha256(merged)
    if found != job.merged_digest:
        raise ArtifactCorrupt(
            f"merged again, {job.adapter_digest[:12]} has the digest {found[:12]} instead of {job.merged_digest[:12]}",
            next_step="Libraries have changed since it was merged: train this version again.",
            weights=job.merged_digest,
        )
    return {"artifacts": {"merged": "outputs/merged"}}


if __name__ == "__main__":
    run_worker(repair)
