"""Decides a training run: the schedule's values, the profile's settings and what the machine can do, as one plan with reasons.

Promises: equal arguments give an equal plan; every value that differs from the profile's has a sentence saying why; a plan that this
machine cannot carry out is refused here, before a process starts. Pure.
"""

from __future__ import annotations

import math
from typing import Literal

from engine.base.digests import digest_of
from engine.config import Device, EndpointProfile, Lora, ModelProfile, Profile, ScriptedProfile, Training, TrainOverrides
from engine.errors import ArgumentInvalid, ConfigInvalid
from engine.train.preference_plan import CPU_SECONDS, with_dpo, with_grpo
from engine.train.types import Method, Schedule, TrainPlan

AVAILABLE_METHODS: tuple[Method, ...] = ("sft", "grpo", "dpo")
"""What the training worker can do; the schedule plans nothing else."""
REPLAY_SHARE = 0.5
"""Where the schedule begins."""
DECAY_SHARE = 0.2
"""Of the steps, in which a rate that stays (`wsd`) falls; between the 10% and 20% that Hägele et al. (2024) find to suffice."""
_FEW_STEPS = 30
_AS_IN_PROFILE = ("dtype", "base_quantization", "warmup_share", "weight_decay", "max_grad_norm", "gradient_checkpointing", "checkpoint_every_steps")
"""Settings that nothing but the profile decides."""


def plan_training(
    profile: Profile,
    overrides: TrainOverrides,
    *,
    rows: int,
    device: Device,
    seed: int,
    merge: bool,
    iteration: int = 1,
    schedule: Schedule | None = None,
    method: Method = "sft",
    start: Lora | None = None,
    max_tokens: int = 128,
    seconds: float = CPU_SECONDS,
    may_go_on: bool = False,
) -> TrainPlan:
    """Plans training on `rows` rows (for DPO: pairs).

    `schedule`: what the ledger asks for (`engine/train/schedule.py`); null takes the profile's and the domain's values. `merge`: this profile's
    versions answer as merged weights on this machine. `iteration` counts from 1. For GRPO and DPO, whose rates and steps are decided in
    `preference_plan.py`: `start` is the shape of the adapter to go on from (null: there is none), `max_tokens` bounds an answer, `seconds` is
    what training may take on a CPU. `may_go_on`: another round of SFT may go on from this one.
    """
    refuse_untrainable(profile, rows, device)
    training, lora = settings_of(profile)
    chosen = unscheduled(profile, overrides) if schedule is None else schedule
    reasons = list(chosen.reasons)
    lora = _with_rank(lora, chosen.rank, reasons)
    max_length = _max_length(profile, training, overrides, reasons)
    batch_size, micro_batch_size = _batches(training, rows, reasons)
    scheduled = chosen.method == method
    if method == "sft":
        _warn_of_few_steps(profile, rows, steps_of(rows, batch_size, chosen.epochs), reasons)
    elif not scheduled:  # what was scheduled for another method says nothing of this one's rate and passes
        chosen = unscheduled(profile, overrides)
    seed = _seed_of_round(seed, iteration, reasons)
    if method != "sft" and start is not None:
        lora = _shape_of_start(start, lora, reasons)
    plan = TrainPlan(
        warm_start=chosen.warm_start,
        lora=lora,
        learning_rate=chosen.learning_rate,
        epochs=chosen.epochs,
        batch_size=batch_size,
        micro_batch_size=micro_batch_size,
        max_length=max_length,
        scheduler=_scheduler(training, reasons, may_go_on=may_go_on and method == "sft"),
        seed=seed,
        merge=merge,
        reasons=tuple(reasons),
        **{name: getattr(training, name) for name in _AS_IN_PROFILE},
    )
    warm = start is not None
    if method == "grpo":
        return with_grpo(plan, profile, scheduled=scheduled, rows=rows, device=device, max_tokens=max_tokens, warm_start=warm, seconds=seconds)
    if method == "dpo":
        return with_dpo(plan, profile, scheduled=scheduled, rows=rows, device=device, warm_start=warm, seconds=seconds)
    return plan


def refuse_untrainable(profile: Profile, rows: int, device: Device) -> None:
    """Raises ArgumentInvalid or ConfigInvalid for what no settings could train on this machine."""
    if isinstance(profile, EndpointProfile):
        raise ArgumentInvalid(
            f"{profile.title} is an endpoint and cannot be trained here",
            next_step="Give the cluster a model profile with kind 'managed'.",
            model=profile.model,
        )
    if rows < 1:
        raise ArgumentInvalid("there are no rows to train on", next_step="Add rows to the domain's training pool.", rows=rows)
    training, _ = settings_of(profile)
    if training.base_quantization == "nf4" and device == "cpu":
        raise ConfigInvalid(
            f"{profile.title} trains on a base quantised to nf4, which needs a GPU; this machine has none",
            next_step="Set training.base_quantization to 'none' in the model's profile, or train on a machine with a GPU.",
            title=profile.title,
        )


