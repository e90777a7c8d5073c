"""How a figure grows with training rows, and how many it would take to reach a target. Pure.

What is missing to a perfect figure falls by a power of the rows towards what no number of rows removes: 1 - figure = rest + scale x rows^-slope
(Hestness et al., arXiv 1712.00409; Viering and Loog, arXiv 2103.10948, who find it the best of the short formulas, and warn of going far beyond
the data). So it is fitted to the points as they are and to points drawn anew within their standard errors, and what those say is the interval.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from engine.atlas.physics.arrays import Floats

SLOPES = np.linspace(0.05, 1.0, 39)
"""Powers that are tried: those that Hestness et al. saw lie between 0.07 and 0.35, smaller and easier tasks learn faster."""
DRAWS = 200
LEAST_POINTS = 3
"""Fewer do not say whether a curve bends."""
FARTHEST = 8
"""Times the most rows that were measured: beyond three doublings nothing is foretold."""
TAILS = (5, 95)
"""Percentiles of the drawn curves that an interval lies between: nine of ten."""


class Point(NamedTuple):
    """A figure between 0 and 1 at so many training rows, with its standard error."""

    rows: int
    figure: float
    error: float


class Curves(NamedTuple):
    """Fitted curves, one entry each: the first of the points as they are, the others of points drawn anew."""

    rest: Floats
    scale: Floats
    slope: Floats
    most_rows: int
    """That were measured."""

    def at(self, rows: float) -> Floats:
        """The figure at so many rows, of each curve."""
        found: Floats = 1 - self.rest - self.scale * rows**-self.slope
        return found


class Foretold(NamedTuple):
    """A figure that was not measured, and what nine of ten curves lie between."""

    value: float
    low: float
    high: float


class RowsNeeded(NamedTuple):
    """Training rows that a target takes; None where it is beyond `FARTHEST` times what there is, or never reached."""

    value: int | None
    low: int | None
    high: int | None
    beyond: float
    """Share of the curves that do not come there within that."""


def curves_through(points: Sequence[Point], seed: int) -> Curves | None:
    """The curves through these points; None where they are too few. Each point is drawn on its own, though all were measured on the same items,
    so that the intervals are wider than they need be."""
    if len({point.rows for point in points}) < LEAST_POINTS:
        return None
    rows, figures, errors = (np.array(column, dtype=float) for column in zip(*points, strict=True))
    errors = np.maximum(errors, 1e-3)
    drawn = figures + np.random.default_rng(seed).standard_normal((DRAWS, len(points))) * errors
    return Curves(*_fitted(rows, 1 - np.vstack([figures, drawn]), 1 / errors), most_rows=int(rows.max()))


def _fitted(rows: Floats, missing: Floats, weights: Floats) -> tuple[Floats, Floats, Floats]:
    """Rest, scale and slope with the least weighted squares, for each row of `missing`: both first are linear once the slope is given, neither may be
    below 0, and where one would be it is 0."""
    best = np.full(len(missing), np.inf)
    found = [np.zeros(len(missing)) for _ in range(3)]
    target = missing * weights
    for slope in SLOPES:
        columns = np.stack([weights, weights * rows**-slope], axis=1)
        for kept in ((0, 1), (0,), (1,)):
            solution = np.zeros((2, len(missing)))
            solution[list(kept)] = np.linalg.lstsq(columns[:, kept], target.T, rcond=None)[0]
            away = ((columns @ solution - target.T) ** 2).sum(axis=0)
            better = (away < best) & (solution >= 0).all(axis=0)
            best = np.where(better, away, best)
            found = [np.where(better, new, old) for new, old in zip((*solution, np.full(len(missing), slope)), found, strict=True)]
    return found[0], found[1], found[2]


def foretold(curves: Curves, rows: float) -> Foretold:
    """The figure at so many rows."""
    values = np.clip(curves.at(rows), 0, 1)
    low, high = np.percentile(values, TAILS)
    return Foretold(float(values[0]), float(low), float(high))


def rows_needed(curves: Curves, target: float) -> RowsNeeded:
    """How many rows bring the figure to the target: rows = (scale / (1 - target - rest))^(1 / slope)."""
    room = 1 - target - curves.rest
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        rows = np.where(room > 0, (curves.scale / np.where(room > 0, room, 1)) ** (1 / curves.slope), np.inf)
    limit = FARTHEST * curves.most_rows
    rows = np.where(rows > limit, np.inf, rows)
    low, high = np.quantile(rows, [each / 100 for each in TAILS], method="higher")
    value, low, high = (None if np.isinf(each) else max(1, int(np.ceil(each))) for each in (rows[0], low, high))
    return RowsNeeded(value, low, high, float(np.isinf(rows).mean()))
