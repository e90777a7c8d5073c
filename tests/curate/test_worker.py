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


def with_manners(root: Path) -> tuple[Workspace, str]:
    """A workspace with a second domain to rehearse: text answers under another system message."""
    workspace = workspaces.make_workspace(root)
    contract = {"description": "Chats.", "system": "Be kind.", "user": "{{ message }}", "output": {"kind": "text", "max_tokens": 24}}
    manners = workspaces.domain_file(title="Manners", contract=contract, eval={"checks": [{"kind": "conduct"}]})
    del manners["data"]["splits"]["stratify"]
    spoken = [{**row, "expected": f"Answer {row['id']}."} for row in workspaces.rows(5000, 60)]
    workspaces.write_domain(workspace, "manners", manners, train=spoken, evaluation=[{**row, "expected": "answer"} for row in workspaces.rows(7000, 20)])
    return workspace, domain_digest(workspace, "manners")


def test_rows_of_another_domain_are_rehearsed_as_that_domain_renders_them(tmp_path: Path) -> None:
    workspace, digest = with_manners(tmp_path)
    paths, result = curated(workspace, "curate-alone")
    alone = read_jsonl(paths.outputs / "dataset.jsonl")
    paths, result = curated(workspace, "curate-rehearsed", rehearse={"domain": "manners", "domain_digest": digest, "share": 0.1})
    rows = read_jsonl(paths.outputs / "dataset.jsonl")
    rehearsed = [row for row in rows if row["id"].startswith("manners/")]
    assert [row for row in rows if row not in rehearsed] == alone
    own, other = (sum(len(row["completion"]) for row in part) for part in (alone, rehearsed))
    assert 0.1 * own - len(rehearsed[0]["completion"]) < other <= 0.1 * own
    assert (result["output"]["rehearsed"], result["output"]["rows"]) == (len(rehearsed), len(rows))
    assert all(row["messages"][0]["content"] == "Be kind." and row["completion"].startswith("Answer ") for row in rehearsed)
    assert f"{len(rehearsed)} rows of manners are rehearsed besides." in result["output"]["reasons"]


def test_a_rehearsed_row_that_is_an_evaluation_item_of_either_domain_stops_the_run(tmp_path: Path) -> None:
    workspace, _ = with_manners(tmp_path)
    held = workspaces.rows(1000, 1)[0]
    train = workspace.domain("manners") / "data" / "train.jsonl"
    train.write_text(json.dumps({**held, "expected": "Copied.", "id": "copied"}) + "\n")
    job = {"domain": "manners", "domain_digest": domain_digest(workspace, "manners"), "share": 1.0}
    _, result = curated(workspace, "curate-leak", rehearse=job)
    assert result["error"]["code"] == "leakage_found"
    assert "'copied'" in result["error"]["message"]


def test_rows_whose_label_a_trained_model_finds_unlikely_are_set_aside_and_listed(tmp_path: Path) -> None:
    workspace = workspaces.make_workspace(tmp_path)
    ids = [row["id"] for row in workspaces.rows(0, 160)]
    unlikely = set(ids[:20])
    losses = tmp_path / "row_losses.json"
    write_json(losses, {row: (1.5 if row in unlikely else 0.02) * (1 + at % 7 / 10) for at, row in enumerate(ids)})
    judge = {"path": str(losses), "digest": file_sha256(losses)}
    paths, result = curated(workspace, "curate-doubt", max_rows=160, judged_by=(judge,))
    output = result["output"]
    trained = {row["id"] for row in read_jsonl(paths.outputs / "dataset.jsonl")}
    assert (output["set_aside"], output["distinct_rows"]) == (20, 140)
    assert not trained & unlikely
    assert {row["id"] for row in read_jsonl(paths.outputs / "doubtful.jsonl")} == unlikely
    assert any(reason.startswith("20 of 160 rows are set aside") for reason in output["reasons"])


def test_row_losses_that_are_not_the_ones_that_were_named_stop_the_run(tmp_path: Path) -> None:
    workspace = workspaces.make_workspace(tmp_path)
    losses = tmp_path / "row_losses.json"
    write_json(losses, {})
    _, result = curated(workspace, "curate-torn", judged_by=({"path": str(losses), "digest": "0" * 64},))
    assert result["error"]["code"] == "artifact_corrupt"
