"""From plain values to records: strictly, and with pydantic's errors turned into problems that name the path in the file and the value there."""

from __future__ import annotations

import json
import types
from collections.abc import Iterator
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, TypeAdapter, ValidationError

from engine.loading.problems import FileKind, Problem, refusal, refuse, show


def as_json(kind: FileKind, label: str, value: Any) -> str:
    """`value` as JSON text; what JSON does not have (a YAML date, NaN) is refused with its path."""
    problems = list(_not_json(value, ""))
    refuse(kind, label, problems)
    return json.dumps(value, allow_nan=False)


def _not_json(value: Any, path: str) -> Iterator[Problem]:
    if isinstance(value, dict):
        for key, item in value.items():
            if isinstance(key, str):
                yield from _not_json(item, f"{path}.{key}" if path else key)
            else:
                yield Problem(path, show(key), "keys that are text")
    elif isinstance(value, list | tuple):
        for number, item in enumerate(value):
            yield from _not_json(item, f"{path}[{number}]")
    elif isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        yield Problem(path, str(value), "a finite number")
    elif isinstance(value, str):
        if any("\ud800" <= character <= "\udfff" or character == "\x00" for character in value):
            yield Problem(path, "text with a NUL or a lone surrogate", "text")
    elif value is not None and not isinstance(value, bool | int | float):
        yield Problem(path, f"{show(str(value))} read as a {type(value).__name__}", "text (put it in quotes), a number, true, false or null")


def validate(kind: FileKind, label: str, shape: Any, text: str, prefix: tuple[str, ...] = ()) -> Any:
    """The record, strictly: JSON's own types only, arrays for tuples."""
    try:
        return TypeAdapter(shape).validate_json(text, strict=True)
    except ValidationError as error:
        value = json.loads(text)
        problems = [_problem_of(item, shape, value, prefix) for item in error.errors(include_url=False)]
        raise refusal(kind, label, problems) from None


def _problem_of(error: Any, shape: Any, value: Any, prefix: tuple[str, ...]) -> Problem:
    path, place = _path_in(error["loc"], value, missing=error["type"] == "missing")
    path = ".".join([*prefix, path] if path else prefix)
    expected = str(error["msg"])
    for opening in ("Input should be ", "Value error, ", "Input should "):
        expected = expected.removeprefix(opening)
    if error["type"] == "missing":
        return Problem(path, "nothing", "a value: this field is required")
    if error["type"] == "extra_forbidden":
        known = sorted(_fields(shape, error["loc"][:-1]))
        return Problem(path, "an unknown key", f"one of: {', '.join(known)}" if known else "no such key")
    if "[key]" in error["loc"]:
        listed = error["type"] == "literal_error"
        name = "lower-case letters, digits, '.', '_' and '-', starting with a letter or digit"
        return Problem(path, f"the key {show(error['input'])}", expected if listed else name)
    if error["type"] == "union_tag_invalid":
        return Problem(f"{path}.kind", str(error["ctx"]["tag"])[:80].__repr__(), f"one of: {error['ctx']['expected_tags']}")
    if error["type"] == "union_tag_not_found":
        return Problem(f"{path}.kind", "nothing", "a kind: this field is required")
    return Problem(path, show(place), expected)


def _path_in(location: tuple[int | str, ...], value: Any, *, missing: bool) -> tuple[str, Any]:
    """A pydantic location as a path into the file, without the union tags that pydantic puts between; and the value there."""
    path = ""
    for number, part in enumerate(location):
        last = number == len(location) - 1
        if isinstance(value, list) and isinstance(part, int) and part < len(value):
            path, value = f"{path}[{part}]", value[part]
        elif isinstance(value, dict) and part in value:
            path, value = (f"{path}.{part}" if path else str(part)), value[part]
        elif last and missing:
            path = f"{path}.{part}" if path else str(part)
    return path, value


def _fields(shape: Any, location: tuple[int | str, ...]) -> set[str]:
    """The keys that the record at a pydantic location has."""
    while get_origin(shape) is Annotated:
        shape = get_args(shape)[0]
    if get_origin(shape) in (Union, types.UnionType):
        members = [member for member in get_args(shape) if member is not types.NoneType]
        tagged = [member for member in members if location and _tag(member) == location[0]]
        if tagged:
            return _fields(tagged[0], location[1:])
        return _fields(members[0], location) if len(members) == 1 else set()
    if not location:
        return set(shape.model_fields) if isinstance(shape, type) and issubclass(shape, BaseModel) else set()
    if isinstance(shape, type) and issubclass(shape, BaseModel):
        field = shape.model_fields.get(str(location[0]))
        return _fields(field.annotation, location[1:]) if field is not None else set()
    arguments = get_args(shape)
    if get_origin(shape) in (dict, tuple) and arguments:
        return _fields(arguments[1] if get_origin(shape) is dict else arguments[0], location[1:])
    return set()


def _tag(member: Any) -> Any:
    record = isinstance(member, type) and issubclass(member, BaseModel) and "kind" in member.model_fields
    return member.model_fields["kind"].default if record else None
