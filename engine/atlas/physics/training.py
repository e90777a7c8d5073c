"""Memory and time of fine-tuning a model on one accelerator, or on each of several that hold a copy."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from engine.atlas.physics.arrays import GIB, Cards, Floats, Models, Weights
from engine.atlas.physics.memory import cache_bytes, weights_bytes

TRAINABLE_BYTES = 16.0
"""Of a trained parameter under Adam in mixed precision: 2 + 2 for weight and gradient, 12 for the 32-bit copy and two moments (ZeRO,
arXiv 1910.02054, section 3.1)."""
LAYER_ACTIVATIONS = 34.0
"""Bytes for each token and hidden unit that a layer keeps for its backward pass, in 16 bits with fused attention (Korthikanti et al.,
arXiv 2205.05198, equation 1, without the term of the attention scores)."""
CHECKPOINT_BYTES = 2.0
"""The same with gradient checkpointing: the input of each layer; one layer at a time is computed anew."""
LOGIT_BYTES = 8.0
"""For each token and word of the vocabulary: logits in 16 bits, their gradient in 16, and a copy in 32 for the softmax."""
RUNTIME_BYTES = 0.7 * GIB
"""What CUDA and PyTorch take for themselves: fitted by eye on litgpt's table."""


class Tuning(NamedTuple):
    """How a model is tuned; columns."""

    trainable: Floats
    """Parameters that learn: all, or those of an adapter."""
    tokens: Floats
    """Of one micro batch: rows x length."""
    checkpointing: Floats
    """1 where activations are computed anew, 0 where they are kept."""
    logits_at_once: Floats
    """Share of the tokens whose logits are held together: 1 in a plain loss, 1/8 in a chunked one (torchtune's default, and what others' fused losses
    come near)."""


class Group(NamedTuple):
    """What one step of GRPO samples and learns from; columns."""

    prompts: Floats
    answers: Floats
    """To each prompt: they are compared with one another."""
    prompt: Floats
    """Tokens."""
    answer: Floats
    """Tokens."""
    reference: Floats
    """1 where the policy is held near the model that it started from (beta above 0), 0 where it is not."""

    @property
    def sequences(self) -> Floats:
        """Sampled together."""
        return self.prompts * self.answers

    @property
    def tokens(self) -> Floats:
        """Of all of them, prompts included."""
        return self.sequences * (self.prompt + self.answer)


def adapter_parameters(models: Models, rank: Floats) -> Floats:
    """Of LoRA on every linear layer (Hu et al., arXiv 2106.09685): rank x (inputs + outputs) of each matrix, taken as square root of what a layer
    holds on both sides: exact for square matrices, within a third for those of published models."""
    matrices = 7.0
    each = (models.parameters - models.embedding) / models.layers / matrices
    total: Floats = models.layers * matrices * rank * 2 * np.sqrt(np.maximum(each, 0.0))
    return total


def activation_bytes(models: Models, tuning: Tuning) -> Floats:
    """What the forward pass leaves for the backward pass."""
    layer = LAYER_ACTIVATIONS * tuning.tokens * models.hidden
    kept = CHECKPOINT_BYTES * tuning.tokens * models.hidden * models.layers + layer
    return np.where(tuning.checkpointing > 0, kept, layer * models.layers)


def training_bytes(models: Models, weights: Weights, tuning: Tuning, vocabulary: Floats) -> Floats:
    """The peak: frozen or trained weights, optimiser, activations, logits, runtime."""
    learning = TRAINABLE_BYTES * tuning.trainable
    full = tuning.trainable >= models.parameters
    held = np.where(full, 0.0, weights_bytes(models, weights))
    return held + learning + activation_bytes(models, tuning) + LOGIT_BYTES * tuning.tokens * tuning.logits_at_once * vocabulary + RUNTIME_BYTES


def training_seconds(models: Models, cards: Cards, tokens: Floats, tuning: Tuning, efficiency: Floats) -> Floats:
    """Over so many tokens in all: two operations a parameter forward, two backward for what flows through, two more for the gradients of what
    learns, and two again where activations are computed anew."""
    share = np.minimum(1.0, tuning.trainable / models.parameters)
    operations = (4 + 2 * share + 2 * tuning.checkpointing) * models.active * tokens
    return operations / (cards.operations * efficiency)


def grpo_bytes(models: Models, weights: Weights, tuning: Tuning, vocabulary: Floats, group: Group, cache_bits: Floats) -> Floats:
    """The peak of GRPO on an accelerator that samples and trains (DeepSeekMath, arXiv 2402.03300, section 4.1): bytes.

    The policy with its optimiser, activations and logits as in any training; no critic, since answers are judged by their group. A frozen reference
    only where all parameters learn and beta is above 0: an adapter that is switched off is one (TRL 1.16, GRPOTrainer). And the sampling server
    beside it, awake while the policy learns (TRL's `colocate` without its sleep mode): weights of its own, and the caches of the whole group.
    """
    copy = weights_bytes(models, weights)
    reference = np.where(tuning.trainable >= models.parameters, group.reference * copy, 0.0)
    sampling = copy + group.sequences * cache_bytes(models, group.prompt + group.answer, cache_bits)
    peak: Floats = training_bytes(models, weights, tuning, vocabulary) + reference + sampling
    return peak


def grpo_seconds(models: Models, cards: Cards, tuning: Tuning, group: Group, sampling: Floats, efficiency: Floats) -> Floats:
    """One step of GRPO: `sampling` seconds of answering, one forward pass over the group for the chances that its answers had (TRL always makes it
    when vLLM sampled them), another for the reference's where there is one, and the pass that learns. A forward pass is two operations a parameter
    and token."""
    forward = 2 * (1 + group.reference) * models.active * group.tokens / (cards.operations * efficiency)
    return sampling + forward + training_seconds(models, cards, group.tokens, tuning, efficiency)
