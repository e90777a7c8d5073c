"""What lies in an accelerator's memory: weights, caches, and what is left."""

from __future__ import annotations

import numpy as np

from engine.atlas.physics.arrays import Cards, Floats, Layout, Models, Weights

STATE_BYTES = 2.0
"""Of an element of a linear or state-space layer's state: vLLM keeps it in the model's own 16 bits unless told otherwise."""


def weights_bytes(models: Models, weights: Weights) -> Floats:
    """All parameters: linear layers in their quantisation, with its scales; embedding and output layer in 16 bits."""
    quantised = models.parameters - models.embedding
    total: Floats = (quantised * weights.bits + models.embedding * weights.unquantised_bits) / 8
    return total


def weights_over(models: Models, weights: Weights, layout: Layout) -> Floats:
    """How many cards the weights are divided over, in effect: weights_bytes over this is what each card holds.

    Tensor parallelism splits each matrix over all its cards (Megatron-LM, arXiv 1909.08053), a pipeline divides the layers over its stages (GPipe,
    arXiv 1811.06965). Experts divided over more cards than that lie there once, all else as many times as there are copies (DeepSpeed-MoE, arXiv
    2201.05596, section 5): with r the experts' share of the bytes, a card holds ((1 - r) + r / copies) / tensor of them.
    """
    experts = models.moe_layers * models.experts * models.expert * weights.bits / 8 / weights_bytes(models, weights)
    share = np.where(layout.copies > 1, experts, 0.0)
    return layout.tensor * layout.pipeline / (1 - share * (1 - 1 / layout.copies))


def cache_bytes(models: Models, tokens: Floats, cache_bits: Floats) -> Floats:
    """What one sequence of so many tokens keeps, by the layers' own kinds: heads or a latent for each token, a window's share of them, a state.

    For plain layers this is 2 x layers x kv_heads x head_dim (Shazeer, arXiv 1911.02150; Ainslie et al., arXiv 2305.13245), for a latent layers x
    (rank + rotary part) (DeepSeek-V2, arXiv 2405.04434, section 2.1).
    """
    elements = models.kv_elements * tokens + models.windowed_elements * np.minimum(tokens, models.window)
    kept: Floats = elements * cache_bits / 8 + models.state_elements * STATE_BYTES
    return kept


def cache_share(models: Models, layout: Layout) -> Floats:
    """The part of a sequence's cache that each card holds, in the mean: heads are split over `tensor` cards as far as there are any and copied
    beyond, each stage keeps its own layers', and each copy its own sequences'."""
    return 1 / (np.minimum(layout.tensor, models.kv_heads) * layout.lanes)


def pool_bytes(weights: Floats, cards: Cards, utilisation: Floats, over: Floats, overhead: Floats) -> Floats:
    """What each card has left for caches: vLLM takes `utilisation` of its memory, and from that come the weights, divided over so many cards, and the
    overhead."""
    return utilisation * cards.memory - weights / over - overhead


def sequences_that_fit(pool: Floats, models: Models, tokens: Floats, cache_bits: Floats, layout: Layout) -> Floats:
    """Whole sequences of so many tokens that a pool holds; 0 where it holds none, or the weights alone do not fit."""
    each = cache_bytes(models, tokens, cache_bits) * cache_share(models, layout)
    return np.where(np.isnan(pool + each), np.nan, np.floor(np.maximum(pool, 0) / each))
