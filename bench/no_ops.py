"""A campaign of ten challengers that are no better than their incumbent, judged by the loop's own gate on real answers.

    python -m bench.no_ops --adapter DIR [--cluster travel] [--challengers 10] [--steps 6]

Needs a prepared base (`make setup`), an adapter that SFT made (a version's artefact) and a quiet machine. Incumbent and challengers go on from
that adapter for a few steps at a thousandth of the profile's rate, each with its own seed: their weights differ, what they have learnt does
not. Each is measured on core and held-out by the evaluation worker and judged as the loop judges the k-th attempt on the same items; for
comparison also as if each were the first. Prints progress to stderr, and one JSON document last.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

from bench.setting import Setting, run_worker, setting_of
from engine.base.digests import file_sha256
from engine.base.files import read_json, read_jsonl, write_jsonl
from engine.config import Lora
from engine.curate.worker import rendered_row
from engine.evaluate.compile import domain_digest
from engine.evaluate.jobs import EvaluateJob
from engine.evaluate.types import ItemResult, Stability
from engine.generate.types import Weights
from engine.iterate.decide import decide
from engine.train.jobs import TrainJob
from engine.train.plan import plan_training

RATE = 1e-3
"""Share of the profile's learning rate."""


class Version(NamedTuple):
    """One set of weights as it was measured."""

    held_out: list[ItemResult]
    stability: Stability | None
    seconds: float
    peak_gib: float


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description="Ten no-op challengers.")
    parser.add_argument("--cluster", default="travel")
    parser.add_argument("--adapter", type=Path, required=True)
    parser.add_argument("--challengers", type=int, default=10)
    parser.add_argument("--steps", type=int, default=6)
    options = parser.parse_args()
    setting = setting_of(options.cluster)
    began = time.perf_counter()
    incumbent = version(setting, options, 0)
    rounds = []
    for number in range(1, options.challengers + 1):
        challenger = version(setting, options, number)
        rounds.append(judged(setting, incumbent, challenger, number))
        print(json.dumps(rounds[-1]), file=sys.stderr, flush=True)
    document = {
        "bench": "no_ops",
        "cluster": options.cluster,
        "challengers": options.challengers,
        "promoted": sum(each["verdict"] == "accept" for each in rounds),
        "promoted_without_the_error_budget": sum(each["verdict_as_first"] == "accept" for each in rounds),
        "rounds": rounds,
        "seconds_each": round(sum(each["seconds"] for each in rounds) / len(rounds), 1),
        "peak_worker_gib": max(each["peak_gib"] for each in rounds),
        "total_seconds": round(time.perf_counter() - began, 1),
    }
    print(json.dumps(document))


def judged(setting: Setting, incumbent: Version, challenger: Version, attempt: int) -> dict[str, Any]:
    """The gate's verdict on the challenger as the `attempt`-th on these items, and as if it were the first."""
    wanted = setting.compiled.domain.eval
    accept = wanted.accept.model_copy(update={"floor": "ignore"})  # a floor would refuse all of them for another reason
    decisions = [
        decide(
            accept,
            slices=wanted.slices,
            incumbent=incumbent.held_out,
            challenger=challenger.held_out,
            floor=None,
            seed=setting.seed,
            attempt=each,
            stability=incumbent.stability,
        )
        for each in (attempt, 1)
    ]
    paired = decisions[0].against_incumbent
    difference = paired.difference
    return {
        "attempt": attempt,
        "verdict": decisions[0].verdict,
        "verdict_as_first": decisions[1].verdict,
        "difference": [round(value, 4) for value in (difference.mean, difference.low, difference.high)],
        "better": paired.better,
        "worse": paired.worse,
        "items": difference.n,
        "seconds": round(challenger.seconds, 1),
        "peak_gib": round(challenger.peak_gib, 2),
    }


def version(setting: Setting, options: argparse.Namespace, number: int) -> Version:
    """The `number`-th set of weights, made and measured."""
    with tempfile.TemporaryDirectory() as place:
        run = Path(place) / "train"
        trained = run_worker(setting, "train", train_job(setting, options, Path(place), number), number, run)
        output = trained["output"]
        weights = Weights(
            digest=output["adapter"],
            adapter_dir=str(run / output["adapter_dir"]),
            merged_dir=None if output["merged_dir"] is None else str(run / output["merged_dir"]),
            merged_digest=None,
            fingerprint=str(run / output["fingerprint"]),
        )
        told = evaluate_job(setting, weights, f"no-op-{number}")
        measured = run_worker(setting, "evaluate", told, setting.seed, Path(place) / "evaluate")
        results = [ItemResult.model_validate(row) for row in read_jsonl(Path(place) / "evaluate/outputs/results.jsonl")]
    stability = measured["output"]["summary"]["stability"]
    return Version(
        held_out=[result for result in results if result.split == "held_out"],
        stability=None if stability is None else Stability.model_validate(stability),
        seconds=trained["seconds"] + measured["seconds"],
        peak_gib=max(trained["peak_rss_bytes"], measured["peak_rss_bytes"]) / 2**30,
    )


def train_job(setting: Setting, options: argparse.Namespace, place: Path, number: int) -> TrainJob:
    """A few steps from the adapter at a rate that teaches nothing."""
    config = read_json(options.adapter / "adapter_config.json")
    rows = place / "rows.jsonl"
    plan = plan_training(setting.profile, setting.compiled.domain.train, rows=len(setting.compiled.pool), device=setting.device, seed=17, merge=True)
    pool = setting.compiled.pool
    start = number * options.steps * plan.batch_size % len(pool)
    chosen = [*pool[start:], *pool[:start]][: options.steps * plan.batch_size]
    write_jsonl(rows, [rendered_row(setting.compiled, row) for row in chosen])
    lora = Lora(rank=config["r"], alpha=config["lora_alpha"], first_layer=setting.profile.lora.first_layer)
    changes = {"learning_rate": plan.learning_rate * RATE, "epochs": 1.0, "seed": number, "warm_start": True, "lora": lora}
    return TrainJob(
        model=setting.cluster.model,
        profile=setting.profile,
        base=setting.base,
        dataset=str(rows),
        dataset_digest=file_sha256(rows),
        domain_digest=None,
        plan=plan.model_copy(update=changes),
        device=setting.device,
        warm_start=str(options.adapter.resolve()),
    )


def evaluate_job(setting: Setting, weights: Weights, subject: str) -> EvaluateJob:
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


if __name__ == "__main__":
    main()
