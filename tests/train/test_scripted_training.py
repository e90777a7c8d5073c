"""The training worker around a pretended training: kills, cancellation and damaged input, with the scripted double."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from engine.base.digests import tree_sha256
from engine.base.paths import Workspace
from engine.config import ScriptedProfile
from engine.generate.fingerprint import load_fingerprint
from engine.generate.scripted import scripted_base
from tests.train.workers import dataset, result, run, signal_when, start, step_of, training_run

PROFILE = ScriptedProfile(training_steps=12, delay_seconds=0.02)


def paths_of(root: Path, name: str = "run", profile: ScriptedProfile = PROFILE):
    rows = root / "rows.jsonl"
    if not rows.exists():
        dataset(rows, 20)
    (root / name).mkdir()
    return training_run(root / name, profile, scripted_base(Workspace(root), "double", profile), rows)


def test_a_training_names_its_adapter_by_content_and_leaves_a_fingerprint_and_a_loss_curve(tmp_path: Path) -> None:
    paths = paths_of(tmp_path)
    output = run(paths)["output"]
    assert output["adapter"] == tree_sha256(paths.root / output["adapter_dir"])
    assert load_fingerprint(str(paths.root / output["fingerprint"])).weights == output["adapter"]
    assert output["first_loss"] > output["final_loss"]
    assert set(output["artifacts"]) == {"adapter", "fingerprint", "losses", "row_losses"}
    assert step_of(paths) == 12


@pytest.mark.parametrize("kill_at", [1, 6, 11])
def test_a_killed_training_ends_with_the_adapter_of_one_that_was_not(tmp_path: Path, kill_at: int) -> None:
    whole = run(paths_of(tmp_path, "whole"))["output"]
    paths = paths_of(tmp_path, "killed")
    worker = start(paths, 1)
    signal_when(worker, signal.SIGKILL, lambda: step_of(paths) >= kill_at)
    resumed = run(paths, 2)["output"]
    assert resumed["adapter"] == whole["adapter"]
    assert resumed["resumed_from_step"] >= kill_at


def test_other_rows_and_another_seed_make_another_adapter(tmp_path: Path) -> None:
    first = run(paths_of(tmp_path, "first"))["output"]
    dataset(tmp_path / "rows.jsonl", 21)
    assert run(paths_of(tmp_path, "second"))["output"]["adapter"] != first["adapter"]


def test_a_cancelled_training_stops_within_seconds(tmp_path: Path) -> None:
    paths = paths_of(tmp_path, profile=ScriptedProfile(training_steps=10_000, delay_seconds=0.02))
    signal_when(start(paths, 1), signal.SIGTERM, lambda: step_of(paths) >= 2, seconds=10)
    assert result(paths)["state"] == "cancelled"


def test_rows_that_were_changed_after_the_run_was_submitted_are_refused(tmp_path: Path) -> None:
    paths = paths_of(tmp_path)
    dataset(tmp_path / "rows.jsonl", 19)
    error = run(paths)["error"]
    assert error["code"] == "artifact_corrupt"
    assert "rows.jsonl" in error["message"]
