"""The pages on which models are found, and set side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from engine.atlas.types import Deployment
from server.atlas_pages.asking import AtlasPages, Drawn, Query, answered, hidden, link
from server.atlas_pages.drawing import drawn, estimate, figure, whole
from server.atlas_pages.exercising import exercised
from server.atlas_pages.forms import arguments_of, fields_of, problems_by_field, refusal_of
from server.atlas_pages.pictures import axis_end, strip
from server.atlas_pages.words import SEARCH
from tools.atlas import SEARCH_MODELS, SearchModelsArguments

PAGE = 10
EXERCISES = ("weights", "cache")
WHERE = ("accelerator", "count", "quantisation", "prompt_tokens", "answer_tokens", "concurrency")
"""Arguments that say where models are to run; they go along from the list to a sheet."""
MOST_COMPARED = 5
FACTS = (
    ("Parameters, billion", "parameters_billion"),
    ("Active for each token, billion", "active_parameters_billion"),
    ("Architecture", "architecture"),
    ("Attention", "attention"),
    ("Experts", "experts"),
    ("Layers", "layers"),
    ("Hidden size", "hidden_size"),
    ("Vocabulary", "vocabulary"),
    ("Longest context, tokens", "context_tokens"),
    ("Licence", "licence"),
    ("Meant for", "tasks"),
    ("Languages", "languages"),
    ("Release", "release"),
)
"""What an entry says, each value with its source."""
COMPUTED = (
    ("Cache of 1,024 tokens, MiB", "cache_mib_per_1k_tokens"),
    ("Sequences that fit", "sequences"),
    ("Milliseconds between tokens", "tpot_ms"),
    ("Milliseconds to the first token", "ttft_ms"),
    ("Answer tokens a second, all requests", "tokens_per_second"),
    ("Times are known from", "known_from"),
    ("Peak of training LoRA, GiB", "lora_peak_gib"),
    ("Peak of training QLoRA, GiB", "qlora_peak_gib"),
)
TEXTBOOK = (("weights_gib", "Weights, GiB"), ("tpot_ms", "Milliseconds between tokens"), ("ttft_ms", "Milliseconds to the first token"))


class Cell(NamedTuple):
    """A value in a sheet."""

    text: str
    source: int | None = None
    """The number of its source in the model's list."""


class SheetRow(NamedTuple):
    """One property of all models that are compared."""

    label: str
    cells: list[Cell]


def models_page(pages: AtlasPages, query: Query) -> Drawn:
    """The form, and the models that it finds."""
    given = {name: value for name, value in arguments_of(SEARCH_MODELS, query).items() if name != "compare"}
    answer = answered(pages.call, SEARCH_MODELS, {"limit": PAGE, **given})
    page, choices = answer.result, pages.choices().model_dump()
    problems = problems_by_field(answer.error) if answer.error else {}
    groups = [(group.title, fields_of(SEARCH_MODELS, group.words, given, _with_permissive(choices), problems)) for group in SEARCH]
    lines = page["models"] if page else []
    end = axis_end(line.get("tokens_per_second") for line in lines)
    values = {
        "groups": groups,
        "refusal": refusal_of(answer.error, [field for _, fields in groups for field in fields]),
        "page": page,
        "lines": [(line, strip(found, end) if (found := line.get("tokens_per_second")) else None, _sheet(line["model"], given)) for line in lines],
        "hardware": "accelerator" in given,
        "where": hidden({name: given[name] for name in WHERE if name in given}),
        "most_compared": MOST_COMPARED,
        "exercises": exercised(pages, EXERCISES, [line["model"] for line in lines], _where(given), query) if page else [],
        "carried": hidden(given),
        **_paging(page, given),
    }
    return Drawn(drawn("models.html", "atlas", values), answer.status)


