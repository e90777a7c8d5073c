"""How wrong the atlas is: its physics fitted on published measurements, and judged on those that were left out.

    python -m bench.physics --place DIR [--write] [--aiconfigurator PYTHON]

Fits the constants of `engine/atlas/physics/speed.py` and the corrections of engines and of measured settings, leaves out at random, by load, by model
and by accelerator, and prints the errors of each, beside the textbook's on the same rows. `--write` keeps constants, corrections and errors in
`engine/atlas/data/calibration.json`: the intervals that users see are these errors. `--aiconfigurator` names an interpreter that has that package; it
is then asked about a sample of the rows (`bench/peers.py`). Takes two minutes on one core, without that peer's.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from bench.measurements import PEER, Served, served, table
from bench.peers import aiconfigurator_says
from bench.physics_memory import MEASURED, memory_calibration, memory_errors
from engine.atlas.calibration import CALIBRATION, Calibration, Setting
from engine.atlas.catalogue import catalogue
from engine.atlas.corrections import ENGINE_SPREAD, SPREAD, Load, factor, fitted
from engine.atlas.grid import Asked, grid
from engine.atlas.physics import textbook
from engine.atlas.physics.arrays import Cards, Floats, Layout, Models, Weights, Workload, operations_of
from engine.atlas.physics.quantisations import QUANTISATIONS
from engine.atlas.physics.speed import Constants, first_token_seconds, seconds_per_token
from engine.atlas.shapes import shape_of
from engine.base.files import read_json, write_json

START = Constants(0.73, 0.4, 0.58, 0.58, 20.0, 15.0, 30.0, 0.15, 80.0, 0.2)
PRIOR_SPREAD = 1.0
"""Of a constant's logarithm about its start: it keeps one that the rows say nothing about where it was."""
LOSS_SCALE = 0.1
FOLDS = 5
FEWEST = 6
"""Measurements of a setting below which it is not corrected."""
COVERED = 0.9
LOADS = tuple(2**power for power in range(13))
SEED = 17


class Rows(NamedTuple):
    """Measurements as columns."""

    models: Models
    weights: Weights
    cards: Cards
    work: Workload
    cache_bits: Floats
    tensor: Floats
    tpot: Floats
    ttft: Floats
    settings: list[Setting]

    def at(self, chosen: NDArray[Any]) -> Rows:
        """Some of them."""
        parts = [type(part)(*(column[chosen] for column in part)) for part in (self.models, self.weights, self.cards, self.work)]
        columns = [column[chosen] for column in (self.cache_bits, self.tensor, self.tpot, self.ttft)]
        return Rows(*parts, *columns, [self.settings[int(index)] for index in np.arange(len(self.settings))[chosen]])  # type: ignore[arg-type]

    @property
    def load(self) -> Load:
        """What each was measured at."""
        return Load(self.work.concurrency, self.tensor, self.work.prompt, self.work.answer)


def main() -> int:
    """Fits, judges, prints."""
    parser = argparse.ArgumentParser(description="The atlas against published measurements.")
    parser.add_argument("--place", type=Path, required=True, help="where the public table is downloaded to")
    parser.add_argument("--write", action="store_true", help="keep the result in engine/atlas/data/calibration.json")
    parser.add_argument("--aiconfigurator", metavar="PYTHON", help="an interpreter that has aiconfigurator, to be compared with")
    options = parser.parse_args()
    found = served(table(options.place))
    rows = columns(found)
    said = aiconfigurator_says(options.aiconfigurator, options.place, found) if options.aiconfigurator else {}
    quantities = {name: judged(name, rows, said.get(name)) for name in QUANTITIES}
    document = {"bench": "physics", "rows": len(found), "settings": len(set(rows.settings)), "quantities": quantities, "memory": memory_errors()}
    document["experts_apart"] = experts_apart(found, rows)
    kept = calibration(rows, quantities)
    document["throughput_elsewhere"] = elsewhere(Calibration.model_validate(kept))
    if options.write:
        write_json(CALIBRATION, kept)
    print(json.dumps(document))
    return 0


