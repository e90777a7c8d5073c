"""Other calculators on the rows that the atlas is judged by: aiconfigurator for times, accelerate's estimator for memory.

Neither is fitted here, and each is asked at its defaults. aiconfigurator takes seconds a row, so it is asked about a sample: as many rows of each
measured setting, drawn by a fixed seed. Its answers are kept, so that a run that was stopped goes on.

accelerate's command asks the hub for a model's configuration. Here the model is built from the atlas instead, on the meta device as the command does,
where its layers are those of a Llama; of others its rule is applied to their parameters: four bytes each, halved for each halving of the bits.
"""

from __future__ import annotations

import json
import subprocess
from collections import defaultdict
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from bench.measurements import Served
from engine.atlas.physics.arrays import Floats
from engine.config import CatalogueModel

ASK = Path(__file__).with_name("ask_aiconfigurator.py")
ANSWERS = "aiconfigurator.jsonl"
OF_EACH_SETTING = 5
MOST_ASKED = 120
SEED = 17
FULL_BYTES, FULL_BITS = 4, 32
"""Of a parameter before any type is chosen, as accelerate counts."""


def sampled(rows: Sequence[Served]) -> list[int]:
    """The places of OF_EACH_SETTING rows of each model, accelerator, engine and quantisation, one of each after the other, up to MOST_ASKED."""
    settings: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for at, row in enumerate(rows):
        settings[(row.model, row.accelerator, row.engine, row.quantisation)].append(at)
    chance = Random(SEED)
    drawn = [chance.sample(places, min(OF_EACH_SETTING, len(places))) for _, places in sorted(settings.items())]
    return [at for around in zip_longest(*drawn) for at in around if at is not None][:MOST_ASKED]


def aiconfigurator_says(python: str, place: Path, rows: Sequence[Served]) -> dict[str, Floats]:
    """Seconds by quantity, one entry a row; NaN where it was not asked, or refused."""
    asked = sampled(rows)
    answers = aiconfigurator(python, place, [rows[at].question for at in asked])
    said = {name: np.full(len(rows), np.nan) for name in ("tpot", "ttft")}
    for at, answer in zip(asked, answers, strict=True):
        for name, seconds in said.items():
            seconds[at] = answer.get(f"{name}_ms", np.nan) / 1e3
    return said


def aiconfigurator(python: str, place: Path, questions: Sequence[str]) -> list[dict[str, Any]]:
    """Its answers, those that `place` keeps from before among them."""
    kept = place / ANSWERS
    known = dict(json.loads(line) for line in kept.read_text().splitlines()) if kept.is_file() else {}
    missing = [each for each in dict.fromkeys(questions) if each not in known]
    if missing:
        asking = subprocess.Popen([python, str(ASK)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        with asking, kept.open("a") as answers:
            assert asking.stdin is not None
            assert asking.stdout is not None
            for question in missing:
                print(question, file=asking.stdin, flush=True)
                known[question] = json.loads(next(line for line in asking.stdout if line.startswith("{")))
                print(json.dumps([question, known[question]]), file=answers, flush=True)
    return [known[each] for each in questions]


def accelerate_says(model: CatalogueModel, bits: float, *, training: bool) -> float:
    """Bytes by accelerate's estimator: of a model in the type that it has for so many bits, or of training it with Adam in mixed precision."""
    from accelerate.commands.estimate import estimate_training_usage

    total = _built_bytes(model) or (model.parameters_billion or np.nan) * 1e9 * FULL_BYTES
    if training:
        return float(max(estimate_training_usage(int(total), "float16").values()))
    return total * min((16, 8, 4), key=lambda kind: abs(kind - bits)) / FULL_BITS


def _built_bytes(model: CatalogueModel) -> int | None:
    """As the command builds a model: on the meta device, in 32 bits, by AutoModel, which leaves out the output layer. None: no Llama's layers."""
    kept = model.attention.cached[0] if model.attention.cached else None
    if model.architecture != "dense" or len(model.attention.cached) != 1 or kept is None or kept.kv_heads is None or model.layers is None:
        return None
    from accelerate import init_empty_weights
    from accelerate.utils import calculate_maximum_sizes
    from transformers import AutoModel, LlamaConfig

    config = LlamaConfig(
        vocab_size=model.vocabulary,
        hidden_size=model.hidden_size,
        intermediate_size=model.intermediate_size,
        num_hidden_layers=model.layers,
        num_attention_heads=model.attention_heads,
        num_key_value_heads=kept.kv_heads,
        head_dim=kept.head_dim,
        tie_word_embeddings=bool(model.tied_embeddings),
    )
    with init_empty_weights():
        built = AutoModel.from_config(config, dtype="float32")
    total, _ = calculate_maximum_sizes(built)
    return int(total)
