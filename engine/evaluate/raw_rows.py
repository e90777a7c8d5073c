"""Labelled rows as somebody else wrote them: JSON lines, a JSON array or CSV, read to plain objects with their fields as they are.

Whoever wrote the file reads the errors, so each names the file and the line.
"""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

from engine.base.files import parse_strict
from engine.errors import DomainInvalid, NotFound, TooLarge

MAX_FILE_BYTES = 64 << 20
MAX_ROW_BYTES = 64 << 10
MAX_ROWS = 100_000
MIN_ROWS = 40


def read_records(path: Path) -> list[dict[str, Any]]:
    """The rows of a `.csv`/`.tsv` file, of a JSON array, or of JSON lines, as objects."""
    if not path.is_file():
        raise NotFound(f"there is no file {path.name!r}", next_step="Name a file of labelled rows: JSON lines, a JSON array, or CSV.")
    size = path.stat().st_size
    if size > MAX_FILE_BYTES:
        raise TooLarge(f"{path.name} has {size} bytes; the limit is {MAX_FILE_BYTES}", next_step="Take a sample of the rows first.", bytes=size)
    data = path.read_bytes().removeprefix(b"\xef\xbb\xbf")
    if path.suffix.lower() in (".csv", ".tsv"):
        records = _read_csv(path.name, data, "\t" if path.suffix.lower() == ".tsv" else ",")
    elif data.lstrip()[:1] == b"[":
        records = _read_array(path.name, data)
    else:
        records = [_read_line(path.name, number, line) for number, line in enumerate(data.split(b"\n"), start=1) if line.strip()]
    if not MIN_ROWS <= len(records) <= MAX_ROWS:
        raise DomainInvalid(
            f"{path.name} has {len(records)} rows; a domain can be made from {MIN_ROWS} to {MAX_ROWS}",
            next_step="With fewer rows nothing can be shown; label more. With more, take a sample.",
            rows=len(records),
        )
    return records


def _read_line(name: str, number: int, line: bytes) -> dict[str, Any]:
    if len(line) > MAX_ROW_BYTES:
        what = f"{name}:{number}: the row has {len(line)} bytes; the limit is {MAX_ROW_BYTES}"
        raise TooLarge(what, next_step="Shorten the row or leave it out.", file=name, line=number)
    try:
        record = parse_strict(line)
    except (ValueError, RecursionError) as error:
        raise _unreadable(name, number, f"not JSON: {str(error)[:200]}") from None
    if not isinstance(record, dict) or not record:
        raise _unreadable(name, number, "not an object with fields")
    return record


def _read_array(name: str, data: bytes) -> list[dict[str, Any]]:
    try:
        records = json.loads(data, object_pairs_hook=_each_key_once)
        return [_read_line(name, number, json.dumps(record).encode()) for number, record in enumerate(records, start=1)]
    except (ValueError, RecursionError) as error:
        raise _unreadable(name, 1, f"not a JSON array: {str(error)[:200]}") from None


def _each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key occurs twice in one object")
    return found


def _read_csv(name: str, data: bytes, delimiter: str) -> list[dict[str, Any]]:
    try:
        reader = csv.DictReader(io.StringIO(data.decode("utf-8"), newline=""), delimiter=delimiter, strict=True)
        records: list[dict[str, Any]] = []
        for record in reader:
            if None in record or None in record.values():
                raise _unreadable(name, reader.line_num, f"not the {len(reader.fieldnames or [])} fields of the first line")
            records.append(dict(record))
            if len(records) > MAX_ROWS:
                break
    except UnicodeDecodeError as error:
        raise _unreadable(name, 1, f"a byte that is not UTF-8 at offset {error.start}") from None
    except csv.Error as error:
        raise _unreadable(name, reader.line_num, f"not CSV: {error}") from None
    return records


def _unreadable(name: str, line: int, what: str) -> DomainInvalid:
    return DomainInvalid(
        f"{name}:{line}: found {what}; expected one row, an object with an input and an answer",
        next_step='Write one object a line, such as {"text": "...", "label": "..."}.',
        file=name,
        line=line,
    )


def flattened_chat(record: dict[str, Any]) -> dict[str, Any]:
    """A row in the chat format (`messages`) as a conversation and the assistant's last answer; any other row as it is."""
    messages = record.get("messages")
    if not isinstance(messages, list) or not all(isinstance(message, dict) and "content" in message for message in messages):
        return record
    if not messages or messages[-1].get("role") != "assistant":
        return record
    before = [message for message in messages[:-1] if message.get("role") != "system"]
    only_user = len(before) == 1 and before[0].get("role") == "user"
    turns = [f"{str(turn.get('role')).capitalize()}: {turn['content']}" for turn in before]
    conversation = str(before[0]["content"]) if only_user else "\n".join(turns)
    rest = {key: value for key, value in record.items() if key not in ("messages", "message", "expected")}
    return {"message": conversation, "expected": messages[-1]["content"], **rest}
