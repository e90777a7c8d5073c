"""Short exercises about what models take and how fast they answer, for the pages. Pure.

Each is asked about the very models and hardware that a reader is looking at, and its answer is computed from the atlas at that moment by the formulas
that everything else uses. What cannot be computed is not asked.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from engine.atlas.calibration import Calibration
from engine.atlas.catalogue import Catalogue
from engine.atlas.compose import hourly_price
from engine.atlas.grid import Asked, Grid, grid
from engine.atlas.physics.arrays import GIB, Models, Weights
from engine.atlas.physics.cost import usd_per_million_tokens
from engine.atlas.physics.memory import cache_bytes, weights_bytes
from engine.atlas.physics.quantisations import QUANTISATIONS
from engine.atlas.physics.speed import read_bytes
from engine.atlas.types import Deployment

TOLERANCE = 0.05
"""How far off a number may be and still be right: two digits are enough to see how things hang together."""
APART = 1.1
"""How many times larger one model's cache must be than another's to be asked which is larger."""
OFFERED = 3
"""Models to choose from."""
TOKENS = 1024.0
POINTS = 5
"""Percentage points to which a share is to be known, in the exercise about evaluation items."""
NORMAL = 1.96
"""Standard errors on either side that a 95% interval spans."""
BUSY_HOURS = 6
"""Of a day's 24, in the exercise about what idle hours cost."""

CROWDING = 8
"""Times the load, in the exercise about what grows."""
PART_WORDS = {"weights": "the weights", "caches": "the caches", "overhead": "what the server takes beside them"}


class Subject(NamedTuple):
    """What the reader looks at."""

    models: tuple[str, ...]
    """By their names in the atlas, the first one first; none: the smallest that is large enough to be of use stands in."""
    where: Deployment


class Exercise(NamedTuple):
    """A question with its answer."""

    name: str
    question: str
    right: float | str
    """A number, or one of the choices."""
    because: str
    """The formula with its figures."""
    unit: str = ""
    choices: tuple[str, ...] = ()
    """Empty: a number is asked for."""


def is_right(exercise: Exercise, given: str) -> bool:
    """Whether an answer is right; a number may be a twentieth off."""
    if isinstance(exercise.right, str):
        return given == exercise.right
    try:
        value = float(given.replace(",", "."))
    except ValueError:
        return False
    return abs(value - exercise.right) <= TOLERANCE * abs(exercise.right)


def exercises(names: Sequence[str], atlas: Catalogue, subject: Subject, fitted: Calibration) -> list[Exercise]:
    """Those of these names that can be asked about the subject."""
    known = subject if subject.models else subject._replace(models=(_standing_in(atlas),))
    found = (EXERCISES[name](atlas, known, fitted) for name in names)
    return [each for each in found if each is not None]


def _standing_in(atlas: Catalogue) -> str:
    """The smallest dense model of three billion parameters or more."""
    sizes = {name: model.parameters_billion or 0.0 for name, model in atlas.models.items() if model.architecture == "dense"}
    return min((name for name, size in sizes.items() if size >= 3), key=lambda name: (sizes[name], name))


def _weights(atlas: Catalogue, subject: Subject, fitted: Calibration) -> Exercise | None:
    """In another quantisation than the one looked at, in which the page says it."""
    name, held = subject.models[0], QUANTISATIONS["bf16" if subject.where.quantisation == "int4" else "int4"]
    columns = Models.of([atlas.models[name]])
    size, total, embedding = (float(value[0]) for value in (weights_bytes(columns, Weights.of([held])), columns.parameters, columns.embedding))
    if np.isnan(size):
        return None
    all_of_it, apart = said(total / 1e9), said(embedding / 1e9)
    question = f"{name} has {all_of_it} billion parameters, {apart} billion of them in the embedding and the output layer, which stay in 16 bits."
    return Exercise(
        "weights",
        f"{question} How many GiB do its weights take in {held.name}, at {held.bits:g} bits for each parameter?",
        size / GIB,
        f"(({all_of_it} - {apart}) x {held.bits:g} + {apart} x 16) bits / 8 x 10^9 / 2^30 = {said(size / GIB)} GiB.",
        unit="GiB",
    )


