"""Models, accelerators and workloads as columns of numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from engine.atlas.physics.quantisations import UNQUANTISED_BITS, Quantisation
from engine.config import Accelerator, CatalogueModel

Floats = NDArray[np.float64]
Columns = TypeVar("Columns", bound=tuple[Any, ...])

GB = 1e9
GIB = float(2**30)


def along(columns: Columns, axis: int, dimensions: int) -> Columns:
    """The same columns, laid along one axis of a grid, so that those of other axes broadcast against them."""
    shape = [1] * dimensions
    shape[axis] = -1
    return type(columns)(*(np.reshape(column, shape) for column in columns))


class Models(NamedTuple):
    """Models; each field has one entry a model."""

    parameters: Floats
    embedding: Floats
    """Parameters of the embedding, and of an output layer of its own."""
    output: Floats
    """Parameters of the output layer, its own or the embedding."""
    always_read: Floats
    """Parameters that each decoding step reads whatever the token is: all but routed experts and an input embedding of its own."""
    expert: Floats
    """Parameters of one routed expert in one layer; 0 without."""
    experts: Floats
    experts_per_token: Floats
    moe_layers: Floats
    layers: Floats
    hidden: Floats
    kv_heads: Floats
    """Most ways to split the cache between cards; 1 where a latent is kept, which each card holds whole."""
    kv_elements: Floats
    """Kept for each token by layers that forget none."""
    windowed_elements: Floats
    """Kept for each token by layers that forget."""
    window: Floats
    """After how many tokens."""
    state_elements: Floats
    """Kept for a sequence however long it is."""

    @property
    def active(self) -> Floats:
        """Parameters that one token is multiplied with."""
        return self.always_read + self.moe_layers * self.experts_per_token * self.expert

    @classmethod
    def of(cls, models: Sequence[CatalogueModel]) -> Self:
        """As columns; NaN where no source says."""
        return cls(*(np.array(column, dtype=float) for column in zip(*map(_row, models), strict=True)))


def _row(model: CatalogueModel) -> tuple[float, ...]:
    nan = float("nan")
    total = nan if model.parameters_billion is None else model.parameters_billion * 1e9
    hidden = float(model.hidden_size or nan)
    table = hidden * float(model.vocabulary or nan)
    tied = model.tied_embeddings is True  # where no source says, an output layer of its own is counted: most larger models have one
    experts = model.experts
    expert = (3 if model.gated else 2) * hidden * experts.expert_size if experts else 0.0
    moe_layers = float(experts.moe_layers or nan) if experts else 0.0
    always = _always_read(model, total, moe_layers * expert, 0.0 if tied else table)
    cached = model.attention.cached
    return (
        total,
        table if tied else 2 * table,
        table,
        always,
        expert,
        float(experts.experts) if experts else 1.0,
        float(experts.experts_per_token) if experts else 0.0,
        moe_layers,
        float(model.layers or nan),
        hidden,
        max((float(each.kv_heads or 1) for each in cached), default=nan),
        float(sum(each.elements_per_token for each in cached if each.window is None)) if cached else nan,
        float(sum(each.elements_per_token for each in cached if each.window is not None)) if cached else nan,
        float(next((each.window for each in cached if each.window is not None), 1)),
        float(model.attention.state_elements or 0),
    )


def _always_read(model: CatalogueModel, total: float, expert: float, table: float) -> float:
    """What its makers say is active, without the experts among it; where they say nothing, all without experts and an input embedding of its own. (A
    checkpoint may hold more than is read: a vision tower, layers that draft.) NaN where the dimensions do not go with the total.

    `expert`: parameters of one expert in all layers; `table`: those of an input embedding of its own.
    """
    experts = model.experts
    if experts is None:
        return total - table
    if experts.experts * expert >= total:
        return float("nan")
    chosen = experts.experts_per_token * expert
    said = model.active_parameters_billion
    found = said * 1e9 - chosen if said else total - experts.experts * expert - table
    return found if found > 0 else float("nan")


class Weights(NamedTuple):
    """How weights are held; each field has one entry a quantisation."""

    bits: Floats
    unquantised_bits: Floats

    @classmethod
    def of(cls, quantisations: Sequence[Quantisation]) -> Self:
        """As columns."""
        return cls(np.array([each.bits for each in quantisations]), np.full(len(quantisations), float(UNQUANTISED_BITS)))


class Cards(NamedTuple):
    """Accelerators; each field has one entry a card, or one a card and a quantisation."""

    memory: Floats
    """Bytes that a driver reports, or of the card as it is sold."""
    bandwidth: Floats
    """Of its memory, bytes a second."""
    operations: Floats
    """Dense operations a second in the arithmetic of the weights."""
    link: Floats
    """Bytes a second to another card, each direction; NaN: cards cannot be joined, as far as any source says."""

    @classmethod
    def of(cls, cards: Sequence[Accelerator], quantisations: Sequence[Quantisation]) -> Self:
        """As columns: one entry a card, except `operations`, which has a row a card and a column a quantisation."""
        nan = float("nan")
        memory = [(card.reported_memory_gib or card.memory_gib or nan) * GIB for card in cards]
        operations = [[operations_of(card, each) for each in quantisations] for card in cards]
        return cls(
            np.array(memory),
            np.array([(card.bandwidth_gb_s or nan) * GB for card in cards]),
            np.array(operations),
            np.array([(card.interconnect_gb_s or nan) * GB for card in cards]),
        )


def operations_of(card: Accelerator, quantisation: Quantisation) -> float:
    """Operations a second in a quantisation's arithmetic; a card without units for it unpacks to 16 bits."""
    found = card.tflops.get(quantisation.arithmetic) or card.tflops.get("bf16")
    return float("nan") if found is None else found * 1e12


class Layout(NamedTuple):
    """How one copy of a model is laid over accelerators; columns."""

    tensor: Floats
    """Cards that each layer is split over."""
    pipeline: Floats = np.array(1.0)
    """Stages, one after another, that the layers are divided over."""
    experts_over: Floats = np.array(1.0)
    """Cards of a stage that whole routed experts are divided over. More than `tensor`: what is always read stands there several times, each copy for
    its share of the requests."""

    @property
    def stage(self) -> Floats:
        """Cards of one stage."""
        return np.maximum(self.tensor, self.experts_over)

    @property
    def copies(self) -> Floats:
        """Of what is always read, in one stage."""
        return self.stage / self.tensor

    @property
    def lanes(self) -> Floats:
        """Prompts that are read side by side: each copy and each stage is at one of its own."""
        return self.copies * self.pipeline


class Workload(NamedTuple):
    """What is asked at once."""

    prompt: Floats
    """Tokens of a prompt."""
    answer: Floats
    """Tokens of an answer."""
    concurrency: Floats
    """Requests in flight."""
    hit_share: Floats = np.array(0.0)
    """Share of each prompt that the prefix cache holds."""

    @property
    def read(self) -> Floats:
        """Tokens of a prompt that are left to read beside what the prefix cache holds; the last one is always read."""
        left: Floats = np.maximum(self.prompt * (1 - self.hit_share), np.minimum(self.prompt, 1.0))
        return left

    @property
    def context(self) -> Floats:
        """Tokens that a sequence has behind it, in the mean over its answer."""
        return self.prompt + self.answer / 2


