"""Finding attributes in a text: a BIO tagger, trained as an averaged structured perceptron (Collins 2002) with Viterbi decoding.

The strongest of the small classical extractors that needs nothing but numpy. Features are words, their shapes and ends in a window of two,
word pairs, and the words of the other input fields together with the shape of the token, so that an answer to "Where do you leave from?"
is told from one to "Where to?".

A value that stands in the text is tagged where it stands. A number that the text spells as an English word counts as standing there
(`two` for 2), and what the tagger finds is turned back in the same way where the training rows do so. Values that do not stand in the text
are not for this file.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

EPOCHS = 8
FEWEST_USES = 2
"""A feature seen less often is left out."""
CONTEXT_WORDS = 24

_TOKEN = re.compile(r"\w+|[^\w\s]")
_NUMBER_WORDS = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen"
_NUMBERS = {word: str(number) for number, word in enumerate(_NUMBER_WORDS.split())}

Array = np.ndarray[Any, np.dtype[np.float64]]


class Token(NamedTuple):
    text: str
    start: int
    end: int


class Span(NamedTuple):
    """An attribute's value in a text, by tokens."""

    key: str
    first: int
    last: int
    as_number: bool = False
    """The value is the number that the word spells."""


def tokens_of(text: str) -> list[Token]:
    """Words and single punctuation marks, with their places."""
    return [Token(found.group(), found.start(), found.end()) for found in _TOKEN.finditer(text)]


def align(tokens: Sequence[Token], values: Mapping[str, str]) -> list[Span]:
    """Where the values stand in the text; a value that does not, or only where another one already does, is left out."""
    lower = [token.text.casefold() for token in tokens]
    taken = [False] * len(tokens)
    spans: list[Span] = []
    for key, value in sorted(values.items(), key=lambda item: -len(item[1])):
        wanted = [token.text.casefold() for token in tokens_of(value)]
        if not any(character.isalnum() for character in value):
            continue
        spelled = [word for word, number in _NUMBERS.items() if wanted == [number]]
        for form, as_number in ((wanted, False), (spelled, True)):
            first = _place(lower, form, taken) if form else None
            if first is not None:
                taken[first : first + len(form)] = [True] * len(form)
                spans.append(Span(key, first, first + len(form), as_number))
                break
    return spans


def _place(lower: list[str], form: list[str], taken: list[bool]) -> int | None:
    for first in range(len(lower) - len(form) + 1):
        if lower[first : first + len(form)] == form and not any(taken[first : first + len(form)]):
            return first
    return None


