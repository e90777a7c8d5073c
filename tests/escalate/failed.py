"""A workspace in which an iterate run failed: made once, copied for each test."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import yaml

from engine.base.paths import Workspace
from engine.engine import Engine
from engine.promote.approvals.approvers import Approvers
from engine.promote.approvals.approvers_file import write_approvers
from tests.workspaces import finish, make_workspace, rows


def fail_one(root: Path) -> Path:
    """The run failed because its domain changed while it went on: asked for again, it succeeds."""
    workspace = make_workspace(root)
    engine = Engine.open(workspace)
    try:
        again(engine)
    finally:
        engine.close()
    return root


def again(engine: Engine) -> str:
    """One more run that fails the same way; its id. The domain is another one before it too, for one that was compiled before is not read again."""
    add_row(engine.workspace)
    run = engine.iterate("tickets")
    add_row(engine.workspace)
    ended = finish(engine, run.id)
    assert (ended.state, ended.error and ended.error.code) == ("failed", "state_conflict")
    return run.id


def add_row(workspace: Workspace) -> None:
    """One more training row."""
    path = workspace.domain("tickets") / "data" / "train.jsonl"
    with path.open("a") as file:
        file.write(json.dumps(rows(500 + len(path.read_text().splitlines()), 1)[0]) + "\n")


def copied(root: Path, target: Path) -> Workspace:
    """The same, whole."""
    shutil.copytree(root, target)
    return Workspace(target)


def name_approvers(workspace: Workspace, approvers: Approvers) -> None:
    """An approver list, named in clusters.json."""
    file = json.loads(workspace.clusters_file.read_text())
    workspace.clusters_file.write_text(json.dumps(file | {"approvers": "approvers.json"}))
    write_approvers(workspace.root / "approvers.json", approvers)


def set_in_domain(workspace: Workspace, block: str, **settings: Any) -> None:
    """Settings of a block of the domain."""
    file = workspace.domain("tickets") / "domain.yaml"
    domain = yaml.safe_load(file.read_text())
    file.write_text(yaml.safe_dump(domain | {block: domain.get(block, {}) | settings}, sort_keys=False))


def set_budget(workspace: Workspace, rounds: int) -> None:
    """`budgets.default.max_iterations` of clusters.json, which is governed."""
    file = json.loads(workspace.clusters_file.read_text())
    file["budgets"]["default"]["max_iterations"] = rounds
    workspace.clusters_file.write_text(json.dumps(file))
