"""What was tried before for the failures of a cluster, read from its runs, so that no remedy is applied to one failure for ever.

Two remedies are looked at: a rung of the memory ladder, over all trainings of the cluster, and starting the run again, over its iterate runs.
Deciding is `engine/jobs/loops.py`.
"""

from __future__ import annotations

from engine.errors import RemediesExhausted
from engine.jobs import records as runs
from engine.jobs.loops import TRIES, Tried, in_vain, signature
from engine.jobs.types import Run, RunError
from engine.store.store import Store

START_AGAIN = "start the run again"
LOOKED_BACK = 40
"""Runs of a cluster."""
OUT_OF_MEMORY = "train: out of memory"
"""The signature of all trainings that ran out of it: how a library says so differs."""


def rungs_in_vain(store: Store, cluster: str, *, without: str) -> frozenset[int]:
    """Rungs of the memory ladder that have been tried often enough and never fitted. `without`: the iterate run that asks."""
    trained = runs.latest(store, cluster=cluster, states=("succeeded", "failed"), kinds=("train",), limit=LOOKED_BACK)
    tried = [_rung_tried(run) for run in reversed(trained) if run.parent != without]
    rungs = {int(run.arguments.get("rung", 0)) for run in trained}
    return frozenset(rung for rung in rungs if in_vain(tried, OUT_OF_MEMORY, f"rung {rung}") >= TRIES - 1)


def _rung_tried(run: Run) -> Tried:
    short = run.error is not None and run.error.short_of == "memory"
    return Tried(OUT_OF_MEMORY if short else "", f"rung {run.arguments.get('rung', 0)}", mended=run.state == "succeeded")


def ended_alike(store: Store, run: Run, error: RunError) -> RunError:
    """The error with which an iterate run ends: its own, or that starting such runs again has not helped."""
    if error.code == "cancelled":
        return error
    past = runs.latest(store, cluster=run.cluster, states=("succeeded", "failed"), kinds=("iterate",), top_level=True, limit=LOOKED_BACK)
    tried = [Tried("" if one.error is None else signature(one.error), START_AGAIN, mended=one.state == "succeeded") for one in reversed(past)]
    known, times = signature(error), in_vain(tried, signature(error), START_AGAIN) + 1
    if times < TRIES:
        return error
    exhausted = RemediesExhausted(
        f"the last {times} runs of {run.cluster} ended with the same failure, so that starting one again does not help: {error.message}",
        next_step=f"Find what is behind it before another run: {error.next_step}",
        **{**error.details, "signature": known, "remedy": START_AGAIN, "times": times, "failure": error.code, "said": error.message},
    )
    return RunError.model_validate(exhausted.as_record())
