"""The training worker against a bare TRL + PEFT script with the same plan, and against TRL's defaults, alternating in one run.

    python -m bench.training [--cluster travel] [--steps 20] [--rounds 2]

Needs a prepared base (`make setup`) and a quiet machine. Each contender is a process of its own, timed from its start to its end on the same rows.
The worker does more in that time: it checks the rows' digest, reports progress, writes a checkpoint half-way, and merges and fingerprints the
result as this machine's serving needs it. `bare` runs in the worker's own environment (allocator, waiting of threads), so that what is compared
is the code; `defaults` runs as TRL would be run by hand. Prints progress to stderr, and one JSON document as the last line of stdout.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from bench.setting import setting_of
from engine.base.digests import file_sha256
from engine.base.files import write_json, write_jsonl
from engine.curate.worker import rendered_row
from engine.fleet.probe import probe_local
from engine.generate.open import served_as
from engine.jobs.types import RunConfig
from engine.train.environment import training_environment
from engine.train.jobs import TrainJob
from engine.train.plan import plan_training

ROOT = Path(__file__).resolve().parents[1]


class Attempt(NamedTuple):
    """One training from process start to process end."""

    seconds: float
    step_seconds: float


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description="The training worker against bare TRL + PEFT.")
    parser.add_argument("--cluster", default="travel")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()

    _, cluster, profile, base, here, compiled, seed = setting_of(options.cluster)
    count = options.steps * profile.training.batch_size
    if count > len(compiled.pool):
        raise SystemExit(f"{options.steps} steps need {count} rows; the pool has {len(compiled.pool)}")
    training = profile.training.model_copy(update={"epochs": 1.0, "checkpoint_every_steps": max(1, options.steps // 2)})
    plan = plan_training(
        profile.model_copy(update={"training": training}),
        compiled.domain.train.model_copy(update={"epochs": None}),
        rows=count,
        device=here,
        seed=seed,
        merge=served_as(profile, here) == "merged",
    )
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        rows = root / "rows.jsonl"
        write_jsonl(rows, [rendered_row(compiled, row) for row in compiled.pool[:count]])
        write_json(root / "plan.json", plan.model_dump(mode="json"))
        job = TrainJob(
            model=cluster.model, profile=profile, base=base, dataset=str(rows), dataset_digest=file_sha256(rows), plan=plan, device=here
        )
        contenders: dict[str, Callable[[Path], Attempt]] = {
            "worker": lambda output: train_in_worker(output, job),
            "bare": lambda output: train_bare(output, root, base.directory, "plan", training_environment(here)),
            "defaults": lambda output: train_bare(output, root, base.directory, "defaults", {}),
        }
        measured: dict[str, list[Attempt]] = {name: [] for name in contenders}
        for number in range(options.rounds):
            for name in contenders if number % 2 == 0 else reversed(contenders):
                measured[name].append(contenders[name](root / f"{name}-{number}"))
                print(name, measured[name][-1], f"load {os.getloadavg()[0]:.1f}", file=sys.stderr)
    print(json.dumps(summary(options, measured)))


def summary(options: argparse.Namespace, measured: dict[str, list[Attempt]]) -> dict[str, Any]:
    """What is printed."""
    wall = {name: statistics.median(attempt.seconds for attempt in attempts) for name, attempts in measured.items()}
    step = {name: statistics.median(attempt.step_seconds for attempt in attempts) for name, attempts in measured.items()}
    return {
        "bench": "training",
        "cluster": options.cluster,
        "steps": options.steps,
        "rounds": options.rounds,
        "wall_seconds": {name: round(value, 2) for name, value in wall.items()},
        "step_seconds": {name: round(value, 3) for name, value in step.items()},
        "ratio": round(wall["worker"] / wall["bare"], 3),
        "wanted_at_most": 1.05,
        "ratio_to_defaults": round(wall["worker"] / wall["defaults"], 3),
        "all_wall_seconds": {name: [round(attempt.seconds, 2) for attempt in attempts] for name, attempts in measured.items()},
        "load": probe_local().load,
    }


def train_in_worker(output: Path, job: TrainJob) -> Attempt:
    """A run as the supervisor starts it, without the store around it."""
    config = RunConfig(run_id="bench", kind="train", cluster=None, workspace=str(output), seed=job.plan.seed, job=job.model_dump(mode="json"))
    write_json(output / "config.json", config.model_dump(mode="json"))
    seconds = timed([sys.executable, "-m", "engine.train.worker", str(output), "1"], {}, output / "worker.log")
    result = json.loads((output / "result.json").read_text())
    if result["state"] != "succeeded":
        raise SystemExit(f"the worker failed: {result['error']}")
    return Attempt(seconds, result["output"]["train_seconds"] / result["output"]["steps"])


def train_bare(output: Path, root: Path, base: str, mode: str, environment: dict[str, str]) -> Attempt:
    """The bare script, which says itself how long its steps took."""
    output.mkdir()
    script = [sys.executable, str(ROOT / "bench/bare_training.py"), base, str(root / "rows.jsonl"), str(root / "plan.json"), str(output), mode]
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": str(output / "cache")}  # a cache of its own, or the second round would find the first's
    seconds = timed(script, {**offline, **environment}, output / "bare.log")
    return Attempt(seconds, json.loads((output / "bare.log").read_text().splitlines()[-1])["step_seconds"])


def timed(command: list[str], environment: dict[str, str], log: Path) -> float:
    """Wall time of a process, its start included."""
    with log.open("wb") as sink:
        variables = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
        began = time.perf_counter()
        subprocess.run(command, check=False, stdout=sink, stderr=subprocess.STDOUT, env=variables, cwd=ROOT)
        return time.perf_counter() - began


if __name__ == "__main__":
    main()
