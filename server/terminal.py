"""What hand-written commands share: JSON that they are given, and what they answer."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, NamedTuple

from engine.base.files import MAX_JSON_BYTES, parse_strict
from engine.errors import ArgumentInvalid, NotFound


class Told(NamedTuple):
    """What a command answers: as data, and in words."""

    result: dict[str, Any]
    text: str


def read_object(source: str) -> dict[str, Any]:
    """A JSON object from a file or standard input."""
    try:
        data = sys.stdin.buffer.read(MAX_JSON_BYTES + 1) if source == "-" else Path(source).read_bytes()
        value = parse_strict(data)
    except OSError as error:
        raise NotFound(f"{source[:200]} cannot be read: {error.strerror}", next_step="Name a JSON file, or - for standard input.") from None
    except ValueError as error:
        raise ArgumentInvalid(f"{source[:200]} is not JSON: {error}", next_step="Give one JSON object.") from None
    if not isinstance(value, dict):
        raise ArgumentInvalid(f"{source[:200]} does not hold a JSON object", next_step="Give one JSON object.")
    return value
