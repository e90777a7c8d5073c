"""How fast a model answers: a roofline with fitted efficiencies, and what a layer costs beside it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from engine.atlas.physics.arrays import Cards, Floats, Layout, Models, Weights, Workload
from engine.atlas.physics.memory import cache_bytes, cache_share

ACTIVATION_BYTES = 2.0
"""Of an element that cards exchange."""
LINK_EFFICIENCY = 0.6
"""Share of a link's rate that an all-reduce of small messages reaches; not fitted apart from the time of a layer."""
SHARPNESS = 4.0
"""The exponent of the smooth maximum of memory and compute time: near the ridge both slow a kernel."""


class Constants(NamedTuple):
    """What is fitted on measurements, as a set: single values trade against each other and mean little alone."""

    weight_efficiency: float
    """Share of the memory's bandwidth while weights are read."""
    cache_efficiency: float
    """The same while caches are read."""
    decode_efficiency: float
    """Share of the card's arithmetic in decoding."""
    prefill_efficiency: float
    """The same while prompts are read; at most 1."""
    layer_us: float
    """Microseconds of a layer beside reading and computing: launches, small kernels."""
    layer_us_per_doubling: float
    """More for each doubling of the cards that share a layer: waiting for one another."""
    moe_layer_us: float
    """More for a layer with experts: routing, gathering."""
    sequence_us: float
    """Microseconds of a step for each sequence: sampling, bookkeeping."""
    first_token_ms: float
    """Milliseconds from a request to the start of its prefill on an idle server."""
    queueing: float
    """What other requests add to the wait for a first token: times its own prompt's reading, and the root of their number."""


class Speculation(NamedTuple):
    """Guessing tokens ahead, which the model then verifies together."""

    drafted: Floats
    """Tokens guessed for each step."""
    accepted: Floats
    """The chance that a guess is right, given that those before it were."""
    draft_cost: Floats
    """Time of one guess over that of a step of the model."""


def experts_read(models: Models, concurrency: Floats) -> Floats:
    """Experts of a layer that a step of so many sequences reads: E (1 - (1 - k/E)^B), each token choosing k of E without preference."""
    share = models.experts_per_token / models.experts
    read: Floats = models.experts * (1 - (1 - share) ** concurrency)
    return read


def read_bytes(models: Models, weights: Weights, concurrency: Floats) -> Floats:
    """Weights that one step reads."""
    output = np.minimum(models.output, models.always_read)
    quantised = models.always_read - output + models.moe_layers * experts_read(models, concurrency) * models.expert
    read: Floats = (quantised * weights.bits + output * weights.unquantised_bits) / 8
    return read


def routed_bytes(models: Models, weights: Weights, tokens: Floats) -> Floats:
    """Of them, those of the experts that so many tokens choose."""
    return models.moe_layers * experts_read(models, tokens) * models.expert * weights.bits / 8


def step_seconds(
    models: Models,
    weights: Weights,
    cards: Cards,
    work: Workload,
    constants: Constants,
    cache_bits: Floats,
    layout: Layout,
    drafted: float | Floats = 0.0,
) -> Floats:
    """One decoding step of all sequences in flight, each bringing its last token and those `drafted` after it.

    The roofline (Williams et al., 2009): bytes over bandwidth against operations over arithmetic, then what layers cost beside both, and what cards
    send one another (`exchanging_seconds`). A pipeline is kept full by as many micro batches as it has stages, so that a step is what one of them
    takes through all stages; fewer sequences than stages leave stages idle (GPipe, arXiv 1811.06965, section 2.3). Experts are taken to be chosen
    evenly, so that no card waits for one whose experts are liked better.
    """
    sequences = np.maximum(work.concurrency / layout.pipeline, np.minimum(work.concurrency, 1.0))
    tokens = sequences * (drafted + 1)
    through = layout._replace(pipeline=np.array(1.0))
    held = cache_bytes(models, work.context, cache_bits) * cache_share(models, through) * sequences
    spared = routed_bytes(models, weights, tokens) * (1 - 1 / layout.copies)
    reading = (read_bytes(models, weights, tokens) - spared) / layout.tensor / (cards.bandwidth * constants.weight_efficiency)
    reading = reading + held / (cards.bandwidth * constants.cache_efficiency)
    computing = 2 * models.active * tokens / (cards.operations * layout.stage * constants.decode_efficiency)
    roofline = (reading**SHARPNESS + computing**SHARPNESS) ** (1 / SHARPNESS)
    beside = layers_us(models, constants, layout) + constants.sequence_us * sequences
    seconds: Floats = roofline + beside * 1e-6 + exchanging_seconds(models, cards, tokens, layout)
    return seconds + handing_seconds(models, cards, tokens / layout.copies, layout)


def layers_us(models: Models, constants: Constants, layout: Layout) -> Floats:
    """Microseconds of all layers beside reading and computing."""
    waiting = constants.layer_us + constants.layer_us_per_doubling * np.log2(layout.stage)
    return models.layers * waiting + models.moe_layers * constants.moe_layer_us


