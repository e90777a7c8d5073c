"""Memory as the atlas foretells it, beside what start-up logs and training tables say (`bench/measured.json`; each row names its source).

    python -m bench.physics_memory

Nothing is fitted but the overhead of a server, which is judged with each log left out in turn. `bench/physics.py` keeps the result.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bench.peers import accelerate_says
from engine.atlas.catalogue import Catalogue, catalogue
from engine.atlas.physics import textbook
from engine.atlas.physics.arrays import GIB, Floats, Layout, Models, Weights
from engine.atlas.physics.memory import cache_bytes, cache_share, weights_bytes
from engine.atlas.physics.quantisations import QUANTISATIONS, UNQUANTISED_BITS
from engine.atlas.physics.training import Tuning, adapter_parameters, training_bytes
from engine.base.files import read_json
from engine.config import CatalogueModel

SAME_DIMENSIONS = {
    "meta-llama/Llama-2-7b-hf": "meta-llama/Llama-2-7b-chat-hf",
    "meta-llama/Llama-2-13b-hf": "meta-llama/Llama-2-13b-chat-hf",
}
MEASURED = Path(__file__).with_name("measured.json")
GB = 1e9


class Pair(NamedTuple):
    """A measurement, what the atlas says, and what the textbook says; bytes."""

    id: str
    measured: float
    foretold: float
    textbook: float


def main() -> int:
    """Prints the errors, and accelerate's on the same rows."""
    print(json.dumps({"bench": "physics_memory", "quantities": memory_errors(), "accelerate": accelerate_errors()}))
    return 0


def memory_errors() -> dict[str, Any]:
    """Of each quantity: how many measurements, median and 90th percentile of the error, and the textbook's median."""
    atlas, rows = catalogue(), read_json(MEASURED)
    found = {name: list(make(atlas, rows)) for name, make in PAIRS.items()}
    return {name: error_of(pairs) for name, pairs in found.items()}


def accelerate_errors() -> dict[str, Any]:
    """Of the weights; and of training, where LoRA over 16 bits is the nearest that it speaks of: it knows neither adapters nor training in 4 bits."""
    atlas, rows = catalogue(), read_json(MEASURED)
    by_id = {row["id"]: row for row in rows}
    errors = {}
    for name, training in (("weights", False), ("training_peak", True)):
        pairs = [pair for pair in PAIRS[name](atlas, rows) if not training or by_id[pair.id]["method"] == "lora"]
        said = [accelerate_says(_model(atlas, by_id[pair.id]), bits_of(by_id[pair.id]) or 16.0, training=training) for pair in pairs]
        errors[name] = error_of([pair._replace(foretold=each) for pair, each in zip(pairs, said, strict=True)]) | {"atlas": error_of(pairs)}
    return errors


def _model(atlas: Catalogue, row: dict[str, Any]) -> CatalogueModel:
    return atlas.models[SAME_DIMENSIONS.get(row["model"], row["model"])]


def memory_calibration() -> dict[str, Any]:
    """What `engine/atlas/calibration.py` keeps of memory."""
    atlas, rows = catalogue(), read_json(MEASURED)
    ratios: dict[str, list[float]] = {"16": [], "8": [], "4": []}
    bits = {row["id"]: bits_of(row) for row in rows}
    for pair in weight_pairs(atlas, rows):
        width = bits[pair.id] or 0.0
        ratios["16" if width > 8 else "8" if width > 5 else "4"].append(pair.measured / pair.foretold)
    taken = [overhead for _, overhead, _ in overheads(atlas, rows)]
    caches = [pair.measured / pair.foretold for pair in cache_pairs(atlas, rows)]
    peaks = [pair.measured / pair.foretold for pair in training_pairs(atlas, rows)]
    weights_seen = {name: range_of(values) for name, values in ratios.items()}
    return {"overhead_bytes": range_of(taken), "weights": weights_seen, "cache": range_of(caches), "training_peak": range_of(peaks)}


def range_of(values: list[float]) -> dict[str, Any]:
    """The middle one, and where nine of ten lie: with fewer than twenty, from the least to the most."""
    edges = np.quantile(values, [0.05, 0.95] if len(values) >= 20 else [0, 1])
    return {"n": len(values), "value": round(float(np.median(values)), 5), "low": round(float(edges[0]), 5), "high": round(float(edges[1]), 5)}


def error_of(pairs: list[Pair]) -> dict[str, Any]:
    """Relative errors, and the ratio measured / foretold that nine of ten lie within."""
    measured, foretold, simple = (np.array(column, dtype=float) for column in list(zip(*pairs, strict=True))[1:])
    away, low_high = np.abs(foretold / measured - 1), np.quantile(measured / foretold, [0.05, 0.95])
    known = ~np.isnan(simple)
    return {
        "n": len(pairs),
        "median": round(float(np.median(away)), 4),
        "p90": round(float(np.quantile(away, 0.9)), 4),
        "low": round(float(low_high[0]), 4),
        "high": round(float(low_high[1]), 4),
        "textbook_median": round(float(np.median(np.abs(simple / measured - 1)[known])), 4) if known.any() else None,
        "worst": sorted(((round(float(error), 3), pair.id) for error, pair in zip(away, pairs, strict=True)), reverse=True)[:3],
    }


