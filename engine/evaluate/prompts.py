"""From a row to a conversation, and from a reference answer to the text a model is taught to write.

Templates are Jinja2 over the fields of a row's input, sandboxed; an unknown field is an error, never an empty string. The same functions
serve evaluation and training, so both see the same bytes.

What a row says is data. Control tokens of chat templates are taken apart in every rendered text (`neutralise`): `<|im_start|>` becomes
`< |im_start|>`, `</s>` becomes `< /s>`, `[INST]` becomes `[ INST]`. It happens after rendering, so tokens put together from two fields are
caught as well, and a template cannot place them either: roles come from the messages alone. Reference answers, and answers before they are
graded, go through the same function, so that both sides of a comparison are spelled alike.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from jinja2 import StrictUndefined, Template, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from engine.config import Contract
from engine.errors import DomainInvalid, TooLarge
from engine.generate.types import Message

MAX_RENDERED_CHARACTERS = 128 * 1024

_CONTROL = re.compile(
    r"<(?=[|｜][^\s|｜<>]{1,64}[|｜]>)"  # <|im_start|>, <|eot_id|>, and the full-width form
    r"|<(?=/?(?:s|bos|eos|pad|unk|mask|start_of_turn|end_of_turn|start_of_role|end_of_role|end_of_text)>)"
    r"|\[(?=/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS)\])"
    r"|<(?=</?SYS>>)",
    re.IGNORECASE,
)


def neutralise(text: str) -> str:
    """`text` with a space inside every chat-template control token; unchanged when it holds none."""
    return _CONTROL.sub(r"\g<0> ", text)


def neutralise_value(value: Any) -> Any:
    """A JSON value with every text in it neutralised, keys included."""
    if isinstance(value, str):
        return neutralise(value)
    if isinstance(value, dict):
        return {neutralise(key): neutralise_value(item) for key, item in value.items()}
    if isinstance(value, list):
        return [neutralise_value(item) for item in value]
    return value


def _finalise(value: Any) -> Any:
    """Objects, lists, booleans and null appear in a prompt as JSON, not as Python."""
    if isinstance(value, dict | list | bool) or value is None:
        return json.dumps(value, ensure_ascii=False)
    return value


_ENVIRONMENT = ImmutableSandboxedEnvironment(
    undefined=StrictUndefined,
    autoescape=False,  # the result is a prompt, not a page
    trim_blocks=True,
    lstrip_blocks=True,
    finalize=_finalise,
)


@lru_cache(maxsize=128)
def _template(source: str) -> Template:
    return _ENVIRONMENT.from_string(source)


def render_messages(contract: Contract, fields: Mapping[str, Any]) -> tuple[Message, ...]:
    """The conversation for one input. A system template that renders to nothing gives no system message."""
    system = _render("system", contract.system, fields)
    user = _render("user", contract.user, fields)
    head = (Message(role="system", content=system),) if system else ()
    return (*head, Message(role="user", content=user))


def render_with_examples(contract: Contract, examples: Sequence[tuple[Mapping[str, Any], str]], fields: Mapping[str, Any]) -> tuple[Message, ...]:
    """The conversation for one input with worked examples (input, text of the answer) before it, as earlier turns. The system message is that of
    the input itself."""
    *head, question = render_messages(contract, fields)
    turns = []
    for shown, answer in examples:
        turns += [render_messages(contract, shown)[-1], Message(role="assistant", content=answer)]
    return (*head, *turns, question)


def _render(name: str, source: str, fields: Mapping[str, Any]) -> str:
    parts: list[str] = []
    size = 0
    try:
        for part in _template(source).generate(dict(fields)):
            size += len(part)
            if size > MAX_RENDERED_CHARACTERS:
                raise TooLarge(
                    f"contract.{name} renders to more than {MAX_RENDERED_CHARACTERS} characters",
                    next_step="Shorten the row or the template.",
                )
            parts.append(part)
    except (TemplateError, TypeError, ValueError, ArithmeticError) as error:
        known = ", ".join(sorted(str(key)[:60] for key in fields)[:20])
        said = str(error) if isinstance(error, TemplateError) else type(error).__name__  # what a filter says may repeat a held-out value
        raise _invalid(f"contract.{name} line {_template_line(error)}: {said}; the row's input has the fields: {known}", name) from error
    return neutralise("".join(parts))


def _template_line(error: BaseException) -> int:
    """The line in the template at which rendering failed (Jinja rewrites the traceback to show it)."""
    line = getattr(error, "lineno", 0) or 0
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename in ("<template>", "<unknown>"):
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


def _invalid(message: str, template: str) -> DomainInvalid:
    return DomainInvalid(
        message, next_step=f"Mend the template contract.{template} in domain.yaml; it may use only fields of the rows' input.", template=template
    )


def render_target(contract: Contract, expected: Any) -> str:
    """The text of a reference answer: compact JSON with properties in the schema's order, or the text itself."""
    if contract.output.kind == "text":
        return neutralise(str(expected))
    schema = contract.output.json_schema or {}
    ordered = _in_schema_order(neutralise_value(expected), schema, schema)
    return json.dumps(ordered, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def _in_schema_order(value: Any, schema: Any, root: dict[str, Any]) -> Any:
    schema = resolve_local(schema, root)
    if isinstance(value, dict):
        properties = schema.get("properties", {})
        rest = schema.get("additionalProperties", {})
        keys = [key for key in properties if key in value] + [key for key in value if key not in properties]
        return {key: _in_schema_order(value[key], properties.get(key, rest), root) for key in keys}
    if isinstance(value, list):
        return [_in_schema_order(item, schema.get("items", {}), root) for item in value]
    return value


def resolve_local(schema: Any, root: dict[str, Any]) -> dict[str, Any]:
    """A sub-schema with a reference within the document (`#/$defs/name`) followed; anything else that is no object counts as empty."""
    for _ in range(16):
        if not isinstance(schema, dict):
            return {}
        reference = schema.get("$ref")
        if not isinstance(reference, str) or not reference.startswith("#/"):
            return schema
        target: Any = root
        for part in reference[2:].split("/"):
            target = target.get(part.replace("~1", "/").replace("~0", "~")) if isinstance(target, dict) else None
        schema = target
    return {}
