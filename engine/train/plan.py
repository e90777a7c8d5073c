"""Decides a training run: the profile's settings, the domain's overrides and what the machine can do, as one plan with reasons.

Promises: equal arguments give an equal plan; every value that differs from the profile's has a sentence saying why; a plan that this
machine cannot carry out is refused here, before a process starts. Pure.
"""

from __future__ import annotations

import math
from typing import Literal

from engine.config import Device, EndpointProfile, Lora, Profile, ScriptedProfile, Training, TrainOverrides
from engine.errors import ArgumentInvalid, ConfigInvalid
from engine.train.preference_plan import CPU_SECONDS, with_dpo, with_grpo
from engine.train.types import TrainPlan

_FEW_STEPS = 30


def plan_training(
    profile: Profile,
    overrides: TrainOverrides,
    *,
    rows: int,
    device: Device,
    seed: int,
    merge: bool,
    iteration: int = 1,
    method: Literal["sft", "grpo", "dpo"] = "sft",
    start: Lora | None = None,
    max_tokens: int = 128,
    seconds: float = CPU_SECONDS,
) -> TrainPlan:
    """Plans training on `rows` rows (for DPO: pairs). `merge`: this profile's versions answer as merged weights on this machine. `iteration`
    counts from 1. For GRPO and DPO: `start` is the shape of the adapter to go on from (null: there is none), `max_tokens` bounds an answer,
    `seconds` is what training may take on a CPU."""
    if isinstance(profile, EndpointProfile):
        raise ArgumentInvalid(
            f"{profile.title} is an endpoint and cannot be trained here",
            next_step="Give the cluster a model profile with kind 'managed'.",
            model=profile.model,
        )
    if rows < 1:
        raise ArgumentInvalid("there are no rows to train on", next_step="Add rows to the domain's training pool.", rows=rows)
    scripted = isinstance(profile, ScriptedProfile)
    training, lora = (Training(), Lora()) if isinstance(profile, ScriptedProfile) else (profile.training, profile.lora)
    if training.base_quantization == "nf4" and device == "cpu":
        raise ConfigInvalid(
            f"{profile.title} trains on a base quantised to nf4, which needs a GPU; this machine has none",
            next_step="Set training.base_quantization to 'none' in the model's profile, or train on a machine with a GPU.",
            title=profile.title,
        )
    reasons: list[str] = []
    lora = _overridden_lora(lora, overrides, reasons)
    epochs = _overridden("epochs", training.epochs, overrides.epochs, reasons)
    learning_rate = _overridden("learning_rate", training.learning_rate, overrides.learning_rate, reasons)
    max_length = int(_overridden("max_length", training.max_length, overrides.max_length, reasons))
    if not isinstance(profile, ScriptedProfile) and max_length > profile.inference.max_model_len:
        max_length = profile.inference.max_model_len
        reasons.append(f"max_length is {max_length}: a longer row could never be answered (inference.max_model_len).")
    batch_size, micro_batch_size = _batches(training, rows, reasons)
    steps = steps_of(rows, batch_size, epochs)
    if steps < _FEW_STEPS and not scripted and method == "sft":
        reasons.append(f"Only {steps} optimiser steps: with {rows} rows the result will depend on chance more than usual.")
    if iteration > 1:
        reasons.append(f"seed is {seed + iteration - 1} in round {iteration}: repeating the same dice would repeat the same weights.")
    if method != "sft" and start is not None and start != lora:
        reasons.append(f"rank is {start.rank}: the adapter that training goes on from has it.")
    plan = TrainPlan(
        lora=lora if method == "sft" or start is None else start,
        dtype=training.dtype,
        base_quantization=training.base_quantization,
        learning_rate=learning_rate,
        epochs=epochs,
        batch_size=batch_size,
        micro_batch_size=micro_batch_size,
        max_length=max_length,
        warmup_share=training.warmup_share,
        scheduler=training.scheduler,
        weight_decay=training.weight_decay,
        max_grad_norm=training.max_grad_norm,
        gradient_checkpointing=training.gradient_checkpointing,
        checkpoint_every_steps=training.checkpoint_every_steps,
        seed=seed + iteration - 1,
        merge=merge,
        reasons=tuple(reasons),
    )
    if method == "grpo":
        return with_grpo(plan, profile, rows=rows, device=device, max_tokens=max_tokens, warm_start=start is not None, seconds=seconds)
    if method == "dpo":
        return with_dpo(plan, profile, rows=rows, device=device, warm_start=start is not None, seconds=seconds)
    return plan


def steps_of(rows: int, batch_size: int, epochs: float) -> int:
    """Optimiser steps of a training run. Batches run on across epochs, so only the very last one may be incomplete."""
    return max(1, math.ceil(rounded_rows(rows, epochs) / batch_size))


def rounded_rows(rows: int, epochs: float) -> int:
    """Rows seen in all epochs together."""
    return max(1, round(rows * epochs))


def _overridden(name: str, value: float, override: float | None, reasons: list[str]) -> float:
    if override is None or override == value:
        return value
    reasons.append(f"{name} is {override:g} instead of the profile's {value:g}: the domain overrides it.")
    return override


def _overridden_lora(lora: Lora, overrides: TrainOverrides, reasons: list[str]) -> Lora:
    if overrides.rank is None or overrides.rank == lora.rank:
        return lora
    alpha = max(1, round(lora.alpha * overrides.rank / lora.rank))
    reasons.append(f"rank is {overrides.rank} instead of the profile's {lora.rank}: the domain overrides it; alpha follows ({alpha}).")
    return lora.model_copy(update={"rank": overrides.rank, "alpha": alpha})


def _batches(training: Training, rows: int, reasons: list[str]) -> tuple[int, int]:
    """The effective batch and the micro batch, which must divide it."""
    batch = min(training.batch_size, rows)
    if batch < training.batch_size:
        reasons.append(f"batch_size is {batch}: there are no more rows.")
    micro = max(size for size in range(1, min(training.micro_batch_size, batch) + 1) if batch % size == 0)
    if micro != training.micro_batch_size and batch == training.batch_size:
        reasons.append(f"micro_batch_size is {micro} instead of {training.micro_batch_size}: it must divide the batch of {batch}.")
    return batch, micro