def exchanging_seconds(models: Models, cards: Cards, tokens: Floats, layout: Layout) -> Floats:
    """What so many tokens of one micro batch cost on the links between the cards of a layer, in two ways.

    A ring all-reduce of the activations twice a layer, 2 (n-1)/n of them over the link (Megatron-LM, arXiv 1909.08053, section 3). Of each card's
    share of the tokens, one activation to each chosen expert and one back, (n-1)/n of which lie on other cards: two all-to-all a layer with experts
    (Switch Transformers, arXiv 2101.03961, section 5; DeepSpeed-MoE, arXiv 2201.05596, section 5).
    """
    tensor, own, link = layout.tensor, tokens / layout.copies, LINK_EFFICIENCY * cards.link
    reduced = 2 * models.layers * own * models.hidden * ACTIVATION_BYTES * 2 * (tensor - 1) / tensor
    routed = 2 * models.moe_layers * tokens / layout.stage * models.experts_per_token * models.hidden * ACTIVATION_BYTES
    routed = routed * (layout.experts_over - 1) / layout.experts_over
    seconds: Floats = np.where(tensor > 1, reduced / link, 0.0) + np.where(layout.experts_over > 1, routed / link, 0.0)
    return seconds


def handing_seconds(models: Models, cards: Cards, tokens: Floats, layout: Layout) -> Floats:
    """Of so many tokens' activations from each stage of a pipeline to the next (Megatron-LM, arXiv 2104.04473, section 3.2)."""
    handed = (layout.pipeline - 1) * tokens * models.hidden * ACTIVATION_BYTES
    return np.where(layout.pipeline > 1, handed / (LINK_EFFICIENCY * cards.link), 0.0)


def prefill_seconds(models: Models, cards: Cards, prompt: Floats, constants: Constants, layout: Layout) -> Floats:
    """Reading one prompt: two operations a parameter and token (Kaplan et al., arXiv 2001.08361, section 2.1), attention itself left out. It passes
    the stages of a pipeline one after another, and each computes its part alone: stages do not make it faster."""
    computing = 2 * models.active * prompt / (cards.operations * layout.tensor * min(constants.prefill_efficiency, 1.0))
    return computing + handing_seconds(models, cards, prompt, layout)


def seconds_per_token(
    models: Models,
    weights: Weights,
    cards: Cards,
    work: Workload,
    constants: Constants,
    cache_bits: Floats,
    layout: Layout,
    guessing: Speculation | None = None,
) -> Floats:
    """TPOT: the time between two tokens of one answer, other requests' prompts being read between steps.

    In the steady state each sequence in flight brings one prompt per answer, so a step carries concurrency / answer of them, as many side by side as
    the layout has lanes. With guesses a token takes a step over their speedup, the verifying step being as slow as its tokens make it: it reads and
    computes more than a plain one.
    """
    step = step_seconds(models, weights, cards, work, constants, cache_bits, layout)
    if guessing is not None:
        verifying = step_seconds(models, weights, cards, work, constants, cache_bits, layout, guessing.drafted)
        step = step / speculated_speedup(guessing, verifying / step)
    return step + work.concurrency * prefill_seconds(models, cards, work.read, constants, layout) / (work.answer * layout.lanes)


def first_token_seconds(models: Models, cards: Cards, work: Workload, constants: Constants, layout: Layout) -> Floats:
    """TTFT: overhead, the reading of one's own prompt with what its layers cost beside, and the wait for others in the same lane.

    That the wait grows as the root of their number is no theory: of a dozen forms it foretells best the published runs of models and accelerators
    left out. In proportion to the number, as if all were queueing at once, it comes out far too long.
    """
    alone = prefill_seconds(models, cards, work.read, constants, layout) + layers_us(models, constants, layout) * 1e-6
    alone = alone + exchanging_seconds(models, cards, work.read * layout.copies, layout)
    return constants.first_token_ms * 1e-3 + alone * (1 + constants.queueing * np.sqrt(np.maximum(work.concurrency - 1, 0) / layout.lanes))


def tokens_per_second(first_token: Floats, per_token: Floats, work: Workload) -> Floats:
    """Answer tokens of all requests in flight, in the steady state: each takes its first token's time and then its others'."""
    return work.concurrency * work.answer / (first_token + np.maximum(work.answer - 1, 0) * per_token)


def speculated_speedup(guessing: Speculation, verifying: float | Floats = 1.0) -> Floats:
    """How much faster decoding is with tokens guessed ahead: (1 - a^(n+1)) / ((1 - a) (n c + v)); below 1 it slows.

    A step gives (1 - a^(n+1)) / (1 - a) tokens in the mean and takes n guesses of c each and a verifying step of v, all over the time of a plain
    step. With v = 1, as while a step is bound by memory, it is theorem 3.8 of Leviathan et al. (arXiv 2211.17192).
    """
    accepted = np.minimum(guessing.accepted, 1 - 1e-12)
    tokens = (1 - accepted ** (guessing.drafted + 1)) / (1 - accepted)
    speedup: Floats = tokens / (guessing.drafted * guessing.draft_cost + verifying)
    return speedup