def _scheduler(training: Training, reasons: list[str], *, may_go_on: bool) -> Literal["cosine", "linear", "constant", "wsd"]:
    """The profile's; but what ends with a rate of nothing is a bad place to go on from, and the state before the rate fell a good one (Hägele et
    al., "Scaling Laws and Compute-Optimal Training Beyond Fixed Training Durations", 2024). What it gains here is not measured apart: two rounds
    together equal one training of the same length on `support` (`bench/learning.py`)."""
    if not may_go_on or training.scheduler == "constant":
        return training.scheduler
    reasons.append(f"scheduler is wsd instead of {training.scheduler}: another round may go on from before the rate falls.")
    return "wsd"


def settings_of(profile: Profile) -> tuple[Training, Lora]:
    """The profile's own training settings; the double has the defaults."""
    return (profile.training, profile.lora) if isinstance(profile, ModelProfile) else (Training(), Lora())


def unscheduled(profile: Profile, overrides: TrainOverrides, *, pool_rows: int | None = None) -> Schedule:
    """The profile's values with the domain's overrides, as they are before the ledger has a say."""
    training, lora = settings_of(profile)
    reasons: list[str] = []
    max_rows = int(_overridden("max_rows", training.max_rows, overrides.max_rows, reasons))
    return Schedule(
        rank=int(_overridden("rank", lora.rank, overrides.rank, reasons)),
        epochs=_overridden("epochs", training.epochs, overrides.epochs, reasons),
        learning_rate=_overridden("learning_rate", training.learning_rate, overrides.learning_rate, reasons),
        max_rows=max_rows,
        replay_share=_overridden("replay_share", REPLAY_SHARE, overrides.replay_share, reasons, "usual"),
        rows=max_rows if pool_rows is None else min(pool_rows, max_rows),
        grounds=digest_of([training.model_dump(mode="json"), lora.model_dump(mode="json"), overrides.model_dump(mode="json")]),
        reasons=tuple(reasons),
    )


def steps_of(rows: int, batch_size: int, epochs: float) -> int:
    """Optimiser steps of a training run. Batches run on across epochs, so only the very last one may be incomplete."""
    return max(1, math.ceil(rounded_rows(rows, epochs) / batch_size))


def rounded_rows(rows: int, epochs: float) -> int:
    """Rows seen in all epochs together."""
    return max(1, round(rows * epochs))


def _overridden(name: str, value: float, override: float | None, reasons: list[str], whose: str = "profile's") -> float:
    if override is None or override == value:
        return value
    reasons.append(f"{name} is {override:g} instead of the {whose} {value:g}: the domain overrides it.")
    return override


def _with_rank(lora: Lora, rank: int, reasons: list[str]) -> Lora:
    if rank == lora.rank:
        return lora
    alpha = max(1, round(lora.alpha * rank / lora.rank))
    reasons.append(f"alpha is {alpha} instead of the profile's {lora.alpha}: it follows the rank.")
    return lora.model_copy(update={"rank": rank, "alpha": alpha})


def _batches(training: Training, rows: int, reasons: list[str]) -> tuple[int, int]:
    """The effective batch and the micro batch, which must divide it."""
    batch = min(training.batch_size, rows)
    if batch < training.batch_size:
        reasons.append(f"batch_size is {batch}: there are no more rows.")
    micro = max(size for size in range(1, min(training.micro_batch_size, batch) + 1) if batch % size == 0)
    if micro != training.micro_batch_size and batch == training.batch_size:
        reasons.append(f"micro_batch_size is {micro} instead of {training.micro_batch_size}: it must divide the batch of {batch}.")
    return batch, micro


def _max_length(profile: Profile, training: Training, overrides: TrainOverrides, reasons: list[str]) -> int:
    """The longest row, at most as long as the model can answer."""
    length = int(_overridden("max_length", training.max_length, overrides.max_length, reasons))
    if not isinstance(profile, ModelProfile) or length <= profile.inference.max_model_len:
        return length
    reasons.append(f"max_length is {profile.inference.max_model_len}: a longer row could never be answered (inference.max_model_len).")
    return profile.inference.max_model_len


def _warn_of_few_steps(profile: Profile, rows: int, steps: int, reasons: list[str]) -> None:
    if steps < _FEW_STEPS and not isinstance(profile, ScriptedProfile):
        reasons.append(f"Only {steps} optimiser steps: with {rows} rows the result will depend on chance more than usual.")


def _seed_of_round(seed: int, iteration: int, reasons: list[str]) -> int:
    """Another seed in each round of a run."""
    if iteration > 1:
        reasons.append(f"seed is {seed + iteration - 1} in round {iteration}: repeating the same dice would repeat the same weights.")
    return seed + iteration - 1


def _shape_of_start(start: Lora, lora: Lora, reasons: list[str]) -> Lora:
    """The shape of the adapter that training goes on from: a shape cannot change on the way."""
    if start != lora:
        reasons.append(f"rank is {start.rank}: the adapter that training goes on from has it.")
    return start
