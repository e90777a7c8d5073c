"""Runs: durable units of long work, as every surface sees them."""

from __future__ import annotations

from typing import Any, Literal

from engine.base.record import Record

RunKind = Literal[
    "iterate", "evaluate", "floor", "compile", "try_cheap", "teach", "draft", "curate", "search", "pairs", "train", "repair", "prepare", "export"
]
RunState = Literal["queued", "running", "succeeded", "failed", "cancelled", "interrupted"]
FINAL_STATES: frozenset[str] = frozenset({"succeeded", "failed", "cancelled"})

TRANSITIONS: dict[str, frozenset[str]] = {
    "queued": frozenset({"running", "cancelled", "failed"}),
    "running": frozenset({"succeeded", "failed", "cancelled", "interrupted"}),
    "interrupted": frozenset({"running", "failed", "cancelled"}),
    "succeeded": frozenset(),
    "failed": frozenset(),
    "cancelled": frozenset(),
}
"""Which state may follow which. `interrupted`: the worker is gone without a result; the daemon starts it again, or gives up."""


class RunConfig(Record):
    """config.json: all that a worker reads. Written before the worker starts, never changed; the epoch stands in the command line."""

    schema_version: Literal[1] = 1
    run_id: str
    kind: RunKind
    cluster: str | None
    workspace: str
    """Absolute path of the workspace."""
    seed: int
    job: dict[str, Any]
    """The stage's own job record, such as EvaluateJob or TrainJob."""


class Progress(Record):
    """One line of a worker's spool, and the latest of them in a run's status. Absent fields are unknown, not zero."""

    phase: str
    """What is being done, in one or two words: `generating`, `training`."""
    step: int | None = None
    total: int | None = None
    loss: float | None = None
    score: float | None = None
    eta_seconds: float | None = None
    message: str = ""
    """One sentence for people."""


class RunError(Record):
    """Why a run failed, in the form of every error."""

    code: str
    message: str
    next_step: str = ""
    details: dict[str, Any] = {}

    @property
    def short_of(self) -> str | None:
        """`memory` or `disk` where the run ended for want of that."""
        found = self.details.get("resource")
        return found if self.code == "resource_exhausted" and found in ("memory", "disk") else None


class RunResult(Record):
    """result.json: written once, last."""

    schema_version: Literal[1] = 1
    run_id: str
    epoch: int
    state: Literal["succeeded", "failed", "cancelled"]
    output: dict[str, Any] = {}
    """The stage's own output record."""
    error: RunError | None = None
    seconds: float
    """Wall time of this attempt."""
    peak_rss_bytes: int
    """Largest resident size of the worker process."""


class Run(Record):
    """One row of the run table."""

    id: str
    kind: RunKind
    cluster: str | None
    state: RunState
    parent: str | None
    """The iterate run that this run is a step of."""
    step: str | None
    """Which step of the parent: `1.train`, `1.measure`."""
    epoch: int
    """Attempt number; a worker with another one is refused."""
    arguments: dict[str, Any]
    created_at: str
    started_at: str | None
    finished_at: str | None
    output: dict[str, Any] | None
    error: RunError | None
    progress: Progress | None
