"""Training runs in real processes, started, killed and stopped as the supervisor does it, without a store."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine.base.digests import file_sha256
from engine.base.files import read_spool, write_json, write_jsonl
from engine.base.paths import RunPaths
from engine.config import ModelProfile, ScriptedProfile, TrainOverrides
from engine.generate.types import PreparedBase
from engine.jobs.types import RunConfig
from engine.train.jobs import TrainJob
from engine.train.plan import plan_training

ROOT = Path(__file__).resolve().parents[2]


def dataset(path: Path, count: int) -> Path:
    """`count` curated rows, each with a system message, a user's message of its own length and a JSON answer."""
    rows = [
        {
            "id": f"r{i}",
            "messages": [
                {"role": "system", "content": "Name the intent of the customer's message as JSON with the field intent, and nothing else."},
                {"role": "user", "content": f"Case {i}: " + "my card has still not arrived " * (1 + i % 3)},
            ],
            "completion": json.dumps({"intent": ("card_arrival", "refund")[i % 2]}),
        }
        for i in range(count)
    ]
    write_jsonl(path, rows)
    return path


def training_run(
    root: Path, profile: ModelProfile | ScriptedProfile, base: PreparedBase, rows: Path, *, merge: bool = False, **changes: Any
) -> RunPaths:
    """A run directory with its config, ready for a worker."""
    plan = plan_training(
        profile, TrainOverrides(**changes), rows=len(rows.read_text().splitlines()), device="cpu", seed=17, merge=merge
    )
    job = TrainJob(model="m", profile=profile, base=base, dataset=str(rows), dataset_digest=file_sha256(rows), plan=plan, score_rows=True)
    config = RunConfig(run_id=root.name, kind="train", cluster="c", workspace=str(root.parent), seed=17, job=job.model_dump(mode="json"))
    write_json(root / "config.json", config.model_dump(mode="json"))
    return RunPaths(root)


def start(paths: RunPaths, epoch: int) -> subprocess.Popen[bytes]:
    with paths.log.open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "engine.train.worker", str(paths.root), str(epoch)],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )


def run(paths: RunPaths, epoch: int = 1, *, seconds: float = 90.0) -> dict[str, Any]:
    """Runs a worker to its end and returns its result."""
    start(paths, epoch).wait(seconds)
    return result(paths)


def result(paths: RunPaths) -> dict[str, Any]:
    assert paths.result.is_file(), paths.log.read_text()[-2000:]
    found: dict[str, Any] = json.loads(paths.result.read_text())
    return found


def step_of(paths: RunPaths) -> int:
    return max((line.data.get("step") or 0 for line in read_spool(paths.progress)), default=0)


def signal_when(worker: subprocess.Popen[bytes], what: signal.Signals, holds: Callable[[], bool], *, seconds: float = 90.0) -> None:
    """Sends a signal as soon as `holds`, and waits for the process to be gone."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert worker.poll() is None, "the worker ended before it was to be signalled"
        assert time.monotonic() < deadline
        time.sleep(0.005)
    worker.send_signal(what)
    worker.wait(seconds)
