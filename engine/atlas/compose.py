"""From what a deployment must do to configurations that do it, ranked, each term of the score shown. Pure.

    score = 40 task fit + 15 context fit + 15 latency fit + 15 memory fit + 10 licence fit + 5 margin bonus

unless a team weighs otherwise; each fit lies between 0 and 1. What cannot be is left out before: a context that is too short, weights and caches that
do not fit, a latency that even the fast end of the interval misses, a price over the budget, a licence that is not allowed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from statistics import median
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.atlas.calibration import Calibration
from engine.atlas.catalogue import Catalogue
from engine.atlas.grid import Asked, Estimates, Grid, grid
from engine.atlas.physics.arrays import Floats
from engine.atlas.search import PERMISSIVE, found
from engine.atlas.types import Constraints, ScoreWeights, Wanted
from engine.config import Accelerator, CatalogueModel

TENSOR = (1, 2, 4, 8)
SERVED = ("nvidia",)
"""Vendors whose cards the exported configurations run on: vLLM's CUDA image."""
LEAST_CAPABILITY = 8.0
"""Compute capability from which vLLM runs 16-bit floats of the bf16 kind, and kernels that unpack 8 and 4 bits."""
SMALLEST_BILLION, LARGEST_BILLION = 0.5, 100.0
"""Where size counts nothing, and where it counts in full."""
COMFORTABLE = 0.2
"""Share of the memory left over that earns the whole margin bonus."""
NON_COMMERCIAL = frozenset({"cc-by-nc-4.0", "mrl", "qwen-research"})
TERMS = ScoreWeights._fields
TIE = 1e-9
"""Scores that lie closer are equal."""
UTILISATION = 0.9


class Candidate(NamedTuple):
    """A configuration that comes into question."""

    model: str
    accelerator: str
    cards: int
    quantisation: str
    on_hand: bool
    usd_per_hour: float | None
    """Of all cards; None where they are on hand."""
    fits: dict[str, float]
    """Each between 0 and 1."""
    score: float
    grid: Grid
    place: tuple[int, int, int]
    """Model, accelerator and quantisation in the grid."""

    @property
    def key(self) -> str:
        """What it is asked for by."""
        return f"{self.model}@{self.cards}x{self.accelerator}/{self.quantisation}"


def ranked(atlas: Catalogue, wanted: Constraints, weights: ScoreWeights, fitted: Calibration) -> list[Candidate]:
    """The best configuration of each model, best first; of equal ones the cheaper, then the one with fewer cards."""
    names = [name for name in found(atlas.models, Wanted(text=wanted.text), "parameters") if atlas.models[name].parameters_billion]
    cards = _cards(atlas, wanted)
    best: dict[str, Candidate] = {}
    for tensor in TENSOR:
        there = {name: card for name, card in cards.items() if tensor <= _available(name, wanted)}
        if names and there:
            for candidate in _candidates(atlas, names, there, tensor, wanted, weights, fitted):
                known = best.get(candidate.model)
                if known is None or _rank(candidate) < _rank(known):
                    best[candidate.model] = candidate
    return sorted(best.values(), key=_rank)


def _rank(candidate: Candidate) -> tuple[float, float, int, str]:
    return (-candidate.score, candidate.usd_per_hour or 0.0, candidate.cards, candidate.key)


def _cards(atlas: Catalogue, wanted: Constraints) -> dict[str, Accelerator]:
    """Those on hand, and those that can be rented at a known price."""
    own = {name for name, _ in wanted.own}
    can = {name: card for name, card in atlas.accelerators.items() if card.vendor in SERVED}
    capable = {name: card for name, card in can.items() if (card.compute_capability or LEAST_CAPABILITY) >= LEAST_CAPABILITY}
    return {name: card for name, card in capable.items() if name in own or (wanted.rent and hourly_price(card) is not None)}


def _available(name: str, wanted: Constraints) -> int:
    return wanted.most_cards if wanted.rent else min(wanted.most_cards, dict(wanted.own).get(name, 0))


