"""What stands beside a model in a comparison: training an adapter by a usual recipe, and what the textbook says. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from engine.atlas.calibration import Calibration
from engine.atlas.grid import Estimates
from engine.atlas.physics import textbook
from engine.atlas.physics.arrays import GIB, Cards, Floats, Models, Weights, Workload
from engine.atlas.physics.quantisations import QUANTISATIONS
from engine.atlas.physics.training import Tuning, adapter_parameters, training_bytes
from engine.atlas.types import Deployment
from engine.config import Accelerator, CatalogueModel

RANK, ROWS, LENGTH, LOGITS_AT_ONCE = 16, 2, 2048, 1 / 8
RECIPE = f"LoRA of rank {RANK} on all linear layers, {ROWS} rows of {LENGTH} tokens at once, gradient checkpointing, a chunked loss, Adam"


def adapter_peak(models: Sequence[CatalogueModel], quantisation: str, fitted: Calibration) -> Estimates:
    """Bytes at the peak of RECIPE over a base held in a quantisation, one entry a model: `bf16` is LoRA, `nf4` QLoRA."""
    columns = Models.of(models)
    trained = adapter_parameters(columns, np.array(float(RANK)))
    tuning = Tuning(trained, np.array(float(ROWS * LENGTH)), np.array(1.0), np.array(LOGITS_AT_ONCE))
    vocabulary = np.array([float(model.vocabulary or np.nan) for model in models])
    peak = training_bytes(columns, Weights.of([QUANTISATIONS[quantisation]]), tuning, vocabulary)
    seen = fitted.memory.training_peak
    return Estimates(peak, peak * seen.low, peak * seen.high)


def textbook_says(models: Sequence[CatalogueModel], card: Accelerator, where: Deployment) -> dict[str, Floats]:
    """The formulas that one finds everywhere, one entry a model: GiB of weights, milliseconds to the first and between further tokens."""
    columns, held = Models.of(models), QUANTISATIONS[where.quantisation]
    cards = Cards.of([card], [held])
    cards = cards._replace(operations=cards.operations[:, 0])
    work = Workload(*(np.array(float(value)) for value in (where.prompt_tokens, where.answer_tokens, where.concurrency)))
    tensor, weights = np.array(float(where.cards)), Weights.of([held])
    return {
        "weights_gib": textbook.weights_bytes(columns, weights) / GIB,
        "ttft_ms": textbook.first_token_seconds(columns, cards, work, tensor) * 1e3,
        "tpot_ms": textbook.seconds_per_token(columns, weights, cards, tensor) * 1e3,
    }
