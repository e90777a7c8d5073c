"""Arguments of an operation as fields of a form, and what was filled in as its arguments again.

Kind, bounds, values and defaults come from the tool's own schema, so that a form asks for what the tool takes; labels and reasons come from
`words.py`. What a person left empty is not given, so the tool's defaults hold, and the tool alone says what is wrong with the rest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

from server.atlas_pages.asking import Query
from server.atlas_pages.words import Words
from tools.schema import input_schema
from tools.tool import Tool

OWN_ROWS = 3
"""Inputs for a list of words that one may go on with."""

BOUNDS = {"minimum": "min", "exclusiveMinimum": "min", "maximum": "max", "maxLength": "maxlength"}
"""What a schema's bounds are called in HTML."""


class Field(NamedTuple):
    """One field of a form."""

    name: str
    label: str
    why: str
    kind: str
    """`text`, `number`, `select`, `tick`, `ticks` (several to be ticked) or `rows` (several inputs of one name)."""
    values: tuple[str, ...]
    """What stands in it."""
    options: tuple[tuple[str, str], ...]
    """What can be chosen, and how that is called; for rows, what each is called."""
    attributes: Mapping[str, str | int | float]
    """Bounds, as HTML has them."""
    numeric: bool
    problem: str
    """What is wrong with what was filled in."""

    @property
    def anchor(self) -> str:
        """The id of its first control."""
        return f"{self.name}-1" if self.kind in ("rows", "ticks") else self.name


@cache
def _schema(tool: Tool) -> dict[str, Any]:
    """The tool's arguments; made once, for it takes a third of a redraw."""
    properties: dict[str, Any] = input_schema(tool)["properties"]
    return properties


def arguments_of(tool: Tool, query: Query) -> dict[str, Any]:
    """What was filled in, for the tool to check; names that it does not take are not its business."""
    given: dict[str, Any] = {}
    for name, about in _schema(tool).items():
        filled = [value.strip() for value in query.get(name, []) if value.strip()]
        if filled:
            given[name] = filled if about.get("type") == "array" else filled[-1]
    return given


def fields_of(
    tool: Tool, words: Sequence[Words], given: Mapping[str, Any], choices: Mapping[str, Sequence[str]], problems: Mapping[str, str]
) -> list[Field]:
    """The fields in the order of `words`."""
    schema = _schema(tool)
    return [_field(each, schema[each.name], given.get(each.name), choices.get(each.name, ()), problems.get(each.name, "")) for each in words]


def problems_by_field(error: Mapping[str, Any]) -> dict[str, str]:
    """What a refusal says of single arguments; of a list's entries, under the list's name."""
    told: dict[str, str] = {}
    for problem in error["details"].get("problems", ()):
        told.setdefault(str(problem["argument"]).partition(".")[0], str(problem["problem"]))
    return told


class Problem(NamedTuple):
    """What is wrong with one argument."""

    label: str
    """What its field is called; its own name where the page has no field for it."""
    anchor: str
    """Where its field is; empty without one."""
    problem: str


class Refusal(NamedTuple):
    """Why an operation did not answer."""

    message: str
    next_step: str
    problems: list[Problem]
    """Empty: it is none of a single argument."""


def refusal_of(error: Mapping[str, Any] | None, fields: Sequence[Field]) -> Refusal | None:
    """A refusal as the page says it, with the way to each field that has to be filled in otherwise."""
    if error is None:
        return None
    known = {field.name: field for field in fields}
    found = problems_by_field(error).items()
    problems = [Problem(known[name].label, known[name].anchor, text) if name in known else Problem(name, "", text) for name, text in found]
    return Refusal(error["message"], error["next_step"], problems)


def _field(words: Words, about: Mapping[str, Any], given: Any, choices: Sequence[str], problem: str) -> Field:
    default = about.get("default")
    stands = _texts(default if given is None else given)
    kind, options = _kind(words, about, choices)
    values = (*stands, *[""] * (OWN_ROWS - len(stands))) if kind == "rows" and not options else tuple(stands)
    numeric = about.get("items", about).get("type") in ("integer", "number")
    return Field(words.name, words.label, words.why, kind, values, options, _bounds(about), numeric, problem)


def _kind(words: Words, about: Mapping[str, Any], choices: Sequence[str]) -> tuple[str, tuple[tuple[str, str], ...]]:
    named = tuple((each, words.called.get(each, each)) for each in (*about.get("enum", ()), *choices))
    match about.get("type"):
        case "boolean" if about.get("default") is True:
            return "select", (("true", "yes"), ("false", "no"))
        case "boolean":
            return "tick", ()
        case "array" if "enum" in about["items"]:
            return "ticks", tuple((each, words.called.get(each, each)) for each in about["items"]["enum"])
        case "array":
            return "rows", tuple((part, part) for part in words.parts)
        case "integer" | "number":
            return "number", ()
    open_end = () if about.get("default") is not None else (("", words.anything),)
    return ("select", (*open_end, *named)) if named else ("text", ())


def _texts(value: Any) -> list[str]:
    if value is None:
        return []
    if isinstance(value, list | tuple):
        return [str(each) for each in value]
    return [str(value).lower() if isinstance(value, bool) else str(value)]


def _bounds(about: Mapping[str, Any]) -> dict[str, str | int | float]:
    of = about["items"] if about.get("type") == "array" else about
    found: dict[str, str | int | float] = {html: of[name] for name, html in BOUNDS.items() if name in of}
    if of.get("type") == "number":
        found["step"] = "any"
    return found
