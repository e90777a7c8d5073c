"""A workspace in which the loop has accepted a version: made once, copied for each test that promotes it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from engine.base.paths import Workspace
from engine.engine import Engine
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


def configure(workspace: Workspace, *, clusters: dict[str, Any] | None = None, **of_tickets: Any) -> None:
    """Changes clusters.json: entries, or fields of the cluster `tickets`."""
    file = json.loads(workspace.clusters_file.read_text())
    file["clusters"].update(clusters or {})
    file["clusters"]["tickets"].update(of_tickets)
    workspace.clusters_file.write_text(json.dumps(file))
