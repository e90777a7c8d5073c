"""Where marks lie: intervals on an axis and bars in shares of the width, so that a page reads on a phone as on a desk; and learning curves. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

HEADROOM = 1.05
"""How far an axis goes on behind the last mark."""


class Strip(NamedTuple):
    """An interval on an axis from zero, in percent of its length."""

    low: float
    value: float
    high: float
    limit: float | None
    """Where a limit lies, if there is one."""
    beyond: bool
    """The value lies behind the limit."""


def axis_end(found: Iterable[Mapping[str, float] | None], *limits: float | None) -> float:
    """The end of an axis that holds all intervals and limits."""
    ends = [each["high"] for each in found if each] + [limit for limit in limits if limit is not None]
    return HEADROOM * max(ends, default=1.0)


def strip(found: Mapping[str, float], end: float, limit: float | None = None) -> Strip:
    """An interval's marks; `end` is the value at the end of the axis."""
    low, value, high = (_share(found[name], end) for name in ("low", "value", "high"))
    return Strip(low, value, high, None if limit is None else _share(limit, end), limit is not None and found["value"] > limit)


def _share(value: float, end: float) -> float:
    return round(100 * min(max(value, 0.0), end) / end, 2) if end > 0 else 0.0


class Mark(NamedTuple):
    """A point of a curve with its interval, in units of the picture."""

    subject: str
    rows: int
    x: float
    y: float
    low: float
    high: float
    ours: bool
    """A trained version's."""


class Curve(NamedTuple):
    """A figure by training rows."""

    marks: tuple[Mark, ...]
    line: str
    """The floor's points, joined."""
    target: float | None
    """Height of the target."""
    ticks: tuple[tuple[float, str], ...]
    """Along the rows, which are laid out by their logarithm."""
    heights: tuple[tuple[float, str], ...]
    """Along the figure."""


WIDTH, HEIGHT, LEFT, BOTTOM = 640.0, 260.0, 44.0, 34.0
FLOOR = "floor:"


def curve(found: Sequence[tuple[str, int, Mapping[str, float]]], end: float, target: float | None) -> Curve:
    """A curve's marks; `end` is the value at the top."""
    logs = [math.log2(max(rows, 1)) for _, rows, _ in found]
    least, span = min(logs), (max(logs) - min(logs)) or 1.0

    def across(log: float) -> float:
        return round(LEFT + (WIDTH - LEFT - 24) * (0.04 + 0.92 * (log - least) / span), 1)

    def up(value: float) -> float:
        return round((HEIGHT - BOTTOM) * (1 - min(max(value, 0.0), end) / end) + 6, 1)

    marks = tuple(
        Mark(subject, rows, across(log), up(each["mean"]), up(each["low"]), up(each["high"]), not subject.startswith(FLOOR))
        for (subject, rows, each), log in zip(found, logs, strict=True)
    )
    joined = " ".join(f"{mark.x},{mark.y}" for mark in marks if not mark.ours)
    ticks = tuple((mark.x, f"{mark.rows:,}") for mark in marks if not mark.ours)
    heights = tuple((up(value), f"{value:.2g}") for value in (0.0, end / HEADROOM / 2, end / HEADROOM))
    return Curve(marks, joined, None if target is None else up(target), ticks, heights)
