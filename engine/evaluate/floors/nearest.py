"""Nearest neighbour by BM25: the reference answer of the training row whose words match best.

Okapi BM25 with the usual constants (Robertson & Zaragoza 2009, k1 = 1.2, b = 0.75), over words of all input fields.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

K1 = 1.2
B = 0.75
_WORD = re.compile(r"\w+")

Array = np.ndarray[Any, np.dtype[np.float64]]


def words(text: str) -> list[str]:
    """The words of a text, without case."""
    return _WORD.findall(text.casefold())


class Bm25:
    """An index of texts."""

    def __init__(self, texts: Sequence[str]) -> None:
        counted = [Counter(words(text)) for text in texts]
        lengths = np.array([max(1, counts.total()) for counts in counted], dtype=np.float64)
        self._size = len(texts)
        postings: dict[str, tuple[list[int], list[int]]] = {}
        for position, counts in enumerate(counted):
            for word, uses in counts.items():
                documents, times = postings.setdefault(word, ([], []))
                documents.append(position)
                times.append(uses)
        damped = K1 * (1 - B + B * lengths / lengths.mean())
        self._weights: dict[str, tuple[Any, Array]] = {}
        for word, (documents, times) in postings.items():
            at = np.array(documents)
            count: Array = np.array(times, dtype=np.float64)
            rarity = np.log1p((len(texts) - len(at) + 0.5) / (len(at) + 0.5))
            self._weights[word] = (at, rarity * count * (K1 + 1) / (count + damped[at]))

    def nearest(self, text: str) -> int:
        """The position of the best match; the first text when no word matches."""
        scores = np.zeros(self._size)
        for word in words(text):
            if word in self._weights:
                at, weight = self._weights[word]
                scores[at] += weight
        return int(scores.argmax())
