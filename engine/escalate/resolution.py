"""Whether a resolution check passes: its expectations against the answer that came. Pure.

What is missing does not pass, nor does a number that is none: a check that could not look has found nothing out. `lacks` wants to see the list in
which the value is not.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from engine.escalate.types import Expectation, ResolutionCheck

SHOWN = 160
EVERY = "*"


def unmet(check: ResolutionCheck, answer: Mapping[str, Any]) -> tuple[str, ...]:
    """The expectations that the answer does not meet, each in a sentence; empty when the check passes."""
    return tuple(why for expected in check.expected if (why := _unmet(expected, answer)))


def in_words(check: ResolutionCheck) -> str:
    """The check in a sentence."""
    wanted = " and ".join(f"{each.path}{_of(each)} {_VERBS[each.comparison]} {_shown(each.value)}" for each in check.expected)
    return f"{check.tool}({', '.join(f'{name}={value!r}' for name, value in check.arguments.items())}): {wanted}"


def _of(expected: Expectation) -> str:
    return "".join(f" (where {name} is {_shown(value)})" for name, value in expected.where.items())


_VERBS = {"is": "is", "at_least": "is at least", "at_most": "is at most", "lacks": "lacks"}


def _unmet(expected: Expectation, answer: Mapping[str, Any]) -> str:
    found = values_at(answer, expected.path, expected.where)
    if found is None:
        return f"the answer has no {expected.path}"
    if expected.comparison == "lacks":
        return f"{expected.path} has {_shown(expected.value)}" if any(_same(each, expected.value) for each in found) else ""
    if not found:
        return f"the answer has no {expected.path}"
    wrong = [each for each in found if not _holds(expected, each)]
    return f"{expected.path} is {_shown(wrong[0])}; wanted: {_VERBS[expected.comparison]} {_shown(expected.value)}" if wrong else ""


def _holds(expected: Expectation, value: Any) -> bool:
    if expected.comparison == "is":
        return _same(value, expected.value)
    if not (_is_figure(value) and _is_figure(expected.value)):
        return False
    return bool(value >= expected.value if expected.comparison == "at_least" else value <= expected.value)


def _same(value: Any, other: Any) -> bool:
    """Equal as JSON: true is not 1."""
    return bool(value == other) and isinstance(value, bool) == isinstance(other, bool)


def _is_figure(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def values_at(answer: Any, path: str, where: Mapping[str, Any]) -> list[Any] | None:
    """What stands at the path; None where it leads nowhere. Behind a `*` there may be nothing, where the list has no entry that fits."""
    reached = [answer]
    for name in path.split("."):
        steps = [_below(place, name, where) for place in reached]
        if any(step is None for step in steps):
            return None
        reached = [each for step in steps for each in step or ()]
    return reached


def _below(place: Any, name: str, where: Mapping[str, Any]) -> list[Any] | None:
    """What the name leads to; None where it leads nowhere."""
    if name == EVERY:
        return [entry for entry in place if _fits(entry, where)] if isinstance(place, list | tuple) else None
    return [place[name]] if isinstance(place, Mapping) and name in place else None


def _fits(entry: Any, where: Mapping[str, Any]) -> bool:
    return not where or (isinstance(entry, Mapping) and all(name in entry and _same(entry[name], value) for name, value in where.items()))


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
