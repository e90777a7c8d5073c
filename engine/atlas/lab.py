"""The physics lab: all that follows for one model on one accelerator, for a page on which people turn the knobs. Pure, and a call takes milliseconds.

Each figure has the interval that measurements give it. Where none were made the interval is absent, and `assumptions` says so. Not here: which model
or hardware to take (`compose.py`), and how it is drawn.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.atlas.calibration import Calibration, Standing
from engine.atlas.grid import HOST_RESERVE_GIB, STANDINGS, Asked, Estimates, Grid, Part, grid, layers_alike
from engine.atlas.physics.arrays import GIB, Floats
from engine.atlas.physics.cost import machines_needed, usd_per_million_tokens, usd_per_month, usd_per_request
from engine.atlas.physics.training import Group
from engine.atlas.tuned import (
    EFFICIENCY,
    FULL_RECIPE,
    GRPO_RECIPE,
    RECIPE,
    Method,
    adapter_peak,
    full_peak,
    grpo_peak,
    grpo_time,
    textbook_says,
    tuning_seconds,
)
from engine.atlas.types import Deployment
from engine.config import Accelerator, CatalogueModel

MOST = 512
"""Requests in flight that are looked at: most that the corrections were fitted on (`corrections.py`)."""
LOADS = tuple(2**power for power in range(10))
"""Requests in flight that are shown."""
VOLUMES = tuple(digit * 10**power for power in range(4, 9) for digit in (1, 3))
"""Requests a month."""


class LabAsked(NamedTuple):
    """Where the knobs stand."""

    model: CatalogueModel
    accelerator: str
    """Its name in the atlas, by which measurements of it are found."""
    card: Accelerator
    cards: int = 1
    """Accelerators that each layer of the model is split over."""
    pipeline: int = 1
    """Stages, one after another, that its layers are divided over."""
    experts_over: int = 1
    """Accelerators of a stage that whole routed experts are divided over."""
    quantisation: str = "bf16"
    cache_bits: float = 16
    prompt: float = 1024
    """Tokens."""
    answer: float = 256
    concurrency: float = 8
    """Requests in flight, of which memory and cost speak."""
    hit_share: float = 0
    """Share of each prompt that the prefix cache holds."""
    drafted: float = 0
    """Tokens guessed ahead of each step; 0: no speculative decoding."""
    accepted: float = 0.7
    """The chance that a guess is right, given that those before it were."""
    draft_cost: float = 0.05
    """Time of one guess over that of a step."""
    tpot_ms: float | None = None
    """Most milliseconds between two tokens of an answer."""
    ttft_ms: float | None = None
    """Most milliseconds to the first token."""
    usd_per_hour: float | None = None
    """Of one accelerator; None: no money is spoken of."""
    peak: float = 1
    """Requests of the busiest hour over those of the mean one."""
    training_tokens: float = 10e6
    """Tokens that a model is trained on, all passes together."""
    group_prompts: float = 8
    """Prompts of one step of GRPO, each of `prompt` tokens."""
    group_answers: float = 8
    """Answers to each of them."""
    reference: bool = False
    """GRPO holds the model near the one that it started from (beta above 0)."""
    engine: str = "vllm"
    utilisation: float = 0.9
    """Share of the memory that the server may take."""

    @property
    def served(self) -> Asked:
        """As the grid takes it."""
        apart = (self.drafted, self.accepted, self.draft_cost, self.pipeline, self.experts_over)
        return Asked(self.prompt, self.answer, self.cards, self.engine, self.utilisation, self.cache_bits, self.hit_share, *apart)

    @property
    def accelerators(self) -> int:
        """Of one copy of the model."""
        layout = self.served.layout
        return int(layout.stage * layout.pipeline)


    @property
    def group(self) -> Group:
        """A step of GRPO, as columns."""
        return Group(*(np.array(float(each)) for each in (self.group_prompts, self.group_answers, self.prompt, self.answer, self.reference)))


class Figure(NamedTuple):
    """One value with its interval; None and None: nothing was measured that would give one."""

    value: float
    low: float | None = None
    high: float | None = None


class OnCard(NamedTuple):
    """The memory of one accelerator at the load asked about; bytes. None: a source is missing."""

    parts: Mapping[Part, Figure | None]
    needed: Figure | None
    """Their sum."""
    usable: float | None
    """What the server may take; `held` and `fits` are judged by it."""
    whole: float | None
    """Of the accelerator, what its host keeps included."""
    sequences: int | None
    """Whole sequences of prompt and answer that fit; 0: the model does not."""
    held: bool
    """The load is held by the values, and the model's context is long enough for it."""
    fits: bool
    """It is held even where memory comes out as large as the interval allows."""


class Loads(NamedTuple):
    """One entry for each of so many requests in flight; times and rates are NaN where they are not held."""

    concurrency: Floats
    tpot: Estimates
    """Seconds between two tokens of an answer."""
    ttft: Estimates
    """Seconds to the first token."""
    throughput: Estimates
    """Answer tokens a second, of all requests."""
    held: NDArray[np.bool_]
    fits: NDArray[np.bool_]


