"""Measurements in the store: there exactly once, found again, and the same after a rebuild."""

from __future__ import annotations

import json
import time
from functools import partial
from pathlib import Path

import pytest

from engine.base.files import write_jsonl
from engine.base.paths import Workspace
from engine.errors import ArtifactCorrupt, NotFound
from engine.evaluate import records
from engine.evaluate.jobs import EvaluateOutput, FloorOutput
from engine.evaluate.statistics import summarise_split
from engine.evaluate.types import EvaluationSummary, ScoreIdentity
from engine.store.artifacts import Artifacts
from engine.store.store import StageTables, Store
from tests.evaluate.samples import result


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path)


def opened(workspace: Workspace) -> tuple[Store, Artifacts]:
    workspace.artifacts.mkdir(parents=True, exist_ok=True)
    artifacts = Artifacts(workspace.artifacts)
    hooks = {"evaluate": partial(records.ingest_evaluation, artifacts), "floor": partial(records.ingest_floor, artifacts)}

    def finish(cursor, arguments, at, seq):
        hooks[arguments["kind"]](cursor, arguments["run"], arguments["cluster"], arguments["output"], at, seq)
        return {}

    return Store.open(workspace, (records.TABLES, StageTables(migrations=(), reducers={"finish": finish}))), artifacts


def summary(rows, subject="base", **parts: str) -> EvaluationSummary:
    identity = ScoreIdentity.model_validate({"suite": "a", "grading": "b", "prompt": "c", "settings": "d", "generator": "e"} | parts)
    splits = tuple(summarise_split(rows, split) for split in ("core", "held_out"))
    return EvaluationSummary(identity=identity, subject=subject, splits=splits, structured=True, generated=len(rows), cached=0, seconds=1.0)


def record(store: Store, artifacts: Artifacts, workspace: Workspace, run: str, rows, *, subject: str = "base", kind: str = "evaluate", **parts: str) -> None:
    file = workspace.root / f"{run}.jsonl"
    write_jsonl(file, [row.model_dump(mode="json") for row in rows])
    made = summary(rows, subject, **parts)
    output = (
        EvaluateOutput(summary=made, domain_digest="d1")
        if kind == "evaluate"
        else FloorOutput(chosen="majority" if rows else None, summary=made if rows else None, methods=(), domain_digest="d1")
    )
    artifact = {"artifacts": {"results": artifacts.put_file(file)}}
    store.submit("finish", {"kind": kind, "run": run, "cluster": "travel", "output": output.model_dump(mode="json") | artifact}, key=run)


RESULTS = "SELECT count(*) FROM item_result"
ROWS = [result(n, n / 10, split="core" if n % 2 else "held_out", observations=("wrong_label:a->b",)) for n in range(10)]


def test_a_measurement_is_found_with_its_figures_and_its_rows(workspace):
    store, artifacts = opened(workspace)
    record(store, artifacts, workspace, "evaluate-1", ROWS)
    assert records.summary(store, "evaluate-1") == summary(ROWS)
    assert records.item_results(store, artifacts, "evaluate-1", "core") == [row for row in ROWS if row.split == "core"]
    assert (records.count(store), store.read(RESULTS)) == (1, [(10,)])
    assert (records.cluster_of(store, "evaluate-1"), records.domain_digest_of(store, "evaluate-1")) == ("travel", "d1")
    assert records.structured_effect(store, "evaluate-1") is None
    (row,) = store.read("SELECT outcome, score, passed, observations FROM item_result WHERE scenario_id = 's0003'")
    assert (row[0], row[1], row[2], json.loads(row[3])) == ("graded", 0.3, False, ["wrong_label:a->b"])
    store.close()


def test_the_latest_measurement_of_a_subject_is_the_last_recorded(workspace):
    store, artifacts = opened(workspace)
    for run, subject in (("evaluate-9", "base"), ("evaluate-1", "base"), ("evaluate-5", "v-1")):
        record(store, artifacts, workspace, run, ROWS, subject=subject)
    assert records.latest(store, "travel", "base") == "evaluate-1"
    assert records.latest(store, "travel", "v-2") is None
    store.close()


def test_a_floor_run_in_which_nothing_fitted_leaves_no_measurement(workspace):
    store, artifacts = opened(workspace)
    record(store, artifacts, workspace, "floor-1", [], kind="floor")
    record(store, artifacts, workspace, "floor-2", ROWS, subject="floor:majority", kind="floor")
    assert records.find_summary(store, "floor-1") is None
    assert records.find_summary(store, "floor-2").subject == "floor:majority"
    store.close()


def test_an_unknown_measurement_is_answered_with_the_newest_ones(workspace):
    store, artifacts = opened(workspace)
    record(store, artifacts, workspace, "evaluate-1", ROWS)
    with pytest.raises(NotFound, match="no measurement 'evaluate-7'") as caught:
        records.summary(store, "evaluate-7")
    assert "evaluate-1" in caught.value.next_step
    store.close()


def test_results_whose_bytes_changed_are_not_used(workspace):
    store, artifacts = opened(workspace)
    record(store, artifacts, workspace, "evaluate-1", ROWS)
    file = artifacts.path(store.read("SELECT results FROM evaluation")[0][0])
    file.chmod(0o600)
    file.write_bytes(file.read_bytes().replace(b"wrong_label", b"right_label", 1))
    with pytest.raises(ArtifactCorrupt):
        records.item_results(store, artifacts, "evaluate-1", "core")
    store.close()


def test_a_database_rebuilt_from_the_journal_holds_the_same_measurements(workspace):
    store, artifacts = opened(workspace)
    record(store, artifacts, workspace, "evaluate-1", ROWS)
    before = store.read("SELECT * FROM evaluation"), store.read("SELECT * FROM item_result ORDER BY scenario_id")
    store.close()
    for file in workspace.state.glob("state.duckdb*"):
        file.unlink()
    store, _ = opened(workspace)
    assert (store.read("SELECT * FROM evaluation"), store.read("SELECT * FROM item_result ORDER BY scenario_id")) == before
    store.close()


def test_twenty_thousand_results_are_taken_in_within_seconds(workspace):
    store, artifacts = opened(workspace)
    rows = [result(n, 0.5) for n in range(20_000)]
    started = time.monotonic()
    record(store, artifacts, workspace, "evaluate-1", rows)
    assert store.read(RESULTS) == [(20_000,)]
    assert time.monotonic() - started < 10
    store.close()
