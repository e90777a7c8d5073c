"""Templates of arguments: `${cluster}` is an input, `${2.run_id}` a place in the answer of step 2.

A template that is the whole of a value keeps the type of what it names; inside a text it becomes text. Places are dotted names; `[0]` takes an
entry of a list by its position, `[cluster=travel]` the first whose field has that value. Nothing is computed. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

TEMPLATE = re.compile(r"\$\{([^{}]+)\}")
_PART = re.compile(r"([A-Za-z0-9_]+)((?:\[[^\[\]]*\])*)(?:\.|$)")
_PICK = re.compile(r"\[([^\[\]]*)\]")


class Missing(LookupError):
    """A template or a place that names nothing. Its text is the name."""


def names_in(value: Any) -> set[str]:
    """Every name that stands in a template anywhere in `value`."""
    if isinstance(value, str):
        return set(TEMPLATE.findall(value))
    if isinstance(value, Mapping):
        return {name for key, item in value.items() for name in names_in(key) | names_in(item)}
    return {name for item in value for name in names_in(item)} if isinstance(value, list | tuple) else set()


def fill(value: Any, scope: Mapping[str, Any]) -> Any:
    """`value` with every template replaced. Missing names the first one that `scope` does not have."""
    if isinstance(value, str):
        if whole := TEMPLATE.fullmatch(value):
            return place(scope, whole[1])
        return TEMPLATE.sub(lambda found: str(place(scope, found[1])), value)
    if isinstance(value, Mapping):
        return {fill(key, scope): fill(item, scope) for key, item in value.items()}
    return type(value)(fill(item, scope) for item in value) if isinstance(value, list | tuple) else value


def fill_known(value: Any, scope: Mapping[str, Any]) -> Any:
    """The same, with templates that `scope` does not have left as they stand."""
    if isinstance(value, str):
        return TEMPLATE.sub(lambda found: str(place(scope, found[1])) if _has(scope, found[1]) else found[0], value)
    if isinstance(value, Mapping):
        return {fill_known(key, scope): fill_known(item, scope) for key, item in value.items()}
    return type(value)(fill_known(item, scope) for item in value) if isinstance(value, list | tuple) else value


def place(document: Any, path: str) -> Any:
    """What stands at `path` in `document`. Raises Missing when there is nothing."""
    here = document
    for name, picks in parts(path):
        here = _entry(here, name, path)
        for pick in picks:
            here = _picked(here, pick, path)
    return here


def parts(path: str) -> list[tuple[str, list[str]]]:
    """The names along a path, each with its picks. ValueError when it is no path."""
    found, position = [], 0
    while position < len(path):
        part = _PART.match(path, position)
        if part is None:
            raise ValueError(f"{path!r} is no path")
        found.append((part[1], _PICK.findall(part[2])))
        position = part.end()
    return found


def _has(scope: Mapping[str, Any], name: str) -> bool:
    try:
        place(scope, name)
    except Missing:
        return False
    return True


def _entry(here: Any, name: str, path: str) -> Any:
    if not isinstance(here, Mapping) or name not in here:
        raise Missing(path)
    return here[name]


def _picked(here: Any, pick: str, path: str) -> Any:
    if not isinstance(here, Sequence) or isinstance(here, str):
        raise Missing(path)
    field, equals, wanted = pick.partition("=")
    if equals:
        chosen = [item for item in here if isinstance(item, Mapping) and str(item.get(field)) == wanted]
    else:
        chosen = [here[int(pick)]] if pick.isdigit() and int(pick) < len(here) else []
    if not chosen:
        raise Missing(path)
    return chosen[0]
