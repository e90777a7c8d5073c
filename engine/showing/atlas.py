"""Models of the atlas as people and agents read them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

from engine.atlas.calibration import Calibration
from engine.atlas.grid import STANDINGS, Estimates, Grid
from engine.atlas.physics.arrays import GIB, Floats, Models
from engine.atlas.physics.memory import cache_bytes
from engine.atlas.physics.quantisations import QUANTISATIONS
from engine.atlas.recalibration import Held
from engine.config import CatalogueModel, ServedMeasurement
from engine.views.atlas import Expected, ModelLine, ModelSheet, RecordedMeasurement

MIB = float(2**20)
TOKENS, BITS = np.array([1024.0]), np.array([16.0])
STANDING_WORDS = {
    "measured_setting": "measured: this shape of model on this accelerator, under this engine and quantisation, at other loads",
    "new_model": "foretold: other models were measured there",
    "new_accelerator": "foretold: nothing was measured there",
}


def model_line(name: str, model: CatalogueModel, at: int, figures: Grid, *, hardware: bool) -> ModelLine:
    """One line; `at` is the model's place in the figures, which hold one accelerator, quantisation and load."""
    return ModelLine(**_common(name, model, at, figures, hardware=hardware))  # type: ignore[arg-type]


class Beside(NamedTuple):
    """What a sheet says beyond a line; each model at its place."""

    weights: Mapping[str, Estimates]
    """Bytes, by quantisation."""
    lora: Estimates
    qlora: Estimates
    """Bytes at the peak of training an adapter."""
    textbook: Mapping[str, Floats]
    """By name, in the units that the name says."""


def model_sheet(name: str, model: CatalogueModel, at: int, figures: Grid, beside: Beside, *, hardware: bool) -> ModelSheet:
    """All of it."""
    runs = hardware and figures.held[at, 0, 0, 0]
    return ModelSheet(
        **_common(name, model, at, figures, hardware=hardware),  # type: ignore[arg-type]
        name=model.name,
        family=model.family,
        layers=model.layers,
        hidden_size=model.hidden_size,
        vocabulary=model.vocabulary,
        attention=attention_in_words(model),
        experts=_experts_in_words(model),
        languages=model.languages,
        weights_gib_by_quantisation={each: known for each, bits in beside.weights.items() if (known := _expected(bits, at, 1 / GIB)) is not None},
        tpot_ms=_expected(figures.tpot, at, 1e3) if runs else None,
        ttft_ms=_expected(figures.ttft, at, 1e3) if runs else None,
        textbook={each: digits(float(values[at])) for each, values in beside.textbook.items() if not np.isnan(values[at])},
        lora_peak_gib=_expected(beside.lora, at, 1 / GIB),
        qlora_peak_gib=_expected(beside.qlora, at, 1 / GIB),
        source=model.source,
        sources=model.sources,
        note=model.note,
    )


def _common(name: str, model: CatalogueModel, at: int, figures: Grid, *, hardware: bool) -> dict[str, object]:
    active = model.active_parameters_billion
    sequences = figures.sequences[at, 0, 0, 0] if hardware else np.nan
    weights = _expected(figures.weights, at, 1 / GIB)
    speed = _expected(figures.throughput, at, 1.0) if hardware and figures.held[at, 0, 0, 0] else None
    return {
        "model": name,
        "parameters_billion": model.parameters_billion,
        "active_parameters_billion": None if active == model.parameters_billion else active,
        "architecture": model.architecture,
        "context_tokens": model.context_tokens,
        "licence": model.licence,
        "tasks": model.tasks,
        "release": model.release,
        "weights_gib": weights and weights.value,
        "cache_mib_per_1k_tokens": _cache_mib(model),
        "sequences": None if np.isnan(sequences) else int(sequences),
        "tokens_per_second": speed,
        "known_from": STANDINGS[int(figures.standing[at, 0, 0, 0])] if speed else None,
        "confidence": model.confidence,
    }


def attention_in_words(model: CatalogueModel) -> str:
    """What is kept of a context, layer by layer."""
    parts = []
    for each in model.attention.cached:
        kept = f"a latent of {each.latent}" if each.latent else f"{each.kv_heads} heads of {each.head_dim}"
        parts.append(f"{each.layers} layers: {kept}" + (f", the last {each.window} tokens" if each.window else ""))
    if model.attention.state_elements:
        parts.append(f"a state of {model.attention.state_elements} elements")
    return "; ".join([model.attention.kind, *parts, *([model.attention.note] if model.attention.note else [])])


def _experts_in_words(model: CatalogueModel) -> str | None:
    experts = model.experts
    if experts is None:
        return None
    shared = f" and {experts.shared_experts} shared" if experts.shared_experts else ""
    return f"{experts.experts_per_token} of {experts.experts}{shared} in {experts.moe_layers or '?'} layers"


def _expected(estimates: Estimates, at: int, scale: float) -> Expected | None:
    value, low, high = (float(np.reshape(part, (np.shape(part)[0], -1))[at, 0]) * scale for part in estimates)
    return None if np.isnan(value) else Expected(value=digits(value), low=digits(low), high=digits(high))


def digits(value: float) -> float:
    """Three that count: more would be noise."""
    return float(f"{value:.3g}")


def standing_of(figures: Grid, place: tuple[int, int, int]) -> str:
    """How near an estimate lies to what was measured."""
    return STANDING_WORDS[STANDINGS[int(figures.standing[(*place, 0)])]]


def standings_in_words(names: Iterable[str], fitted: Calibration) -> tuple[str, ...]:
    """What each standing means, and how wrong such estimates were."""
    told = []
    for name in STANDINGS:
        if name in names:
            error = fitted.quantities["tpot"].errors[name]
            wrong = f"of {error.n} measurements foretold so, half were within {error.median:.0%} (time a token), nine of ten within {error.p90:.0%}"
            told.append(f"{name}: {STANDING_WORDS[name]}; {wrong}.")
    return tuple(told)


def _cache_mib(model: CatalogueModel) -> float | None:
    kept = float(cache_bytes(Models.of([model]), TOKENS, BITS)[0])
    return None if np.isnan(kept) else round(kept / MIB, 2)


def quantisation_names() -> tuple[str, ...]:
    """All that there are."""
    return tuple(QUANTISATIONS)


def recorded(measurement: ServedMeasurement, before: Held, after: Held, count: int) -> RecordedMeasurement:
    """A measurement beside its estimates, without and with it."""
    where = f"{measurement.model} on {measurement.cards} x {measurement.accelerator}"
    away = [abs(each.tpot_estimated / each.tpot_measured - 1) for each in (before, after)]
    words = f"The time between tokens was foretold {away[0]:.0%} off, and is now {away[1]:.0%} off."
    words = "No time is foretold of it." if np.isnan(away[0]) else words
    return RecordedMeasurement(
        summary=f"{where} is in atlas.json. {words}",
        tpot_ms=measurement.tpot_ms,
        foretold_before_ms=_milliseconds(before.tpot_estimated),
        foretold_now_ms=_milliseconds(after.tpot_estimated),
        ttft_ms=measurement.ttft_ms,
        first_foretold_before_ms=_milliseconds(before.ttft_estimated),
        first_foretold_now_ms=_milliseconds(after.ttft_estimated),
        measurements=count,
    )


def _milliseconds(seconds: float) -> float | None:
    return None if np.isnan(seconds) else digits(seconds * 1e3)