def columns(found: Sequence[Served]) -> Rows:
    """Rows as columns, with what the catalogue knows of their models and accelerators."""
    atlas = catalogue()
    models = Models.of([atlas.models[row.model] for row in found])
    quantisations = [QUANTISATIONS[row.quantisation] for row in found]
    accelerators = [atlas.accelerators[row.accelerator] for row in found]
    cards = Cards.of(accelerators, quantisations[:1])
    operations = np.array([operations_of(card, each) for card, each in zip(accelerators, quantisations, strict=True)])
    work = Workload(*(np.array([float(getattr(row, name, 0.0)) for row in found]) for name in Workload._fields))
    return Rows(
        models,
        Weights.of(quantisations),
        cards._replace(operations=operations),
        work,
        np.array([16.0 if row.quantisation == "bf16" else 8.0 for row in found]),
        np.array([float(row.tensor) for row in found]),
        np.array([row.tpot_seconds for row in found]),
        np.array([row.ttft_seconds or np.nan for row in found]),
        [Setting(shape_of(atlas.models[row.model]), row.accelerator, row.engine, row.quantisation) for row in found],
    )


def tpot(rows: Rows, constants: Constants, layout: Layout | None = None) -> Floats:
    """Physics alone; without a layout, experts are split over all cards like other layers."""
    return seconds_per_token(rows.models, rows.weights, rows.cards, rows.work, constants, rows.cache_bits, layout or Layout(rows.tensor))


def ttft(rows: Rows, constants: Constants) -> Floats:
    """Physics alone."""
    return first_token_seconds(rows.models, rows.cards, rows.work, constants, Layout(rows.tensor))


class Quantity(NamedTuple):
    """Something measured that the physics foretells."""

    physics: Callable[[Rows, Constants], Floats]
    measured: Callable[[Rows], Floats]
    textbook: Callable[[Rows], Floats]
    by_engine: bool
    """Whether it is corrected by engine. The time between tokens is not: that made it no better on models that were left out."""


QUANTITIES = {
    "tpot": Quantity(
        physics=tpot,
        measured=lambda rows: rows.tpot,
        textbook=lambda rows: textbook.seconds_per_token(rows.models, rows.weights, rows.cards, rows.tensor),
        by_engine=False,
    ),
    "ttft": Quantity(
        physics=ttft,
        measured=lambda rows: rows.ttft,
        textbook=lambda rows: textbook.first_token_seconds(rows.models, rows.cards, rows.work, rows.tensor),
        by_engine=True,
    ),
}


def constants_of(quantity: Quantity, rows: Rows) -> Constants:
    """The constants that fit best, in logarithms, outliers counting less."""
    start = np.log(START)

    def residuals(logarithms: Floats) -> Floats:
        away = np.log(quantity.physics(rows, Constants(*np.exp(logarithms))) / quantity.measured(rows))
        return np.concatenate([away, (logarithms - start) / PRIOR_SPREAD])

    return Constants(*np.exp(least_squares(residuals, start, loss="soft_l1", f_scale=LOSS_SCALE, max_nfev=40).x))


class Fitted(NamedTuple):
    """What the rows say of one quantity."""

    constants: Constants
    engines: dict[str, Floats]
    """What all of an engine is corrected by."""
    settings: dict[Setting, Floats]
    """What each setting with enough measurements is corrected by besides."""


def fit_of(quantity: Quantity, rows: Rows, *, by_setting: bool) -> Fitted:
    """Constants first, then what is left by engine, then what is left by setting."""
    constants = constants_of(quantity, rows)
    found = Fitted(constants, {}, {})
    if quantity.by_engine:
        found = found._replace(engines=corrections_of(quantity, rows, found, by_engine(rows), ENGINE_SPREAD))
    if by_setting:
        found = found._replace(settings=corrections_of(quantity, rows, found, by_setting_of(rows), SPREAD))
    return found


