"""A worker, the model server or the daemon is killed at each step of an iterate run, in turn; the run ends as if nothing had happened.

One run for each victim. Whenever a step is first seen at work, the victim is killed (SIGKILL) once; so each run survives a kill in every step.
Everything is real but the model: the daemon, its HTTP surface, worker processes and a managed model server (the stand-in, which is a process
of its own behind the same lifecycle as vLLM).
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from engine.base.files import read_json
from engine.base.paths import Workspace
from engine.base.processes import is_alive
from engine.generate.servers import ModelServers
from engine.jobs.types import FINAL_STATES
from server.client import Client, live_daemon, wait_until_gone
from tests.faults.leftovers import processes_of
from tests.workspaces import make_workspace
from tools import TOOLS
from tools.tool import find_tool

STEPS = {"0.compile", "0.floor", "0.measure_base", "1.curate", "1.train", "1.measure_challenger"}
SERVED = {"0.measure_base", "1.train", "1.measure_challenger"}
"""Steps during which a model server is up."""
PROFILE = {"server": True, "delay_seconds": 0.02, "training_steps": 30}


class Ending(NamedTuple):
    """What a run came to, as an agent sees it."""

    accepted: tuple[str, ...]
    """Versions; each is named by the hash of its adapter."""
    base: float
    final: float
    items: int

    @classmethod
    def of(cls, status: dict[str, Any]) -> Ending:
        output = status["output"]
        base, final = output["base"]["score"], output["final"]["score"]
        return cls(tuple(output["accepted"]), base["mean"], final["mean"], final["n"])


class Watched:
    """A workspace with a daemon of its own."""

    def __init__(self, root: Path) -> None:
        self.workspace = make_workspace(root, profile=PROFILE)
        self.client = Client(self.workspace)

    def call(self, name: str, **arguments: Any) -> dict[str, Any]:
        return self.client.call(find_tool(TOOLS, name), arguments)

    def iterate(self, victim: str) -> tuple[dict[str, Any], set[str]]:
        """Runs an iterate to its end, killing `victim` once in every step; returns the status and the steps in which something was killed."""
        run_id = self.call("iterate", cluster="tickets", idempotency_key="the-run")["run_id"]
        killed: set[str] = set()
        deadline = time.monotonic() + 600  # against a run that never ends, however busy the machine is
        while time.monotonic() < deadline:
            status = self.call("run_status", run_id=run_id, wait_seconds=0.05)
            if status["state"] in FINAL_STATES:
                return status, killed
            for step in status.get("steps", []):
                if step["state"] == "running" and step["step"] not in killed and self.kill(victim, step["run_id"]):
                    killed.add(step["step"])
        raise AssertionError(f"the run did not end: {status}")

    def kill(self, victim: str, run_id: str) -> bool:
        """Kills the victim, if it is there now."""
        pids = {"worker": lambda: worker_pids(self.workspace, run_id), "server": self.server_pids, "daemon": self.daemon_pids}[victim]() if victim else []
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        return bool(pids)

    def server_pids(self) -> list[int]:
        return [server.pid for server in ModelServers(self.workspace).status() if server.pid is not None and server.state == "healthy"]

    def daemon_pids(self) -> list[int]:
        daemon = live_daemon(self.workspace)
        return [] if daemon is None else [daemon.pid]

    def stop(self) -> None:
        daemon = live_daemon(self.workspace)
        if daemon is not None:
            self.client.stop_daemon(daemon, servers=True)
            wait_until_gone(daemon, 30.0)
        ModelServers(self.workspace).stop_all()


def worker_pids(workspace: Workspace, run_id: str) -> list[int]:
    """Processes whose command line names the run's directory."""
    wanted = str(workspace.run(run_id).root).encode()
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if wanted in (entry / "cmdline").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    watched = Watched(tmp_path)
    yield watched
    watched.stop()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Ending:
    """The same run without a kill."""
    watched = Watched(tmp_path_factory.mktemp("undisturbed"))
    try:
        status, _ = watched.iterate("")
        assert status["state"] == "succeeded", status
        return Ending.of(status)
    finally:
        watched.stop()


@pytest.mark.parametrize(("victim", "at_least"), [("worker", STEPS), ("server", SERVED), ("daemon", STEPS)])
def test_a_kill_in_every_step_changes_nothing_but_the_time(watched: Watched, undisturbed: Ending, victim: str, at_least: set[str]) -> None:
    status, killed = watched.iterate(victim)
    assert status["state"] == "succeeded", status
    assert len(killed & at_least) >= len(at_least) - 1, f"only killed in {sorted(killed)}"  # a step may end before it is seen
    assert Ending.of(status) == undisturbed
    daemon = live_daemon(watched.workspace)
    assert daemon is not None
    watched.stop()
    assert not is_alive(daemon.identity)
    assert processes_of(watched.workspace.root) == []
    assert read_json(watched.workspace.run(status["run_id"]).config)["kind"] == "iterate"
