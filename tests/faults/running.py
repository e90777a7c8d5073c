"""What faults are brought about with while a run works: the run as an agent sees it, its processes, and the bytes beneath it.

Tests of single faults use it, and `bench/autonomy.py`, which lets a month of runs meet them.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from engine.base.paths import Workspace
from engine.base.processes import find_processes
from engine.generate.servers import ModelServers
from engine.jobs.types import FINAL_STATES
from server.client import Client, live_daemon, wait_until_gone
from tools import TOOLS
from tools.tool import find_tool

RUN_SECONDS = 600.0
"""Against a run that never ends, however busy the machine is."""


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
        return cls(tuple(output.get("accepted", ())), base["mean"], final["mean"], final["n"])


class Place:
    """A workspace as an agent reaches it, and its processes."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.client = Client(workspace)

    def call(self, name: str, **arguments: Any) -> dict[str, Any]:
        return self.client.call(find_tool(TOOLS, name), arguments)

    def watch(self, run_id: str, at_each_look: Callable[[dict[str, Any]], None], *, look_seconds: float = 0.05) -> dict[str, Any]:
        """The status with which a run ended; whoever looks gets each one before it."""
        deadline = time.monotonic() + RUN_SECONDS
        while time.monotonic() < deadline:
            status = self.call("run_status", run_id=run_id, wait_seconds=look_seconds)
            if status["state"] in FINAL_STATES:
                return status
            at_each_look(status)
        raise AssertionError(f"{run_id} did not end: {status}")

    def kill(self, victim: str, run_id: str, number: int = signal.SIGKILL) -> bool:
        """Sends a signal to the victim, if it is there now."""
        pids = {"worker": lambda: worker_pids(self.workspace, run_id), "server": self.server_pids, "daemon": self.daemon_pids}[victim]()
        for pid in pids:
            os.kill(pid, number)
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
            wait_until_gone(daemon.identity, 30.0)
        ModelServers(self.workspace).stop_all()


def worker_pids(workspace: Workspace, run_id: str) -> list[int]:
    """Processes whose command line names the run's directory."""
    return [identity.pid for identity, _ in find_processes(str(workspace.run(run_id).root))]




def flip_a_byte(path: Path) -> None:
    """Changes the last byte; a second time, back."""
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)
