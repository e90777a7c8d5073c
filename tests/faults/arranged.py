"""Faults that befall processes which start later: a file in the workspace that an arranged daemon and its workers read.

    python -m tests.faults.arranged --workspace DIR      the daemon, which is the product's but for what stands below

Its workers begin in `arranged_worker.py`, which does what is arranged for their kind and otherwise is the product's worker. Its wall clock is set by the
days that are arranged, its disk is as full as arranged, and it takes a worker for stalled, and looks into what failed, after seconds.
"""

from __future__ import annotations

import json
import shutil
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from engine.base.clock import iso
from engine.base.files import write_json
from engine.base.paths import Workspace
from engine.engine import Engine
from engine.jobs.workers import WORKER_MODULES
from server import daemon

STALL_SECONDS = 4.0
HOUSEKEEPING_SECONDS = 1.0


def command(workspace: Workspace) -> list[str]:
    """How this daemon is started, in the place of `server.client.daemon_command`."""
    return [sys.executable, "-P", "-m", "tests.faults.arranged", "--workspace", str(workspace.root)]


# ---- what is arranged ----------------------------------------------------------------------------------------------------------------


def arranged(workspace: Workspace) -> dict[str, Any]:
    """What is arranged now: `days` that the clock is set by, whether the disk is `full`, and the `worker` that something befalls."""
    try:
        found: dict[str, Any] = json.loads(_file(workspace).read_bytes())
    except FileNotFoundError:
        return {}
    return found


def arrange(workspace: Workspace, **what: Any) -> None:
    """Arranges this beside what is arranged already. `worker`: {kind, does, times}."""
    write_json(_file(workspace), arranged(workspace) | what)


def clear(workspace: Workspace) -> None:
    """Nothing is arranged any more."""
    _file(workspace).unlink(missing_ok=True)


def befalls(workspace: Workspace, kind: str) -> str:
    """What befalls the worker that begins, counted down; empty where nothing does."""
    worker = arranged(workspace).get("worker")
    if worker is None or worker["kind"] != kind or worker["times"] <= 0:
        return ""
    arrange(workspace, worker=worker | {"times": worker["times"] - 1, "befell": True})
    return str(worker["does"])


def _file(workspace: Workspace) -> Path:
    return workspace.state / "arranged.json"


# ---- the daemon ----------------------------------------------------------------------------------------------------------------------


def open_arranged(workspace: Workspace) -> Engine:
    """The engine with what is arranged."""

    def clock() -> str:
        return iso(datetime.now(UTC) + timedelta(days=arranged(workspace).get("days", 0.0)))

    def free_bytes() -> int:
        return 0 if arranged(workspace).get("full") else shutil.disk_usage(workspace.state).free

    engine = opened(workspace, clock=clock)
    supervisor = engine.supervisor
    supervisor.workers.modules = dict.fromkeys(WORKER_MODULES, "tests.faults.arranged_worker")
    supervisor._stall_seconds = dict.fromkeys(WORKER_MODULES, STALL_SECONDS)
    supervisor._free_bytes = free_bytes
    return engine


opened = Engine.open

if __name__ == "__main__":
    Engine.open = open_arranged  # type: ignore[method-assign,assignment]
    daemon.HOUSEKEEPING_SECONDS = HOUSEKEEPING_SECONDS  # type: ignore[misc]
    sys.exit(daemon.main())
