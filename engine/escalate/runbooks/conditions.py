"""What a result has to hold, as data: places in it, each with a value or with one condition.

    state: succeeded                       equal
    state: {in: [succeeded, cancelled]}
    hosts[0].disk_free_bytes: {at_least: 1000000000}
    errors: {at_most: 0}
    error: {present: false}                nothing stands there (an empty text, list or object is nothing)
    summary: {has: "fingerprint"}          a text or a list that holds it

Pure. What is missing holds nothing but `present: false`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from engine.escalate.runbooks.templates import Missing, place

EMPTY: tuple[Any, ...] = (None, "", [], {})

CONDITIONS: dict[str, Callable[[Any, Any], bool]] = {
    "in": lambda found, wanted: found in wanted,
    "at_least": lambda found, wanted: _number(found) and found >= wanted,
    "at_most": lambda found, wanted: _number(found) and found <= wanted,
    "present": lambda found, wanted: (found not in EMPTY) == wanted,
    "has": lambda found, wanted: wanted in found if isinstance(found, str | list | Mapping) else False,
}


def unmet(expected: Mapping[str, Any], result: Mapping[str, Any]) -> str:
    """The first place at which `result` is not as expected, in a sentence; empty when all holds."""
    for path, wanted in expected.items():
        try:
            found = place(result, path)
        except Missing:
            found = None
        if not holds(wanted, found):
            return f"{path} is {_shown(found)}, expected {_said(wanted)}"
    return ""


def holds(wanted: Any, found: Any) -> bool:
    """Whether what was found is as wanted."""
    name, value = condition_of(wanted)
    return bool(CONDITIONS[name](found, value)) if name else found == wanted


def condition_of(wanted: Any) -> tuple[str, Any]:
    """The name and value of a condition; no name where `wanted` is a plain value. ValueError for a condition that nobody knows."""
    if not isinstance(wanted, Mapping):
        return "", wanted
    (name, value), *more = wanted.items()
    if more or name not in CONDITIONS:
        raise ValueError(f"{dict(wanted)} is not one of the conditions {', '.join(CONDITIONS)}")
    return name, value


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _shown(found: Any) -> str:
    return "missing" if found is None else repr(found)[:120]


def _said(wanted: Any) -> str:
    name, value = condition_of(wanted)
    if name == "present":
        return "something" if value else "nothing"
    return f"{name.replace('_', ' ')} {value!r}" if name else repr(wanted)
