"""Runs as surfaces show them: a line in a list, a status with its steps, and what to call next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from engine.base.clock import seconds_between
from engine.evaluate.canaries import in_words
from engine.evaluate.types import Canaries
from engine.iterate.teaching import draft_note, teacher_note
from engine.jobs.types import Run
from engine.showing.reported import saved_items
from engine.views import NextCall, RunLine, RunStatus, ShownError, StepLine


def run_line(run: Run, waits_for: str = "") -> RunLine:
    """A run in a list. `waits_for`: why it stands still for now."""
    words = waits_for or progress_words(run)
    return RunLine(run_id=run.id, kind=run.kind, cluster=run.cluster, state=run.state, created_at=run.created_at, progress=words)


def progress_words(run: Run) -> str:
    """Phase, step and ETA in words; empty when nothing is known."""
    progress = run.progress
    if progress is None or run.finished_at is not None:
        return ""
    words = progress.phase
    if progress.step is not None and progress.total:
        words += f" {progress.step}/{progress.total}"
    if progress.eta_seconds is not None:
        words += f", about {progress.eta_seconds:.0f} s left"
    return words


def run_status(run: Run, children: Sequence[Run], waits_for: str = "") -> RunStatus:
    """A run with its steps. An iterate run shows the progress of the step that is at work. `waits_for`: why it stands still for now."""
    steps = tuple(step_line(child) for child in children)
    working = next((step for step in reversed(steps) if step.state in ("running", "interrupted")), None)
    progress = run.progress
    if working is not None and working.progress is not None and run.finished_at is None:
        progress = working.progress.model_copy(update={"phase": f"{working.step}: {working.progress.phase}"})
    return RunStatus(
        summary=status_sentence(run, working) + (f" It {waits_for}." if waits_for and run.finished_at is None else ""),
        next=next_calls(run),
        run_id=run.id,
        kind=run.kind,
        cluster=run.cluster,
        state=run.state,
        created_at=run.created_at,
        started_at=run.started_at,
        finished_at=run.finished_at,
        progress=progress,
        steps=steps,
        output=run.output,
        error=None if run.error is None else ShownError(**run.error.model_dump()),
    )


def step_line(child: Run) -> StepLine:
    """One step of an iterate run in its list."""
    return StepLine(
        step=str(child.step),
        run_id=child.id,
        state=child.state,
        seconds=None if child.finished_at is None else round(max(0.0, seconds_between(child.created_at, child.finished_at)), 1),
        progress=child.progress if child.finished_at is None else None,
    )


def status_sentence(run: Run, working: StepLine | None) -> str:
    """A run's state in a sentence."""
    what = f"{run.id} ({run.kind}{f' on {run.cluster}' if run.cluster else ''})"
    if run.error is not None:
        return f"{what} {run.state}: {run.error.message}"
    if run.state == "succeeded" and run.kind == "iterate" and run.output is not None:
        final = run.output["final"]
        accepted = ", ".join(run.output["accepted"]) or "no challenger"
        score = f"{final['score']['mean']:.3f}"
        return f"{what} is done: {accepted} accepted; {final['subject']} answers, held-out score {score}.{saved_items(run.output)}"
    if run.state == "succeeded" and run.kind == "evaluate" and run.output is not None and (told := run.output["summary"].get("canaries")):
        return f"{what} is done. {in_words(Canaries.model_validate(told))}"
    if run.state == "succeeded" and run.kind == "teach" and run.output is not None:
        return f"{what} is done. {teacher_note(run.output)}"
    if run.state == "succeeded" and run.kind == "draft" and run.output is not None:
        return f"{what} is done. {draft_note(run.output)}"
    if run.state == "succeeded" and run.kind == "export" and run.output is not None:
        return f"{what} is done. {export_note(run.output)}"
    if working is not None:
        return f"{what} is {run.state}, at step {working.step}."
    return f"{what} is {run.state}."


def export_note(output: Mapping[str, Any]) -> str:
    """What an export found, in a sentence."""
    forms = ", ".join(str(form["form"]) for form in output["forms"])
    if output["agrees"]:
        package = output["artifacts"]["package"]
        return f"{output['version']} as {forms} answers as it was evaluated; its package lies in .modelsmith/artifacts/{package[:2]}/{package}."
    differing = [figure["sentence"] for form in output["forms"] for figure in form["figures"] if not figure["holds"]]
    return f"{output['version']} does NOT answer as it was evaluated, so there is no package. {' '.join(differing)}"


def next_calls(run: Run) -> tuple[NextCall, ...]:
    """What makes sense after looking at a run."""
    if run.finished_at is None:
        return (NextCall(tool="run_status", arguments={"run_id": run.id, "wait_seconds": 50}, why="wait for it"),)
    if run.state == "succeeded" and run.kind in ("iterate", "evaluate") and run.cluster:
        return (NextCall(tool="diagnose", arguments={"cluster": run.cluster}, why="what still fails"),)
    if run.state == "succeeded" and run.kind == "export" and run.cluster:
        return (NextCall(tool="promote", arguments={"cluster": run.cluster, "version": run.arguments["version"]}, why="try the gate"),)
    if run.state in ("failed", "cancelled") and run.kind == "iterate" and run.cluster:
        return (NextCall(tool="iterate", arguments={"cluster": run.cluster}, why="again; finished measurements come from the cache"),)
    return ()
