"""Which texts are nearly the same: used to keep near-duplicates in one split, and by the leakage guard.

Two inputs count as the same item when the Jaccard similarity of their sets of character 5-grams, after normalising, reaches the domain's
threshold. The join is exact and needs no pairwise pass: with each set ordered rarest gram first, two sets of similarity t share a gram
within the first |x| - ceil(t |x|) + 1 of each (prefix filtering: Chaudhuri, Ganti & Kaushik 2006; Bayardo, Ma & Srikant 2007), so only
those grams are indexed.

Digits are kept as they are: in a numeric task, items that differ in their numbers alone are different items.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

GRAM = 5
_NOT_WORD = re.compile(r"[\W_]+")


class NearPair(NamedTuple):
    """Two texts by their positions, and how similar they are."""

    left: int
    right: int
    similarity: float


def normalise(text: str) -> str:
    """Case, width, punctuation and spacing folded away. A text without a letter or digit keeps its other characters."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return _NOT_WORD.sub(" ", folded).strip() or folded.strip()


def input_text(fields: Mapping[str, Any]) -> str:
    """All text of an input in the order of its field names; what similarity is measured on."""
    return " ".join(_texts(dict(sorted(fields.items()))))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)
    elif value is not None and value != "":
        yield str(value)


def grams(text: str) -> frozenset[str]:
    """The set of character 5-grams of a normalised text; a shorter text is its own only gram."""
    return frozenset(text[i : i + GRAM] for i in range(max(1, len(text) - GRAM + 1)))


def near_duplicates(left: Sequence[str], right: Sequence[str], threshold: float) -> list[NearPair]:
    """Every pair of a text on the left and one on the right with similarity of at least `threshold`, which lies above 0."""
    sets = [grams(normalise(text)) for text in (*left, *right)]
    return [NearPair(a, b - len(left), s) for a, b, s in _join(sets, threshold, first_right=len(left))]


def near_duplicates_within(texts: Sequence[str], threshold: float) -> list[NearPair]:
    """Every pair of two of these texts with similarity of at least `threshold`, the earlier text on the left."""
    return _join([grams(normalise(text)) for text in texts], threshold, first_right=None)


def _join(sets: list[frozenset[str]], threshold: float, first_right: int | None) -> list[NearPair]:
    """With `first_right`, only pairs of a set before that position and one from it on; otherwise all pairs."""
    threshold = max(threshold, 1e-9)
    frequency = Counter(gram for one in sets for gram in one)
    holders: dict[str, list[int]] = {}
    pairs: list[NearPair] = []
    for position, one in enumerate(sets):
        prefix = sorted(one, key=lambda gram: (frequency[gram], gram))[: len(one) - math.ceil(threshold * len(one) - 1e-9) + 1]
        if first_right is None or position >= first_right:
            candidates = {holder for gram in prefix for holder in holders.get(gram, ())}
            for other in sorted(candidates):
                shared = len(one & sets[other])
                similarity = shared / (len(one) + len(sets[other]) - shared)
                if similarity >= threshold - 1e-9:
                    pairs.append(NearPair(other, position, similarity))
        if first_right is None or position < first_right:
            for gram in prefix:
                holders.setdefault(gram, []).append(position)
    return pairs
