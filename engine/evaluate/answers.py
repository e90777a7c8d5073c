"""What an answer says and where it differs from the reference: parsing, paths, equality, and differences in a fixed vocabulary.

A `json` answer is the whole text, parsed strictly. White space around it is tolerated; prose or a Markdown fence is not, because whoever
calls `json.loads` on the answer would fail as well. A fenced answer is only named apart (`fenced_json`), since its remedy differs.

An observation is `kind:detail`. Details are names that the domain knows: schema properties, enum labels, the reference's own keys. Whatever
else a model writes appears only if it looks like a name, and short; other text becomes `other`. So observations group, and carry no user's
text into a store, a log or a report.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple

from engine.base.files import parse_strict
from engine.config import Output
from engine.evaluate.prompts import resolve_local

MISSING = type("Missing", (), {"__repr__": lambda self: "MISSING", "__bool__": lambda self: False})()
"""What `lookup` returns where there is nothing; null is a value."""

_FENCE = re.compile(r"```[a-z]*\s*\n(.*?)\n?```", re.DOTALL | re.IGNORECASE)
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,39}")


class Parsed(NamedTuple):
    """An answer read as the output asks. With a `problem` (an observation), `value` is MISSING."""

    value: Any
    problem: str


def parse_answer(output: Output, text: str) -> Parsed:
    """The value of an answer: trimmed text, or strictly parsed JSON."""
    if output.kind == "text":
        return Parsed(text.strip(), "")
    value = _parse_json(text)
    if value is not MISSING:
        return Parsed(value, "")
    fenced = _FENCE.search(text[:100_000])
    inside_fence = fenced is not None and _parse_json(fenced.group(1)) is not MISSING
    return Parsed(MISSING, "fenced_json" if inside_fence else "invalid_json")


def _parse_json(text: str) -> Any:
    try:
        return parse_strict(text.encode())
    except (ValueError, RecursionError):
        return MISSING


def lookup(value: Any, path: str) -> Any:
    """The value at a dotted path, through objects by key and lists by position; MISSING where there is none. An empty path is the whole."""
    for part in path.split(".") if path else ():
        if isinstance(value, dict) and part in value:
            value = value[part]
        elif isinstance(value, list) and part.isascii() and part.isdigit() and int(part) < len(value):
            value = value[int(part)]
        else:
            return MISSING
    return value


def join_path(*parts: str) -> str:
    """Parts of a dotted path joined, empty ones left out."""
    return ".".join(part for part in parts if part)


# ---- schema ------------------------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=32)
def _validator(schema: str) -> Any:
    from jsonschema import Draft202012Validator  # slow to import, needed only where answers are judged
    from jsonschema.validators import validator_for
    from referencing import Registry

    parsed = json.loads(schema)
    return validator_for(parsed, default=Draft202012Validator)(parsed, registry=Registry())  # an empty registry: no reference is fetched


def schema_problem(output: Output, value: Any, *, quote: bool) -> str:
    """What breaks the output schema first, in words, or nothing. Unless it may `quote` the value, only the place and the rule."""
    error = _first_error(output, value)
    if error is None:
        return ""
    what = str(error.message)[:200] if quote else f"not what the schema's {error.validator!r} allows"
    return f"at {_dotted(error.absolute_path) or 'the top'}: {what}"


def schema_observation(output: Output, value: Any) -> str:
    """`schema:<path>` of the first violation, or nothing when the value satisfies the schema."""
    error = _first_error(output, value)
    return "" if error is None else f"schema:{_dotted(error.absolute_path) or '.'}"


def _first_error(output: Output, value: Any) -> Any:
    if output.json_schema is None:
        return None
    validator = _validator(json.dumps(output.json_schema))
    if validator.is_valid(value):
        return None
    return min(validator.iter_errors(value), key=lambda error: (len(error.absolute_path), str(error.json_path)))


def _dotted(path: Any) -> str:
    return ".".join("[]" if isinstance(part, int) else as_name(str(part)) for part in path)


def subschema(output: Output, path: str) -> dict[str, Any]:
    """The part of the output schema that describes the value at `path`; empty where the schema does not say."""
    root = output.json_schema or {}
    place = resolve_local(root, root)
    for part in path.split(".") if path else ():
        properties = place.get("properties", {})
        following = properties.get(part) if isinstance(properties, dict) and part in properties else None
        if following is None:
            following = place.get("items" if part.isdigit() or part == "[]" else "additionalProperties")
        place = resolve_local(following, root)
    return place


def labels_at(output: Output, path: str) -> tuple[str, ...]:
    """The closed list of texts that the schema allows at `path`, or nothing."""
    place = subschema(output, path)
    return tuple(item for item in place.get("enum", ()) if isinstance(item, str))


# ---- equality ----------------------------------------------------------------------------------------------------------------------


def fold(value: Any, ignore_case: bool) -> Any:
    """A hashable form in which two values are equal exactly when they are equal as JSON: 1 is 1.0 and not true; key order does not count.

    Texts lose the white space around them; with `ignore_case`, also case and repeated white space.
    """
    if isinstance(value, str):
        return ("text", " ".join(value.split()).casefold() if ignore_case else value.strip())
    if isinstance(value, bool) or value is None:
        return ("constant", value)
    if isinstance(value, int | float):
        return ("number", value)
    if isinstance(value, dict):
        return ("object", frozenset((key, fold(item, ignore_case)) for key, item in value.items()))
    if isinstance(value, list):
        return ("list", tuple(fold(item, ignore_case) for item in value))
    return ("missing",)


def number_of(value: Any) -> float | None:
    """A finite number: a JSON number, or a text that is one (thousands separators allowed)."""
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        text = value.strip()
        text = text.replace(",", "") if re.fullmatch(r"[-+]?\d{1,3}(,\d{3})+(\.\d+)?", text) else text
        if not re.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d{1,3})?", text[:400]):
            return None
        value = float(text[:400])
    if not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


# ---- differences ---------------------------------------------------------------------------------------------------------------------


def as_name(text: str, known: tuple[str, ...] | frozenset[str] = ()) -> str:
    """`text` as the detail of an observation: as it is when known or shaped like a short name, otherwise `other`."""
    return text[:80] if text in known or _NAME.fullmatch(text) else "other"


def differences(output: Output, expected: Any, got: Any, path: str, *, ignore_case: bool, depth: int = 0) -> Iterator[str]:
    """Observations of where `got` differs from `expected`, most specific first: fields by their path, labels by their confusion pair."""
    if expected is MISSING and got is MISSING:
        return
    if got is MISSING:
        yield f"missing_field:{path or '.'}"
    elif expected is MISSING:
        yield f"invented_field:{path or '.'}"
    elif fold(expected, ignore_case) == fold(got, ignore_case):
        return
    elif isinstance(expected, dict) and isinstance(got, dict) and depth < 8:
        known = frozenset(expected) | frozenset(subschema(output, path).get("properties", {}))
        for key in [*expected, *(key for key in got if key not in expected)]:
            place = join_path(path, key if key in known else as_name(key))
            yield from differences(output, expected.get(key, MISSING), got.get(key, MISSING), place, ignore_case=ignore_case, depth=depth + 1)
    elif isinstance(expected, list) and isinstance(got, list):
        yield from _item_differences(output, expected, got, path, ignore_case)
    else:
        yield _value_difference(output, expected, got, path)


def _item_differences(output: Output, expected: list[Any], got: list[Any], path: str, ignore_case: bool) -> Iterator[str]:
    labels = frozenset(labels_at(output, join_path(path, "[]")))
    wanted = Counter(fold(item, ignore_case) for item in expected)
    given = Counter(fold(item, ignore_case) for item in got)
    for kind, items, surplus in (("missing_item", expected, wanted - given), ("invented_item", got, given - wanted)):
        for item in items:
            if surplus.pop(fold(item, ignore_case), 0):
                named = isinstance(item, str) and (item in labels or (bool(labels) and as_name(item) == item))
                yield f"{kind}:{path or '.'}={item}" if named else f"{kind}:{path or '.'}"
    if wanted == given:
        yield mismatch(path)


def _value_difference(output: Output, expected: Any, got: Any, path: str) -> str:
    labels = labels_at(output, path)
    if labels and isinstance(expected, str):
        return label_difference(expected, got, labels)
    return f"wrong_field:{path}" if path else mismatch(path)


def mismatch(path: str) -> str:
    """Something else than the reference, where no more can be said."""
    return f"mismatch:{path}" if path else "mismatch"


def label_difference(expected: str, got: Any, labels: tuple[str, ...]) -> str:
    """`wrong_label:a->b` for a confusion within the list, `invented_label:b` for a label that is not on it."""
    if isinstance(got, str) and got in labels:
        return f"wrong_label:{expected[:80]}->{got[:80]}"
    return f"invented_label:{as_name(got.strip()) if isinstance(got, str) else 'other'}"
