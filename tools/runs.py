"""Runs: following one, ending one, and how a tool answers when it has started one."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from engine.base.record import Record
from engine.escalate.runbooks.catalogue import runbook_for
from engine.jobs.types import FINAL_STATES, Run
from engine.views import NextCall, RunHandle, RunStatus
from tools.fields import RunId
from tools.outputs import small_output
from tools.tool import Tool

if TYPE_CHECKING:
    from engine.engine import Engine

MAX_WAIT_SECONDS = 50
"""Clients commonly give a call 60 seconds."""


def handle(run: Run, asked_at: str) -> RunHandle:
    """What a tool answers that started a run, or found it by its key: a run older than the question was there already."""
    created = run.created_at >= asked_at
    about = f"{run.kind} of {run.cluster}" if run.cluster else run.kind
    summary = f"Started {about} as {run.id}; it goes on in the background." if created else f"{about} is already there as {run.id}: {run.state}."
    return RunHandle(
        summary=summary,
        next=(NextCall(tool="run_status", arguments={"run_id": run.id, "wait_seconds": MAX_WAIT_SECONDS}, why="wait for it"),),
        run_id=run.id,
        kind=run.kind,
        cluster=run.cluster,
        state=run.state,
        created=created,
    )


class RunStatusArguments(Record):
    """Which run, and how long to wait for its end."""

    run_id: RunId
    wait_seconds: Annotated[float, Field(ge=0, le=MAX_WAIT_SECONDS, description="Wait up to this long for its end; 0 answers at once.")] = 0


def run_status(engine: Engine, arguments: RunStatusArguments) -> RunStatus:
    """Where a run stands. The engine wakes at each sign of progress; the answer is due when the run has ended or the time is over."""
    deadline = time.monotonic() + arguments.wait_seconds
    status = engine.run_status(arguments.run_id, 0.0)
    while status.state not in FINAL_STATES and (left := deadline - time.monotonic()) > 0:
        status = engine.run_status(arguments.run_id, left)
    return shortened(status)


class CancelArguments(Record):
    """Which run."""

    run_id: RunId


def cancel(engine: Engine, arguments: CancelArguments) -> RunStatus:
    """Asks a run to end; its processes are gone within seconds."""
    return shortened(engine.cancel(arguments.run_id))


def shortened(status: RunStatus) -> RunStatus:
    """A status with its output made small, and its error with what to do about it; the progress of a run that has ended says nothing more."""
    if status.state not in FINAL_STATES:
        return status
    output = None if status.output is None else small_output(status.kind, status.output)
    error = None if status.error is None else status.error.model_copy(update={"runbook": runbook_for(status.error.code)})
    return status.model_copy(update={"output": output, "progress": None, "error": error})


RUN_STATUS = Tool(
    name="run_status",
    title="Run status",
    description=(
        "Where a run stands: state, phase, step, loss, score, ETA; its steps; at its end its output, with what to try next, or its error. With "
        "wait_seconds it answers at the end of the run or of that time."
    ),
    effect="read",
    arguments=RunStatusArguments,
    result=RunStatus,
    run=run_status,
    idempotent=True,
    positional=("run_id",),
)

CANCEL = Tool(
    name="cancel",
    title="Cancel a run",
    description=(
        "Ends a queued or running run within seconds, with everything that it started. What was accepted or measured stays; an unfinished "
        "step is lost."
    ),
    effect="write",
    arguments=CancelArguments,
    result=RunStatus,
    run=cancel,
    idempotent=True,
    destructive=True,
    positional=("run_id",),
)