def hourly_price(card: Accelerator) -> float | None:
    """The middle one of its on-demand prices, USD for one card."""
    prices = [price.usd_per_hour for price in card.prices if price.usd_per_hour is not None and price.kind == "on-demand"]
    return median(prices) if prices else None


def _candidates(
    atlas: Catalogue,
    names: list[str],
    cards: Mapping[str, Accelerator],
    tensor: int,
    wanted: Constraints,
    weights: ScoreWeights,
    fitted: Calibration,
) -> list[Candidate]:
    models = [atlas.models[name] for name in names]
    asked = Asked(wanted.prompt_tokens, wanted.answer_tokens, tensor, utilisation=UTILISATION)
    whole = grid(models, cards, wanted.quantisations, [wanted.concurrency], asked, fitted)
    usable = whole.usable[..., 0]
    prices = np.array([_price(name, card, tensor, wanted) for name, card in cards.items()])[None, :, None]
    fits = _fits(models, whole, usable, wanted)
    possible = _possible(models, whole, usable, prices, fits, tensor, wanted)
    total = sum(getattr(weights, term) * np.broadcast_to(fits[term], possible.shape) for term in TERMS)
    score: Floats = np.where(possible, total, -np.inf)
    shared = {term: np.broadcast_to(fits[term], possible.shape) for term in TERMS}
    chosen = []
    for at in np.flatnonzero(np.isfinite(score.max(axis=(1, 2)))):
        card, quantisation = _cheapest(score[at], prices[0, :, 0])
        place, price = (int(at), card, quantisation), float(prices[0, card, 0])
        chosen.append(
            Candidate(
                names[at],
                list(cards)[card],
                tensor,
                wanted.quantisations[quantisation],
                on_hand=price == 0,
                usd_per_hour=price or None,
                fits={term: float(shared[term][place]) for term in TERMS},
                score=float(score[place]),
                grid=whole,
                place=place,
            )
        )
    return chosen


def _cheapest(score: Floats, prices: Floats) -> tuple[int, int]:
    """Of the cards and quantisations with the highest score of a model the cheapest, and of those the first quantisation that was named."""
    ties = np.argwhere(score >= score.max() - TIE)
    card, quantisation = min(ties, key=lambda tie: (prices[tie[0]], tie[1]))
    return int(card), int(quantisation)


def _price(name: str, card: Accelerator, tensor: int, wanted: Constraints) -> float:
    """For an hour of all cards: nothing where they are on hand; NaN where they are not, and no price is known."""
    if dict(wanted.own).get(name, 0) >= tensor:
        return 0.0
    price = hourly_price(card)
    return float("nan") if price is None or not wanted.rent else price * tensor


def _fits(models: list[CatalogueModel], whole: Grid, usable: Floats, wanted: Constraints) -> dict[str, Floats]:
    column = (-1, 1, 1)
    needed = Estimates(*(part[..., 0] for part in whole.needed))
    latency = np.ones(whole.tpot.value.shape[:3])
    for limit_ms, estimate in ((wanted.tpot_ms, whole.tpot), (wanted.ttft_ms, whole.ttft)):
        if limit_ms is not None:
            latency = np.minimum(latency, within(np.array(limit_ms / 1e3), Estimates(*(part[..., 0] for part in estimate))))
    return {
        "task": np.reshape([task_fit(model, wanted.task) for model in models], column),
        "context": np.reshape([context_fit(model, wanted.prompt_tokens + wanted.answer_tokens) for model in models], column),
        "latency": latency,
        "memory": within(usable, needed),
        "licence": np.reshape([licence_fit(model) for model in models], column),
        "margin": np.clip((usable - needed.high) / usable / COMFORTABLE, 0, 1),
    }


