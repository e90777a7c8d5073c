"""What lies in an accelerator's memory: weights, caches, and what is left."""

from __future__ import annotations

import numpy as np

from engine.atlas.physics.arrays import Cards, Floats, Models, Weights

STATE_BYTES = 2.0
"""Of an element of a linear or state-space layer's state: vLLM keeps it in the model's own 16 bits unless told otherwise."""


def weights_bytes(models: Models, weights: Weights) -> Floats:
    """All parameters: linear layers in their quantisation, with its scales; embedding and output layer in 16 bits."""
    quantised = models.parameters - models.embedding
    total: Floats = (quantised * weights.bits + models.embedding * weights.unquantised_bits) / 8
    return total


def cache_bytes(models: Models, tokens: Floats, cache_bits: Floats) -> Floats:
    """What one sequence of so many tokens keeps, by the layers' own kinds: heads or a latent for each token, a window's share of them, a state.

    For plain layers this is 2 x layers x kv_heads x head_dim (Shazeer, arXiv 1911.02150; Ainslie et al., arXiv 2305.13245), for a latent layers x
    (rank + rotary part) (DeepSeek-V2, arXiv 2405.04434, section 2.1).
    """
    elements = models.kv_elements * tokens + models.windowed_elements * np.minimum(tokens, models.window)
    kept: Floats = elements * cache_bits / 8 + models.state_elements * STATE_BYTES
    return kept


def cache_share(models: Models, tensor: Floats) -> Floats:
    """The part of a sequence's cache that each of `tensor` cards holds: heads are split as far as there are any, and copied beyond."""
    return 1 / np.minimum(tensor, models.kv_heads)


def pool_bytes(weights: Floats, cards: Cards, utilisation: Floats, tensor: Floats, overhead: Floats) -> Floats:
    """What each card has left for caches: vLLM takes `utilisation` of its memory, and from that come its share of the weights and the overhead."""
    return utilisation * cards.memory - weights / tensor - overhead


def sequences_that_fit(pool: Floats, models: Models, tokens: Floats, cache_bits: Floats, tensor: Floats) -> Floats:
    """Whole sequences of so many tokens that a pool holds; 0 where it holds none, or the weights alone do not fit."""
    each = cache_bytes(models, tokens, cache_bits) * cache_share(models, tensor)
    return np.where(np.isnan(pool + each), np.nan, np.floor(np.maximum(pool, 0) / each))