class Tagger:
    """Learns from texts with their spans; finds values in others."""

    def __init__(self, texts: Sequence[str], contexts: Sequence[str], spans: Sequence[Sequence[Span]], seed: int) -> None:
        keys = sorted({span.key for row in spans for span in row})
        self._tags = ["O", *(f"{part}{key}" for key in keys for part in ("B", "I"))]
        self._allowed = self._transitions()
        self._numbers = _numeric_keys(spans)
        tokens = [tokens_of(text) for text in texts]
        features = [list(_features(row, context)) for row, context in zip(tokens, contexts, strict=True)]
        uses = Counter(name for row in features for names in row for name in names)
        self._index = {name: number for number, name in enumerate(sorted(name for name, count in uses.items() if count >= FEWEST_USES))}
        gold = [self._encode(len(row), found) for row, found in zip(tokens, spans, strict=True)]
        self._learn([[self._rows(names) for names in row] for row in features], gold, seed)

    def find(self, text: str, context: str) -> dict[str, str]:
        """Values by key: of two values for one key, the first."""
        tokens = tokens_of(text)
        if not tokens:
            return {}
        path = self._decode(self._emissions([self._rows(names) for names in _features(tokens, context)]), self._steps)
        found: dict[str, str] = {}
        first = 0
        while first < len(path):
            tag = self._tags[path[first]]
            last = first + 1
            if tag[0] == "B":
                while last < len(path) and self._tags[path[last]] == "I" + tag[1:]:
                    last += 1
                value = text[tokens[first].start : tokens[last - 1].end]
                as_number = tag[1:] in self._numbers
                found.setdefault(tag[1:], _NUMBERS.get(value.casefold(), value) if as_number else value)
            first = last
        return found

    def _transitions(self) -> Array:
        """Log-weights of which tag may follow which: inside only after the same attribute's begin or inside."""
        allowed = np.zeros((len(self._tags), len(self._tags)))
        for number, tag in enumerate(self._tags):
            if tag[0] == "I":
                allowed[:, number] = -1e9
                allowed[number - 1 : number + 1, number] = 0.0
        return allowed

    def _encode(self, length: int, spans: Sequence[Span]) -> list[int]:
        gold = [0] * length
        for span in spans:
            begin = self._tags.index(f"B{span.key}")
            gold[span.first : span.last] = [begin] + [begin + 1] * (span.last - span.first - 1)
        return gold

    def _rows(self, names: Sequence[str]) -> Any:
        return np.array([self._index[name] for name in names if name in self._index], dtype=np.intp)

    def _emissions(self, rows: Sequence[Any]) -> Array:
        return np.stack([self._weights[row].sum(axis=0) for row in rows])

    def _decode(self, emissions: Array, steps: Array) -> list[int]:
        """The best path (Viterbi); the first tag may not be an inside."""
        best = emissions[0] + np.where(self._allowed[0] < 0, -1e9, 0.0)
        back = []
        for row in emissions[1:]:
            ways = best[:, None] + steps
            back.append(ways.argmax(axis=0))
            best = ways.max(axis=0) + row
        path = [int(best.argmax())]
        for pointers in reversed(back):
            path.append(int(pointers[path[-1]]))
        return path[::-1]

    def _learn(self, rows: list[list[Any]], gold: list[list[int]], seed: int) -> None:
        shape = (len(self._index), len(self._tags))
        self._weights, moves = np.zeros(shape), np.zeros((shape[1], shape[1]))
        late_weights, late_moves = np.zeros(shape), np.zeros_like(moves)
        order = np.random.default_rng(seed)
        clock = 1
        for _ in range(EPOCHS):
            for number in order.permutation(len(rows)):
                sentence, right = rows[number], gold[number]
                if not sentence:
                    continue
                path = self._decode(self._emissions(sentence), self._allowed + moves)
                clock += 1
                if path == right:
                    continue
                for place, (wanted, got) in enumerate(zip(right, path, strict=True)):
                    for tag, change in ((wanted, 1.0), (got, -1.0)) if wanted != got else ():
                        self._weights[sentence[place], tag] += change
                        late_weights[sentence[place], tag] += clock * change
                for steps, change in ((right, 1.0), (path, -1.0)):
                    for before, after in pairwise(steps):
                        moves[before, after] += change
                        late_moves[before, after] += clock * change
        self._weights -= late_weights / clock
        self._steps = self._allowed + moves - late_moves / clock


def _numeric_keys(spans: Sequence[Sequence[Span]]) -> set[str]:
    """Attributes whose values are given as numbers where the text spells them."""
    seen: dict[str, int] = defaultdict(int)
    for row in spans:
        for span in row:
            seen[span.key] += span.as_number
    return {key for key, count in seen.items() if count > 0}


def _shape(text: str) -> str:
    return re.sub(r"(.)\1+", r"\1", re.sub(r"[^\W\d_]", "a", re.sub(r"[A-Z]", "A", re.sub(r"\d", "0", text))))


def _features(tokens: Sequence[Token], context: str) -> list[list[str]]:
    lower = ["<<", "<", *(token.text.casefold() for token in tokens), ">", ">>"]
    around = sorted({token.text.casefold() for token in tokens_of(context)[-CONTEXT_WORDS:]})
    rows = []
    for place, token in enumerate(tokens):
        at = place + 2
        shape = _shape(token.text)
        word = lower[at]
        rows.append(
            [
                "bias",
                f"w={word}",
                f"s={shape}",
                f"p={word[:3]}",
                f"e={word[-3:]}",
                *(f"w{offset}={lower[at + offset]}" for offset in (-2, -1, 1, 2)),
                f"w-1,w={lower[at - 1]} {word}",
                f"w,w+1={word} {lower[at + 1]}",
                f"w-2,w-1={lower[at - 2]} {lower[at - 1]}",
                f"w+1,w+2={lower[at + 1]} {lower[at + 2]}",
                f"w-1,s={lower[at - 1]} {shape}",
                *(f"c={other} {shape}" for other in around),
            ]
        )
    return rows
