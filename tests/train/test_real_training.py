"""Training for real: the embedded 135M model, a few steps. Kill and resume, cancel, and what merged weights answer."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from engine.base.digests import tree_sha256
from engine.config import ModelProfile
from engine.errors import TrainingDiverged
from engine.generate.checkpoint import checkpoint_problem
from engine.generate.fingerprint import load_fingerprint
from engine.generate.types import PreparedBase
from engine.jobs.types import Progress
from tests.train.workers import dataset, result, run, signal_when, start, step_of, training_run

pytestmark = pytest.mark.model

STEPS = 5
CHANGES: dict[str, Any] = {"batch_size": 4, "micro_batch_size": 2, "checkpoint_every_steps": 2, "epochs": 1.0}


@pytest.fixture(scope="module")
def profile(real_profile: ModelProfile) -> ModelProfile:
    """The shipped profile with batches small enough for a test; micro batches, so that accumulation is part of it."""
    return real_profile.model_copy(update={"training": real_profile.training.model_copy(update=CHANGES)})


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, profile: ModelProfile, prepared_base: PreparedBase) -> Path:
    """A training that went through in one go."""
    root = tmp_path_factory.mktemp("whole")
    paths = training_run(root, profile, prepared_base, dataset(root / "rows.jsonl", 4 * STEPS), merge=True)
    assert run(paths)["state"] == "succeeded", paths.log.read_text()[-3000:]
    return root


def test_a_training_killed_in_the_middle_ends_with_the_same_losses_and_the_same_adapter(
    whole: Path, tmp_path: Path, profile: ModelProfile, prepared_base: PreparedBase
) -> None:
    paths = training_run(tmp_path, profile, prepared_base, dataset(tmp_path / "rows.jsonl", 4 * STEPS), merge=False)
    signal_when(start(paths, 1), signal.SIGKILL, lambda: step_of(paths) >= 3)
    torn = paths.work / "checkpoints/checkpoint-4"  # what a kill while a checkpoint is written leaves behind
    torn.mkdir(exist_ok=True)
    (torn / "optimizer.pt").write_bytes(b"half")
    resumed = run(paths, 2)
    expected = json.loads((whole / "result.json").read_text())["output"]
    assert resumed["state"] == "succeeded", paths.log.read_text()[-3000:]
    assert resumed["output"]["resumed_from_step"] == 2
    assert json.loads((paths.outputs / "losses.json").read_text()) == json.loads((whole / "outputs/losses.json").read_text())
    assert resumed["output"]["adapter"] == expected["adapter"]
    assert resumed["output"]["tokens"] == expected["tokens"]


def test_it_learns_and_leaves_nothing_but_safetensors_and_json(whole: Path) -> None:
    output = json.loads((whole / "result.json").read_text())["output"]
    assert output["steps"] == STEPS
    assert output["final_loss"] < output["first_loss"]
    assert output["adapter"] == tree_sha256(whole / "outputs/adapter")
    assert sorted(path.name for path in (whole / "outputs/adapter").iterdir()) == ["adapter_config.json", "adapter_model.safetensors"]
    assert str(whole) not in (whole / "outputs/adapter/adapter_config.json").read_text()
    assert not [path for path in (whole / "outputs").rglob("*") if path.is_file() and path.suffix not in (".safetensors", ".json", ".jinja", ".txt")]
    assert not (whole / "work/checkpoints").exists()


def test_it_leaves_what_is_left_of_each_rows_loss(whole: Path) -> None:
    left = json.loads((whole / "outputs/row_losses.json").read_text())
    rows = [json.loads(line)["id"] for line in (whole / "rows.jsonl").read_text().splitlines()]
    first_loss = json.loads((whole / "result.json").read_text())["output"]["first_loss"]
    assert set(left) == set(rows)
    assert all(0.0 < loss < first_loss for loss in left.values())


def test_merged_weights_are_the_base_with_the_adapter_added(whole: Path, prepared_base: PreparedBase) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    assert checkpoint_problem(whole / "outputs/merged", like=Path(prepared_base.directory)) == ""
    fingerprint = load_fingerprint(str(whole / "outputs/fingerprint.json"))
    assert fingerprint.weights == json.loads((whole / "result.json").read_text())["output"]["adapter"]

    def distances(model: Any) -> list[float]:
        found: list[float] = []
        with torch.inference_mode():
            for probe in fingerprint.probes:
                rows = torch.log_softmax(model(torch.tensor([probe.token_ids])).logits[0, :-1].float(), dim=-1)
                taken = rows[torch.arange(len(probe.logprobs)), torch.tensor(probe.token_ids[1:])]
                found.extend((taken - torch.tensor(probe.logprobs)).abs().tolist())
        return found

    def mean(values: list[float]) -> float:
        return sum(values) / len(values)

    base = AutoModelForCausalLM.from_pretrained(prepared_base.directory, dtype=torch.float32).eval()
    without = mean(distances(base))
    adapted = PeftModel.from_pretrained(base, str(whole / "outputs/adapter")).eval()
    assert mean(distances(adapted)) < 0.1
    assert without > 0.3


def test_a_cancelled_training_ends_within_ten_seconds_and_leaves_no_process(
    tmp_path: Path, profile: ModelProfile, prepared_base: PreparedBase
) -> None:
    paths = training_run(tmp_path, profile, prepared_base, dataset(tmp_path / "rows.jsonl", 400))
    worker = start(paths, 1)
    began: list[float] = []
    signal_when(worker, signal.SIGTERM, lambda: step_of(paths) >= 1 and not began.append(time.monotonic()))
    assert time.monotonic() - began[0] < 10.0
    assert result(paths)["state"] == "cancelled"
    assert worker.poll() is not None


def test_a_row_that_is_too_long_is_refused_by_name(tmp_path: Path, profile: ModelProfile, prepared_base: PreparedBase) -> None:
    rows = dataset(tmp_path / "rows.jsonl", 8)
    paths = training_run(tmp_path, profile, prepared_base, rows, max_length=48)
    error = run(paths)["error"]
    assert error["code"] == "too_large"
    assert "r2 (" in error["message"]
    assert "48 tokens" in error["message"]


@pytest.mark.parametrize("figures", [{"loss": float("nan"), "grad_norm": 1.0}, {"loss": 1.0, "grad_norm": float("inf")}])
def test_a_loss_or_a_gradient_that_is_no_number_stops_the_training(figures: dict[str, float]) -> None:
    from engine.train.sft import Watcher

    reports: list[Progress] = []
    watcher = Watcher([10] * 8, 4, None, reports.append, lambda: None)
    with pytest.raises(TrainingDiverged, match="at step 1 of 2"):
        watcher.on_log(None, SimpleNamespace(global_step=1, max_steps=2), None, logs=figures)
    assert not reports