class Reached(NamedTuple):
    """The most requests in flight, up to MOST, that are held within the limits on latency, as all fewer are; 0: not even one."""

    value: int
    surely: int
    """By the slow end of the intervals of time and the upper one of memory."""


class Month(NamedTuple):
    """What a month of so many requests takes."""

    requests: int
    machines: Figure
    """Each of as many accelerators as one copy of the model takes."""
    usd: Figure | None
    usd_per_million_tokens: Figure | None
    """Answer tokens."""
    usd_per_request: Figure | None


class Training(NamedTuple):
    """Training by one method on one accelerator."""

    peak: Figure | None
    """Bytes."""
    fits: bool
    """The peak's upper end, or its value where it has no interval, is within the accelerator's memory."""
    seconds: Figure | None
    usd: Figure | None


class LabFigures(NamedTuple):
    """All that follows."""

    memory: OnCard
    loads: Loads
    reached: Reached
    accelerators: int
    """That one copy of the model takes."""
    months: tuple[Month, ...]
    """At the load asked about; empty where it is not held or its rate not known."""
    usd_per_million_tokens: Figure | None
    """Of answer tokens, on machines that are always as busy as the load asked about."""
    usd_per_request: Figure | None
    training: Mapping[Method, Training]
    standing: Standing
    """How near the time between tokens lies to what was measured."""
    textbook: Mapping[str, float]
    """What the formulas say that one finds everywhere; the names give the units."""
    assumptions: tuple[str, ...]


def lab(asked: LabAsked, fitted: Calibration) -> LabFigures:
    """Everything, from one grid over all loads; the load asked about stands last in it."""
    found = grid([asked.model], {asked.accelerator: asked.card}, [asked.quantisation], [*range(1, MOST + 1), asked.concurrency], asked.served, fitted)
    held = found.held[0, 0, 0]
    rate = _figure(found.throughput, -1) if held[-1] else None
    per_million, per_request = (None, None) if rate is None else _costs(asked, rate)
    return LabFigures(
        memory=_memory(asked, found),
        loads=_loads(found),
        reached=_reached(asked, found),
        accelerators=asked.accelerators,
        months=() if rate is None else tuple(_month(asked, rate, requests) for requests in VOLUMES),
        usd_per_million_tokens=per_million,
        usd_per_request=per_request,
        training=_training(asked, fitted, float(found.usable.item()) / asked.utilisation),
        standing=STANDINGS[int(found.standing[0, 0, 0, 0])],
        textbook=_textbook(asked),
        assumptions=_assumptions(asked, layers_alike(asked.model)),
    )


def _figure(estimates: Estimates, at: int, *, known: bool = True) -> Figure | None:
    """One entry of estimates that vary with the load; with `known` false its interval means nothing."""
    value, low, high = (float(np.reshape(part, -1)[at if np.size(part) > 1 else 0]) for part in estimates)
    return None if np.isnan(value) else Figure(value, low, high) if known else Figure(value)


def _memory(asked: LabAsked, found: Grid) -> OnCard:
    logged = {"caches": layers_alike(asked.model)}
    memory = asked.card.reported_memory_gib or asked.card.memory_gib
    sequences, usable = found.sequences.item(), float(found.usable.item())
    return OnCard(
        parts={part: _figure(estimates, -1, known=logged.get(part, True)) for part, estimates in found.on_card.items()},
        needed=_figure(found.needed, -1),
        usable=None if np.isnan(usable) else usable,
        whole=None if memory is None else memory * GIB,
        sequences=None if np.isnan(sequences) else int(sequences),
        held=bool(found.held[0, 0, 0, -1]),
        fits=bool(found.fits[0, 0, 0, -1]),
    )


def _loads(found: Grid) -> Loads:
    at = np.array(LOADS) - 1
    held = found.held[0, 0, 0, at]
    shown = (found.tpot, found.ttft, found.throughput)
    tpot, ttft, rate = (Estimates(*(np.where(held, part[0, 0, 0, at], np.nan) for part in each)) for each in shown)
    return Loads(np.array(LOADS, dtype=float), tpot, ttft, rate, held, found.fits[0, 0, 0, at])


def _reached(asked: LabAsked, found: Grid) -> Reached:
    limits = [np.inf if limit is None else limit / 1e3 for limit in (asked.tpot_ms, asked.ttft_ms)]
    met = []
    for held, tpot, ttft in ((found.held, found.tpot.value, found.ttft.value), (found.fits, found.tpot.high, found.ttft.high)):
        within = (held & (tpot <= limits[0]) & (ttft <= limits[1]))[0, 0, 0, :MOST]
        met.append(int(np.logical_and.accumulate(within).sum()))
    return Reached(*met)


def _costs(asked: LabAsked, rate: Figure) -> tuple[Figure | None, Figure | None]:
    """USD of a million answer tokens, and of one request: the faster, the cheaper."""
    if asked.usd_per_hour is None:
        return None, None
    price, cards, rates = np.array(asked.usd_per_hour), np.array(float(asked.accelerators)), _slowing(rate)
    million, request = usd_per_million_tokens(price, cards, rates), usd_per_request(price, cards, rates, np.array(asked.answer))
    return Figure(*map(float, million)), Figure(*map(float, request))


