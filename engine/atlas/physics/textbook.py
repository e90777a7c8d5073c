"""The formulas that one finds everywhere, as they are: no cache by attention kind, no overhead, every unit at its peak."""

from __future__ import annotations

from engine.atlas.physics.arrays import Cards, Floats, Models, Weights, Workload

OVERHEAD = 1.2
"""The usual fifth on top of the weights."""


def weights_bytes(models: Models, weights: Weights) -> Floats:
    """Parameters x bits, and a fifth."""
    return models.parameters * weights.bits / 8 * OVERHEAD


def cache_bytes(tokens: Floats, layers: Floats, hidden: Floats, kv_groups: Floats, cache_bits: Floats) -> Floats:
    """Tokens x layers x 2 x hidden size / kv groups x bytes, `kv_groups` being attention heads over key and value heads."""
    return tokens * layers * 2 * hidden / kv_groups * cache_bits / 8


def seconds_per_token(models: Models, weights: Weights, cards: Cards, tensor: Floats) -> Floats:
    """All parameters over the memory's bandwidth."""
    return models.parameters * weights.bits / 8 / (cards.bandwidth * tensor)


def first_token_seconds(models: Models, cards: Cards, work: Workload, tensor: Floats) -> Floats:
    """Two operations a parameter and token over the arithmetic's peak."""
    return 2 * models.parameters * work.prompt / (cards.operations * tensor)
