"""Lines with their intervals on two logarithmic axes, as points of an SVG. Pure: figures in, places out.

Both axes are logarithmic because loads, latencies and costs range over decades; equal steps are equal factors, and an interval that is a factor looks
as wide everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

WIDTH, HEIGHT = 640, 300
LEFT, RIGHT, TOP, BOTTOM = 74, 30, 14, 42
"""Room for the words at the axes."""
STEPS = (1, 2, 5)
"""Where ticks stand in each decade, if there are few decades."""
FEW_DECADES = 2.5


class Tick(NamedTuple):
    """A place on an axis, and what is written there."""

    at: float
    words: str


class Chart(NamedTuple):
    """A picture's parts, in the units of its view box."""

    band: str
    """The interval, as points of a polygon; empty without one."""
    line: str
    dots: list[tuple[float, float]]
    across: list[Tick]
    up: list[Tick]
    limit: float | None
    """How high the limit lies."""
    textbook: float | None
    """How high the textbook's value lies."""
    chosen: float | None
    """How far to the right that lies which was asked about."""


class Point(NamedTuple):
    """A value with its interval at a place."""

    across: float
    value: float
    low: float
    high: float


def points_of(lines: Sequence[Mapping[str, Any]], across: str, name: str) -> list[Point]:
    """Those entries that have the value; without an interval the value stands for its ends."""
    found = [(float(line[across]), line[name]) for line in lines if line.get(name)]
    return [Point(at, each["value"], each.get("low", each["value"]), each.get("high", each["value"])) for at, each in found]


def chart(
    points: Sequence[Point],
    across: Sequence[float],
    *,
    limit: float | None = None,
    textbook: float | None = None,
    chosen: float | None = None,
) -> Chart | None:
    """A picture over an axis with a tick at each of `across`; None where there is nothing to draw."""
    if not points:
        return None
    beside = [value for value in (limit, textbook) if value is not None]
    lowest = min(*(each.low for each in points), *beside) if beside else min(each.low for each in points)
    highest = max(*(each.high for each in points), *beside) if beside else max(each.high for each in points)
    bottom, top = lowest / 1.15, highest * 1.15

    def x(value: float) -> float:
        return round(LEFT + (WIDTH - LEFT - RIGHT) * _share(value, across[0], across[-1]), 1)

    def y(value: float) -> float:
        return round(HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * _share(value, bottom, top), 1)

    edge = [(x(each.across), y(each.low)) for each in points] + [(x(each.across), y(each.high)) for each in reversed(points)]
    line = [(x(each.across), y(each.value)) for each in points]
    return Chart(
        band=_listed(edge) if any(each.low < each.high for each in points) else "",
        line=_listed(line),
        dots=line,
        across=[Tick(x(value), short(value)) for value in across],
        up=[Tick(y(value), short(value)) for value in _ticks(bottom, top)],
        limit=None if limit is None else y(limit),
        textbook=None if textbook is None else y(textbook),
        chosen=None if chosen is None else x(min(max(chosen, across[0]), across[-1])),
    )


def short(value: float) -> str:
    """A number at an axis: thousands and millions by their letters."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"


def _share(value: float, low: float, high: float) -> float:
    return math.log(value / low) / math.log(high / low)


def _ticks(low: float, high: float) -> list[float]:
    steps = STEPS if math.log10(high / low) <= FEW_DECADES else STEPS[:1]
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return [value for decade in decades for step in steps if low <= (value := step * 10.0**decade) <= high]


def _listed(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:g},{y:g}" for x, y in points)
