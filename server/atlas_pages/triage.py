"""The page that says whether to train: the answer, every way beside the others, and the curve that says how many rows it takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from engine.atlas.types import Deployment
from server.atlas_pages.asking import AtlasPages, Drawn, Query, answered, hidden
from server.atlas_pages.drawing import drawn
from server.atlas_pages.exercising import exercised
from server.atlas_pages.forms import arguments_of, fields_of, problems_by_field, refusal_of
from server.atlas_pages.keeping import keeping
from server.atlas_pages.pictures import Curve, Strip, axis_end, curve, strip
from server.atlas_pages.words import TRIAGE
from server.render import command
from tools.atlas import TRIAGE_TUNING
from tools.fleet import FLEET_STATUS

EXERCISES = ("items",)
VERDICTS = {
    "do_not_train": "Do not train.",
    "measure_first": "Measure first.",
    "label_first": "Label more rows first.",
    "train": "Train.",
}
CALLED = {
    "floor": "No language model (the floor)",
    "prompt": "The base with its prompt",
    "constrain_decoding": "Decoding held to the schema",
    "few_shot": "Worked examples in the prompt",
    "retrieval": "Retrieval",
    "larger_model": "Another or larger model",
    "lora": "A trained adapter (LoRA)",
}
WHEN = {"first": "try first", "if_that_fails": "if that fails", "not_here": "not here"}
ANSWERS = 1000
"""Answers that a cost is said for: of one it has too many noughts."""
WHOLE = 1.0
"""The end of the axis of a quality, which lies between 0 and 1."""


class Way(NamedTuple):
    """One way as it is drawn."""

    name: str
    entry: Mapping[str, Any]
    strip: Strip | None
    """Its quality; None: not measured."""
    gain: str
    cost: float | None
    """Of so many answers as `ANSWERS`."""
    when: str


def triage_page(pages: AtlasPages, query: Query) -> Drawn:
    """The form, the answer, and a picture for each figure."""
    given = arguments_of(TRIAGE_TUNING, query)
    asked = answered(pages.call, TRIAGE_TUNING, given)
    page = asked.result
    problems = problems_by_field(asked.error) if asked.error else {}
    choices = {"cluster": [line["cluster"] for line in pages.call(FLEET_STATUS, {}).get("clusters", ())]}
    groups = [(group.title, fields_of(TRIAGE_TUNING, group.words, given, choices, problems)) for group in TRIAGE]
    values = {
        "groups": groups,
        "refusal": refusal_of(asked.error, [field for _, fields in groups for field in fields]),
        "page": page,
        "verdict": VERDICTS[page["verdict"]] if page else "",
        "ways": [_way(each, page.get("target")) for each in page["options"]] if page else [],
        "curve": _curve(page["curve"], page.get("target")) if page and page.get("curve") else None,
        "commands": [(command(each["tool"], each["arguments"]), each["why"]) for each in page["next"]] if page else [],
        "exercises": exercised(pages, EXERCISES, (), Deployment(), query) if page else [],
        "carried": hidden(given),
        "keeping": keeping("triage_tuning", given) if page else None,
    }
    return Drawn(drawn("triage.html", "triage", values), asked.status)


def _way(entry: Mapping[str, Any], target: float | None) -> Way:
    quality, gain = entry.get("quality"), entry.get("gain")
    found = None if quality is None else strip({"low": quality["low"], "value": quality["mean"], "high": quality["high"]}, WHOLE, target)
    words = "" if gain is None else f"{gain['mean']:+.3f} ({gain['low']:+.3f} to {gain['high']:+.3f})"
    cost = entry.get("cost_per_decision")
    return Way(CALLED[entry["approach"]], entry, found, words, None if cost is None else ANSWERS * cost, WHEN.get(entry.get("when", ""), ""))


def _curve(points: Sequence[Mapping[str, Any]], target: float | None) -> Curve:
    found = [(str(each["subject"]), int(each["rows"]), each["quality"]) for each in points]
    return curve(found, axis_end([{"high": max(each["high"] for _, _, each in found)}], target), target)