def _slowing(rate: Figure) -> Floats:
    """The value and the ends of a rate in the order in which what is divided by it has them."""
    return np.array([rate.value, rate.high, rate.low], dtype=float)


def _month(asked: LabAsked, rate: Figure, requests: int) -> Month:
    machines = machines_needed(np.array(float(requests)), np.array(asked.answer), _slowing(rate), np.array(asked.peak))
    usd: list[Figure | None] = [None, None, None]
    if asked.usd_per_hour is not None:
        month = usd_per_month(np.array(asked.usd_per_hour), np.array(float(asked.accelerators)), machines)
        usd = [Figure(*map(float, month / each)) for each in (1, requests * asked.answer / 1e6, requests)]
    return Month(requests, Figure(*map(float, machines)), *usd)


def _training(asked: LabAsked, fitted: Calibration, memory: float) -> dict[Method, Training]:
    models = [asked.model]
    peaks: dict[Method, Figure | None] = {
        "lora": _figure(adapter_peak(models, "bf16", fitted), 0),
        "qlora": _figure(adapter_peak(models, "nf4", fitted), 0),
        "full": _unmeasured(full_peak(models)),
        "grpo_lora": _unmeasured(grpo_peak(models, "grpo_lora", asked.group)),
        "grpo_full": _unmeasured(grpo_peak(models, "grpo_full", asked.group)),
    }
    sampling = _sampling_seconds(asked, fitted)
    return {method: _trained(asked, method, peak, sampling, memory) for method, peak in peaks.items()}


def _trained(asked: LabAsked, method: Method, peak: Figure | None, sampling: float, memory: float) -> Training:
    models, tokens = [asked.model], asked.training_tokens
    if method in ("grpo_lora", "grpo_full"):
        seconds = _unmeasured(grpo_time(models, asked.card, method, asked.group, sampling, tokens))
    else:
        seconds = _unmeasured(tuning_seconds(models, asked.card, method, tokens))
    usd = None if asked.usd_per_hour is None or seconds is None else Figure(asked.usd_per_hour * seconds.value / 3600)
    return Training(peak, peak is not None and (peak.high or peak.value) <= memory, seconds, usd)


def _sampling_seconds(asked: LabAsked, fitted: Calibration) -> float:
    """A group of GRPO answered on one accelerator in 16 bits, all its sequences in flight: the first token's time and then the others'."""
    sequences = float(asked.group.sequences)
    served = Asked(asked.prompt, asked.answer, engine=asked.engine)
    found = grid([asked.model], {asked.accelerator: asked.card}, ["bf16"], [sequences], served, fitted)
    return sequences * asked.answer / float(found.throughput.value.item())


def _unmeasured(values: Floats) -> Figure | None:
    """The only entry, which no measurement gives an interval."""
    return None if np.isnan(values[0]) else Figure(float(values[0]))


def _textbook(asked: LabAsked) -> dict[str, float]:
    """GiB of all weights and of one sequence's cache, milliseconds to the first and between further tokens; what is not known is left out."""
    where = Deployment(asked.accelerator, asked.cards, asked.quantisation, int(asked.prompt), int(asked.answer), int(asked.concurrency))
    said = textbook_says([asked.model], asked.card, where)
    return {name: float(values[0]) for name, values in said.items() if not np.isnan(values[0])}


def _assumptions(asked: LabAsked, alike: bool) -> tuple[str, ...]:
    """What the figures rest on beyond their formulas, and which of them no measurement stands behind."""
    told = [
        f"Each layer is split over {asked.cards} by tensor parallelism, and {asked.engine} takes {asked.utilisation:g} of the memory.",
        "A month is 730 hours, its requests spread evenly but for the peak named; machines run all of it, each with the load asked about.",
        f"LoRA and QLoRA: {RECIPE}. Full: {FULL_RECIPE}.",
        f"Training times: {EFFICIENCY:g} of the accelerator's arithmetic, an assumption; no log of a time was found, so they have no interval.",
        f"GRPO: {GRPO_RECIPE}; a group is {asked.group_prompts:g} prompts of {asked.group_answers:g} answers each, at the lengths asked about.",
        "The peaks of full fine-tuning and of GRPO have no interval: no log of those recipes was found.",
    ]
    if not alike:
        told.append("Caches have no interval: the logs are of models whose layers all keep the same.")
    if asked.card.unified_memory:
        told.append(f"{HOST_RESERVE_GIB:g} GiB of the memory stay for the host, an assumption.")
    if asked.hit_share:
        told.append("What the prefix cache holds is not read again; in memory each sequence counts in full.")
    if asked.drafted:
        told.append("Guessing ahead: no measurement says how it does, so the interval is that of a new accelerator; no memory for a drafter.")
    if asked.pipeline > 1 or asked.experts_over > 1:
        told.append("Stages, and experts on accelerators of their own: the fit knows neither apart, and the interval is that of a new accelerator.")
    return tuple(told)
