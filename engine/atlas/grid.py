"""Every combination of models, accelerators, quantisations and loads at once: what each takes, how fast it answers, and how sure that is. Pure.

All arrays of a `Grid` have the axes model, accelerator, quantisation, concurrency; NaN where something is not known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.atlas.calibration import Calibration, Fit, Standing, constants_of
from engine.atlas.corrections import Load, factor
from engine.atlas.physics.arrays import GIB, Cards, Floats, Layout, Models, Weights, Workload, along
from engine.atlas.physics.memory import cache_bytes, cache_share, pool_bytes, sequences_that_fit, weights_bytes, weights_over
from engine.atlas.physics.quantisations import QUANTISATIONS, Quantisation
from engine.atlas.physics.speed import Speculation, first_token_seconds, seconds_per_token, tokens_per_second
from engine.atlas.shapes import shape_of
from engine.config import Accelerator, CatalogueModel

MODEL, ACCELERATOR, QUANTISATION, CONCURRENCY = range(4)
HOST_RESERVE_GIB = 8.0
"""What a machine whose memory is also its accelerator's keeps for itself: an operating system, a browser and an editor; an assumption."""
Part = Literal["weights", "caches", "overhead"]
"""What lies in a card's memory."""
STANDINGS: tuple[Standing, ...] = ("measured_setting", "new_model", "new_accelerator")


class Asked(NamedTuple):
    """How the models are to be served."""

    prompt: float = 1024
    """Tokens."""
    answer: float = 256
    tensor: int = 1
    """Accelerators that each layer of a model is split over."""
    engine: str = "vllm"
    utilisation: float = 0.9
    """Share of the memory that the server may take."""
    cache_bits: float = 16
    hit_share: float = 0
    """Share of each prompt that the prefix cache holds."""
    drafted: float = 0
    """Tokens guessed ahead of each step; 0: no speculative decoding."""
    accepted: float = 0
    """The chance that a guess is right, given that those before it were."""
    draft_cost: float = 0
    """Time of one guess over that of a step."""
    pipeline: int = 1
    """Stages, one after another, that the layers are divided over."""
    experts_over: int = 1
    """Accelerators of a stage that whole routed experts are divided over."""

    @property
    def layout(self) -> Layout:
        """As columns."""
        return Layout(*(np.array(float(each)) for each in (self.tensor, self.pipeline, self.experts_over)))

    @property
    def beyond_measurements(self) -> bool:
        """It is served in a way that none of the measurements behind the fit says it was."""
        return self.drafted > 0 or self.pipeline > 1 or self.experts_over > 1

    @property
    def context(self) -> float:
        """Tokens of a whole sequence."""
        return self.prompt + self.answer


class Estimates(NamedTuple):
    """A value with the interval that nine of ten measurements lay in, relative to their estimates."""

    value: Floats
    low: Floats
    high: Floats


class Grid(NamedTuple):
    """What came out."""

    weights: Estimates
    """Bytes of all weights."""
    cache: Floats
    """Bytes that one sequence of the whole length keeps, on all cards together."""
    on_card: Mapping[Part, Estimates]
    """Bytes on each card: its share of the weights and of the caches of all sequences in flight, and the server's overhead."""
    needed: Estimates
    """Bytes that each card must have: their sum."""
    sequences: Floats
    """Whole sequences that fit at once; 0: the model does not fit."""
    held: NDArray[np.bool_]
    """The sequences in flight are held, by the values themselves, and the model's context is long enough for them."""
    fits: NDArray[np.bool_]
    """They are held even where the memory comes out as large as the interval allows."""
    tpot: Estimates
    """Seconds between two tokens of an answer."""
    ttft: Estimates
    """Seconds to the first token."""
    throughput: Estimates
    """Answer tokens a second, of all requests."""
    standing: NDArray[np.int64]
    """Which of STANDINGS the time between tokens has."""
    usable: Floats
    """Bytes of each card that the server may take."""


def grid(
    models: Sequence[CatalogueModel],
    accelerators: Mapping[str, Accelerator],
    quantisations: Sequence[str],
    concurrencies: Sequence[float],
    asked: Asked,
    fitted: Calibration,
) -> Grid:
    """Everything about every combination."""
    held = [QUANTISATIONS[name] for name in quantisations]
    columns = along(Models.of(models), MODEL, 4)
    weights = along(Weights.of(held), QUANTISATION, 4)
    cards = _cards(list(accelerators.values()), held)
    concurrency = np.reshape(np.array(concurrencies, dtype=float), (1, 1, 1, -1))
    work = Workload(np.array(asked.prompt), np.array(asked.answer), concurrency, np.array(asked.hit_share))
    layout, bits = asked.layout, np.array(asked.cache_bits)
    over = weights_over(columns, weights, layout)

    weight, overhead = _weights(columns, weights, fitted), fitted.memory.overhead_bytes
    cache = cache_bytes(columns, np.array(asked.context), bits)
    on_card: dict[Part, Estimates] = {
        "weights": Estimates(*(part / over for part in weight)),
        "caches": _caches(models, cache * cache_share(columns, layout) * concurrency, fitted),
        "overhead": Estimates(*map(np.array, (overhead.value, overhead.low, overhead.high))),
    }
    needed = Estimates(*(sum(parts) for parts in zip(*on_card.values(), strict=True)))
    pool = pool_bytes(weight.value, cards, np.array(asked.utilisation), over, np.array(overhead.value))
    sequences = sequences_that_fit(pool, columns, np.array(asked.context), bits, layout)

    shape = np.broadcast_shapes(needed.value.shape, cards.operations.shape, concurrency.shape)
    tpot_fit, ttft_fit = fitted.quantities["tpot"], fitted.quantities["ttft"]
    tpot = seconds_per_token(columns, weights, cards, work, constants_of(tpot_fit), bits, layout, _guessing(asked))
    ttft = first_token_seconds(columns, cards, work, constants_of(ttft_fit), layout)
    where = (models, accelerators, quantisations, Load(concurrency, layout.tensor, work.read, work.answer), asked.engine)
    standings = [_standing(models, accelerators, quantisations, asked, fit) for fit in (tpot_fit, ttft_fit)]
    tpot_known, ttft_known = (
        _interval(_corrected(np.array(np.broadcast_to(value, shape)), fit, *where), fit, standing)
        for value, fit, standing in zip((tpot, ttft), (tpot_fit, ttft_fit), standings, strict=True)
    )
    long_enough = np.reshape([(model.context_tokens or 0) >= asked.context for model in models], (-1, 1, 1, 1))
    rates = [tokens_per_second(*pair, work) for pair in zip(ttft_known, tpot_known, strict=True)]
    return Grid(
        weights=weight,
        cache=cache,
        on_card=on_card,
        needed=needed,
        sequences=np.broadcast_to(sequences, (*shape[:3], 1)),
        held=long_enough & np.broadcast_to(sequences >= concurrency, shape),
        fits=long_enough & np.broadcast_to(needed.high <= asked.utilisation * cards.memory, shape),
        usable=asked.utilisation * cards.memory,
        tpot=tpot_known,
        ttft=ttft_known,
        throughput=Estimates(rates[0], rates[2], rates[1]),
        standing=standings[0],
    )


