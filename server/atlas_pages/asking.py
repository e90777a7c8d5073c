"""Asking the operations what the address asks for, and what came of it: an answer, or a refusal that the page shows beside its form."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol
from urllib.parse import urlencode

from engine.atlas.types import Deployment
from engine.errors import ModelsmithError
from engine.views.furnishings import AcceleratorsPage, AtlasChoices, ExerciseLine
from server.calls import Call
from server.failures import failure_of
from tools.tool import Tool

Query = Mapping[str, list[str]]
"""What the address asks for: each name with all its values."""


class Exercises(Protocol):
    """Exercises of these names about models somewhere; `given` holds what was answered."""

    def __call__(self, names: Sequence[str], models: Sequence[str], where: Deployment, given: Mapping[str, str]) -> Sequence[ExerciseLine]: ...


class AtlasPages(NamedTuple):
    """What the pages need; each function blocks."""

    code: str
    """What their address begins with."""
    call: Call
    accelerators: Callable[[], AcceleratorsPage]
    choices: Callable[[], AtlasChoices]
    exercises: Exercises


class Drawn(NamedTuple):
    """A page that is ready."""

    html: str
    status: int = 200


class Answer(NamedTuple):
    """What a tool said: its result, or its error as every surface shows it."""

    result: dict[str, Any] | None
    error: dict[str, Any] | None
    status: int


def answered(call: Call, tool: Tool, given: Mapping[str, Any]) -> Answer:
    """A refusal is part of a page; a defect is not, and is raised."""
    try:
        return Answer(call(tool, given), None, 200)
    except ModelsmithError as error:
        failure = failure_of(error, tool.name)
        return Answer(None, failure.record, failure.status)


def link(page: str, given: Mapping[str, Any], **changes: Any) -> str:
    """A relative address with these arguments; one that is changed to None is left out."""
    kept = {name: value for name, value in {**given, **changes}.items() if value is not None}
    return f"{page}?{urlencode(kept, doseq=True)}" if kept else page


def hidden(given: Mapping[str, Any], *without: str) -> list[tuple[str, str]]:
    """Arguments as a second form on the page carries them along."""
    pairs = [(name, each) for name, value in given.items() for each in (value if isinstance(value, list) else [value])]
    return [(name, str(value)) for name, value in pairs if name not in without]