def _possible(
    models: list[CatalogueModel], whole: Grid, usable: Floats, prices: Floats, fits: dict[str, Floats], tensor: int, wanted: Constraints
) -> NDArray[np.bool_]:
    """Which can be; vLLM splits a model only over a number of cards that divides its attention heads."""
    context = wanted.prompt_tokens + wanted.answer_tokens
    published = np.array([[served_from(model, held) for held in wanted.quantisations] for model in models])[:, None, :]
    long_enough = np.reshape([(model.context_tokens or 0) >= context for model in models], (-1, 1, 1))
    split = np.reshape([(model.attention_heads or 1) % tensor == 0 for model in models], (-1, 1, 1))
    allowed = np.reshape([not wanted.permissive or (model.licence or "").casefold() in PERMISSIVE for model in models], (-1, 1, 1))
    affordable = prices <= (np.inf if wanted.usd_per_hour is None else wanted.usd_per_hour)
    held = whole.needed.value[..., 0] <= usable
    answered = ~np.isnan(whole.tpot.value[..., 0] + whole.ttft.value[..., 0])
    possible: NDArray[np.bool_] = published & long_enough & split & allowed & affordable & held & answered & (fits["latency"] > 0)
    return possible


def served_from(model: CatalogueModel, quantisation: str) -> bool:
    """Whether a model's own repository can be served so: as it is, in 8 bits made while it is loaded from 16, or from somebody's checkpoint in 4."""
    return quantisation == model.published_as or (model.published_as == "bf16" and quantisation in ("fp8", "int4"))


def within(limit: Floats, estimate: Estimates) -> Floats:
    """How surely a value is at most `limit`: 1 where the whole interval is, 0 where none of it is, and by the logarithm's share between."""
    share = (np.log(limit) - np.log(estimate.low)) / (np.log(estimate.high) - np.log(estimate.low))
    return np.clip(np.where(np.isnan(share), 0.0, share), 0, 1)


def task_fit(model: CatalogueModel, task: str | None) -> float:
    """Half for being meant for the task (a quarter for being general), half for size: the catalogue has no benchmark scores, and on the whole larger
    models do more. A mixture of experts counts as the geometric mean of all and active parameters, a rule of thumb of its makers."""
    total = model.parameters_billion or 0.0
    size = (total * (model.active_parameters_billion or total)) ** 0.5
    capable = np.clip(np.log(max(size, 1e-9) / SMALLEST_BILLION) / np.log(LARGEST_BILLION / SMALLEST_BILLION), 0, 1)
    meant = 1.0 if task is None or task.casefold() in model.tasks else 0.5 if "general" in model.tasks else 0.0
    return float(0.5 * meant + 0.5 * capable)


def context_fit(model: CatalogueModel, tokens: int) -> float:
    """1 where the model's context is twice what is asked for: near its end answers get worse."""
    return min(1.0, (model.context_tokens or 0) / (2 * tokens))


def licence_fit(model: CatalogueModel) -> float:
    """1 for a permissive licence, a half for one with conditions, 0 for one that forbids business or is not known."""
    licence = (model.licence or "").casefold()
    return 1.0 if licence in PERMISSIVE else 0.0 if not licence or licence in NON_COMMERCIAL else 0.5


RELAXED: dict[str, Callable[[Constraints], Constraints]] = {
    "without the budget": lambda wanted: wanted._replace(usd_per_hour=None),
    "without the limit on the time between tokens": lambda wanted: wanted._replace(tpot_ms=None),
    "without the limit on the time to the first token": lambda wanted: wanted._replace(ttft_ms=None),
    "with other licences too": lambda wanted: wanted._replace(permissive=False),
    "with hardware to rent": lambda wanted: wanted._replace(rent=True),
    "whatever it is meant for": lambda wanted: wanted._replace(task=None),
}
"""What is asked for without one of its constraints, and how that is said."""


def changes(atlas: Catalogue, wanted: Constraints, weights: ScoreWeights, fitted: Calibration, best: Candidate | None) -> list[tuple[str, Candidate]]:
    """What would come first if one constraint were not there, where that is another configuration."""
    told = []
    for words, relax in RELAXED.items():
        if (relaxed := relax(wanted)) != wanted:
            found_then = ranked(atlas, relaxed, weights, fitted)
            if found_then and (best is None or found_then[0].key != best.key):
                told.append((words, found_then[0]))
    return told
