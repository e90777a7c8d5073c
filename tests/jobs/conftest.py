"""A workspace with a store, a supervisor over worker doubles, and the certainty that no process is left behind."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.base.paths import Workspace
from engine.base.processes import end_group, find_processes
from engine.engine import Engine
from engine.escalate.types import Escalation
from engine.jobs import records
from engine.jobs.supervisor import Supervisor
from engine.jobs.types import FINAL_STATES, Run
from engine.store.artifacts import Artifacts
from engine.store.store import StageTables, Store
from tests.escalate.complete import escalated

DOUBLES = {kind: "worker_double" for kind in ("evaluate", "floor", "compile", "curate", "search", "train", "prepare")}
PATIENCE_SECONDS = 120.0
"""Against waiting for ever; how long it takes says how busy the machine is."""


class Daemon:
    """What the daemon does with runs: the store and the supervisor, without surfaces. `restart` is what a kill and a new start amount to."""

    def __init__(self, workspace: Workspace, extra: tuple[StageTables, ...], hooks: dict[Any, Any], **options: Any) -> None:
        self.workspace, self.extra, self.hooks, self.options = workspace, extra, hooks, options
        self.open()

    def open(self) -> None:
        self.store = Store.open(self.workspace, (records.tables(self.hooks), *self.extra))
        self.artifacts = Artifacts(self.workspace.artifacts)
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
        self.supervisor = Supervisor(
            self.store, self.artifacts, self.workspace, worker_environment=environment, worker_modules=DOUBLES, **self.options
        )

    def restart(self) -> None:
        self.store.close()
        self.open()

    def escalated(self, run: Run) -> Escalation:
        """The complete escalation of a run that failed for good, as the whole engine makes it of this store, which it takes over."""
        self.store.close()
        engine = Engine.open(self.workspace)
        self.store = engine.store
        return escalated(engine, run.id)

    def submit(self, kind: str = "train", *, cluster: str | None = "c", arguments: dict[str, Any] | None = None, **more: Any) -> Run:
        job = more.pop("job", {})
        return self.supervisor.submit(kind, cluster=cluster, job=job, arguments=arguments or {}, seed=17, **more)  # type: ignore[arg-type]

    def tick_until(self, holds: Callable[[], Any]) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not holds():
            assert time.monotonic() < deadline, "nothing came of it"
            self.supervisor.tick()
            time.sleep(0.02)

    def until_final(self, run: Run) -> Run:
        self.tick_until(lambda: self.supervisor.get(run.id).state in FINAL_STATES)
        return self.supervisor.get(run.id)

    def until_working(self, run: Run) -> None:
        """Until the worker's body has begun and its first progress is in the store."""
        self.tick_until(lambda: self.supervisor.get(run.id).progress is not None)


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    yield Workspace(tmp_path)
    left = [identity for run in (tmp_path / ".modelsmith/runs").glob("*") for identity, _ in find_processes(str(run))]
    for identity in left:
        end_group(identity, 0)
    assert not left, "a worker was left behind"


@pytest.fixture
def start(workspace: Workspace) -> Iterator[Callable[..., Daemon]]:
    """Starts a daemon with result hooks, further tables, and options of the supervisor."""
    started: list[Daemon] = []

    def make(*extra: StageTables, hooks: dict[Any, Any] | None = None, **options: Any) -> Daemon:
        started.append(Daemon(workspace, extra, hooks or {}, **{"cancel_grace_seconds": 0.5, **options}))
        return started[-1]

    yield make
    for daemon in started:
        daemon.store.close()


@pytest.fixture
def daemon(start: Callable[..., Daemon]) -> Daemon:
    return start()
