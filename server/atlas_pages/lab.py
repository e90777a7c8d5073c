"""The physics laboratory: one model on one accelerator, knobs, and pictures of what follows.

The page is whole without a script: knobs are fields of a form, and its button asks for the page as they stand. A script (`static/lab.js`) asks for
`figures_page` alone while a knob moves, which is the part of the page that changes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from engine.atlas.knobs import LabKnobs
from engine.atlas.types import Deployment
from server.atlas_pages.asking import Answer, AtlasPages, Drawn, Query, answered, hidden
from server.atlas_pages.charts import Chart, chart, points_of
from server.atlas_pages.drawing import drawn
from server.atlas_pages.exercising import exercised
from server.atlas_pages.forms import arguments_of, fields_of, problems_by_field, refusal_of
from server.atlas_pages.lab_words import KNOBS
from server.atlas_pages.sliders import slider_of, unslid
from tools.lab import PHYSICS_LAB

FIRST = {"model": "Qwen/Qwen3-4B", "accelerator": "L4 24GB"}
"""What is looked at until something is chosen: a small model on a small card, both of which many have."""
EXERCISES = ("floor", "largest")
PART_WORDS = {"weights": "Weights", "caches": "Caches of the requests in flight", "overhead": "What the server takes beside them"}

TEXTBOOK_WORDS = {
    "weights_gib": "Weights, GiB",
    "cache_gib": "Cache of a request, GiB",
    "ttft_ms": "Milliseconds to the first token",
    "tpot_ms": "Milliseconds between tokens",
}


class MemoryPart(NamedTuple):
    """A part of a card's memory, in percent of the picture's width."""

    name: str
    words: str
    start: float
    width: float
    figure: Mapping[str, float]


class MemoryBar(NamedTuple):
    """A card's memory, stacked."""

    parts: list[MemoryPart]
    low: float
    high: float
    """The interval of the sum."""
    usable: float | None
    whole: float | None
    """The lines of what the server may take, and of what the card has."""


class LoadPicture(NamedTuple):
    """A picture over requests in flight or over volume."""

    id: str
    title: str
    words: str
    """What is seen, for those who do not."""
    across: str
    chart: Chart


def lab_page(pages: AtlasPages, query: Query) -> Drawn:
    """All of it."""
    given = _given(query)
    answer = answered(pages.call, PHYSICS_LAB, given)
    problems = problems_by_field(answer.error) if answer.error else {}
    choices = pages.choices().model_dump()
    groups = [(group.title, fields_of(PHYSICS_LAB, group.words, given, choices, problems)) for group in KNOBS]
    fields = [field for _, of_group in groups for field in of_group]
    values = {
        "groups": groups,
        "sliders": {field.name: slider for field in fields if (slider := slider_of(field)) is not None},
        "refusal": refusal_of(answer.error, fields),
        **_figures(pages, answer, given, query),
    }
    return Drawn(drawn("lab.html", "lab", values), answer.status)


def figures_page(pages: AtlasPages, query: Query) -> Drawn:
    """What follows from the knobs, without the page around it."""
    given = _given(query)
    answer = answered(pages.call, PHYSICS_LAB, given)
    values = {"refusal": refusal_of(answer.error, []), **_figures(pages, answer, given, query)}
    return Drawn(drawn("lab_fragment.html", "lab", values), answer.status)


def _given(query: Query) -> dict[str, Any]:
    return {**FIRST, **arguments_of(PHYSICS_LAB, unslid(query))}


def _figures(pages: AtlasPages, answer: Answer, given: Mapping[str, Any], query: Query) -> dict[str, Any]:
    page = answer.result
    if page is None:
        return {"page": None}
    knobs = LabKnobs.model_validate(given)
    where = Deployment(page["accelerator"], knobs.cards, knobs.quantisation, knobs.prompt_tokens, knobs.answer_tokens, knobs.concurrency)
    return {
        "page": page,
        "memory": _memory(page["memory"]),
        "pictures": [each for each in (*_latencies(page, knobs), _costs(page)) if each is not None],
        "textbook_words": TEXTBOOK_WORDS,
        "knobs": knobs,
        "exercises": exercised(pages, EXERCISES, [page["model"]], where, query),
        "carried": hidden(given),
    }


def _memory(memory: Mapping[str, Any]) -> MemoryBar | None:
    """Stacked from the left; the axis goes as far as the card or the upper end of what is needed, whichever is more."""
    needed, whole = memory.get("needed"), memory.get("whole")
    if needed is None:
        return None
    end = 1.02 * max(needed.get("high", needed["value"]), whole or 0.0)
    parts, start = [], 0.0
    for name, figure in memory["parts"].items():
        parts.append(MemoryPart(name, PART_WORDS[name], _percent(start, end), _percent(figure["value"], end), figure))
        start += figure["value"]
    low, high = (_percent(needed.get(edge, needed["value"]), end) for edge in ("low", "high"))
    usable = memory.get("usable")
    return MemoryBar(parts, low, high, None if usable is None else _percent(usable, end), None if whole is None else _percent(whole, end))


def _percent(value: float, end: float) -> float:
    return round(100 * value / end, 2)


def _latencies(page: Mapping[str, Any], knobs: LabKnobs) -> list[LoadPicture | None]:
    loads, textbook = page["loads"], page["textbook"]
    return [
        _over_loads(loads, knobs, "tpot_ms", "Milliseconds between tokens", knobs.tpot_ms, textbook.get("tpot_ms")),
        _over_loads(loads, knobs, "ttft_ms", "Milliseconds to the first token", knobs.ttft_ms, textbook.get("ttft_ms")),
        _over_loads(loads, knobs, "tokens_per_second", "Answer tokens a second, all requests", None, None),
    ]


def _over_loads(
    loads: Sequence[Mapping[str, Any]], knobs: LabKnobs, name: str, title: str, limit: float | None, textbook: float | None
) -> LoadPicture | None:
    across = [float(each["concurrency"]) for each in loads]
    points = points_of(loads, "concurrency", name)
    made = chart(points, across, limit=limit, textbook=textbook, chosen=float(knobs.concurrency))
    if made is None:
        return None
    first, last = points[0], points[-1]
    words = f"From {first.value:g} at {first.across:g} requests in flight to {last.value:g} at {last.across:g}; more are not held."
    return LoadPicture(name, title, words, "Requests in flight", made)


def _costs(page: Mapping[str, Any]) -> LoadPicture | None:
    months = page["months"]
    points = points_of(months, "requests", "usd")
    made = chart(points, [float(each["requests"]) for each in months])
    if made is None:
        return None
    words = f"From {points[0].value:,.0f} USD at {points[0].across:,.0f} requests a month to {points[-1].value:,.0f} USD at {points[-1].across:,.0f}."
    return LoadPicture("usd", "USD a month", words, "Requests a month", made)
