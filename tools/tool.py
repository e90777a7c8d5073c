"""What a tool is: a typed function with its name, its effect, and the records that go in and come out.

A tool knows nothing of HTTP, MCP or the terminal. It is called through `call`, which checks the arguments against the tool's record and
answers plain JSON data, so that every surface accepts the same arguments, answers the same object, and fails with the same error.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from pydantic import ValidationError

from engine.base.record import Record
from engine.errors import ArgumentInvalid, NotFound
from engine.views import View

if TYPE_CHECKING:
    from engine.engine import Engine

Effect = Literal["read", "write", "spend", "human"]
"""`read` changes nothing; `write` changes state; `spend` uses machine time for minutes or more; `human` needs a person's signature."""

SHOWN_CHARACTERS = 120
"""How much of a refused value an error repeats."""


class Tool(NamedTuple):
    """One operation, as every surface derives it."""

    name: str
    title: str
    description: str
    """One paragraph of facts for the model that calls it."""
    effect: Effect
    arguments: type[Record]
    result: type[View]
    run: Callable[[Engine, Any], View]
    idempotent: bool
    """Calling it again with the same arguments changes nothing more. With an `idempotency_key` this holds for runs too."""
    destructive: bool = False
    """It can end or undo something."""
    starts_servers: bool = False
    """It may have to start a model server before it answers, which takes minutes."""
    positional: tuple[str, ...] = ()
    """Arguments that the command line takes by position."""
    listed: bool = True
    """Agents are shown it over MCP. One that they come to through another tool is not: each costs a place in their context."""

    @property
    def starts_run(self) -> bool:
        """It answers with a run that goes on in the background."""
        return self.effect == "spend" and "run_id" in self.result.model_fields

    @property
    def takes_key(self) -> bool:
        """It accepts an idempotency key."""
        return "idempotency_key" in self.arguments.model_fields

    @property
    def waits(self) -> bool:
        """It may be asked to wait for something to happen."""
        return "wait_seconds" in self.arguments.model_fields


def check_arguments(tool: Tool, arguments: Mapping[str, Any], *, from_text: bool = False) -> Record:
    """`arguments` as the tool's record, or ArgumentInvalid naming each argument, what was given and what was expected.

    `from_text` reads numbers and booleans from strings, for a query string.
    """
    try:
        if from_text:
            return tool.arguments.model_validate_strings(dict(arguments))
        found = tool.arguments.model_validate(dict(arguments))
    except ValidationError as failure:
        raise refused(tool, failure) from None
    _refuse_what_is_no_number(tool, arguments)
    return found


def _refuse_what_is_no_number(tool: Tool, arguments: Mapping[str, Any]) -> None:
    """NaN and infinity, where an argument takes any value: they would be kept as null, and be another question than the one that was asked."""
    try:
        json.dumps(arguments, allow_nan=False, default=str)
    except ValueError:
        raise ArgumentInvalid(
            f"{tool.name}: the arguments hold a number that is none, or one larger than any that can be computed with",
            next_step="Give finite numbers.",
            tool=tool.name,
        ) from None


def refused(tool: Tool, failure: ValidationError) -> ArgumentInvalid:
    """What a caller is told about arguments that do not fit."""
    taken = ", ".join(tool.arguments.model_fields) or "no arguments"
    problems = []
    for error in failure.errors(include_url=False, include_context=False)[:5]:
        place = ".".join(str(part) for part in error["loc"]) or "arguments"
        if error["type"] == "extra_forbidden":
            problems.append({"argument": place, "problem": "no such argument"})
        elif error["type"] == "missing":
            problems.append({"argument": place, "problem": "it is required"})
        else:
            given = repr(error["input"])
            shown = given if len(given) <= SHOWN_CHARACTERS else f"{given[:SHOWN_CHARACTERS]}... ({len(given)} characters)"
            problems.append({"argument": place, "problem": error["msg"], "given": shown})
    sentences = "; ".join(f"{p['argument']}: {p['problem']}" + (f", given {p['given']}" if "given" in p else "") for p in problems)
    return ArgumentInvalid(
        f"{tool.name}: {sentences}",
        next_step=f"Call {tool.name} with arguments that fit; it takes {taken}.",
        tool=tool.name,
        problems=problems,
    )


def find_tool(tools: tuple[Tool, ...], name: str) -> Tool:
    """The tool of that name; NotFound lists the names there are."""
    for tool in tools:
        if tool.name == name:
            return tool
    names = [tool.name for tool in tools]
    raise NotFound(f"there is no tool {name[:SHOWN_CHARACTERS]!r}", next_step=f"Use one of: {', '.join(names)}.", tools=names)


def call(engine: Engine, tool: Tool, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Checks the arguments, runs the tool, and answers its result as JSON data: nulls left out, `summary` first, `next` last."""
    return as_data(tool.run(engine, check_arguments(tool, arguments)))


def as_data(view: View) -> dict[str, Any]:
    """A view as JSON data. A figure that is no number would be a defect upstream and is refused: nobody may read it as good or bad."""
    data: dict[str, Any] = view.model_dump(mode="json", exclude_none=True)
    json.dumps(data, allow_nan=False)
    data["next"] = data.pop("next", [])
    return data
