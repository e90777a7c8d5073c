"""What training is told and what it returns."""

from __future__ import annotations

from typing import Literal

from engine.base.record import Record
from engine.config import Lora


class TrainPlan(Record):
    """A training run, fully decided. Its digest names it; equal plan, data, base and seed give equal weights on one machine."""

    method: Literal["sft"] = "sft"
    lora: Lora
    dtype: Literal["bfloat16", "float32"]
    base_quantization: Literal["none", "nf4"]
    learning_rate: float
    epochs: float
    batch_size: int
    micro_batch_size: int
    max_length: int
    warmup_share: float
    scheduler: Literal["cosine", "linear", "constant"]
    weight_decay: float
    max_grad_norm: float
    gradient_checkpointing: bool
    checkpoint_every_steps: int
    seed: int
    merge: bool
    """Also write merged weights, because this profile serves them on this machine."""
    reasons: tuple[str, ...] = ()
    """Why each value that differs from the profile's does."""


class TrainOutput(Record):
    """What a finished training run leaves behind."""

    adapter: str
    """Digest of the adapter directory; names the version."""
    adapter_dir: str
    """Relative to the run directory."""
    merged_dir: str | None
    """Relative to the run directory."""
    fingerprint: str
    """Path of the fingerprint file, relative to the run directory."""
    steps: int
    first_loss: float
    final_loss: float
    tokens: int
    """Tokens seen, padding not counted."""
    train_seconds: float
    """Of the steps alone, summed over attempts that count."""
    resumed_from_step: int
    """0 when it ran in one go."""
    losses: str
    """Path of the loss curve (JSON: one loss a step), relative to the run directory."""
    base: str
    """Digest of the base model."""
    dataset: str
    """Digest of the rows."""
    plan: TrainPlan
    """As it was carried out."""
