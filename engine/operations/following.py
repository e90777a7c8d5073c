"""Runs, followed: where one stands, and its end when somebody wants it."""

from __future__ import annotations

from collections.abc import Sequence

from engine.jobs import records as runs
from engine.jobs.supervisor import Supervisor
from engine.jobs.types import Run
from engine.operations.said import as_shown
from engine.showing.runs import run_status
from engine.store.store import Store
from engine.train.schedule import in_one_line
from engine.views import RunStatus


class Following:
    """The operations, over one store."""

    def __init__(self, store: Store, supervisor: Supervisor) -> None:
        self.store = store
        self.supervisor = supervisor

    def status(self, run_id: str, wait_seconds: float) -> RunStatus:
        """Where a run stands. While an iterate run trains, and after it failed, the settings of its last training are told too."""
        run = self.supervisor.wait(run_id, wait_seconds) if wait_seconds > 0 else self.supervisor.get(run_id)
        steps = self._steps(run)
        status = run_status(as_shown(self.store, run), steps, self.supervisor.waits_for(run.id))
        trained = [step for step in steps if step.kind == "train"]
        if not trained or run.state == "succeeded":  # a finished run has the line in its notes
            return status
        return status.model_copy(update={"summary": f"{status.summary} {self._settings(trained[-1])}"})

    def cancel(self, run_id: str) -> RunStatus:
        """Ends a run; a run that has ended stays as it is."""
        run = self.supervisor.cancel(run_id)
        return run_status(as_shown(self.store, run), self._steps(run))

    def _steps(self, run: Run) -> Sequence[Run]:
        return self.supervisor.list(parent=run.id) if run.kind == "iterate" else []

    def _settings(self, training: Run) -> str:
        """What a training step does otherwise than the profile says, in one line."""
        reasons = runs.launch_of(self.store, training.id).job["plan"]["reasons"]
        return in_one_line(int(str(training.step).partition(".")[0]), reasons)
