"""The curation worker: same rows each time, rendered as evaluation renders them, and stopped by a leak."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from engine.base.digests import file_sha256
from engine.base.files import read_jsonl, write_json
from engine.base.paths import RunPaths, Workspace
from engine.config import Contract
from engine.curate.jobs import CurateJob
from engine.curate.types import TargetPattern
from engine.evaluate.compile import compile_domain, domain_digest
from engine.evaluate.prompts import render_messages, render_target
from engine.jobs.types import RunConfig
from tests import workspaces

CONFUSION = TargetPattern(pattern="wrong_label:refund->other", kind="wrong_label", labels=("refund", "other"), weight=1.0)
ROOT = Path(__file__).resolve().parents[2]


def curated(workspace: Workspace, name: str, **job: Any) -> tuple[RunPaths, dict[str, Any]]:
    """The result of a curation run in a process of its own."""
    digest = domain_digest(workspace, "tickets")
    compile_domain(workspace, "tickets", digest)
    fields: dict[str, Any] = {"patterns": (CONFUSION,), "max_rows": 80, "replay_share": 0.5, "seed": 3} | job
    config = RunConfig(
        run_id=name,
        kind="curate",
        cluster="tickets",
        workspace=str(workspace.root),
        seed=3,
        job=CurateJob(domain_digest=digest, **fields).model_dump(mode="json"),
    )
    paths = workspace.run(name)
    write_json(paths.config, config.model_dump(mode="json"))
    subprocess.run(
        [sys.executable, "-m", "engine.curate.worker", str(paths.root), "1"],
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        timeout=60,
    )
    return paths, json.loads(paths.result.read_text())


def test_a_training_set_is_aimed_rendered_as_evaluation_does_and_the_same_each_time(tmp_path: Path) -> None:
    workspace = workspaces.make_workspace(tmp_path)
    paths, result = curated(workspace, "curate-one")
    output = result["output"]
    dataset = paths.outputs / "dataset.jsonl"
    rows = read_jsonl(dataset)
    assert (output["rows"], output["aimed"], output["replay"]) == (80, 40, 40)
    assert output["dataset"] == file_sha256(dataset)
    assert set(output["artifacts"]) == {"dataset", "manifest"}
    contract = Contract.model_validate(workspaces.domain_file()["contract"])
    source = next(row for row in workspaces.rows(0, 160) if row["id"] == rows[0]["id"])
    assert rows[0]["messages"] == [message.model_dump() for message in render_messages(contract, source["input"])]
    assert rows[0]["completion"] == render_target(contract, source["expected"])

    again, _ = curated(workspace, "curate-two")
    assert (again.outputs / "dataset.jsonl").read_bytes() == dataset.read_bytes()


def test_a_training_row_that_is_an_evaluation_item_stops_the_run_and_is_named_without_its_text(tmp_path: Path) -> None:
    workspace = workspaces.make_workspace(tmp_path)
    leaked = workspaces.rows(1000, 1)[0]
    train = [*workspaces.rows(0, 60), {**leaked, "id": "copied", "input": {"message": leaked["input"]["message"].upper()}}]
    workspaces.write_domain(workspace, "tickets", workspaces.domain_file(), train=train, evaluation=workspaces.rows(1000, 240))
    _, result = curated(workspace, "curate-leak", patterns=(), max_rows=100)
    assert result["state"] == "failed"
    assert result["error"]["code"] == "leakage_found"
    shown = json.dumps(result["error"])
    assert "'copied'" in shown
    assert "'r1000'" not in shown or "of the core split" in shown
    assert leaked["input"]["message"].lower() not in shown.lower()


def test_training_rows_never_share_an_id_s_text_with_any_evaluation_split(tmp_path: Path) -> None:
    workspace = workspaces.make_workspace(tmp_path)
    paths, result = curated(workspace, "curate-apart", patterns=(), max_rows=1000)
    assert result["output"]["compared"] == 240
    evaluation = {row["input"]["message"] for row in workspaces.rows(1000, 240)}
    assert not [row for row in read_jsonl(paths.outputs / "dataset.jsonl") if any(text in row["messages"][-1]["content"] for text in evaluation)]