def corrections_of(quantity: Quantity, rows: Rows, before: Fitted, parts: dict[Any, NDArray[np.bool_]], spread: Floats) -> dict[Any, Floats]:
    """What each part with enough measurements is corrected by, after what is corrected before."""
    away = np.log(quantity.measured(rows) / foretold(quantity, rows, before))
    return {
        part: fitted(Load(*(value[here] for value in rows.load)), away[here], spread) for part, here in parts.items() if here.sum() >= FEWEST
    }


def foretold(quantity: Quantity, rows: Rows, found: Fitted) -> Floats:
    """With the corrections of the engines and settings that have one."""
    result = quantity.physics(rows, found.constants)
    for parts, corrections in ((by_engine(rows), found.engines), (by_setting_of(rows), found.settings)):
        for part in parts.keys() & corrections.keys():
            here = parts[part]
            result[here] *= factor(Load(*(value[here] for value in rows.load)), corrections[part])
    return result


def by_engine(rows: Rows) -> dict[str, NDArray[np.bool_]]:
    """Which rows are of each engine."""
    return {engine: np.array([each.engine == engine for each in rows.settings]) for engine in {each.engine for each in rows.settings}}


def by_setting_of(rows: Rows) -> dict[Setting, NDArray[np.bool_]]:
    """Which rows are of each setting."""
    return {setting: np.array([each == setting for each in rows.settings]) for setting in set(rows.settings)}


def judged(name: str, rows: Rows, peer: Floats | None = None) -> dict[str, Any]:
    """Errors on what was left out: at random; by lengths and cards in settings that stay; by shape of model; by accelerator. And the textbook's,
    which was fitted on nothing; with a peer's seconds, its errors too, and all others' on the rows that it answered."""
    quantity = QUANTITIES[name]
    known = ~np.isnan(quantity.measured(rows) * quantity.physics(rows, START))
    rows, said = rows.at(known), None if peer is None else peer[known]
    parts = {
        "at_random": np.random.default_rng(SEED).integers(0, FOLDS, int(known.sum())).astype(str),
        "measured_setting": np.array([f"{prompt:.0f} {answer:.0f} {tensor:.0f}" for _, tensor, prompt, answer in zip(*rows.load, strict=True)]),
        "new_model": np.array([setting.shape for setting in rows.settings]),
        "new_accelerator": np.array([setting.accelerator for setting in rows.settings]),
    }
    measured = quantity.measured(rows)
    ratios = {part: left_out(quantity, rows, labels, corrected=part in ("at_random", "measured_setting")) for part, labels in parts.items()}
    errors = {part: error_of(ratio, labels) for (part, ratio), labels in zip(ratios.items(), parts.values(), strict=True)}
    by = {
        part: {str(value): error_of(ratios[part][labels == value]) for value in np.unique(labels)}
        for part, labels in parts.items()
        if part in ("new_model", "new_accelerator")
    }
    simple = measured / quantity.textbook(rows)
    compared = {} if said is None else {"peer": on_answered(said, {**ratios, "textbook": simple, "aiconfigurator": measured / said})}
    return {"rows": int(known.sum()), "errors": errors, "textbook": error_of(simple), "by": by} | compared


def on_answered(said: Floats, ratios: dict[str, Floats]) -> dict[str, Any]:
    """The errors of each on the rows that a peer answered."""
    answered = ~np.isnan(said)
    return {name: error_of(ratio[answered]) for name, ratio in ratios.items()}


def experts_apart(found: Sequence[Served], rows: Rows) -> dict[str, Any]:
    """The time between tokens of runs whose experts were divided over cards, foretold by a fit that has seen none of them: as if each expert were
    split over all cards, and as they were."""
    over = np.array([float(row.experts_over) for row in found])
    constants = constants_of(QUANTITIES["tpot"], rows.at(over == 1))
    apart = rows.at(over > 1)
    layouts = {"as_if_split": Layout(apart.tensor), "as_they_were": Layout(apart.tensor, experts_over=over[over > 1])}
    return {name: error_of(apart.tpot / tpot(apart, constants, layout)) for name, layout in layouts.items()}