def _cache(atlas: Catalogue, subject: Subject, fitted: Calibration) -> Exercise | None:
    offered = _offered(atlas, subject.models)
    if len(offered) < OFFERED:
        return None
    kept = "; ".join(f"{name} keeps {said(size / 2**20)} MiB with {said(atlas.models[name].parameters_billion)} billion" for name, size in offered)
    return Exercise(
        "cache",
        f"Which of these keeps the largest cache of a sequence of {TOKENS:g} tokens?",
        max(offered, key=lambda each: each[1])[0],
        f"{kept} parameters. Of plain layers it is 2 x layers x heads kept x their size x 2 bytes x tokens: how many layers keep how many heads "
        "decides, and not how many parameters there are.",
        choices=tuple(name for name, _ in offered),
    )


def _offered(atlas: Catalogue, shown: Sequence[str]) -> list[tuple[str, float]]:
    """Models whose caches differ, those shown first and then the nearest in size, with the bytes of their caches."""
    size = atlas.models[shown[0]].parameters_billion or 1.0
    near = sorted(atlas.models, key=lambda name: abs(np.log((atlas.models[name].parameters_billion or np.inf) / size)))
    chosen: list[tuple[str, float]] = []
    for name in dict.fromkeys([*shown, *near]):
        kept = float(cache_bytes(Models.of([atlas.models[name]]), np.array([TOKENS]), np.array([16.0]))[0])
        if kept > 0 and all(max(kept, other) >= APART * min(kept, other) for _, other in chosen):
            chosen.append((name, kept))
        if len(chosen) == OFFERED:
            break
    return sorted(chosen)


def _cost(atlas: Catalogue, subject: Subject, fitted: Calibration) -> Exercise | None:
    price, figures = _price(atlas, subject.where), _served(atlas, subject, (1,), fitted)
    if price is None or figures is None:
        return None
    rate = float(figures.throughput.value[0, 0, 0, 0])
    cost = float(usd_per_million_tokens(np.array(price * 24 / BUSY_HOURS), np.array(1.0), np.array(rate)))
    return Exercise(
        "cost",
        f"{_hardware(subject.where)} cost {price:.2f} USD an hour, and {subject.models[0]} gives {said(rate)} answer tokens a second on it with "
        f"{subject.where.concurrency} requests in flight. It is so busy for {BUSY_HOURS} hours of the day, idle for the others, and paid for all "
        "day. What do a million answer tokens cost?",
        cost,
        f"24 x {price:.2f} USD / ({BUSY_HOURS} x 3600 s x {said(rate)}) x 1,000,000 = {said(cost)} USD, which is {24 / BUSY_HOURS:g} times the price "
        "while it is busy.",
        unit="USD",
    )


def _doubled(atlas: Catalogue, subject: Subject, fitted: Calibration) -> Exercise | None:
    figures = _served(atlas, subject, (1, 2), fitted)
    if figures is None:
        return None
    before, after = (float(value) for value in figures.throughput.value[0, 0, 0])
    share, twice = before / after, 2 * subject.where.concurrency
    falls, stays, rises = f"it falls by more than {TOLERANCE:.0%}", f"it stays within {TOLERANCE:.0%}", f"it rises by more than {TOLERANCE:.0%}"
    return Exercise(
        "doubled",
        f"{subject.models[0]} runs on {_hardware(subject.where)}. In place of {subject.where.concurrency} requests {twice} are kept in flight. What "
        "becomes of the cost of an answer token?",
        falls if share < 1 - TOLERANCE else rises if share > 1 + TOLERANCE else stays,
        f"{said(before)} answer tokens a second become {said(after)} in the same hour: a token costs {said(share)} times as much. One step reads the "
        "weights once for all requests in flight, but a cache for each.",
        choices=(falls, stays, rises),
    )


