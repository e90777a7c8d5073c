"""A training worker that may hold no more than a few rows at once: beyond that it runs out of memory for real."""

from __future__ import annotations

import os
import resource
from pathlib import Path
from typing import Any

from engine.jobs.worker import WorkerContext, run_worker
from engine.train.jobs import TrainJob
from engine.train.types import TrainPlan
from engine.train.worker import train

ROW_BYTES, SPARE_BYTES = 512 << 20, 32 << 20


def rows_held(plan: TrainPlan) -> float:
    """Memory in rows: checkpointing saves half, a smaller adapter half again."""
    return plan.micro_batch_size * (0.5 if plan.gradient_checkpointing else 1.0) * (0.5 if plan.lora.rank < 16 else 1.0)


def hungry(context: WorkerContext) -> dict[str, Any]:
    held, room = rows_held(TrainJob.model_validate(context.config.job).plan), float(os.environ["ROOM_FOR_ROWS"])
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + int(room * ROW_BYTES) + SPARE_BYTES, hard))
    activations = bytearray(int(held * ROW_BYTES))
    resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
    del activations
    return train(context)


if __name__ == "__main__":
    run_worker(hungry)
