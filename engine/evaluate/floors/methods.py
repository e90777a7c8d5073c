"""The floor's methods: fitted on the whole training pool, they answer every evaluation item, and are graded like a model.

    majority          the commonest reference answer
    bm25_nearest      the reference answer of the nearest training row
    tfidf_logistic    labels, sets of labels and frequent attribute values by logistic regression; other texts from the nearest row
    tagger            the same, with attributes and texts that stand in the input found there by a tagger

What an answer consists of is read off the pool (`shape.py`), so no method knows a domain. Nothing is tuned on evaluation items.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from engine.base.digests import canonical_json
from engine.evaluate.floors.labels import TextFeatures, predict_label, predict_labels
from engine.evaluate.floors.nearest import Bm25
from engine.evaluate.floors.shape import Label, Labels, Record, Shape, Slots, Text, leaves, shape_of
from engine.evaluate.floors.tagger import Tagger, align, tokens_of
from engine.evaluate.similarity import input_text
from engine.evaluate.types import TrainingRow

METHODS_VERSION = 1
"""Raised when the same pool would give other answers."""

GROUNDED_SHARE = 0.3
"""The tagger fits when at least this share of the texts in reference answers stands in one input field."""


def predict(method: str, pool: Sequence[TrainingRow], inputs: Sequence[Mapping[str, Any]], *, seed: int) -> list[Any] | None:
    """An answer for each input, or None when the method is nothing for this output."""
    expected = [row.expected for row in pool]
    if method == "majority":
        return [_commonest(expected)] * len(inputs)
    if method == "bm25_nearest":
        return [expected[position] for position in _neighbours(pool, inputs)]
    shape = shape_of(expected)
    learner = Learner(pool, inputs, tagging=method == "tagger", seed=seed)
    return learner.predict(shape, expected) if learner.fits(shape, expected) else None


def _commonest(values: Sequence[Any]) -> Any:
    spelled = [canonical_json(value) for value in values]
    return values[spelled.index(Counter(spelled).most_common(1)[0][0])]


def _neighbours(pool: Sequence[TrainingRow], inputs: Sequence[Mapping[str, Any]]) -> list[int]:
    index = Bm25([input_text(row.input) for row in pool])
    return [index.nearest(input_text(fields)) for fields in inputs]


class Learner:
    """Fits one predictor for each part of the answer."""

    def __init__(self, pool: Sequence[TrainingRow], inputs: Sequence[Mapping[str, Any]], *, tagging: bool, seed: int) -> None:
        self._known = [_texts(row.input) for row in pool]
        self._unknown = [_texts(fields) for fields in inputs]
        self._tagging = tagging
        self._seed = seed
        self._neighbours = _neighbours(pool, inputs)
        features = TextFeatures(self._known)
        self._known_matrix, self._unknown_matrix = features.matrix(self._known), features.matrix(self._unknown)

    def fits(self, shape: Shape, values: Sequence[Any]) -> bool:
        """Whether there is a part that this method is made for."""
        parts = leaves(shape)
        if not self._tagging:
            return any(isinstance(part, Label | Labels | Slots) for part in parts)
        return any(isinstance(part, Slots | Text) for part in parts) and self._grounds(shape, values) is not None

    def predict(self, shape: Shape, values: Sequence[Any]) -> list[Any]:
        """An answer of that shape for each input, learnt from the pool's values."""
        if isinstance(shape, Record):
            columns = {key: self.predict(field, [value[key] for value in values]) for key, field in shape.fields.items()}
            return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        if isinstance(shape, Label):
            return predict_label(self._known_matrix, list(values), self._unknown_matrix)
        if isinstance(shape, Labels):
            rows = predict_labels(self._known_matrix, [frozenset(value) for value in values], self._unknown_matrix)
            return [_in_usual_order(row, values) for row in rows]
        if isinstance(shape, Slots):
            return self._slots(values)
        if isinstance(shape, Text) and self._tagging:
            found = self._tagged([{"": value} for value in values])
            return [row.get("", values[near]) for row, near in zip(found, self._neighbours, strict=True)]
        return [values[near] for near in self._neighbours]

    def _slots(self, values: Sequence[dict[str, Any]]) -> list[Any]:
        """Attributes whose values stand in the text from the tagger, the others as labels `(key, value)`."""
        grounded = self._grounded(values) if self._tagging else [frozenset[str]()] * len(values)
        pairs = [frozenset((key, value) for key, value in row.items() if key not in held) for row, held in zip(values, grounded, strict=True)]
        answers: list[dict[str, Any]] = list(self._tagged(values)) if self._tagging else [{} for _ in self._unknown]
        for answer, row in zip(answers, predict_labels(self._known_matrix, pairs, self._unknown_matrix), strict=True):
            for key, value in row:
                answer.setdefault(key, value)
        return [_in_usual_order_of_keys(answer, values) for answer in answers]

    # -- tagging -------------------------------------------------------------------------------------------------------------------

    def _grounds(self, shape: Shape, values: Sequence[Any]) -> str | None:
        """The input field in which most texts of the answers stand, when enough do."""
        texts = [_string_slots(value) for value in values]
        total = sum(len(row) for row in texts)
        held: Counter[str] = Counter()
        for row, fields in zip(texts, self._known, strict=True):
            for name, text in fields.items():
                held[name] += len(align(tokens_of(text), row))
        field, count = held.most_common(1)[0] if held else ("", 0)
        self._field = field
        return field if total and count >= GROUNDED_SHARE * total else None

    def _grounded(self, values: Sequence[dict[str, Any]]) -> list[frozenset[str]]:
        """For each row the keys whose values stand in the tagged field."""
        spans = (align(tokens_of(fields.get(self._field, "")), _strings(value)) for fields, value in zip(self._known, values, strict=True))
        return [frozenset(span.key for span in row) for row in spans]

    def _tagged(self, values: Sequence[dict[str, Any]]) -> list[dict[str, str]]:
        texts = [fields.get(self._field, "") for fields in self._known]
        spans = [align(tokens_of(text), _strings(value)) for text, value in zip(texts, values, strict=True)]
        if not any(spans):
            return [{} for _ in self._unknown]
        tagger = Tagger(texts, [self._context(fields) for fields in self._known], spans, self._seed)
        return [tagger.find(fields.get(self._field, ""), self._context(fields)) for fields in self._unknown]

    def _context(self, fields: Mapping[str, str]) -> str:
        return " ".join(text for name, text in fields.items() if name != self._field)


