"""When a run whose attempt left nothing is not started again, and with which error it ends then. Pure."""

from __future__ import annotations

from engine.errors import ModelsmithError, ResourceExhausted, WorkerLost, error_from_record
from engine.jobs.records import ActiveRun
from engine.jobs.types import RunError, RunKind

MAX_ATTEMPTS = 5
RETRIED_WITH_LESS: tuple[RunKind, ...] = ("train",)
"""Kinds whose parent tries again with less memory when one run ran out of it; starting the same run again would only run out again."""


def given_up(run: ActiveRun, ended: str, *, for_memory: bool) -> ModelsmithError | None:
    """Why a run whose worker was lost is not started again; None where it is. `for_memory`: the kernel ended processes for want of it meanwhile."""
    if for_memory and (run.kind in RETRIED_WITH_LESS or run.epoch >= MAX_ATTEMPTS):
        return ResourceExhausted(
            f"the kernel was out of memory while the {run.kind} worker of attempt {run.epoch} ran, and that worker {ended}",
            next_step="Free memory on this machine, or give the cluster a smaller model; then start the run again.",
            resource="memory",
            attempts=run.epoch,
        )
    if run.epoch >= MAX_ATTEMPTS:
        return WorkerLost(
            f"the {run.kind} worker was started {run.epoch} times; the last {ended}",
            next_step="Read worker.log in the run directory, then start the run again.",
            attempts=run.epoch,
        )
    return None


def given_up_for_disk(run: ActiveRun, error: RunError) -> ModelsmithError | None:
    """Why a run that the disk has stopped is not started again; None where it is."""
    return error_from_record(error.model_dump()) if run.epoch >= MAX_ATTEMPTS else None
