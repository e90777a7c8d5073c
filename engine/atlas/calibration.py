"""The fitted constants with their errors, as `bench/physics.py` left them, and the intervals that follow."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Literal, NamedTuple

from engine.atlas.physics.speed import Constants
from engine.base.files import read_json
from engine.base.record import Record

CALIBRATION = Path(__file__).parent / "data" / "calibration.json"

Standing = Literal["at_random", "measured_setting", "new_model", "new_accelerator"]
"""What the errors of a fit were seen on: measurements left out at random, others of the same sweep staying; all of some prompt and answer lengths and
number of cards; all of a shape of model; all of an accelerator. An estimate has one of the last three."""


class Setting(NamedTuple):
    """Where measurements were made."""

    shape: str
    """Of the model (`shapes.py`)."""
    accelerator: str
    engine: str
    quantisation: str


class ErrorSeen(Record):
    """The error on measurements that a fit had not seen."""

    n: int
    """Measurements."""
    groups: int
    """Parts that were left out in turn."""
    median: float
    """Of |foretold - measured| / measured."""
    p90: float
    bias: float
    """Median of foretold / measured."""
    low: float
    """Measured / foretold lies between this ..."""
    high: float
    """... and this for nine of ten."""
    covered: float
    """Share of each part's measurements that the other parts' interval held."""


class Correction(Record):
    """What a measured setting is corrected by (`corrections.py`)."""

    shape: str
    accelerator: str
    engine: str
    quantisation: str
    coefficients: tuple[float, ...]
    sparse: bool = False
    """From too few measurements for the interval of a measured setting."""
    own: bool = False
    """Of a workspace's measurements alone: the fit has not seen its accelerator, so nothing follows for other models there."""

    @property
    def setting(self) -> Setting:
        """Where it holds."""
        return Setting(self.shape, self.accelerator, self.engine, self.quantisation)


class Fit(Record):
    """One quantity."""

    constants: dict[str, float]
    engines: dict[str, tuple[float, ...]] = {}
    """What all estimates of an engine are corrected by, before those of a setting (`corrections.py`)."""
    corrections: tuple[Correction, ...]
    errors: dict[Standing, ErrorSeen]


class Range(Record):
    """What logs show of one value: the middle one, and what nine of ten lie between (all of them where there are few)."""

    n: int
    value: float
    low: float
    high: float


class Memory(Record):
    """What start-up logs say beyond the physics."""

    overhead_bytes: Range
    """What a server takes on each card beside weights and caches."""
    weights: dict[str, Range]
    """Logged over computed, by bits: `16`, `8` and `4`."""
    cache: Range
    """Logged over computed, of models whose layers all keep the same of each token."""
    training_peak: Range
    """Logged over computed, of LoRA and QLoRA on one card."""


class Calibration(Record):
    """All that was fitted."""

    schema_version: Literal[1]
    as_of: str
    source: str
    quantities: dict[str, Fit]
    memory: Memory


@cache
def calibration() -> Calibration:
    """As it ships."""
    return Calibration.model_validate(read_json(CALIBRATION))


def constants_of(fit: Fit) -> Constants:
    """As the formulas take them."""
    return Constants(**fit.constants)
