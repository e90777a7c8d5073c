"""Which fields of the laboratory are sliders, and where they stop.

What ranges over decades moves by factors: the place of such a slider is a power of two. A browser sends the place, and `unslid` turns it into the
value, so that a slider works without a script too.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from server.atlas_pages.asking import Query
from server.atlas_pages.forms import Field

POWER = "power-of-two."
"""What the name of a slider of powers begins with."""


class Range(NamedTuple):
    """Where a slider goes from, to, and by which steps."""

    low: float
    high: float
    step: float
    powers: bool = False


RANGES = {
    "prompt_tokens": Range(5, 17, 0.5, powers=True),
    "answer_tokens": Range(1, 13, 0.5, powers=True),
    "concurrency": Range(0, 9, 0.25, powers=True),
    "training_tokens_million": Range(0, 12, 0.25, powers=True),
    "group_prompts": Range(0, 9, 1, powers=True),
    "group_answers": Range(1, 8, 1, powers=True),
    "hit_share": Range(0, 0.95, 0.05),
    "drafted": Range(0, 8, 1),
    "accepted": Range(0.1, 0.95, 0.05),
    "peak": Range(1, 10, 0.5),
}


class Slider(NamedTuple):
    """A field with the slider that is drawn for it."""

    field: Field
    name: str
    """As the browser sends it."""
    range: Range
    place: float
    shown: str
    """What its value is."""


def unslid(query: Query) -> dict[str, list[str]]:
    """The query with values in place of powers."""
    told = {name: values for name, values in query.items() if not name.startswith(POWER)}
    for name, values in query.items():
        if name.startswith(POWER) and values:
            told[name.removeprefix(POWER)] = [_value_of(values[-1])]
    return told


def _value_of(place: str) -> str:
    """What a place stands for; what is no number is left for the tool to refuse."""
    try:
        return str(round(2 ** min(float(place), 40.0)))
    except (ValueError, OverflowError):
        return place


def slider_of(field: Field) -> Slider | None:
    """The slider of a field; None for a field that is none, and for one that was refused, whose value a slider could not show."""
    bounds = RANGES.get(field.name)
    if bounds is None or field.problem:
        return None
    value = float(field.values[0])
    place = math.log2(value) if bounds.powers else value
    return Slider(field, (POWER if bounds.powers else "") + field.name, bounds, round(place, 4), f"{value:g}")