def left_out(quantity: Quantity, rows: Rows, labels: NDArray[Any], *, corrected: bool) -> Floats:
    """Measured over foretold, each row foretold by a fit that has seen none of its label."""
    ratio = np.full(len(labels), np.nan)
    for label in np.unique(labels):
        away = labels == label
        there = rows.at(away)
        ratio[away] = quantity.measured(there) / foretold(quantity, there, fit_of(quantity, rows.at(~away), by_setting=corrected))
    return ratio


def error_of(ratio: Floats, labels: NDArray[Any] | None = None) -> dict[str, Any]:
    """Median and 90th percentile of |foretold - measured| / measured, the bias, and the interval of the ratio that holds nine of ten; with labels,
    the share of each label's rows that the others' interval would have held."""
    away = np.abs(1 / ratio - 1)
    low, high = np.quantile(ratio, [(1 - COVERED) / 2, (1 + COVERED) / 2])
    result = {
        "n": len(ratio),
        "median": round(float(np.median(away)), 4),
        "p90": round(float(np.quantile(away, 0.9)), 4),
        "bias": round(float(np.median(1 / ratio)), 4),
        "low": round(float(low), 4),
        "high": round(float(high), 4),
    }
    return result | ({} if labels is None else {"groups": len(np.unique(labels)), "covered": covered(ratio, labels)})


def covered(ratio: Floats, labels: NDArray[Any]) -> float:
    """The share of rows inside the interval that the rows of other labels give."""
    inside = np.zeros(len(ratio), dtype=bool)
    for label in np.unique(labels):
        own = labels == label
        low, high = np.quantile(ratio[~own], [(1 - COVERED) / 2, (1 + COVERED) / 2])
        inside[own] = (ratio[own] >= low) & (ratio[own] <= high)
    return round(float(inside.mean()), 4)


def elsewhere(fitted: Calibration) -> dict[str, Any]:
    """Highest throughput as TensorRT-LLM's makers publish it (`bench/measured.json`), which no fit has seen: foretold by the load, as far as memory
    allows, that gives most."""
    atlas, ratios = catalogue(), []
    for row in read_json(MEASURED):
        if row["kind"] == "throughput_max":
            quantisation = "mxfp4" if row["model"].startswith("openai/gpt-oss") else row["quant"]
            asked = Asked(row["isl"], row["osl"], row["n_gpu"], "trtllm", cache_bits=8)
            card = {row["gpu"]: atlas.accelerators[row["gpu"]]}
            found = grid([atlas.models[row["model"]]], card, [quantisation], LOADS, asked, fitted)
            held = np.array(LOADS) <= np.maximum(found.sequences.reshape(-1), 1)
            ratios.append(row["out_tok_s_per_gpu"] * row["n_gpu"] / np.nanmax(found.throughput.value.reshape(-1)[held]))
    return error_of(np.array(ratios))


def calibration(rows: Rows, quantities: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """What is kept: fitted on all rows."""
    kept: dict[str, Any] = {}
    for name, quantity in QUANTITIES.items():
        known = rows.at(~np.isnan(quantity.measured(rows) * quantity.physics(rows, START)))
        found = fit_of(quantity, known, by_setting=True)
        kept[name] = {
            "constants": {field: round(float(value), 5) for field, value in found.constants._asdict().items()},
            "engines": {engine: [round(float(value), 4) for value in coefficients] for engine, coefficients in sorted(found.engines.items())},
            "corrections": [
                {**setting._asdict(), "coefficients": [round(float(value), 4) for value in coefficients]}
                for setting, coefficients in sorted(found.settings.items())
            ],
            "errors": quantities[name]["errors"],
        }
    source = f"{PEER}, silicon_sample.csv (Apache-2.0); bench/measured.json"
    return {"schema_version": 1, "as_of": date.today().isoformat(), "source": source, "quantities": kept, "memory": memory_calibration()}


if __name__ == "__main__":
    sys.exit(main())