def _cards(accelerators: list[Accelerator], held: Sequence[Quantisation]) -> Cards:
    cards = Cards.of(accelerators, held)
    reserve = np.array([HOST_RESERVE_GIB * GIB if card.unified_memory else 0.0 for card in accelerators])
    laid = along(cards._replace(memory=cards.memory - reserve, operations=cards.bandwidth), ACCELERATOR, 4)
    return laid._replace(operations=cards.operations[None, :, :, None])


def _guessing(asked: Asked) -> Speculation | None:
    return Speculation(np.array(asked.drafted), np.array(asked.accepted), np.array(asked.draft_cost)) if asked.drafted else None


def _caches(models: Sequence[CatalogueModel], computed: Floats, fitted: Calibration) -> Estimates:
    """With the range of the logs, which are of models whose layers are all alike; no log says how far others' lie."""
    seen = fitted.memory.cache
    alike = np.reshape([layers_alike(model) for model in models], (-1, 1, 1, 1))
    return Estimates(computed, *(computed * np.where(alike, edge, 1.0) for edge in (seen.low, seen.high)))


def layers_alike(model: CatalogueModel) -> bool:
    """All layers keep the same of each token."""
    return len(model.attention.cached) == 1 and model.attention.state_elements is None


def _weights(columns: Models, weights: Weights, fitted: Calibration) -> Estimates:
    computed = weights_bytes(columns, weights)
    ranges = [fitted.memory.weights["16" if bits > 8 else "8" if bits > 5 else "4"] for bits in weights.bits.reshape(-1)]
    return Estimates(*(computed * np.reshape([getattr(each, edge) for each in ranges], (1, 1, -1, 1)) for edge in Estimates._fields))


def _standing(
    models: Sequence[CatalogueModel], accelerators: Mapping[str, Accelerator], quantisations: Sequence[str], asked: Asked, fit: Fit
) -> NDArray[np.int64]:
    """How near each combination lies to what was measured (index into STANDINGS): itself; other models there; nothing there, or nothing served so."""
    if asked.beyond_measurements:
        return np.full((len(models), len(accelerators), len(quantisations), 1), STANDINGS.index("new_accelerator"))
    engine = asked.engine
    there = {(each.accelerator, each.quantisation) for each in fit.corrections if each.engine == engine and not each.own}
    near = np.array([[1 if (card, held) in there else 2 for held in quantisations] for card in accelerators])
    result = np.array(np.broadcast_to(near[None, :, :, None], (len(models), len(accelerators), len(quantisations), 1)))
    for number, place in _places(models, accelerators, quantisations, engine, fit).items():
        if not fit.corrections[number].sparse:
            result[np.ix_(*place, [0])] = 0
    return result


def _places(
    models: Sequence[CatalogueModel], accelerators: Mapping[str, Accelerator], quantisations: Sequence[str], engine: str, fit: Fit
) -> dict[int, tuple[list[int], list[int], list[int]]]:
    """Where each correction applies: its number, and the models, accelerators and quantisations."""
    shapes, cards = [shape_of(model) for model in models], list(accelerators)
    found = {}
    for number, each in enumerate(fit.corrections):
        of_shape = [at for at, shape in enumerate(shapes) if shape == each.shape]
        if of_shape and each.engine == engine and each.accelerator in accelerators and each.quantisation in quantisations:
            found[number] = (of_shape, [cards.index(each.accelerator)], [list(quantisations).index(each.quantisation)])
    return found


def _corrected(
    values: Floats,
    fit: Fit,
    models: Sequence[CatalogueModel],
    accelerators: Mapping[str, Accelerator],
    quantisations: Sequence[str],
    load: Load,
    engine: str,
) -> Floats:
    if engine in fit.engines:
        values *= factor(load, np.array(fit.engines[engine]))
    for number, place in _places(models, accelerators, quantisations, engine, fit).items():
        there = np.ix_(*place, range(values.shape[CONCURRENCY]))
        values[there] *= factor(load, np.array(fit.corrections[number].coefficients)).reshape(-1)
    return values


def _interval(values: Floats, fit: Fit, standing: NDArray[np.int64]) -> Estimates:
    low, high = (np.array([getattr(fit.errors[name], edge) for name in STANDINGS])[standing] for edge in ("low", "high"))
    return Estimates(values, values * low, values * high)


