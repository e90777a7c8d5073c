"""A workspace in which the loop has accepted a version: made once, copied for each test that promotes it."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine.base.paths import Workspace
from engine.engine import Engine
from engine.errors import ModelsmithError
from tests.workspaces import finish, make_workspace


def accept_one(root: Path) -> Path:
    """The workspace, and in it a second cluster that has no version."""
    workspace = make_workspace(root)
    configure(workspace, clusters={"other": {"domain": "tickets", "model": "double"}})
    engine = Engine.open(workspace)
    run = finish(engine, engine.iterate("tickets").id, seconds=300)
    assert run.state == "succeeded", run.error
    engine.close()
    return root


def copied(root: Path, target: Path) -> Workspace:
    """The same without its runs' folders."""
    shutil.copytree(root, target, ignore=shutil.ignore_patterns("runs"))
    (target / ".modelsmith" / "runs").mkdir()
    return Workspace(target)


def at_once(moves: Callable[[], bool], agents: int = 2) -> list[str]:
    """What agents get that act at the same moment, in the order of the words."""
    together, outcomes = threading.Barrier(agents), []

    def act() -> None:
        together.wait()
        try:
            outcomes.append("moved" if moves() else "stayed")
        except ModelsmithError as refusal:
            outcomes.append(refusal.code)

    threads = [threading.Thread(target=act) for _ in range(agents)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sorted(outcomes)


def configure(workspace: Workspace, *, clusters: dict[str, Any] | None = None, **of_tickets: Any) -> None:
    """Changes clusters.json: entries, or fields of the cluster `tickets`."""
    file = json.loads(workspace.clusters_file.read_text())
    file["clusters"].update(clusters or {})
    file["clusters"]["tickets"].update(of_tickets)
    workspace.clusters_file.write_text(json.dumps(file))
