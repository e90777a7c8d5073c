"""A training that runs out of memory is tried with less of it, and the next training begins with what sufficed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engine.engine import Engine
from engine.iterate.types import IterateOutput
from engine.jobs import records as runs
from engine.jobs.types import Run
from engine.jobs.workers import WORKER_MODULES
from engine.train.jobs import TrainJob
from tests.escalate.complete import escalated
from tests.workspaces import finish, make_workspace

pytestmark = pytest.mark.processes


@pytest.fixture
def hungry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[float], Engine]]:
    """An engine whose trainings may hold so many rows at once."""
    opened: list[Engine] = []

    def open_engine(room: float) -> Engine:
        monkeypatch.setenv("ROOM_FOR_ROWS", str(room))
        opened.append(Engine.open(make_workspace(tmp_path)))
        opened[-1].supervisor.workers.modules = {**WORKER_MODULES, "train": "tests.iterate.hungry_worker"}
        return opened[-1]

    yield open_engine
    for engine in opened:
        engine.close()


def trainings(engine: Engine, run: Run) -> list[tuple[str | None, str]]:
    return [(step.step, step.state) for step in engine.supervisor.list(parent=run.id) if step.kind == "train"]


def test_a_training_out_of_memory_goes_on_with_smaller_micro_batches_and_the_same_batch(hungry: Callable[[float], Engine]) -> None:
    engine = hungry(2)
    run = finish(engine, engine.iterate("tickets", 2).id)
    assert run.state == "succeeded", run.error
    first, second = IterateOutput.model_validate(run.output).iterations
    assert (first.plan.micro_batch_size, first.plan.batch_size) == (2, 8)
    assert any(reason.startswith("micro_batch_size is 2 instead of 8: training ran out of memory") for reason in first.plan.reasons)
    assert trainings(engine, run) == [("1.train", "failed"), ("1.train_smaller_1", "succeeded"), ("2.train", "succeeded")]
    assert second.plan.micro_batch_size == 2


def test_the_last_resort_is_a_smaller_adapter_and_where_that_is_too_large_the_run_fails_for_memory(hungry: Callable[[float], Engine]) -> None:
    engine = hungry(0.1)
    run = finish(engine, engine.iterate("tickets").id)
    assert run.error is not None
    assert (run.error.code, run.error.short_of, run.error.details["step"]) == ("resource_exhausted", "memory", "1.train_smaller_4")
    *_, last = [step for step in engine.supervisor.list(parent=run.id) if step.kind == "train"]
    plan = TrainJob.model_validate(runs.launch_of(engine.store, last.id).job).plan
    assert (plan.micro_batch_size, plan.gradient_checkpointing, plan.lora.rank) == (1, True, 4)
    assert len([reason for reason in plan.reasons if "training ran out of memory" in reason]) == 4
    assert last.arguments["schedule"]["rank"] == 4
    assert escalated(engine, run.id).failure.step == "1.train_smaller_4"