def sheets_page(pages: AtlasPages, query: Query) -> Drawn:
    """All that is known of up to five models, side by side."""
    asked = arguments_of(SEARCH_MODELS, query)
    given = {name: asked[name] for name in (*WHERE, "compare") if name in asked}
    answer = answered(pages.call, SEARCH_MODELS, given)
    sheets = answer.result["compared"] if answer.result else []
    values = {
        "refusal": refusal_of(answer.error, []),
        "sheets": sheets,
        "facts": _facts(sheets),
        "computed": _computed(sheets),
        "textbook": _textbook(sheets),
        "sources": [(sheet["name"], sheet["confidence"], list(_sources(sheet)), sheet["note"]) for sheet in sheets],
        "assumptions": answer.result["assumptions"] if answer.result else [],
        "back": link("atlas", {name: given[name] for name in WHERE if name in given}),
        "where": {name: given[name] for name in WHERE if name in given},
    }
    return Drawn(drawn("sheets.html", "atlas", values), answer.status)


def _where(given: Mapping[str, Any]) -> Deployment:
    """As the tool has read it; for arguments that it took."""
    read = SearchModelsArguments.model_validate(given)
    return Deployment(read.accelerator, read.count, read.quantisation, read.prompt_tokens, read.answer_tokens, read.concurrency)


def _sheet(model: str, given: Mapping[str, Any]) -> str:
    return link("models", {name: given[name] for name in WHERE if name in given}, compare=model)


def _with_permissive(choices: Mapping[str, Sequence[str]]) -> dict[str, Sequence[str]]:
    return {**choices, "licence": ("permissive", *choices["licence"])}


def _paging(page: Mapping[str, Any] | None, given: Mapping[str, Any]) -> dict[str, str | None]:
    """The addresses of the pages before and after; None where there is none."""
    following = page.get("next_cursor") if page else None
    start = int(given["cursor"]) if page and given.get("cursor") else 0
    size = int(given.get("limit", PAGE)) if page else PAGE
    before = link("atlas", given, cursor=str(start - size) if start > size else None) if start else None
    return {"before": before, "after": link("atlas", given, cursor=following) if following else None}


def _facts(sheets: Sequence[Mapping[str, Any]]) -> list[SheetRow]:
    rows = [SheetRow(label, [_fact(sheet, name) for sheet in sheets]) for label, name in FACTS]
    return [row for row in rows if any(cell.text for cell in row.cells)]


def _fact(sheet: Mapping[str, Any], name: str) -> Cell:
    value = sheet.get(name)
    if value is None or value == []:
        return Cell("")
    if isinstance(value, list):
        text = ", ".join(value)
    elif isinstance(value, str):
        text = value
    else:
        text = whole(value) if isinstance(value, int) else figure(value)
    sources = list(_sources(sheet))
    return Cell(text, 1 + sources.index(sheet["sources"].get(name, sheet["source"])))


def _sources(sheet: Mapping[str, Any]) -> dict[str, None]:
    """Each source once, that of the entry as a whole first."""
    return dict.fromkeys([sheet["source"], *sheet["sources"].values()])


def _computed(sheets: Sequence[Mapping[str, Any]]) -> list[SheetRow]:
    quantisations = dict.fromkeys(name for sheet in sheets for name in sheet["weights_gib_by_quantisation"])
    weights = [
        SheetRow(f"Weights in {name}, GiB", [Cell(estimate(sheet["weights_gib_by_quantisation"].get(name))) for sheet in sheets])
        for name in quantisations
    ]
    rows = [SheetRow(label, [Cell(_computed_text(sheet.get(name))) for sheet in sheets]) for label, name in COMPUTED]
    return [*weights, *(row for row in rows if any(cell.text for cell in row.cells))]


def _computed_text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, dict):
        return estimate(value)
    return value.replace("_", " ") if isinstance(value, str) else figure(value)


def _textbook(sheets: Sequence[Mapping[str, Any]]) -> list[SheetRow]:
    return [
        SheetRow(label, [Cell(figure(sheet["textbook"].get(name))) for sheet in sheets])
        for name, label in TEXTBOOK
        if any(name in sheet["textbook"] for sheet in sheets)
    ]
