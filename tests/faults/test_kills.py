"""A worker, the model server or the daemon is killed at each step of an iterate run, in turn; the run ends as if nothing had happened.

One run for each victim. Whenever a step is first seen at work, the victim is killed (SIGKILL) once; so each run survives a kill in every step.
Everything is real but the model: the daemon, its HTTP surface, worker processes and a managed model server (the stand-in, which is a process
of its own behind the same lifecycle as vLLM).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.base.files import read_json
from engine.base.processes import is_alive
from server.client import live_daemon
from tests.faults.leftovers import processes_of
from tests.faults.running import Ending, Place
from tests.workspaces import make_workspace

STEPS = {"0.compile", "0.floor", "0.measure_base", "1.curate", "1.train", "1.measure_challenger"}
SERVED = {"0.measure_base", "1.train", "1.measure_challenger"}
"""Steps during which a model server is up."""
PROFILE = {"server": True, "delay_seconds": 0.02, "training_steps": 30}


def iterate(place: Place, victim: str) -> tuple[dict[str, Any], set[str]]:
    """Runs an iterate to its end, killing `victim` once in every step; returns the status and the steps in which something was killed."""
    killed: set[str] = set()

    def kill(status: dict[str, Any]) -> None:
        for step in status.get("steps", []):
            if victim and step["state"] == "running" and step["step"] not in killed and place.kill(victim, step["run_id"]):
                killed.add(step["step"])

    run_id = place.call("iterate", cluster="tickets", idempotency_key="the-run")["run_id"]
    return place.watch(run_id, kill), killed


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Place]:
    watched = Place(make_workspace(tmp_path, profile=PROFILE))
    yield watched
    watched.stop()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Ending:
    """The same run without a kill."""
    watched = Place(make_workspace(tmp_path_factory.mktemp("undisturbed"), profile=PROFILE))
    try:
        status, _ = iterate(watched, "")
        assert status["state"] == "succeeded", status
        return Ending.of(status)
    finally:
        watched.stop()


@pytest.mark.parametrize(("victim", "at_least"), [("worker", STEPS), ("server", SERVED), ("daemon", STEPS)])
def test_a_kill_in_every_step_changes_nothing_but_the_time(watched: Place, undisturbed: Ending, victim: str, at_least: set[str]) -> None:
    status, killed = iterate(watched, victim)
    assert status["state"] == "succeeded", status
    assert len(killed & at_least) >= len(at_least) - 1, f"only killed in {sorted(killed)}"  # a step may end before it is seen
    assert Ending.of(status) == undisturbed
    daemon = live_daemon(watched.workspace)
    assert daemon is not None
    watched.stop()
    assert not is_alive(daemon.identity)
    assert processes_of(watched.workspace.root) == []
    assert read_json(watched.workspace.run(status["run_id"]).config)["kind"] == "iterate"
