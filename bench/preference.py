"""A short GRPO run from a version's adapter on the cluster's training rows: the reward as it goes, and the core score before and after.

    python -m bench.preference --adapter DIR [--cluster travel] [--steps 8] [--prompts 12] [--items 48]

Needs a prepared base (`make setup`), an adapter that SFT made (a version's artefact) and a quiet machine. The training is the worker's own, a
process as the supervisor starts it, with its pre-flight over `--prompts` prompts. Before and after are measured by the same code on the same
core items: greedy, free decoding by transformers, graded as evaluation grades. Few steps and one seed show that it runs and what it costs; whether
it helps is for the paired interval to say. Held-out is not looked at. Prints progress to stderr, and one JSON document last.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.setting import Setting, run_worker, setting_of
from engine.base.digests import file_sha256
from engine.base.files import read_json, write_jsonl
from engine.config import Lora
from engine.curate.worker import rendered_row
from engine.evaluate.grading import grade
from engine.evaluate.prompts import render_messages
from engine.evaluate.statistics import compare
from engine.evaluate.types import ItemResult
from engine.generate.types import Answer
from engine.train.environment import enter_environment, training_environment
from engine.train.jobs import TrainJob
from engine.train.plan import plan_training

ITEMS_AT_ONCE = 24


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description="GRPO from a warm start.")
    parser.add_argument("--cluster", default="travel")
    parser.add_argument("--adapter", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--prompts", type=int, default=12)
    parser.add_argument("--items", type=int, default=48)
    options = parser.parse_args()
    setting = setting_of(options.cluster)
    enter_environment(training_environment(setting.device))
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as place:
        job = job_of(setting, options, Path(place))
        before = measure(setting, job, options.adapter, options.items)
        print(f"before: {mean(before):.3f}, load {os.getloadavg()[0]:.1f}", file=sys.stderr)
        result = run_worker(setting, "train", job, job.plan.seed, Path(place) / "run")
        output: dict[str, Any] = result["output"]
        curve = read_json(Path(place) / "run/outputs/rewards.json")
        after = measure(setting, job, Path(place) / "run" / output["adapter_dir"], options.items)
    accept = setting.compiled.domain.eval.accept
    paired = compare(before, after, split="core", metric="score", confidence=accept.confidence, seed=setting.seed)
    document = {
        "bench": "preference",
        "cluster": options.cluster,
        "method": "grpo",
        "steps": output["steps"],
        "core_items": len(before),
        "core_score_before": round(paired.before.mean, 4),
        "core_score_after": round(paired.after.mean, 4),
        "difference": [round(value, 4) for value in (paired.difference.mean, paired.difference.low, paired.difference.high)],
        "better": paired.better,
        "worse": paired.worse,
        "detectable_difference": round(paired.detectable_difference, 4),
        "rewards": [round(figures["reward"], 3) for figures in curve],
        "zero_spread": [round(figures["zero_spread"], 2) for figures in curve],
        "lengths": [round(figures["length"], 1) for figures in curve],
        "preflight": output["preflight"],
        "finding": output["finding"],
        "step_seconds": round(output["train_seconds"] / output["steps"], 2),
        "worker_seconds": round(result["seconds"], 1),
        "peak_rss_gib": round(result["peak_rss_bytes"] / 2**30, 2),
        "total_seconds": round(time.perf_counter() - began, 1),
        "load": round(os.getloadavg()[0], 2),
    }
    print(json.dumps(document))


def job_of(setting: Setting, options: argparse.Namespace, place: Path) -> TrainJob:
    """The training: the plan as the loop makes it, cut to the steps and pre-flight asked for."""
    config = read_json(options.adapter / "adapter_config.json")
    rows = place / "rows.jsonl"
    write_jsonl(rows, [rendered_row(setting.compiled, row) for row in setting.compiled.pool])
    plan = plan_training(
        setting.profile,
        setting.compiled.domain.train,
        rows=len(setting.compiled.pool),
        device=setting.device,
        seed=setting.seed,
        merge=False,
        method="grpo",
        start=Lora(rank=config["r"], alpha=config["lora_alpha"], first_layer=setting.profile.lora.first_layer),
        max_tokens=setting.compiled.domain.contract.output.max_tokens,
    )
    assert plan.grpo is not None
    cut = {"steps": options.steps, "preflight_prompts": options.prompts}
    return TrainJob(
        model=setting.cluster.model,
        profile=setting.profile,
        base=setting.base,
        dataset=str(rows),
        dataset_digest=file_sha256(rows),
        domain_digest=setting.compiled.digest,
        plan=plan.model_copy(update={"grpo": plan.grpo.model_copy(update=cut)}),
        device=setting.device,
        warm_start=str(options.adapter.resolve()),
    )


def measure(setting: Setting, job: TrainJob, adapter: Path, items: int) -> list[ItemResult]:
    """The first `items` core scenarios, answered greedily by the base with this adapter."""
    from engine.train.adapters import load_tokenizer, starting_model
    from engine.train.grpo import Sampler
    from engine.train.sft import use_base_type

    told = job.model_copy(update={"warm_start": str(adapter)})
    tokenizer = load_tokenizer(told, setting.profile)
    model = starting_model(told, tokenizer, lambda: None)
    use_base_type(model)
    contract = setting.compiled.domain.contract
    scenarios = {scenario.id: scenario for scenario in setting.compiled.of_split("core")[:items]}
    texts = {
        name: tokenizer.apply_chat_template(
            [message.model_dump() for message in render_messages(contract, scenario.input)], tokenize=False, add_generation_prompt=True
        )
        for name, scenario in scenarios.items()
    }
    sampler = Sampler(model, tokenizer, {name: tokenizer(text, add_special_tokens=False)["input_ids"] for name, text in texts.items()})
    names = sorted(scenarios, key=lambda name: len(sampler.prompts[name]))
    assert job.plan.grpo is not None
    results = []
    for at in range(0, len(names), ITEMS_AT_ONCE):
        for answer in sampler.sample(names[at : at + ITEMS_AT_ONCE], job.plan.grpo, greedy=True):
            reason = "stop" if answer.ended else "length"
            asked = Answer.model_validate({"key": answer.row, "text": answer.text, "finish_reason": reason, "completion_tokens": answer.tokens})
            results.append(grade(setting.compiled.domain, scenarios[answer.row], asked))
    return results


def mean(results: list[ItemResult]) -> float:
    """The mean score."""
    return sum(result.score for result in results) / len(results)


if __name__ == "__main__":
    main()
