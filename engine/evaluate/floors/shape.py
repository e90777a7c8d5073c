"""What kind of thing a domain's answers are, read off the training pool, so that baselines need no code for a domain.

Record    an object with the same keys everywhere: each key has a shape of its own
Slots     an object whose keys come and go, with plain values: attributes found in a text
Labels    a list of plain values: a set of labels
Label     one of few values
Text      one of many texts: words to be found in the input
Opaque    anything else: copied whole from a neighbour
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from engine.evaluate.answers import fold

MOST_DISTINCT = 0.5
"""A field with more distinct values than this share of the rows is no label."""


class Record(NamedTuple):
    fields: dict[str, Shape]


class Slots(NamedTuple):
    pass


class Labels(NamedTuple):
    pass


class Label(NamedTuple):
    pass


class Text(NamedTuple):
    pass


class Opaque(NamedTuple):
    pass


Shape = Record | Slots | Labels | Label | Text | Opaque


def shape_of(values: Sequence[Any]) -> Shape:
    """The shape of these reference answers."""
    if all(isinstance(value, dict) for value in values):
        keys = values[0].keys()
        if all(value.keys() == keys for value in values) and keys:
            return Record({key: shape_of([value[key] for value in values]) for key in keys})
        return Slots() if all(_plain(item) for value in values for item in value.values()) else Opaque()
    if all(isinstance(value, list) for value in values):
        return Labels() if all(_plain(item) for value in values for item in value) else Opaque()
    if all(_plain(value) for value in values):
        few = len({fold(value, False) for value in values}) <= max(2, MOST_DISTINCT * len(values))
        return Label() if few or not all(isinstance(value, str) for value in values) else Text()
    return Opaque()


def leaves(shape: Shape) -> list[Shape]:
    """The shapes at the ends of nested records."""
    return [leaf for field in shape.fields.values() for leaf in leaves(field)] if isinstance(shape, Record) else [shape]


def _plain(value: Any) -> bool:
    return value is None or isinstance(value, str | int | float | bool)
