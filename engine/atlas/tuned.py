"""What stands beside a model in a comparison and in the lab: training by a usual recipe, and what the textbook says. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from engine.atlas.calibration import Calibration
from engine.atlas.grid import Estimates
from engine.atlas.physics import textbook
from engine.atlas.physics.arrays import GIB, Cards, Floats, Models, Weights, Workload, operations_of
from engine.atlas.physics.quantisations import QUANTISATIONS
from engine.atlas.physics.training import (
    Group,
    Tuning,
    adapter_parameters,
    grpo_bytes,
    grpo_seconds,
    training_bytes,
    training_seconds,
)
from engine.atlas.types import Deployment
from engine.config import Accelerator, CatalogueModel

Method = Literal["lora", "qlora", "full", "grpo_lora", "grpo_full"]
"""The last two: GRPO of an adapter, and of all parameters."""
RANK, ROWS, LENGTH, LOGITS_AT_ONCE = 16, 2, 2048, 1 / 8
RECIPE = f"LoRA of rank {RANK} on all linear layers, {ROWS} rows of {LENGTH} tokens at once, gradient checkpointing, a chunked loss, Adam"
FULL_RECIPE = f"every parameter, {ROWS} rows of {LENGTH} tokens at once, gradient checkpointing, a chunked loss, Adam in mixed precision"
GRPO_RECIPE = f"{ROWS} whole sequences at once, gradient checkpointing, vLLM awake beside the trainer with weights of its own, all in 16 bits"
EFFICIENCY = 0.4
"""Share of an accelerator's dense arithmetic in bf16 that training reaches; an assumption, somewhat below the 44 to 52% that Megatron-LM reports of
pretraining on A100s (arXiv 2104.04473, table 1)."""


def adapter_peak(models: Sequence[CatalogueModel], quantisation: str, fitted: Calibration) -> Estimates:
    """Bytes at the peak of RECIPE over a base held in a quantisation, one entry a model: `bf16` is LoRA, `nf4` QLoRA."""
    peak = _peak(models, adapter_parameters(Models.of(models), np.array(float(RANK))), quantisation)
    seen = fitted.memory.training_peak
    return Estimates(peak, peak * seen.low, peak * seen.high)


def full_peak(models: Sequence[CatalogueModel]) -> Floats:
    """Bytes at the peak of FULL_RECIPE, one entry a model. No log of such a run was found, so no interval follows."""
    return _peak(models, Models.of(models).parameters, "bf16")


def _peak(models: Sequence[CatalogueModel], trained: Floats, quantisation: str) -> Floats:
    return training_bytes(Models.of(models), Weights.of([QUANTISATIONS[quantisation]]), _tuning(trained), _vocabulary(models))


def _tuning(trained: Floats) -> Tuning:
    return Tuning(trained, np.array(float(ROWS * LENGTH)), np.array(1.0), np.array(LOGITS_AT_ONCE))


def tuning_seconds(models: Sequence[CatalogueModel], card: Accelerator, method: Method, tokens: float) -> Floats:
    """Seconds of training on so many tokens on one accelerator at EFFICIENCY, one entry a model; a quantised base is multiplied in bf16."""
    columns = Models.of(models)
    return training_seconds(columns, _training_card(card), np.array(tokens), _tuning(_trained(columns, method)), np.array(EFFICIENCY))


def grpo_peak(models: Sequence[CatalogueModel], method: Method, group: Group) -> Floats:
    """Bytes at the peak of GRPO_RECIPE, one entry a model. No log of such a run was found, so no interval follows."""
    columns = Models.of(models)
    weights = Weights.of([QUANTISATIONS["bf16"]])
    return grpo_bytes(columns, weights, _grpo_tuning(columns, method, group), _vocabulary(models), group, np.array(16.0))


def grpo_time(models: Sequence[CatalogueModel], card: Accelerator, method: Method, group: Group, sampling: float, tokens: float) -> Floats:
    """Seconds of GRPO over so many sampled and read tokens on one accelerator, a group's `sampling` seconds given; one entry a model."""
    columns = Models.of(models)
    step = grpo_seconds(columns, _training_card(card), _grpo_tuning(columns, method, group), group, np.array(sampling), np.array(EFFICIENCY))
    return step * tokens / group.tokens


def _grpo_tuning(columns: Models, method: Method, group: Group) -> Tuning:
    """Rows of a whole sequence each, of whose answer alone logits are held (TRL's `logits_to_keep`)."""
    length = group.prompt + group.answer
    return Tuning(_trained(columns, method), ROWS * length, np.array(1.0), group.answer / length)


def _trained(columns: Models, method: Method) -> Floats:
    return columns.parameters if method in ("full", "grpo_full") else adapter_parameters(columns, np.array(float(RANK)))


def _training_card(card: Accelerator) -> Cards:
    held = QUANTISATIONS["bf16"]
    return Cards.of([card], [held])._replace(operations=np.array(operations_of(card, held)))


def _vocabulary(models: Sequence[CatalogueModel]) -> Floats:
    return np.array([float(model.vocabulary or np.nan) for model in models])


def textbook_says(models: Sequence[CatalogueModel], card: Accelerator, where: Deployment) -> dict[str, Floats]:
    """The formulas that one finds everywhere, one entry a model: GiB of weights and of a sequence's cache, milliseconds to the first and
    between further tokens."""
    columns, held = Models.of(models), QUANTISATIONS[where.quantisation]
    cards = Cards.of([card], [held])
    cards = cards._replace(operations=cards.operations[:, 0])
    work = Workload(*(np.array(float(value)) for value in (where.prompt_tokens, where.answer_tokens, where.concurrency)))
    tensor, weights = np.array(float(where.cards)), Weights.of([held])
    return {
        "weights_gib": textbook.weights_bytes(columns, weights) / GIB,
        "cache_gib": textbook.cache_bytes(work.prompt + work.answer, columns.layers, columns.hidden, _groups(models), np.array(16.0)) / GIB,
        "ttft_ms": textbook.first_token_seconds(columns, cards, work, tensor) * 1e3,
        "tpot_ms": textbook.seconds_per_token(columns, weights, cards, tensor) * 1e3,
    }


def _groups(models: Sequence[CatalogueModel]) -> Floats:
    """Attention heads over those whose keys and values are kept; NaN where there are no such."""
    kept = [next((each.kv_heads for each in model.attention.cached if each.kv_heads), None) for model in models]
    return np.array([(model.attention_heads or np.nan) / (heads or np.nan) for model, heads in zip(models, kept, strict=True)])
