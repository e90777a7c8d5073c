"""GRPO where SFT has stalled: from one version's adapter, more SFT on the same rows against rewards from the domain's rubric.

    python -m bench.preference --adapter DIR --place DIR [--cluster travel] [--steps 60] [--prompts 24]

Needs a prepared base (`make setup`), an adapter that SFT made (a version's artefact) and a quiet machine for half an hour. Three arms from that
adapter, with the same labelled rows:

    start   a step at a thousandth of the rate: merged and measured like the others, it knows what the adapter knew
    sft     half of the domain's passes once more at half the rate, as the loop goes on after an accepted round with little left to learn
    grpo    the loop's own GRPO plan, with its pre-flight over `--prompts` prompts and `--steps` steps

Each is measured by the evaluation worker on core and held-out, which is more items than either; differences are paired. An arm that is under
`--place` is not run again. Prints progress to stderr, and one JSON document last.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from bench.setting import Setting, setting_of
from bench.versions import Version, make_version, no_op_plan, shape_of
from engine.base.files import read_json, write_json
from engine.evaluate.statistics import compare
from engine.evaluate.types import ItemResult
from engine.train.plan import plan_training
from engine.train.types import TrainPlan

ARMS = ("start", "grpo", "sft")
SPLITS = ("core", "held_out")


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description="GRPO where SFT has stalled.")
    parser.add_argument("--cluster", default="travel")
    parser.add_argument("--adapter", type=Path, required=True)
    parser.add_argument("--place", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--prompts", type=int, default=24)
    options = parser.parse_args()
    setting = setting_of(options.cluster)
    began = time.perf_counter()
    arms = {}
    for arm in ARMS:
        path = options.place / f"{arm}.json"
        if not path.is_file():
            print(f"{arm} ...", file=sys.stderr, flush=True)
            write_json(path, run_arm(setting, options, arm))
        arms[arm] = read_json(path)
    results = {arm: [ItemResult.model_validate(row) for row in each.pop("results")] for arm, each in arms.items()}
    pairs = (("start", "sft"), ("start", "grpo"), ("sft", "grpo"))
    document = {
        "bench": "preference",
        "cluster": options.cluster,
        "score": {arm: {split: round(mean(results[arm], split), 4) for split in SPLITS} for arm in ARMS},
        "compared": {f"{after} - {before}": compared(setting, results[before], results[after]) for before, after in pairs},
        "arms": arms,
        "total_seconds": round(time.perf_counter() - began, 1),
    }
    print(json.dumps(document))


def run_arm(setting: Setting, options: argparse.Namespace, arm: str) -> dict[str, Any]:
    """What is kept of an arm: its weights were made and measured."""
    rows = setting.compiled.pool
    if arm == "start":
        plan, count = no_op_plan(setting, options.adapter, steps=1, rate=1e-3, seed=setting.seed)
        rows = rows[:count]
    else:
        plan = sft_plan(setting, options) if arm == "sft" else grpo_plan(setting, options)
    return told(plan, make_version(setting, plan, rows, options.adapter, arm))


def sft_plan(setting: Setting, options: argparse.Namespace) -> TrainPlan:
    """The domain's training, gone on with."""
    wanted = setting.compiled.domain.train
    plan = plan_training(setting.profile, wanted, rows=len(setting.compiled.pool), device=setting.device, seed=setting.seed + 1, merge=True)
    changes = {"learning_rate": plan.learning_rate / 2, "epochs": plan.epochs / 2, "warm_start": True, "lora": shape_of(setting, options.adapter)}
    return plan.model_copy(update=changes)


def grpo_plan(setting: Setting, options: argparse.Namespace) -> TrainPlan:
    """The loop's plan, with the steps and the pre-flight asked for."""
    plan = plan_training(
        setting.profile,
        setting.compiled.domain.train,
        rows=len(setting.compiled.pool),
        device=setting.device,
        seed=setting.seed,
        merge=True,
        method="grpo",
        start=shape_of(setting, options.adapter),
        max_tokens=setting.compiled.domain.contract.output.max_tokens,
    )
    assert plan.grpo is not None
    return plan.model_copy(update={"grpo": plan.grpo.model_copy(update={"steps": options.steps, "preflight_prompts": options.prompts})})


def told(plan: TrainPlan, version: Version) -> dict[str, Any]:
    """An arm in figures."""
    return {
        "steps": version.trained["steps"],
        "learning_rate": plan.learning_rate,
        "preflight": version.trained["preflight"],
        "finding": version.trained["finding"],
        "rewards": [round(figures["reward"], 3) for figures in version.rewards],
        "zero_spread": [round(figures["zero_spread"], 2) for figures in version.rewards],
        "lengths": [round(figures["length"], 1) for figures in version.rewards],
        "train_seconds": round(version.train_seconds, 1),
        "measure_seconds": round(version.measure_seconds, 1),
        "peak_gib": round(version.peak_gib, 2),
        "results": [result.model_dump(mode="json") for result in version.results],
    }


def compared(setting: Setting, before: list[ItemResult], after: list[ItemResult]) -> dict[str, Any]:
    """The paired difference by split, and over both."""
    parts = {**{split: (split,) for split in SPLITS}, "both": SPLITS}
    return {name: _paired(setting, _as_one(before, splits), _as_one(after, splits)) for name, splits in parts.items()}


def _as_one(results: list[ItemResult], splits: tuple[str, ...]) -> list[ItemResult]:
    return [result.model_copy(update={"split": "core"}) for result in results if result.split in splits]


def _paired(setting: Setting, before: list[ItemResult], after: list[ItemResult]) -> dict[str, Any]:
    paired = compare(before, after, split="core", metric="score", confidence=setting.compiled.domain.eval.accept.confidence, seed=setting.seed)
    difference = paired.difference
    return {
        "items": difference.n,
        "difference": [round(value, 4) for value in (difference.mean, difference.low, difference.high)],
        "better": paired.better,
        "worse": paired.worse,
        "detectable": round(paired.detectable_difference, 4),
    }


def mean(results: list[ItemResult], split: str) -> float:
    """The mean score on a split."""
    scores = [result.score for result in results if result.split == split]
    return sum(scores) / len(scores)


if __name__ == "__main__":
    main()
