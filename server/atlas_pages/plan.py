"""The page on which constraints become ranked configurations, and one of these a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from engine.atlas.types import Deployment, ScoreWeights
from server.atlas_pages.asking import AtlasPages, Drawn, Query, answered, hidden, link
from server.atlas_pages.drawing import drawn
from server.atlas_pages.exercising import exercised
from server.atlas_pages.forms import Field, arguments_of, fields_of, problems_by_field, refusal_of
from server.atlas_pages.keeping import keeping
from server.atlas_pages.pictures import Strip, axis_end, strip
from server.atlas_pages.words import EXPORT, PLAN
from tools.atlas import PLAN_DEPLOYMENT, PlanDeploymentArguments

EXERCISES = ("cost", "doubled")
EXPORTING = frozenset(each.name for each in EXPORT)
"""Arguments of an export; without them there is a plan alone."""
FIGURES = (
    ("tpot_ms", "Milliseconds between tokens"),
    ("ttft_ms", "Milliseconds to the first token"),
    ("tokens_per_second", "Answer tokens a second, all requests"),
    ("memory_gib", "Memory of each card, GiB"),
    ("usd_per_million_tokens", "USD for a million answer tokens"),
    ("usd_per_request", "USD for a request"),
)


class TermBar(NamedTuple):
    """A term of a score."""

    name: str
    points: float
    of: float
    share: float
    """Of the points that it could bring, in percent."""


class FigureStrip(NamedTuple):
    """An estimate of a configuration, on the axis that all configurations of the page share."""

    label: str
    found: Mapping[str, float]
    strip: Strip
    limit: float | None


class Shown(NamedTuple):
    """A configuration as it is drawn."""

    place: int
    """In the ranking, from 1."""
    entry: Mapping[str, Any]
    terms: list[TermBar]
    figures: list[FigureStrip]


def plan_page(pages: AtlasPages, query: Query) -> Drawn:
    """The form, what comes out, and the file that was asked for."""
    given = arguments_of(PLAN_DEPLOYMENT, query)
    wanted = {name: value for name, value in given.items() if name not in EXPORTING}
    asked = answered(pages.call, PLAN_DEPLOYMENT, given)
    plain = answered(pages.call, PLAN_DEPLOYMENT, wanted) if asked.error and wanted != given else asked
    page = plain.result
    problems = problems_by_field(asked.error) if asked.error else {}
    groups = [(group.title, fields_of(PLAN_DEPLOYMENT, group.words, _with_weights(given), _choices(pages), problems)) for group in PLAN]
    exporting = _export_fields(given, page, problems) if page else []
    values = {
        "groups": groups,
        "refusal": refusal_of(plain.error, [field for _, fields in groups for field in fields]),
        "page": page,
        "shown": _shown(page, PlanDeploymentArguments.model_validate(wanted)) if page else [],
        "exporting": [("Export", exporting)],
        "export_refusal": refusal_of(asked.error, exporting),
        "document": asked.result if asked.result and "document" in asked.result else None,
        "file": link("plan/file", given),
        "carried": hidden(wanted, "cursor", "limit"),
        "exercises": _exercises(pages, page, wanted, query) if page else [],
        "keeping": keeping(PLAN_DEPLOYMENT.name, wanted if asked.error else given) if page else None,
        "after": link("plan", wanted, cursor=page["next_cursor"]) if page and page.get("next_cursor") else None,
        "before": link("plan", wanted, cursor=None) if wanted.get("cursor") else None,
    }
    return Drawn(drawn("plan.html", "plan", values), asked.status)


def plan_file(pages: AtlasPages, query: Query) -> tuple[str, str]:
    """The exported file alone: its name, and what stands in it."""
    made = pages.call(PLAN_DEPLOYMENT, {"export": "report", **arguments_of(PLAN_DEPLOYMENT, query)})
    return made["file_name"], made["document"]


def _choices(pages: AtlasPages) -> dict[str, Sequence[str]]:
    return {"task": pages.choices().task}


def _with_weights(given: Mapping[str, Any]) -> dict[str, Any]:
    """The points that count unless a team has its own stand in the form."""
    return {"weights": [f"{points:g}" for points in ScoreWeights()], **given}


def _export_fields(given: Mapping[str, Any], page: Mapping[str, Any], problems: Mapping[str, str]) -> list[Field]:
    names = [each["configuration"] for each in page["configurations"]]
    return fields_of(PLAN_DEPLOYMENT, EXPORT, given, {"configuration": names}, problems)


def _shown(page: Mapping[str, Any], wanted: PlanDeploymentArguments) -> list[Shown]:
    first = int(wanted.cursor or 0) + 1
    limits = {"tpot_ms": wanted.tpot_ms, "ttft_ms": wanted.ttft_ms}
    found = page["configurations"]
    ends = {name: axis_end((each.get(name) for each in found), limits.get(name), *_usable(name, found)) for name, _ in FIGURES}
    weights = ScoreWeights(*(wanted.weights or ()))._asdict()
    return [Shown(first + at, each, _terms(each, weights), _figures(each, limits, ends)) for at, each in enumerate(found)]


def _usable(name: str, found: Sequence[Mapping[str, Any]]) -> list[float]:
    """The lines that memory is held against."""
    return [each["usable_gib"] for each in found] if name == "memory_gib" else []


def _terms(entry: Mapping[str, Any], weights: Mapping[str, float]) -> list[TermBar]:
    return [TermBar(name, points, weights[name], 100 * points / weights[name] if weights[name] else 0.0) for name, points in entry["terms"].items()]


def _figures(entry: Mapping[str, Any], limits: Mapping[str, float | None], ends: Mapping[str, float]) -> list[FigureStrip]:
    own = {**limits, "memory_gib": entry["usable_gib"]}
    return [
        FigureStrip(label, entry[name], strip(entry[name], ends[name], own.get(name)), own.get(name)) for name, label in FIGURES if name in entry
    ]


def _exercises(pages: AtlasPages, page: Mapping[str, Any], wanted: Mapping[str, Any], query: Query) -> Sequence[Any]:
    """About the first configuration of the page; none without one."""
    if not page["configurations"]:
        return []
    best, read = page["configurations"][0], PlanDeploymentArguments.model_validate(wanted)
    where = Deployment(best["accelerator"], best["cards"], best["quantisation"], read.prompt_tokens, read.answer_tokens, read.concurrency)
    return exercised(pages, EXERCISES, [best["model"]], where, query)
