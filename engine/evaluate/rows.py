"""Reading the labelled rows of a domain: from the bytes of a JSON-lines file to records.

Whoever wrote the file reads the errors, so each names the file and the line. A row over its limit, a line that is not strict JSON, a row
without its reference answer, an answer that breaks the output schema, two rows with one id: each stops the reading. Nothing is skipped.

A row with `"canary": true` is a canary (`canaries.py`). It has no part in the numbering of rows without ids, so that the others are called what
they were called without it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from engine.base.files import parse_strict
from engine.config import Output, Rows
from engine.errors import DomainInvalid, DuplicateId, TooLarge
from engine.evaluate.answers import MISSING, lookup, schema_problem

MAX_ROW_BYTES = 64 * 1024
MAX_FILE_BYTES = 256 << 20
MAX_ROWS = 500_000
MAX_ID_CHARACTERS = 200
MAX_TAG_CHARACTERS = 200
CANARY = "canary"
"""The field of a row that says whether it is one; true or false, or not there."""


class LabelledRow(NamedTuple):
    """One row, with its line number for errors that are found later."""

    line: int
    id: str
    input: dict[str, Any]
    expected: Any
    tags: dict[str, str]
    source: str
    canary: bool = False


def read_rows(data: bytes, rows: Rows, output: Output, *, label: str, numbered: str, quote: bool) -> list[LabelledRow]:
    """The rows of one file in their order. `label` names the file in errors; rows without an id field are called `<numbered>-000001`, canaries
    `canary-000001`.

    Only with `quote` may an error repeat what a reference answer says: held-out items are among the evaluation rows.
    """
    if len(data) > MAX_FILE_BYTES:
        raise TooLarge(f"{label} has {len(data)} bytes; the limit is {MAX_FILE_BYTES}", next_step="Use fewer rows.", file=label)
    found: list[LabelledRow] = []
    lines: dict[str, int] = {}
    counts: Counter[str] = Counter()
    for number, line in enumerate(data.split(b"\n"), start=1):
        if not line.strip():
            continue
        row = _read_row(line, number, rows, output, label, quote)
        if rows.id is None:
            kind = CANARY if row.canary else numbered
            counts[kind] += 1
            row = row._replace(id=f"{kind}-{counts[kind]:06d}")
        if row.id in lines:
            raise DuplicateId(
                f"{label}: the id {row.id!r} stands in line {lines[row.id]} and in line {number}",
                next_step="Give each row an id of its own, or set the file's `id` to null in domain.yaml to number the rows.",
                file=label,
                id=row.id,
                lines=[lines[row.id], number],
            )
        lines[row.id] = number
        found.append(row)
        if len(found) > MAX_ROWS:
            raise TooLarge(f"{label} has more than {MAX_ROWS} rows", next_step="Use fewer rows.", file=label)
    if all(row.canary for row in found):
        raise DomainInvalid(f"{label} holds no rows", next_step="Write at least one JSON object a line into it.", file=label)
    return found


def _read_row(line: bytes, number: int, rows: Rows, output: Output, label: str, quote: bool) -> LabelledRow:
    where = f"{label}:{number}"
    if len(line) > MAX_ROW_BYTES:
        raise TooLarge(
            f"{where}: the row has {len(line)} bytes; the limit is {MAX_ROW_BYTES}",
            next_step="Shorten the row: a scenario is one question, not a document collection.",
            file=label,
            line=number,
            bytes=len(line),
        )

    def invalid(what: str, next_step: str) -> DomainInvalid:
        return DomainInvalid(f"{where}: {what}", next_step=next_step, file=label, line=number)

    try:
        record = parse_strict(line)
    except (ValueError, RecursionError) as error:
        raise invalid(f"not a JSON object: {str(error)[:200]}", "Write one JSON object a line.") from None
    if not isinstance(record, dict):
        raise invalid(f"found {_kind(record)} where a JSON object was expected", "Write one JSON object a line.")
    return LabelledRow(
        line=number,
        id=_id_of(record, rows, invalid),
        input=_input_of(record, rows, invalid),
        expected=_expected_of(record, rows, output, invalid, quote),
        tags=_tags_of(record, rows, invalid),
        source=_source_of(record, rows, invalid),
        canary=_is_canary(record, invalid),
    )


Invalid = Callable[[str, str], DomainInvalid]


def _is_canary(record: dict[str, Any], invalid: Invalid) -> bool:
    value = record.get(CANARY, False)
    if not isinstance(value, bool):
        raise invalid(f"the field {CANARY!r} is {_kind(value)}", "Write true where the answer is wrong on purpose; call any other field otherwise.")
    return value


def _id_of(record: dict[str, Any], rows: Rows, invalid: Invalid) -> str:
    """The row's own id; empty where the rows are numbered."""
    if rows.id is None:
        return ""
    value = lookup(record, rows.id)
    if value is MISSING or isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise invalid(f"no id in the field {rows.id!r}", "Give the row an id, or set the file's `id` to null in domain.yaml to number the rows.")
    text = str(value)
    if len(text) > MAX_ID_CHARACTERS or not text.isprintable():
        raise invalid(f"the id is longer than {MAX_ID_CHARACTERS} characters or not printable", "Use short, plain ids.")
    return text