def _texts(fields: Mapping[str, Any]) -> dict[str, str]:
    """Each input field as text."""
    return {name: input_text({"": value}) for name, value in fields.items()}


def _strings(value: Mapping[str, Any]) -> dict[str, str]:
    return {key: item for key, item in value.items() if isinstance(item, str)}


def _string_slots(value: Any) -> dict[str, str]:
    """Every text in a reference answer that an extractor could look for: of its attributes, and of itself when it is a text."""
    if isinstance(value, str):
        return {"": value}
    if not isinstance(value, dict):
        return {}
    nested = {f"{key}.{name}": item for key, inner in value.items() if isinstance(inner, dict) for name, item in _strings(inner).items()}
    return _strings(value) | nested


def _in_usual_order(labels: Sequence[Any], values: Sequence[Sequence[Any]]) -> list[Any]:
    """Labels in the order in which the pool mostly writes them, so that an order-sensitive check is not lost for nothing."""
    return sorted(labels, key=_mean_places(values).__getitem__)


def _in_usual_order_of_keys(answer: dict[str, Any], values: Sequence[dict[str, Any]]) -> dict[str, Any]:
    places = _mean_places([list(value) for value in values])
    return {key: answer[key] for key in sorted(answer, key=places.__getitem__)}


def _mean_places(rows: Sequence[Sequence[Any]]) -> dict[Any, float]:
    sums: Counter[Any] = Counter()
    counts: Counter[Any] = Counter()
    for row in rows:
        for place, item in enumerate(row):
            sums[item] += place
            counts[item] += 1
    return {item: sums[item] / counts[item] for item in counts}
