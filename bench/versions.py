"""A version as the benches make one: trained by the worker, measured by the evaluation worker as the loop measures a challenger."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from bench.setting import Setting, run_worker
from engine.base.digests import file_sha256
from engine.base.files import read_json, read_jsonl, write_jsonl
from engine.config import Lora
from engine.curate.worker import rendered_row
from engine.evaluate.compile import domain_digest
from engine.evaluate.jobs import EvaluateJob
from engine.evaluate.types import EvaluationSummary, ItemResult, TrainingRow
from engine.generate.types import Weights
from engine.train.jobs import TrainJob
from engine.train.plan import plan_training
from engine.train.types import TrainPlan


class Version(NamedTuple):
    """One set of weights as it was trained and measured."""

    results: list[ItemResult]
    summary: EvaluationSummary
    trained: dict[str, Any]
    """The training worker's output."""
    rewards: list[dict[str, Any]]
    """GRPO's figures as it went; empty for what has none."""
    train_seconds: float
    measure_seconds: float
    peak_gib: float

    def of(self, split: str) -> list[ItemResult]:
        """The results of a split."""
        return [result for result in self.results if result.split == split]


def make_version(
    setting: Setting, plan: TrainPlan, rows: list[TrainingRow], adapter: Path | None, subject: str, *, keep: Path | None = None
) -> Version:
    """Trains `plan` on these rows, from the adapter where there is one, and measures what came of it on core and held-out. The new adapter is put
    into the folder `keep`, where one is named."""
    with tempfile.TemporaryDirectory() as place:
        run, evaluation = Path(place) / "train", Path(place) / "evaluate"
        trained = run_worker(setting, "train", _train_job(setting, plan, rows, adapter, Path(place)), plan.seed, run)
        if keep is not None:
            shutil.copytree(run / trained["output"]["adapter_dir"], keep, dirs_exist_ok=True)
        told = _evaluate_job(setting, _weights(run, trained["output"]), subject)
        measured = run_worker(setting, "evaluate", told, setting.seed, evaluation)
        results = [ItemResult.model_validate(row) for row in read_jsonl(evaluation / "outputs/results.jsonl")]
        curve = run / "outputs/rewards.json"
        rewards = read_json(curve) if curve.is_file() else []
    return Version(
        results=results,
        summary=EvaluationSummary.model_validate(measured["output"]["summary"]),
        trained=trained["output"],
        rewards=rewards,
        train_seconds=trained["seconds"],
        measure_seconds=measured["seconds"],
        peak_gib=max(trained["peak_rss_bytes"], measured["peak_rss_bytes"]) / 2**30,
    )


def shape_of(setting: Setting, adapter: Path) -> Lora:
    """What the adapter's layers are; whoever goes on from it has the same."""
    config = read_json(adapter / "adapter_config.json")
    return Lora(rank=config["r"], alpha=config["lora_alpha"], first_layer=setting.profile.lora.first_layer)


def no_op_plan(setting: Setting, adapter: Path, *, steps: int, rate: float, seed: int) -> tuple[TrainPlan, int]:
    """A plan of a few steps from the adapter at `rate` times the profile's, and the rows that it takes: weights change, what is known does not."""
    plan = plan_training(setting.profile, setting.compiled.domain.train, rows=len(setting.compiled.pool), device=setting.device, seed=17, merge=True)
    changes = {"learning_rate": plan.learning_rate * rate, "epochs": 1.0, "seed": seed, "warm_start": True, "lora": shape_of(setting, adapter)}
    return plan.model_copy(update=changes), steps * plan.batch_size


def _train_job(setting: Setting, plan: TrainPlan, rows: list[TrainingRow], adapter: Path | None, place: Path) -> TrainJob:
    path = place / "rows.jsonl"
    write_jsonl(path, [rendered_row(setting.compiled, row) for row in rows])
    return TrainJob(
        model=setting.cluster.model,
        profile=setting.profile,
        base=setting.base,
        dataset=str(path),
        dataset_digest=file_sha256(path),
        domain_digest=setting.compiled.digest if plan.method == "grpo" else None,
        plan=plan,
        device=setting.device,
        warm_start=None if adapter is None else str(adapter.resolve()),
    )


def _weights(run: Path, output: dict[str, Any]) -> Weights:
    return Weights(
        digest=output["adapter"],
        adapter_dir=str(run / output["adapter_dir"]),
        merged_dir=None if output["merged_dir"] is None else str(run / output["merged_dir"]),
        merged_digest=None,
        fingerprint=str(run / output["fingerprint"]),
    )


def _evaluate_job(setting: Setting, weights: Weights, subject: str) -> EvaluateJob:
    """As the loop measures a challenger."""
    return EvaluateJob(
        domain=setting.cluster.domain,
        domain_digest=domain_digest(setting.workspace, setting.cluster.domain),
        model=setting.cluster.model,
        profile=setting.profile,
        base=setting.base,
        weights=weights,
        subject=subject,
        structured=setting.compiled.domain.contract.output.structured,
        measure_structured=False,
        device=setting.device,
    )
