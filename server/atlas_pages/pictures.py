"""Where marks lie: intervals on an axis, and bars, in shares of the width, so that a page reads on a phone as on a desk. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
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
