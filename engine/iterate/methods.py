"""What a round's training method means for its steps. Pure."""

from __future__ import annotations

from engine.config import TrainOverrides
from engine.curate.types import PairCounts
from engine.errors import NothingToLearn, TrainingCollapsed
from engine.jobs.types import Run
from engine.train.types import Method, Schedule

MEMORY_FACTORS: dict[Method, float] = {"sft": 1.0, "grpo": 1.8, "dpo": 1.0}
"""What the worker needs, as a multiple of the profile's `training.memory_gib`, which is SFT's: measured with 135M parameters on a CPU, 6.7 GB for
16 answers of 80 tokens in one batch and 3.5 GB for 4 pairs, against 3.7 GB for 8 rows."""

GIVE_WAY = frozenset({NothingToLearn.code, TrainingCollapsed.code})
"""Errors of GRPO and DPO after which the round goes on with SFT."""


def method_of(overrides: TrainOverrides, chosen: Schedule) -> Method:
    """The method that the domain asks for; the schedule's where it leaves that open."""
    return chosen.method if overrides.method == "auto" else overrides.method


def rows_made(run: Run) -> int:
    """How many rows, or pairs, a run of kind `curate` or `pairs` has made."""
    return counts_of(run).pairs if run.kind == "pairs" else int((run.output or {})["rows"])


def counts_of(run: Run) -> PairCounts:
    """What a finished run of kind `pairs` made of its answers."""
    return PairCounts.model_validate((run.output or {})["counts"])
