"""A training worker whose training diverges above a learning rate, and is the scripted double's below it."""

from __future__ import annotations

import os
from typing import Any

from engine.errors import TrainingDiverged
from engine.jobs.worker import WorkerContext, run_worker
from engine.train.jobs import TrainJob
from engine.train.worker import train


def diverging(context: WorkerContext) -> dict[str, Any]:
    rate = TrainJob.model_validate(context.config.job).plan.learning_rate
    if rate > float(os.environ["DIVERGES_ABOVE"]):
        raise TrainingDiverged(f"at step 1 of 4 the loss is nan with a rate of {rate:g}", next_step="Lower the learning rate.", step=1)
    return train(context)


if __name__ == "__main__":
    run_worker(diverging)