def _floor(atlas: Catalogue, subject: Subject, fitted: Calibration) -> Exercise | None:
    where = subject.where
    bandwidth = atlas.accelerators[where.accelerator].bandwidth_gb_s if where.accelerator else None
    columns, held = Models.of([atlas.models[subject.models[0]]]), QUANTISATIONS[where.quantisation]
    read = float(read_bytes(columns, Weights.of([held]), np.array([1.0]))[0])
    if bandwidth is None or np.isnan(read):
        return None
    least = read / (bandwidth * 1e9 * where.cards) * 1e3
    together = f" x {where.cards}" if where.cards > 1 else ""
    return Exercise(
        "floor",
        f"For each token of a single request {subject.models[0]} reads {said(read / 1e9)} GB of weights in {held.name}. The memory of "
        f"{_hardware(where)} gives {said(bandwidth)} GB a second{' each' if where.cards > 1 else ''}. What is the least time between two tokens that "
        "this allows?",
        least,
        f"{said(read / 1e9)} GB / ({said(bandwidth)} GB/s{together}) = {said(least)} ms. Launches, caches and waiting come on top. Only reading the "
        "weights once for several tokens gets below, as guessing ahead does.",
        unit="ms",
    )


def _largest(atlas: Catalogue, subject: Subject, fitted: Calibration) -> Exercise | None:
    """At another load than the one looked at, of which the page draws the parts."""
    figures, where = _figures(atlas, subject, (CROWDING,), fitted), subject.where
    if figures is None or np.isnan(figures.needed.value).any():
        return None
    parts = {PART_WORDS[part]: float(size.value.reshape(-1)[0]) for part, size in figures.on_card.items()}
    listed = ", ".join(f"{words} {said(size / GIB)} GiB" for words, size in parts.items())
    load = CROWDING * where.concurrency
    return Exercise(
        "largest",
        f"{subject.models[0]} in {where.quantisation} on {_hardware(where)} gets {CROWDING} times the load, {load} requests in flight of "
        f"{where.prompt_tokens + where.answer_tokens} tokens. What would take the most memory of a card then, whether it fits or not?",
        max(parts, key=lambda words: parts[words]),
        f"Of a card, {listed}. Weights are there once; caches grow with requests in flight and with their length.",
        choices=tuple(parts),
    )


def _items(_atlas: Catalogue, _subject: Subject, _fitted: Calibration) -> Exercise:
    """The half width of a 95% interval of a share near one half, 1.96 sqrt(0.25 / n), solved for n."""
    half = POINTS / 100
    items = math.ceil((NORMAL / half) ** 2 / 4)
    return Exercise(
        "items",
        f"A model passes about half of its evaluation items. How many independent items does it take to know that share to {POINTS} points more or "
        "less (95% interval)?",
        float(items),
        f"The half width is 1.96 x sqrt(0.5 x 0.5 / n). For {half:g} that is n = (1.96 / {half:g})² / 4 = {items}. Four times as many halve it.",
        unit="items",
    )


EXERCISES: Mapping[str, Callable[[Catalogue, Subject, Calibration], Exercise | None]] = {
    "weights": _weights,
    "cache": _cache,
    "cost": _cost,
    "doubled": _doubled,
    "floor": _floor,
    "largest": _largest,
    "items": _items,
}
"""How each is made; None where something in it is not known."""


def _figures(atlas: Catalogue, subject: Subject, times: Sequence[int], fitted: Calibration) -> Grid | None:
    """The subject at multiples of its load; None where it is nowhere."""
    where = subject.where
    if where.accelerator is None:
        return None
    asked = Asked(where.prompt_tokens, where.answer_tokens, where.cards)
    cards = {where.accelerator: atlas.accelerators[where.accelerator]}
    loads = [where.concurrency * each for each in times]
    return grid([atlas.models[subject.models[0]]], cards, [where.quantisation], loads, asked, fitted)


def _served(atlas: Catalogue, subject: Subject, times: Sequence[int], fitted: Calibration) -> Grid | None:
    """The same; None where one of the loads is not held, or its speed not known."""
    figures = _figures(atlas, subject, times, fitted)
    return figures if figures is not None and figures.held.all() and not np.isnan(figures.throughput.value).any() else None


def _price(atlas: Catalogue, where: Deployment) -> float | None:
    """USD an hour of all cards."""
    each = hourly_price(atlas.accelerators[where.accelerator]) if where.accelerator else None
    return None if each is None else each * where.cards


def _hardware(where: Deployment) -> str:
    return f"{where.cards} x {where.accelerator}"


def said(value: float | None) -> str:
    """Three digits that count."""
    rounded = float(f"{value or 0.0:.3g}")
    return f"{rounded:,.0f}" if abs(rounded) >= 1000 else f"{rounded:g}"
