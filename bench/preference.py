"""GRPO where SFT has stalled: from one version's adapter, rewards from the domain's rubric against yet more SFT on the same rows.

    python -m bench.preference --place DIR [--adapter DIR] [--noise 0] [--cluster travel] [--steps 40] [--prompts 16] [--rate 1]

Needs a prepared base (`make setup`) and a quiet machine for half an hour. It begins with an adapter that SFT made (a version's artefact) or, without
one, with the domain's own training; `--noise` is the share of training labels exchanged, as in `bench.learning`. Then SFT is gone on with, as the
loop does after an accepted round with little left to learn: half of the domain's passes at half the rate, again and again until a round is not
shown to be better than the one before (paired, on core and held-out together, which is more items than either). There SFT has stalled.
From the same adapter that this last round began with, the loop's own GRPO plan is trained, with its pre-flight over `--prompts` prompts and
`--steps` steps.

Each version is measured by the evaluation worker. What is under `--place` is not made again. Prints progress to stderr, and one JSON document last.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from bench.learning import make_domain, rows_of
from bench.setting import Setting, setting_of
from bench.versions import Version, make_version, no_op_plan, shape_of
from engine.base.files import read_json, write_json
from engine.base.paths import Workspace
from engine.evaluate.compile import compile_domain, domain_digest
from engine.evaluate.statistics import compare
from engine.evaluate.types import ItemResult
from engine.train.plan import plan_training
from engine.train.types import TrainPlan

SPLITS = ("core", "held_out")
MOST_ROUNDS = 4
"""Of SFT, before it is called stalled whatever the interval says."""


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description="GRPO where SFT has stalled.")
    parser.add_argument("--cluster", default="travel")
    parser.add_argument("--adapter", type=Path)
    parser.add_argument("--noise", type=float, default=0.0)
    parser.add_argument("--place", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--prompts", type=int, default=16)
    parser.add_argument("--rate", type=float, default=1.0, help="times the learning rate of the loop's plan for GRPO")
    options = parser.parse_args()
    setting = with_noise(setting_of(options.cluster), options.noise, options.place) if options.noise else setting_of(options.cluster)
    began = time.perf_counter()
    arms = {"start": arm(setting, options, "start", options.adapter)}
    adapter, before, number = options.adapter or options.place / "start", "start", 0
    while True:
        number += 1
        name = f"sft-{number}"
        arms[name] = arm(setting, options, name, adapter)
        if number == MOST_ROUNDS or not is_better(setting, arms[before], arms[name]):
            break
        adapter, before = options.place / name, name
    arms["grpo"] = arm(setting, options, "grpo", adapter)
    results = {name: results_of(each) for name, each in arms.items()}
    document = {
        "bench": "preference",
        "cluster": options.cluster,
        "labels_exchanged": options.noise,
        "stalled_at": before,
        "score": {name: {split: round(mean(each, split), 4) for split in SPLITS} for name, each in results.items()},
        "compared": {
            f"{after} - {one}": compared(setting, results[one], results[after]) for one, after in ((before, name), (before, "grpo"), (name, "grpo"))
        },
        "arms": {name: {key: value for key, value in each.items() if key != "results"} for name, each in arms.items()},
        "total_seconds": round(time.perf_counter() - began, 1),
    }
    print(json.dumps(document))


def with_noise(setting: Setting, share: float, place: Path) -> Setting:
    """The setting over a copy of its domain under `place`, with this share of the training labels exchanged for other rows'."""
    domain = setting.cluster.domain
    name = f"{domain}-{round(100 * share)}"
    copy = Workspace(place.resolve())
    rows, _ = rows_of(setting.workspace, domain, share, setting.seed)
    make_domain(setting.workspace, copy, domain, name, rows, "plain")
    compiled = compile_domain(copy, name, domain_digest(copy, name))
    return setting._replace(workspace=copy, cluster=setting.cluster.model_copy(update={"domain": name}), compiled=compiled)


def arm(setting: Setting, options: argparse.Namespace, name: str, adapter: Path | None) -> dict[str, Any]:
    """An arm in figures: its weights, made from the adapter and measured, or as they were found."""
    path: Path = options.place / f"{name}.json"
    if not path.is_file():
        print(f"{name} ...", file=sys.stderr, flush=True)
        rows = setting.compiled.pool
        if adapter is None:
            wanted = setting.compiled.domain.train
            plan = plan_training(setting.profile, wanted, rows=len(rows), device=setting.device, seed=setting.seed, merge=True)
        elif name == "start":  # a step at a thousandth of the rate: merged and measured like the others, it knows what the adapter knew
            plan, count = no_op_plan(setting, adapter, steps=1, rate=1e-3, seed=setting.seed)
            rows = rows[:count]
        elif name == "grpo":
            plan = grpo_plan(setting, options, adapter)
        else:
            plan = sft_plan(setting, adapter, seed=setting.seed + int(name.removeprefix("sft-")))
        write_json(path, told(plan, make_version(setting, plan, rows, adapter, name, keep=options.place / name)))
    found: dict[str, Any] = read_json(path)
    return found


def sft_plan(setting: Setting, adapter: Path, *, seed: int) -> TrainPlan:
    """The domain's training, gone on with."""
    wanted = setting.compiled.domain.train
    plan = plan_training(setting.profile, wanted, rows=len(setting.compiled.pool), device=setting.device, seed=seed, merge=True)
    changes = {"learning_rate": plan.learning_rate / 2, "epochs": plan.epochs / 2, "warm_start": True, "lora": shape_of(setting, adapter)}
    return plan.model_copy(update=changes)


def grpo_plan(setting: Setting, options: argparse.Namespace, adapter: Path) -> TrainPlan:
    """The loop's plan, with the steps and the pre-flight asked for."""
    plan = plan_training(
        setting.profile,
        setting.compiled.domain.train,
        rows=len(setting.compiled.pool),
        device=setting.device,
        seed=setting.seed,
        merge=True,
        method="grpo",
        start=shape_of(setting, adapter),
        max_tokens=setting.compiled.domain.contract.output.max_tokens,
    )
    assert plan.grpo is not None
    changes = {"steps": options.steps, "preflight_prompts": options.prompts}
    return plan.model_copy(update={"learning_rate": plan.learning_rate * options.rate, "grpo": plan.grpo.model_copy(update=changes)})


def told(plan: TrainPlan, version: Version) -> dict[str, Any]:
    """What is kept of an arm."""
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


def results_of(arm: dict[str, Any]) -> list[ItemResult]:
    """An arm's results."""
    return [ItemResult.model_validate(row) for row in arm["results"]]


def is_better(setting: Setting, before: dict[str, Any], after: dict[str, Any]) -> bool:
    """Whether the interval over both splits lies above zero."""
    low: float = compared(setting, results_of(before), results_of(after))["both"]["difference"][1]
    return low > 0


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
