"""The demo's path with the real model, made small: real vLLM, real training, and a worker and a server killed on the way."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.config import ModelProfile
from engine.engine import Engine
from engine.generate.types import PreparedBase
from engine.iterate.types import IterateOutput
from engine.jobs.types import Run
from tests.workspaces import domain_file, finish, make_workspace, rows, write_domain

pytestmark = pytest.mark.model


@pytest.fixture
def engine(tmp_path: Path, prepared_base: PreparedBase, real_profile: ModelProfile) -> Iterator[Engine]:
    workspace = make_workspace(tmp_path)
    write_domain(workspace, "tickets", domain_file(train={"epochs": 1.0}), train=rows(0, 96), evaluation=rows(1000, 60))
    clusters = json.loads(workspace.clusters_file.read_text())
    profile = real_profile.model_dump(mode="json")
    profile["training"] |= {"epochs": 1.0, "checkpoint_every_steps": 2}
    clusters["models"]["double"] = profile
    workspace.clusters_file.write_text(json.dumps(clusters))
    workspace.state.mkdir(exist_ok=True)
    models = Path(prepared_base.directory).parents[1]
    workspace.models.mkdir()
    for prepared in models.iterdir():
        (workspace.models / prepared.name.replace("smollm2-135m", "double")).symlink_to(prepared)
    engine = Engine.open(workspace)
    yield engine
    for run in engine.supervisor.list(states=("queued", "running", "interrupted"), top_level=True):
        engine.cancel(run.id)
        finish(engine, run.id)
    engine.servers.stop_all()
    engine.close()


def test_the_real_loop_measures_trains_proves_and_decides_through_kills(engine: Engine) -> None:
    run_id = engine.iterate("tickets").id
    killed: set[str] = set()

    def ended(run: Run) -> bool:
        for step in engine.supervisor.list(parent=run_id):
            busy = step.state == "running" and step.progress is not None and (step.progress.step or 0) >= 3
            if busy and step.step == "1.train" and "worker" not in killed:
                kill_worker(engine, step.id)
                killed.add("worker")
            if busy and step.step == "1.measure_challenger" and "server" not in killed:
                for server in engine.servers.status():
                    os.kill(server.pid or 0, signal.SIGKILL)
                killed.add("server")
        return run.finished_at is not None

    run = finish(engine, run_id, seconds=400, until=ended)
    assert run.state == "succeeded", run.error
    output = IterateOutput.model_validate(run.output)
    (iteration,) = output.iterations
    assert "worker" in killed
    trained = next(step for step in engine.supervisor.list(parent=run_id) if step.step == "1.train")
    assert trained.epoch == 2
    challenger = next(step for step in engine.supervisor.list(parent=run_id) if step.step == "1.measure_challenger")
    assert challenger.output is not None
    assert challenger.output["summary"]["fingerprint"]["verdict"] == "match"
    assert challenger.output["summary"]["subject"] == iteration.challenger
    assert output.floor is not None
    assert output.base.score.n == output.final.score.n == iteration.decision.against_incumbent.difference.n
    assert iteration.decision.verdict == ("accept" if output.accepted else "roll_back")


def kill_worker(engine: Engine, run_id: str) -> None:
    from tests.faults.test_kills import worker_pids

    for pid in worker_pids(engine.workspace, run_id):
        os.kill(pid, signal.SIGKILL)
