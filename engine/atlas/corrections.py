"""What measurements say beyond the physics: for each setting that somebody measured, a smooth correction of the logarithm.

A setting is a shape of model on an accelerator under an engine in a quantisation. Its correction is a short polynomial in the logarithms of the load,
shrunk towards none (ridge regression with a Huber loss), so that a setting with few measurements is corrected little. Settings that nobody measured
are not corrected so: what is learnt from other models makes them worse (measured, `bench/physics.py`).

But engines schedule prompts each in its own way, whatever the model and the accelerator. So the time to the first token is first corrected by engine,
with the same polynomial, of which only the level and the slopes over requests in flight and prompt are free.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from engine.atlas.physics.arrays import Floats

LEVEL_SPREAD = 0.3
"""Standard deviation of a setting's level, in logarithms, before anything was measured there."""
SLOPE_SPREAD = 0.15
"""The same of each slope and curvature."""
NOISE = 0.1
"""Standard deviation of one measurement; residuals beyond `HUBER` of these weigh less."""
HUBER = 1.5
ROUNDS = 8


class Load(NamedTuple):
    """What a measurement was made at."""

    concurrency: Floats
    tensor: Floats
    prompt: Floats
    answer: Floats


def basis(load: Load) -> Floats:
    """The polynomial's terms, one column each, centred where most measurements lie and scaled to about one."""
    concurrency, tensor = np.log2(load.concurrency) - 4, np.log2(load.tensor) - 1.5
    prompt, answer = np.log2(load.prompt) - 11, np.log2(load.answer) - 9
    terms = (
        np.ones_like(concurrency),
        concurrency,
        tensor,
        prompt,
        answer,
        concurrency**2 / 4,
        concurrency * prompt / 3,
        concurrency * tensor / 3,
        tensor * prompt / 2,
    )
    return np.stack(np.broadcast_arrays(*terms), axis=-1)


SPREAD = np.array([LEVEL_SPREAD] + [SLOPE_SPREAD] * 8)
ENGINE_SPREAD = np.array([1.0, 0.3, 0.0, 0.3] + [0.0] * 5)
"""Of an engine's correction: hundreds of measurements decide it, and of what is 0 there is none."""


def fitted(load: Load, logarithms: Floats, spread: Floats = SPREAD) -> Floats:
    """The coefficients of one setting or engine from log(measured / foretold before) at each load."""
    scaled = basis(clipped(load)) * spread
    weights = np.ones(len(logarithms))
    for _ in range(ROUNDS):
        weighted = scaled * weights[:, None]
        found = np.linalg.solve(weighted.T @ scaled / NOISE**2 + np.eye(len(spread)), weighted.T @ logarithms / NOISE**2)
        away = np.abs(logarithms - scaled @ found) / NOISE
        weights = 1 / np.maximum(1, away / HUBER)
    result: Floats = found * spread
    return result


def factor(load: Load, coefficients: Floats) -> Floats:
    """What is multiplied with at a load; loads beyond those measured are corrected as at their edge."""
    return np.exp(basis(clipped(load)) @ coefficients)


EDGES = Load(np.array([1.0, 512.0]), np.array([1.0, 8.0]), np.array([64.0, 16384.0]), np.array([32.0, 8192.0]))


def clipped(load: Load) -> Load:
    """Within what was measured: a polynomial says nothing outside."""
    return Load(*(np.clip(value, *edges) for value, edges in zip(load, EDGES, strict=True)))