def _input_of(record: dict[str, Any], rows: Rows, invalid: Invalid) -> dict[str, Any]:
    if rows.input == ".":
        kept = {key: value for key, value in record.items() if key != CANARY}
        for path in (rows.id, rows.expected, rows.tags, rows.source):
            kept = _without(kept, path.split(".")) if path else kept
        return kept
    value = lookup(record, rows.input)
    if value is MISSING:
        raise invalid(f"no input in the field {rows.input!r}; the row has: {_fields(record)}", "Name the right field as `input` in domain.yaml.")
    if isinstance(value, str):
        return {"text": value}
    if not isinstance(value, dict):
        raise invalid(f"the input is {_kind(value)}", "An input is an object with the fields that the templates use, or a text.")
    return value


def _without(record: dict[str, Any], path: list[str]) -> dict[str, Any]:
    """The record without the field at `path`: the answer must not stand in the question."""
    head, rest = path[0], path[1:]
    if head not in record:
        return record
    if not rest:
        return {key: value for key, value in record.items() if key != head}
    inner = record[head]
    return {**record, head: _without(inner, rest)} if isinstance(inner, dict) else record


def _expected_of(record: dict[str, Any], rows: Rows, output: Output, invalid: Invalid, quote: bool) -> Any:
    value = lookup(record, rows.expected)
    if value is MISSING:
        raise invalid(
            f"no reference answer in the field {rows.expected!r}; the row has: {_fields(record)}",
            "Give each row its reference answer, or name the right field as `expected` in domain.yaml.",
        )
    if output.kind == "text":
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise invalid(f"the reference answer is {_kind(value)}; a text answer was expected", "Write a text, or set contract.output.kind to json.")
        return str(value)
    problem = schema_problem(output, value, quote=quote)
    if problem:
        raise invalid(f"the reference answer breaks the output schema: {problem}", "Mend the row, or contract.output.json_schema in domain.yaml.")
    return value


def _tags_of(record: dict[str, Any], rows: Rows, invalid: Invalid) -> dict[str, str]:
    value = lookup(record, rows.tags) if rows.tags else MISSING
    if value is MISSING or value is None:
        return {}
    if not isinstance(value, dict) or any(isinstance(item, dict | list) for item in value.values()):
        raise invalid(f"the tags in {rows.tags!r} are not an object of plain values", "Write tags as an object of names to texts.")
    return {str(key)[:MAX_TAG_CHARACTERS]: _plain(item)[:MAX_TAG_CHARACTERS] for key, item in value.items() if item is not None}


def _source_of(record: dict[str, Any], rows: Rows, invalid: Invalid) -> str:
    value = lookup(record, rows.source) if rows.source else MISSING
    if value is MISSING or value is None:
        return ""
    if isinstance(value, dict | list):
        raise invalid(f"the source in {rows.source!r} is {_kind(value)}", "Name a source by a text or a number.")
    return _plain(value)[:MAX_ID_CHARACTERS]


def _plain(value: Any) -> str:
    return ("true" if value else "false") if isinstance(value, bool) else str(value)


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a text", bool: "true or false", int: "a number", float: "a number"}
    return names.get(type(value), "null")


def _fields(record: dict[str, Any]) -> str:
    return ", ".join(_shown(record)) or "no fields"


def _shown(record: dict[str, Any]) -> Iterator[str]:
    for key in list(record)[:12]:
        yield key[:60]