def one(value: Floats) -> float:
    """The only entry of a column."""
    return float(np.asarray(value).reshape(-1)[0])


def bits_of(row: dict[str, Any]) -> float | None:
    """Bits of a quantised parameter, as the row's own words say; None where they say nothing or name another way of counting."""
    bits = row.get("weight_bits")
    return float(bits) if isinstance(bits, int | float) and "gguf" not in row["quant"].lower() else None


def weights(bits: float) -> Weights:
    return Weights(np.array([bits]), np.array([float(UNQUANTISED_BITS)]))


def weight_pairs(atlas: Catalogue, rows: list[dict[str, Any]]) -> Iterator[Pair]:
    """What servers logged as the weights of one card, and litgpt's peaks of answering one request, which are little more."""
    for row in rows:
        if row["kind"] == "vllm_memory" and "weights_gib" in row and bits_of(row) and row["model"] in atlas.models:
            models, held = Models.of([atlas.models[row["model"]]]), weights(bits_of(row) or 0.0)
            yield Pair(row["id"], row["weights_gib"] * GIB * row["tp"], one(weights_bytes(models, held)), one(textbook.weights_bytes(models, held)))


def cache_pairs(atlas: Catalogue, rows: list[dict[str, Any]]) -> Iterator[Pair]:
    """Bytes of a token, from the size of a server's pool and the tokens that it says fit. Where layers keep different things vLLM's count is derived
    from the longest context, so those logs are compared there."""
    for row in rows:
        model = atlas.models.get(row.get("model", ""))
        plain = model is not None and len(model.attention.cached) == 1 and model.attention.state_elements is None
        if row["kind"] == "vllm_memory" and {"kv_gib", "kv_tokens"} <= row.keys() and model is not None and plain:
            models, bits, tensor = Models.of([model]), np.array([float(row.get("kv_bits", 16))]), np.array([float(row["tp"])])
            each = one(cache_bytes(models, np.array([1.0]), bits) * cache_share(models, Layout(tensor)))
            heads = (model.attention_heads or 1) / (model.attention.cached[0].kv_heads or 1)
            simple = one(textbook.cache_bytes(np.array([1.0]), models.layers, models.hidden, np.array([heads]), bits)) / row["tp"]
            yield Pair(row["id"], row["kv_gib"] * GIB / row["kv_tokens"], each, simple)


def overheads(atlas: Catalogue, rows: list[dict[str, Any]]) -> Iterator[tuple[str, float, float]]:
    """For each log that says enough: its name, what the server took beside weights and caches, and the pool; bytes of one card."""
    for row in rows:
        card = atlas.accelerators.get(row.get("gpu") or "")
        total = row.get("total_gib") or (card and (card.reported_memory_gib or card.memory_gib))
        if row["kind"] == "vllm_memory" and {"kv_gib", "util", "weights_gib"} <= row.keys() and total:
            pool = row["kv_gib"] * GIB
            yield row["id"], row["util"] * total * GIB - row["weights_gib"] * GIB - pool, pool


def pool_pairs(atlas: Catalogue, rows: list[dict[str, Any]]) -> Iterator[Pair]:
    """The room for caches, with the overhead that the other logs show; the textbook leaves none."""
    found = list(overheads(atlas, rows))
    for number, (name, overhead, pool) in enumerate(found):
        others = float(np.median([each for at, (_, each, _) in enumerate(found) if at != number]))
        yield Pair(name, pool, pool + overhead - others, pool + overhead)


def training_pairs(atlas: Catalogue, rows: list[dict[str, Any]]) -> Iterator[Pair]:
    """Peaks of LoRA and QLoRA on one card, where a table says length, batch and what was trained or the rank."""
    for row in rows:
        name = row.get("model", "")
        model = atlas.models.get(SAME_DIMENSIONS.get(name, name))
        if row["kind"] != "finetune" or row["method"] == "full" or row["n_gpu"] != 1 or model is None or "seq_len" not in row:
            continue
        models, held = Models.of([model]), Weights.of([QUANTISATIONS[row["quant"]]])
        trained = row.get("trainable_params") or lora_parameters(models, row.get("lora_r", 8))
        chunked = not row["framework"].startswith("litgpt")  # torchtune by default; axolotl's examples use a fused loss
        how = (trained, row["micro_batch"] * row["seq_len"], row.get("grad_checkpointing", True), 1 / 8 if chunked else 1)
        tuning = Tuning(*(np.array([float(value)]) for value in how))
        foretold = one(training_bytes(models, held, tuning, np.array([float(model.vocabulary or 0)])))
        peak = row["max_mem_gb"] * GB if "max_mem_gb" in row else row["max_mem_gib"] * GIB
        yield Pair(row["id"], peak, foretold, one(models.parameters) * held.bits[0] / 8 * textbook.OVERHEAD)


def lora_parameters(models: Models, rank: int) -> float:
    """Of an adapter on all linear layers."""
    return one(adapter_parameters(models, np.array([float(rank)])))


PAIRS: dict[str, Callable[[Catalogue, list[dict[str, Any]]], Iterator[Pair]]] = {
    "weights": weight_pairs,
    "cache_per_token": cache_pairs,
    "cache_pool": pool_pairs,
    "training_peak": training_pairs,
}


if __name__ == "__main__":
    sys.exit(main())
