"""One's own measurements beside those that the fit was made of. Pure.

They correct the estimates of their setting (model, accelerator, engine, quantisation) on top of what ships, by the same shrunk polynomial, so that a
few of them move an estimate part of the way and many all of it. A setting becomes one that was measured, with the narrower interval of such, when
there are as many as the fit asked of any.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from engine.atlas.calibration import Calibration, Correction, Fit, Setting
from engine.atlas.catalogue import Catalogue
from engine.atlas.corrections import Load, fitted
from engine.atlas.grid import Asked, grid
from engine.atlas.identity import KeptByIdentity
from engine.atlas.physics.arrays import Floats
from engine.atlas.physics.quantisations import QUANTISATIONS
from engine.atlas.shapes import shape_of
from engine.config import ServedMeasurement

ENOUGH = 6
"""Measurements from which on a setting is one that was measured; the fit that ships asks for as many."""


class Held(NamedTuple):
    """A measurement beside its estimate, both in seconds; NaN where either is not known."""

    tpot_measured: float
    tpot_estimated: float
    ttft_measured: float
    ttft_estimated: float


Beside = tuple[ServedMeasurement, Held]

def unknown_in(atlas: Catalogue, measurement: ServedMeasurement) -> str | None:
    """What of a measurement the atlas does not know; None: nothing."""
    known = ((measurement.model, atlas.models), (measurement.accelerator, atlas.accelerators), (measurement.quantisation, QUANTISATIONS))
    return next((name for name, there in known if name not in there), None)


def held_against(atlas: Catalogue, measurement: ServedMeasurement, calibration: Calibration) -> Held:
    """A measurement beside what is foretold of it."""
    asked = Asked(measurement.prompt_tokens, measurement.answer_tokens, measurement.cards, measurement.engine)
    card = {measurement.accelerator: atlas.accelerators[measurement.accelerator]}
    found = grid([atlas.models[measurement.model]], card, [measurement.quantisation], [measurement.concurrency], asked, calibration)
    first = float("nan") if measurement.ttft_ms is None else measurement.ttft_ms / 1e3
    return Held(measurement.tpot_ms / 1e3, float(found.tpot.value.item()), first, float(found.ttft.value.item()))


_kept: KeptByIdentity[Calibration] = KeptByIdentity()
"""By the catalogue, which is the same object while atlas.json is the same: with many measurements this takes seconds."""


def recalibrated(calibration: Calibration, atlas: Catalogue) -> Calibration:
    """With the workspace's own measurements; those of what the atlas does not know are passed over."""
    return _kept.made((atlas, calibration), lambda: _recalibrated(calibration, atlas))


def _recalibrated(calibration: Calibration, atlas: Catalogue) -> Calibration:
    settings: dict[Setting, list[Beside]] = defaultdict(list)
    for each in atlas.measurements:
        if unknown_in(atlas, each) is None:
            setting = Setting(shape_of(atlas.models[each.model]), each.accelerator, each.engine, each.quantisation)
            settings[setting].append((each, held_against(atlas, each, calibration)))
    if not settings:
        return calibration
    quantities = {name: _with_own(name, fit, settings) for name, fit in calibration.quantities.items()}
    return calibration.model_copy(update={"quantities": quantities})


def _with_own(name: str, fit: Fit, settings: Mapping[Setting, Sequence[Beside]]) -> Fit:
    corrections = {each.setting: each for each in fit.corrections}
    for setting, measurements in settings.items():
        load, away = _residuals(name, measurements)
        if len(away):
            before = corrections.get(setting)
            moved = fitted(load, away) + (np.array(before.coefficients) if before else 0.0)
            sparse = before.sparse if before else len(away) < ENOUGH
            corrections[setting] = Correction(**setting._asdict(), coefficients=tuple(map(float, moved)), sparse=sparse, own=before is None)
    return fit.model_copy(update={"corrections": tuple(corrections.values())})


def _residuals(name: str, measurements: Sequence[Beside]) -> tuple[Load, Floats]:
    """Loads, and the logarithms of measured over foretold there."""
    ratios = np.array([getattr(held, f"{name}_measured") / getattr(held, f"{name}_estimated") for _, held in measurements])
    known = ~np.isnan(ratios)
    columns = [[getattr(each, field) for each, _ in measurements] for field in ("concurrency", "cards", "prompt_tokens", "answer_tokens")]
    return Load(*(np.array(column, dtype=float)[known] for column in columns)), np.log(ratios[known])
